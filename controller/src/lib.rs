//! Malha's controller: the coordinator and everything that serves or observes beside it, as one process. This crate
//! composes the rooms; what is decided is decided in malha-core.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod api;
pub mod audit;
pub mod carriers;
pub mod checks;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod console;
pub mod coordinator;
pub mod demo;
pub mod folder;
pub mod hub;
pub mod live;
pub mod metrics;
pub mod pairs;
mod paths;
pub mod publish;
pub mod rate;
mod refusals;
pub mod serve;
pub mod session;
pub mod streams;
mod sweep;
