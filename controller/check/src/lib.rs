//! Compliance of one organization: a plan of checks from what it declares, looks from several vantage points, verdicts, a report
//! and an evidence file. [`plan`] and [`judge`] are pure; a look changes nothing where it looks, and nothing here grants anything.

#![forbid(unsafe_code)]

mod asn1;
mod certificate;
mod check;
mod evidence;
#[doc(hidden)]
pub mod fuzz;
mod judge;
mod observation;
mod ocsp;
mod plan;
mod probe;
mod report;
#[cfg(test)]
mod sample;
mod stamp;
mod subject;
mod text;
mod verdict;

pub use check::{Check, Expect, Issuers, Probe, Role, Vantage, View};
pub use evidence::{
    Chain, ChainFault, ChainedRun, EvidenceError, MAX_FILE_BYTES, RunLink, Signer, Verified,
    chains, verify as verify_evidence, write as write_evidence,
};
pub use judge::judge;
pub use observation::{
    BalancerSeen, Der, DnsAnswer, DnsSeen, Failure, HttpSeen, InsideSeen, ListedServer,
    NameServersAnswer, NameServersSeen, Observation, OcspCacheSeen, OcspSeen, Seen, StampSeen,
    TcpSeen, TlsSeen, UrlSeen, WithoutCertificate,
};
pub use plan::{MAX_CHECKS, plan, probes};
pub use probe::{CONNECT_LIMIT, Dial, Stream, SystemDial, look, look_all};
pub use report::{Counts, Outcome, Report};
pub use subject::{
    AllowList, Balancer, DeclaredPort, Direction, Exposure, MAX_ADDRESSES, MAX_DECLARED_PORTS,
    MAX_ISSUERS, MAX_NAME_SERVERS, MAX_NAMES, MAX_PORT_DIFFERENCES, MAX_PORTS, MAX_SERVERS,
    MAX_TARGETS, MAX_URLS, NameServer, Node, Outside, Port, PortDifference, PortProbe, Protocol,
    Server, Stage, Subject, Target, TargetKind,
};
pub use text::Lang;
pub use verdict::{Cause, Evidence, Fault, Finding, Level, Verdict, Why};
