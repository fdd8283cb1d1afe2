//! Why a value is refused: one variant per cause, with what it speaks of and a code that programs may rely on. The English
//! words stand here, beside the code; other languages are the business of whoever shows them.

use std::fmt;

use malha_proto::{MAX_PEERS, NameError};

use crate::declaration::PlaceError;
use crate::limits::{
    MAX_AGENCY_NAME_CHARS, MAX_CONFIRM_WITHIN_MS, MAX_DISPLAY_NAME_CHARS, MAX_GRANTS,
    MAX_HEALTH_PATH_CHARS, MAX_PATH_CHARS, MAX_POLICY_TEST_TIMES, MAX_PORTS_PER_PROFILE,
    MAX_TOKEN_TTL_S, MAX_TOKEN_USES, MIN_CONFIRM_WITHIN_MS, MIN_TOKEN_TTL_S,
};
use crate::noun::Noun;
use crate::tags::MAX_TAG_CHARS;

impl From<NameError> for Reason {
    fn from(error: NameError) -> Self {
        Self::Name { error }
    }
}

macro_rules! reasons {
    ($($code:literal $name:ident $({ $($field:ident: $type:ty $(= $sample:expr)?),+ })? $text:literal)*) => {
        /// A cause of [`crate::Rejection::Invalid`].
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($name $({ $($field: $type),+ })?,)*
        }

        impl Reason {
            /// Names the cause for programs; it stays the same between releases.
            #[must_use]
            pub fn code(&self) -> &'static str {
                match self {
                    $(Self::$name $({ $($field: _),+ })? => $code,)*
                }
            }

            /// One of each, about nothing in particular: for catalogues of words that must be complete.
            #[must_use]
            pub fn each() -> Vec<Self> {
                vec![$(Self::$name $({ $($field: sample!($($sample)?)),+ })?),*]
            }
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name $({ $($field),+ })? => write!(f, $text),)*
                }
            }
        }
    };
}

/// What stands for a value where its type has no default.
macro_rules! sample {
    () => {
        Default::default()
    };
    ($sample:expr) => {
        $sample
    };
}

