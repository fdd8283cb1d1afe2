//! Malha's agent on each machine: netmap and time in, tunnel and reports out, last-known-good on disk. It never links the
//! controller's state or store.

#![forbid(unsafe_code)]

// The testbed is compiled into the crate's own tests and into those beside it.
#[cfg(test)]
extern crate self as malha_node;

pub mod agent;
pub mod balancers;
pub mod cli;
mod clock;
pub mod config;
pub mod control;
pub mod descriptors;
pub mod doctor;
pub mod engine;
pub mod enrol;
pub mod exit;
pub mod guard;
pub mod kept;
pub mod machine;
pub mod names;
pub mod notify;
pub mod plane;
pub mod port_probe;
pub mod probe;
pub mod run;
pub mod state;
pub mod status;
pub mod streams;
#[cfg(test)]
mod testbed;
mod text;
