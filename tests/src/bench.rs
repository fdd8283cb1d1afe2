//! Benchmarks of a whole installation: real processes, real sockets, a real disk. A peer, where one can run on the same
//! machine, does its part in the same run. Nothing here is compared with a figure that somebody else published.

pub mod balance;
mod control;
pub mod dataplane;
mod etcd;
mod figures;
mod installation;
mod link;
mod machine;
mod outset;
mod page;
mod report;
mod session;
mod spread;

pub use control::{Scale, control};
pub use report::{Report, Row};
