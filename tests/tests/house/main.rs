//! The rules of the house that no compiler keeps: which room may use which, how files look, which licences and doubled
//! dependencies came in, what may never stand in a file, and whether the documents speak of what is there. It reads the tree and
//! changes nothing.

mod commands;
mod documents;
mod manifests;
mod reasons;
mod sources;
mod spdx;
mod tree;
mod units;
