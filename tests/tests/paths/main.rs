//! Which machines reach which, by which path, and what happens when a path dies: the real programs behind every kind of router,
//! carrier, firewall and proxy. Needs root; says so and passes otherwise.
#![forbid(unsafe_code)]

mod ageing;
mod download;
mod grid;
mod meeting;
mod nat64;
mod routers;
mod stories;
