//! The rules of the house that no compiler keeps: which room may use which, how files look, which licences and doubled
//! dependencies came in, and what may never stand in a file. It reads the tree and changes nothing.

mod documents;
mod manifests;
mod sources;
mod spdx;
mod tree;
