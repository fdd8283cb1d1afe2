//! Every type and message that crosses Malha's control wire, their encoding, and the frames that carry them.
//! It checks what it parses and never decides anything: no I/O, no clock, no randomness.

#![forbid(unsafe_code)]

mod address;
mod balancer;
mod frame;
pub mod fuzz;
mod health;
mod id;
mod key;
mod message;
mod name;
mod netmap;
mod pair;
mod probe;
mod public;
mod stream;
mod token;

pub use address::{DEFAULT_POOL_V4, OverlayAddresses, OverlayPools, PoolError};
pub use balancer::{
    Algorithm, Backend, BackendCondition, BackendMode, BackendReport, Balancer, BalancerCounts,
    BalancerReport, BalancerTrouble, HealthPort, MAX_TROUBLE_CHARS, Prefix, PrefixError,
    ProxyProtocol,
};
pub use frame::{
    FrameDecoder, FrameError, MAX_FRAME_TO_CONTROLLER_BYTES, MAX_FRAME_TO_NODE_BYTES, encode_frame,
};
pub use health::{
    Hop, HopState, NodeReport, PathKind, PathProbe, PeerObservation, ServiceReport, ServiceState,
};
pub use id::{
    ApiKeyId, BalancerId, GrantId, IdError, NodeId, OperatorId, OrganizationId, Revision, RouteId,
    ServiceId, SiteId, TokenId,
};
pub use key::{Fingerprint, KeyError, Lease, MachineId, Secret32, WgKey};
pub use message::{
    ALPN, CARRIER_PATH, CARRIER_PROTOCOL, CONTROLLER_TLS_NAME, EnrolReply, EnrolRequest,
    FRAME_PATIENCE_MS, FarewellReason, HEARTBEAT_INTERVAL_MS, Hello, MachineFacts,
    NAMES_SINCE_VERSION, PAIRS_SINCE_VERSION, PROBES_SINCE_VERSION, PROTOCOL_VERSION, RefusalCode,
    SESSION_TIMEOUT_MS, STAYS_SINCE_VERSION, ToController, ToNode, Welcome,
};
pub use name::{HostName, Label, NameError};
pub use netmap::{
    Allow, ClosedPort, Exposure, FormerAllow, MAX_PEERS, Me, Netmap, NetmapDelta, PatchError, Peer,
    Port, Profile, Protocol, Service, ServiceKind,
};
pub use pair::{
    MAX_CANDIDATES, MAX_PAIRS, MAX_PAIRS_PER_MESSAGE, Pair, PairKey, PairTable, Pairs, RelayGrant,
};
pub use probe::{
    MAX_PROBE_ADDRESSES, MAX_PROBE_NAMES, MAX_PROBE_TARGETS, MAX_PROBE_TIMEOUT_MS, NameAnswer,
    NameSeen, PortState, ProbeOrder, ProbeOutcome, ProbeResult, ProbeTarget, ProbeWay,
};
pub use public::{is_carrier_space, is_public};
pub use stream::{
    ALPN_STREAM, Family, MAX_FORMER_STREAM_CONNECTIONS, MAX_STREAMS, PathLoss, STREAM_BROKEN,
    StreamAnswer, StreamOpen,
};
pub use token::{EnrolToken, MAX_TOKEN_ADDRESSES, MAX_TOKEN_CHARS, TokenError};
