//! Whole installations in network namespaces: the real programs on a small internet with NAT, address changes, power cuts and
//! somebody who listens. Needs root; says so and passes otherwise.
#![forbid(unsafe_code)]

mod agency;
mod balancing;
mod compliance;
mod doctor;
mod guard;
mod health;
mod identity;
mod keys;
mod listening;
mod names;
mod one_port;
mod overlay_balancer;
mod policy;
mod recovery;
mod resolvers;
mod roaming;
mod streams;
mod tokens;
mod upgrade;
mod url;
mod vantage_points;