reasons! {
    "name" Name { error: NameError = NameError::Empty } "{error}"
    "place" Place { error: PlaceError = PlaceError::Port(String::new()) } "{error}"
    "out-of-bounds" OutOfBounds { least: u64, most: u64, given: u64 } "it must be {least} to {most}, not {given}"

    "display-name-long" DisplayNameLong { chars: usize }
        "it has {chars} characters; at most {MAX_DISPLAY_NAME_CHARS} are allowed"
    "display-name-character" DisplayNameCharacter { character: String }
        "it has the character {character}; use letters, digits and signs"
    "path-long" PathLong { bytes: usize } "it has {bytes} bytes; at most {MAX_PATH_CHARS} are allowed"
    "path-start" PathStart "it must start with '/', like \"/\" or \"/painel\""
    "path-character" PathCharacter { character: String }
        "it has {character}; write other characters percent-encoded"
    "path-dots" PathDots "it has \"//\", \".\" or \"..\"; write the path as servers see it"
    "path-encoding" PathEncoding
        "a '%' must start the code of a character that is not '/', '.', '\\' or a control"

    "controller-address" ControllerAddress { address: String }
        "{address:?} is not host:port, like \"malha.example.org:443\""
    "controllers-fit-no-token" ControllersFitNoToken
        "give at least one, and shorter names if they don't fit a token together"
    "edge-address" EdgeAddress { address: String } "{address} is not an address that a client can connect to"

    "token-uses" TokenUses { given: u32 } "a token is for 1 to {MAX_TOKEN_USES} machines, not {given}"
    "token-lifetime" TokenLifetime { given_s: u64 }
        "a token is good for {MIN_TOKEN_TTL_S} to {MAX_TOKEN_TTL_S} seconds, not {given_s}"
    "hub-stays" HubStays { node: String } "node {node} is a hub: it lives and dies with its controller"
    "endpoint-unreachable" EndpointUnreachable { endpoint: String }
        "{endpoint} can't be reached; write an address and port like 198.51.100.7:51820"
    "not-quarantined" NotQuarantined { node: String } "node {node} is not quarantined"
    "neither-contender" NeitherContender { holder: String, rival: String }
        "it is neither of the two: {holder} and {rival}"

    "service-target" ServiceTarget { target: String }
        "{target} is not an address to connect to; write one like 127.0.0.1:8080"
    "port-taken" PortTaken { by: Noun, name: String, port: u16 }
        "{by} {name} has port {port} on this node; choose another"
    "route-inside-overlay" RouteInsideOverlay { host: String, zone: String }
        "{host} is an overlay name, and {zone} is not public; choose a public name"
    "route-without-service" RouteWithoutService "a route needs at least one service"
    "service-not-public" ServiceNotPublic { service: String }
        "service {service} is for the tunnel only; add it with exposure public"
    "service-not-http" ServiceNotHttp { service: String }
        "service {service} does not speak HTTP; a route leads to HTTP services"
    "record-leads-elsewhere" RecordLeadsElsewhere { zone: String, rtype: String, host: String }
        "zone {zone} has an operator's {rtype} record at {host} that leads elsewhere; delete it first, or choose another host"
    "zone-is-overlay" ZoneIsOverlay { zone: String }
        "{zone} holds the overlay's own names and is not public; choose another zone"
    "zone-without-servers" ZoneWithoutServers "a zone needs at least one, like ns1.example.org"
    "wildcard-is-no-host" WildcardIsNoHost { name: String } "{name} names no host"

    "balancer-without-server" BalancerWithoutServer "a balancer needs at least one service"
    "balancer-lacks-server" BalancerLacksServer { balancer: String, service: String }
        "balancer {balancer} has no server {service}"
    "balancer-node" BalancerNode { node: String }
        "node {node} has neither profile balancer nor edge; enrol one of those, or take the hub"
    "server-on-balancer-node" ServerOnBalancerNode { service: String }
        "service {service} is on the balancer's own node; a balancer reaches its servers through the tunnel"
    "health-path" HealthPath
        "the path starts with / and has at most {MAX_HEALTH_PATH_CHARS} visible ASCII characters, like /"
    "balancer-needs-grant" BalancerNeedsGrant { organization: String, ports: String, node: String }
        "organization {organization} asks for a second approver, and this would open {ports} on {node}: grant the balancer's node that in the policy first, which can be approved"

    "agency-name-long" AgencyNameLong { name: String }
        "{name} has too many characters; at most {MAX_AGENCY_NAME_CHARS} leave room for the names that are made of it"
    "agency-address" AgencyAddress { address: String } "{address} is no public address: the internet does not lead to it; give the one at which others reach the agency, like 203.0.113.10"
    "agency-address-twice" AgencyAddressTwice { address: String }
        "{address} is a production address too; each stage needs its own, or requests for one reach the other"
    "agency-without-development" AgencyWithoutDevelopment "there is no development server to give them to"

    "key-without-scopes" KeyWithoutScopes "a key without scopes can do nothing; give at least one"
    "key-expired-already" KeyExpiredAlready "the key would be expired from the start; give a time to come"
    "password-hash" PasswordHash "it is not the PHC string of an argon2id hash"

    "icmp-ports" IcmpPorts "ICMP has no ports; write 0 to 0"
    "ports-backwards" PortsBackwards { from: u16, to: u16 }
        "the first port {from} is above the last one {to}; exchange them"
    "grant-beside-policy" GrantBesidePolicy { version: u64 }
        "policy version {version} is in force, and grants stand in its text: write it out with `malha policy show > FILE`, edit its [[grant]] entries, and put it in force with `malha policy apply FILE`"
    "grant-needs-approval" GrantNeedsApproval { organization: String }
        "organization {organization} asks for a second approver: write the grants as a policy, which can be approved (`malha policy show > FILE`, `malha policy apply FILE`)"

    "grant-too-many-peers" TooManyPeers { node: String, peers: usize }
        "node {node} would have {peers} peers, and a node takes at most {MAX_PEERS}: grant to fewer, or between fewer groups at once"

    "difference-hash" DifferenceHash "give the hash of what was seen"
    "difference-changed" DifferenceChanged { gaining: u64, losing: u64 }
        "what this text changes is not what was seen (now {gaining} pairs gain and {losing} lose): look at the difference again and give its hash"
    "tests-fail" TestsFail { count: usize, cases: String } "{count} do not hold: {cases}"
    "tests-missing" TestsMissing { profiles: String, first: String }
        "no [[test]] speaks of {profiles}, which grants touch or touched until now: write at least one for each, like from = \"profile:{first}\""
    "confirm-within" ConfirmWithin { given_ms: u64 }
        "give {MIN_CONFIRM_WITHIN_MS} to {MAX_CONFIRM_WITHIN_MS}, not {given_ms}"
    "policy-pending" PolicyPending { version: u64 }
        "version {version} waits for its confirmation: confirm it or roll it back first"
    "policy-not-pending" PolicyNotPending { version: u64, in_force: u64 }
        "version {version} waits for no confirmation; in force is version {in_force}"
    "policy-confirm-late" PolicyConfirmLate
        "the time for the confirmation is over, and the former policy comes back: apply it again"
    "emergency-reason" EmergencyReason
        "say why in 1 to {MAX_DISPLAY_NAME_CHARS} characters on one line, like \"ss-1 was broken into\""
    "emergency-needless" EmergencyNeedless "it needs no second approver: leave the emergency out"
    "emergency-not-owner" EmergencyNotOwner
        "only an owner acts alone in an emergency, with an API key only if it has the scope admin"
    "emergency-own" EmergencyOwn { operator: String }
        "operator {operator} put it in force alone, so another one confirms it"

    "author-unknown" AuthorUnknown
        "an organization asks for a second approver, so both must be known, and this API key is nobody's: use the dashboard, or a key made with `malha key add NAME --scope write --operator OPERATOR`"
    "author-role" AuthorRole { operator: String }
        "operator {operator} may not change the policy; it takes the role operator or owner"
    "second-approver-nobody" SecondApproverNobody
        "it takes two operators with the role operator or owner, and there is one: add another with `malha operator add NAME --role operator`"
    "proposal-expired" ProposalExpired { number: u64 } "proposal {number} has expired: propose it again"
    "proposal-own" ProposalOwn { operator: String } "operator {operator} proposed this, so another one approves it"
    "proposal-older" ProposalOlder { operator: String }
        "operator {operator} was added after it was proposed; who approves was there before, or it is proposed again"
    "proposal-outdated" ProposalOutdated { number: u64 }
        "what proposal {number} changes is not what was seen: look at it again, and if it says that it is outdated, reject it and propose it anew"
    "text-long" TextLong { bytes: usize, most: usize } "the text has {bytes} bytes; at most {most} are allowed"
    "text-syntax" TextSyntax { message: String = "unknown key".to_owned() } "{message}"
    "text-version" TextVersion { version: i64 } "this program reads version {version}"
    "text-empty-list" EmptyList "the list is empty; name at least one"
    "text-twice" StandsTwice { text: String } "{text} stands twice"
    "text-name-taken" NameTaken { name: String } "another one is called {name}; each needs a name of its own"
    "text-at-most" AtMost { most: usize } "at most {most} are allowed"
    "text-unknown-word" UnknownWord { text: String, words: &'static str } "{text:?} is not known; write one of {words}"
    "text-port" NoPort { text: String }
        "{text:?} is no port; write one like \"5500\" or a range like \"8000-8010\""
    "text-port-range" PortRangeBackwards { text: String, right: String }
        "{text:?} ends before it starts; write \"{right}\""
    "text-port-zero" PortZero "0 is no port; write 1 to 65535"
    "text-icmp-ports" IcmpHasNoPorts "icmp has none; remove the line"
    "text-tag-long" TagLong { text: String } "{text:?} is too long; a tag has at most {MAX_TAG_CHARS} characters"

    "policy-too-wide" PolicyTooWide { grants: usize }
        "the text makes {grants} grants (each from, with each to, with each port); at most {MAX_GRANTS} are allowed: say more at once with org:, profile: or tag:"
    "policy-who" NamesNobody { text: String }
        "{text:?} names nobody; write \"org:NAME\", \"site:ORG/SITE\", \"node:ORG/SITE/NODE\", \"profile:PROFILE\", \"tag:TAG\", \"edge\" or \"operator\""
    "policy-service-protocol" ServiceProtocol "a service is reached over \"tcp\"; remove the line"
    "policy-service-and-ports" ServiceAndPorts "there are ports too; keep one of the two"
    "policy-protocol-missing" ProtocolMissing "missing; write \"tcp\", \"udp\" or \"icmp\", or a service"
    "policy-ports-missing" PortsMissing "missing; write a list like [\"5500\", \"8000-8010\"], or a service"
    "policy-schedule-empty" ScheduleEmpty
        "it must differ from the start; a whole day is from \"00:00\" to \"24:00\""
    "policy-test-times" TestTimes "at most {MAX_POLICY_TEST_TIMES} different times are allowed"
    "policy-test-port" TestPortMissing "missing; write one like 5500"
    "policy-day" NoDay { text: String, days: String } "{text:?} is no day; write {days}"
    "policy-time" NoTimeOfDay { text: String } "{text:?} is no time of day; write HH:MM, like 08:00"
    "policy-zone" NoTimeZone { text: String, zones: String }
        "{text:?} is no zone; write an offset like -04:00, or one of {zones}"
    "policy-moment" NoMoment { text: String }
        "{text} is no moment after 1970; write date, time and offset, like 2027-01-31T23:59:00-04:00"

    "profile-release" NoRelease { text: String } "{text:?} is no release of X-Road; write one like \"7.4\""
    "profile-window" NoReleaseBetween { since: String, before: String }
        "no release is from {since} on and before {before}"
    "profile-icmp" ProfileIcmp "icmp has no ports; write \"tcp\" or \"udp\""
    "profile-nobody" NobodyOpen
        "\"nobody\" goes with exposure \"loopback\" or \"never\", and with nothing else"
    "profile-nobody-alone" NobodyAlone "\"nobody\" stands alone"
    "profile-outbound" OutboundClosed
        "outbound it says where the other side answers: \"tunnel\" or \"public\""
    "profile-udp-probe" UdpProbe "udp is not probed; write \"none\""
    "profile-port-twice" PortInboundTwice { other: String, port: u16 }
        "port {other} has {port} inbound too; keep one of the two, or give them \"since\" and \"before\""
    "profile-range-wide" PortRangeWide { text: String } "{text:?} has more than {MAX_PORTS_PER_PROFILE} ports"

    "declaration-stage-missing" StageMissing "missing; declare it, [development], or both"
    "declaration-name" AddressForName { text: String } "{text:?} is an address; write a host name"
    "declaration-address" NoAddress { text: String }
        "{text:?} is no address; write one like \"203.0.113.10\" or \"2001:db8::10\""
    "declaration-address-nobody" AddressOfNobody { address: String }
        "{address} is no address at which others reach a server"
    "declaration-address-private" AddressNotPublic { address: String }
        "{address} is no public address: the internet does not lead to it; give the one at which others reach the servers, like 203.0.113.10"
    "declaration-name-taken" NameDeclared { organization: String, name: String }
        "organization {organization} has declared {name}; a name is one organization's"
    "declaration-certificate" NoCertificate
        "write each certificate in PEM, from \"-----BEGIN CERTIFICATE-----\" to \"-----END CERTIFICATE-----\""
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_reason_has_a_code_of_its_own_and_words() {
        let reasons = Reason::each();
        let codes: BTreeSet<&str> = reasons.iter().map(Reason::code).collect();
        assert_eq!(codes.len(), reasons.len());
        for reason in &reasons {
            let code = reason.code();
            let plain = code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            assert!(plain && !reason.to_string().is_empty(), "{code}");
        }
    }
}
