//! How much of everything there may be. Each number stands here once; what is over it is refused with
//! [`crate::Rejection::Limit`] or a text that names it.

use std::ops::RangeInclusive;

/// Records that one command may change: two such commands still fit one commit of the store.
pub const MAX_CHANGES: usize = 500;
pub const MAX_ORGANIZATIONS: usize = 10_000;
pub const MAX_SITES: usize = 100_000;
pub const MAX_NODES: usize = 100_000;
pub const MAX_TOKENS: usize = 100_000;
pub const MAX_SERVICES_PER_NODE: usize = 64;
pub const MAX_ROUTES: usize = 100_000;
/// Services that one route may spread over.
pub const MAX_SERVICES_PER_ROUTE: usize = 64;
pub const MAX_GRANTS: usize = 10_000;
/// Tags of one node.
pub const MAX_TAGS: usize = 16;
pub const MAX_ZONES: usize = 10_000;
/// Name servers of one zone.
pub const MAX_NAME_SERVERS: usize = 16;
pub const MAX_OPERATORS: usize = 1_000;
pub const MAX_API_KEYS: usize = 1_000;
/// Public addresses of the edges.
pub const MAX_EDGE_ADDRESSES: usize = 16;
/// Declared WireGuard endpoints of one node.
pub const MAX_ENDPOINTS: usize = 8;

pub const MAX_DISPLAY_NAME_CHARS: usize = 200;
pub const MAX_PATH_CHARS: usize = 1_024;
/// A PHC string of argon2id is about 100 characters.
pub const MAX_PASSWORD_HASH_CHARS: usize = 512;
/// What is kept of each text that a machine says of itself.
pub const MAX_FACT_CHARS: usize = 128;

pub const MIN_TOKEN_TTL_S: u64 = 60;
pub const MAX_TOKEN_TTL_S: u64 = 365 * 86_400;
pub const MAX_TOKEN_USES: u32 = 10_000;
/// How long an expired token is remembered, so that its holder hears "expired" and not "unknown".
pub const TOKEN_MEMORY_MS: u64 = 30 * 86_400 * 1_000;

/// How long a freed overlay address rests before another node may have it.
pub const ADDRESS_QUARANTINE_MS: u64 = 7 * 86_400 * 1_000;

/// Leases handed out since one was last known to be saved. Older ones belong to hellos that were given up.
pub const MAX_OFFERED_LEASES: usize = 8;
/// Former keys of a node kept until the newest one is shown, and past ones kept to know a copy by. A key further behind opens no
/// session: certificates are renewed after two thirds of their life, so the one of the key before the last has ended.
pub const MAX_FORMER_KEYS: usize = 4;

/// How long a repeated creation finds what the first one made.
pub const REQUEST_MEMORY_MS: u64 = 86_400 * 1_000;
pub const MAX_REQUESTS: usize = 100_000;

/// Records of one kind that one sweep forgets.
pub const MAX_SWEPT: usize = 100;

pub const MAX_BALANCERS_PER_NODE: usize = 32;
/// Services behind one balancer.
pub const MAX_BACKENDS: usize = 16;
/// Source prefixes of one balancer.
pub const MAX_BALANCER_SOURCES: usize = 256;
pub const MAX_HEALTH_PATH_CHARS: usize = 256;
/// What a balancer's numbers may be.
pub const BALANCER_INTERVAL_MS: RangeInclusive<u32> = 500..=300_000;
pub const MIN_HEALTH_INTERVAL_MS: u32 = 2_000;
pub const BALANCER_CONNECT_MS: RangeInclusive<u32> = 100..=30_000;
pub const BALANCER_IDLE_S: RangeInclusive<u32> = 1..=86_400;
pub const BALANCER_SLOW_START_S: RangeInclusive<u32> = 0..=3_600;
pub const BALANCER_CONNECTIONS: RangeInclusive<u32> = 1..=100_000;

/// The TTL of the records that routes make.
pub const ROUTE_TTL_S: u32 = 60;

/// How often a node without a public endpoint keeps its NAT open.
pub const KEEPALIVE_S: u16 = 25;

/// Servers of one stage of an agency: as many as one balancer takes.
pub const MAX_AGENCY_SERVERS: u8 = 16;
pub const MAX_AGENCY_BALANCERS: u8 = 2;
/// Of an agency's name and of its host's: what is made of them must still be a label.
pub const MAX_AGENCY_NAME_CHARS: usize = 32;
/// Public addresses of one stage of an agency.
pub const MAX_AGENCY_ADDRESSES: usize = 8;
/// The TTL of the records that are made for an agency.
pub const AGENCY_TTL_S: u32 = 300;

/// The longest text of a profile.
pub const MAX_PROFILE_BYTES: usize = 32 * 1024;
pub const MAX_PROFILE_ENTRIES: usize = 64;
/// Ports of all entries of one profile.
pub const MAX_PORTS_PER_PROFILE: usize = 256;

/// The longest text of a policy.
pub const MAX_POLICY_BYTES: usize = 128 * 1024;
/// `[[test]]` cases of a policy.
pub const MAX_POLICY_TESTS: usize = 500;
/// Times other than now for which tests may ask: the policy is compiled for each.
pub const MAX_POLICY_TEST_TIMES: usize = 16;
/// Texts of former policies that are kept; the oldest are forgotten.
pub const MAX_POLICY_VERSIONS: usize = 100;
/// Pairs of groups of alike nodes that one policy, or one of its tests, may have compared.
pub const MAX_GROUP_PAIRS: usize = 100_000;
/// Rows that a policy's difference shows; the rest is counted.
pub const MAX_DIFFERENCE_ROWS: usize = 200;
/// Grants that are closed now and that it names; the rest is counted.
pub const MAX_DIFFERENCE_LATER: usize = 200;
/// Names that a row of it shows of each side.
pub const MAX_ROW_NAMES: usize = 10;
/// How long a policy may wait for its confirmation.
pub const MIN_CONFIRM_WITHIN_MS: u64 = 5_000;
pub const MAX_CONFIRM_WITHIN_MS: u64 = 3_600_000;
/// How long a policy that one operator put in force alone waits for another one's confirmation.
pub const EMERGENCY_WITHIN_MS: u64 = 24 * 3_600_000;
/// Changes of the policy that wait for a second operator.
pub const MAX_PROPOSALS: usize = 16;
/// How long one of them waits.
pub const APPROVAL_WITHIN_MS: u64 = 7 * 86_400 * 1_000;

/// The longest text of a declaration.
pub const MAX_DECLARATION_BYTES: usize = 64 * 1024;
/// Entries of each list in it.
pub const MAX_DECLARED: usize = 32;
/// Ports of each of its lists.
pub const MAX_DECLARED_PORTS: usize = 64;
