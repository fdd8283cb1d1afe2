//! What kind of address translation stands between this machine and the hub: none, one that keeps ports, one that does not, one with a
//! port for each destination, and whether a carrier translates once more. None of them is a problem for the tunnel.

use std::net::{IpAddr, Ipv4Addr};

use malha_proto::is_carrier_space;

use super::report::Finding;
use super::ways::Seen;
use crate::text::Lang;
use crate::text::doctor as text;

/// What a translation makes of a port (RFC 4787 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mapping {
    None,
    Kept(Seen),
    /// Of one destination nothing more can be said.
    Changed(Seen),
    /// Another one, and the same for two destinations.
    Same(Seen),
    Symmetric(Seen, Seen),
}

pub(super) fn judge(seen: &[Seen], hops: &[Ipv4Addr], lang: Lang) -> Finding {
    let Some(first) = most_telling(seen) else {
        return Finding::could_not_test("nat-no-answer", text::nat_no_answer(lang));
    };
    let mapping = mapping(first, seen);
    let carrier = carrier(first, hops);
    let code = code(mapping, carrier.is_some());
    let observed = match mapping {
        Mapping::None => text::nat_none(lang, first.local.ip()),
        Mapping::Kept(it) => text::nat_kept(lang, it.local, it.seen_as),
        Mapping::Changed(it) => text::nat_changed(lang, it.local, it.seen_as),
        Mapping::Same(it) => text::nat_same(lang, it.local, it.seen_as),
        Mapping::Symmetric(one, other) => {
            text::nat_symmetric(lang, one.local, one.seen_as, other.seen_as)
        }
    };
    let observed = match carrier {
        Some(at) => format!("{observed}; {}", text::nat_carrier(lang, at)),
        None => observed,
    };
    let meaning = match mapping {
        Mapping::None | Mapping::Kept(_) | Mapping::Same(_) => text::nat_means_direct(lang),
        Mapping::Changed(_) => text::nat_means_maybe(lang),
        Mapping::Symmetric(..) => text::nat_means_relay(lang),
    };
    Finding::ok(code, observed).meaning(meaning)
}

/// IPv4 where there is some, since that is what is translated.
fn most_telling(seen: &[Seen]) -> Option<Seen> {
    let v4 = seen.iter().find(|it| it.local.is_ipv4());
    v4.or(seen.first()).copied()
}

fn mapping(first: Seen, seen: &[Seen]) -> Mapping {
    let same_socket = |it: &&Seen| it.local == first.local && it.to != first.to;
    let mut others = seen.iter().filter(same_socket).copied().peekable();
    if first.seen_as.ip() == first.local.ip() {
        return Mapping::None;
    }
    let has_others = others.peek().is_some();
    match others.find(|it| it.seen_as != first.seen_as) {
        Some(other) => Mapping::Symmetric(first, other),
        None if first.seen_as.port() == first.local.port() => Mapping::Kept(first),
        None if has_others => Mapping::Same(first),
        None => Mapping::Changed(first),
    }
}

/// The machine's own address, or a router's on the way, in the space that only carriers use.
fn carrier(first: Seen, hops: &[Ipv4Addr]) -> Option<Ipv4Addr> {
    if first.local.ip() == first.seen_as.ip() {
        return None;
    }
    let own = match first.local.ip() {
        IpAddr::V4(own) => Some(own),
        IpAddr::V6(_) => None,
    };
    let mut on_the_way = own.into_iter().chain(hops.iter().copied());
    on_the_way.find(|ip| is_carrier_space(*ip))
}

fn code(mapping: Mapping, has_carrier: bool) -> &'static str {
    match (mapping, has_carrier) {
        (Mapping::None, _) => "nat-none",
        (Mapping::Kept(_), false) => "nat-kept",
        (Mapping::Kept(_), true) => "nat-kept-carrier",
        (Mapping::Changed(_), false) => "nat-changed",
        (Mapping::Changed(_), true) => "nat-changed-carrier",
        (Mapping::Same(_), false) => "nat-same",
        (Mapping::Same(_), true) => "nat-same-carrier",
        (Mapping::Symmetric(..), false) => "nat-symmetric",
        (Mapping::Symmetric(..), true) => "nat-symmetric-carrier",
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn seen(local: &str, to: &str, seen_as: &str) -> Seen {
        Seen {
            local: local.parse().unwrap(),
            to: to.parse().unwrap(),
            seen_as: seen_as.parse().unwrap(),
        }
    }

    const HUB: &str = "192.0.2.1:443";
    const OTHER: &str = "192.0.2.1:8443";
    const HOME: &str = "192.168.1.10:40000";

    fn code_of(seen: &[Seen], hops: &[&str]) -> &'static str {
        let hops: Vec<Ipv4Addr> = hops.iter().map(|hop| hop.parse().unwrap()).collect();
        let said = judge(seen, &hops, Lang::En);
        assert_eq!(said.verdict, Verdict::Ok);
        said.code
    }

    #[test]
    fn one_destination_tells_whether_the_port_is_kept() {
        let public = seen("203.0.113.7:40000", HUB, "203.0.113.7:40000");
        assert_eq!(code_of(&[public], &[]), "nat-none");
        let kept = seen(HOME, HUB, "203.0.113.7:40000");
        assert_eq!(code_of(&[kept], &["192.168.1.1"]), "nat-kept");
        let changed = seen(HOME, HUB, "203.0.113.7:51111");
        assert_eq!(code_of(&[changed], &[]), "nat-changed");
    }

    #[test]
    fn two_destinations_of_one_socket_tell_whether_the_port_depends_on_them() {
        let first = seen(HOME, HUB, "203.0.113.7:51111");
        let same = seen(HOME, OTHER, "203.0.113.7:51111");
        let differs = seen(HOME, OTHER, "203.0.113.7:52222");
        let other_socket = seen("192.168.1.10:40001", OTHER, "203.0.113.7:52222");
        assert_eq!(code_of(&[first, same], &[]), "nat-same");
        assert_eq!(code_of(&[first, differs], &[]), "nat-symmetric");
        assert_eq!(code_of(&[first, other_socket], &[]), "nat-changed");
    }

    #[test]
    fn a_carrier_is_known_by_its_addresses() {
        let behind = seen(HOME, HUB, "203.0.113.7:40000");
        let hops = ["192.168.1.1", "100.72.0.1"];
        assert_eq!(code_of(&[behind], &hops), "nat-kept-carrier");
        let modem = seen("100.72.0.10:40000", HUB, "203.0.113.7:51111");
        assert_eq!(code_of(&[modem], &[]), "nat-changed-carrier");
        // A network that uses these addresses itself, hub included.
        let inside = seen("100.72.0.10:40000", "100.72.0.1:443", "100.72.0.10:40000");
        assert_eq!(code_of(&[inside], &["100.72.0.1"]), "nat-none");
    }

    #[test]
    fn without_an_answer_nothing_is_said() {
        assert_eq!(judge(&[], &[], Lang::En).verdict, Verdict::CouldNotTest);
    }
}
