//! Compliance of one organization: a plan of checks from what it declares, looks from several vantage points, verdicts, a report
//! and an evidence file. Plan and verdict are pure; a look changes nothing where it looks, and nothing here grants anything.

#![forbid(unsafe_code)]

mod check;
mod observation;
mod plan;
#[cfg(test)]
mod sample;
mod subject;
mod verdict;

pub use check::{Check, Expect, Issuers, Probe, Role, Vantage, View};
pub use observation::{
    BalancerSeen, Der, DnsAnswer, DnsSeen, Failure, HttpSeen, Observation, OcspCacheSeen, OcspSeen,
    Seen, StampSeen, TcpSeen, TlsSeen, UrlSeen, WithoutCertificate,
};
pub use plan::{MAX_CHECKS, plan, probes};
pub use subject::{
    Balancer, DeclaredPort, Direction, Exposure, MAX_ADDRESSES, MAX_DECLARED_PORTS, MAX_ISSUERS,
    MAX_NAME_SERVERS, MAX_NAMES, MAX_PORTS, MAX_SERVERS, MAX_TARGETS, MAX_URLS, NameServer, Node,
    Outside, Port, PortProbe, Protocol, Server, Stage, Subject, Target, TargetKind,
};
pub use verdict::{Cause, Evidence, Fault, Finding, Level, Verdict, Why};
