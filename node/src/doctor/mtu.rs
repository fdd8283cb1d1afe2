//! Whether the tunnel's packets pass in one piece.

use std::net::SocketAddr;

use super::report::Finding;
use crate::text::Lang;
use crate::text::doctor::{self as text, trouble};

/// `packets` are the longest ones that arrived at each address, IP header included.
pub(super) fn judge(packets: &[(SocketAddr, u16)], mtu_bytes: usize, lang: Lang) -> Finding {
    // The hub may be reached at any of them.
    let room = |(to, packet): &(SocketAddr, u16)| {
        (
            usize::from(*packet).saturating_sub(overhead(*to)),
            *packet,
            *to,
        )
    };
    let Some((largest, packet, to)) = packets.iter().map(room).min() else {
        return Finding::could_not_test("mtu-no-answer", text::mtu_no_answer(lang));
    };
    let needed = mtu_bytes + overhead(to);
    if largest >= mtu_bytes {
        return Finding::ok("mtu-fits", text::mtu_fits(lang, packet, mtu_bytes, largest));
    }
    match largest >= MIN_MTU_BYTES {
        true => {
            let trouble = trouble::mtu_small(lang, packet, needed, mtu_bytes, largest);
            Finding::problem("mtu-small", trouble)
        }
        false => {
            let trouble = trouble::mtu_too_small(lang, packet, needed, mtu_bytes);
            Finding::problem("mtu-too-small", trouble)
        }
    }
}

/// IP, UDP, and WireGuard's head and tag.
fn overhead(to: SocketAddr) -> usize {
    match to {
        SocketAddr::V4(_) => 20 + 8 + 32,
        SocketAddr::V6(_) => 40 + 8 + 32,
    }
}

/// IPv6 needs 1280 inside the tunnel (RFC 8200 §5).
const MIN_MTU_BYTES: usize = 1_280;

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn said(packets: &[(&str, u16)], mtu_bytes: usize) -> Finding {
        let packets: Vec<_> = packets
            .iter()
            .map(|(to, packet)| (to.parse().unwrap(), *packet))
            .collect();
        judge(&packets, mtu_bytes, Lang::En)
    }

    const V4: &str = "192.0.2.1:443";
    const V6: &str = "[2001:db8::1]:443";

    #[test]
    fn the_tunnels_packets_and_their_wrapping_must_fit() {
        assert_eq!(said(&[(V4, 1_500)], 1_280).code, "mtu-fits");
        assert_eq!(said(&[(V4, 1_340)], 1_280).code, "mtu-fits");
        assert_eq!(said(&[(V4, 1_339)], 1_280).code, "mtu-too-small");
        assert_eq!(said(&[(V6, 1_359)], 1_280).code, "mtu-too-small");
        assert_eq!(said(&[], 1_280).verdict, Verdict::CouldNotTest);
    }

    #[test]
    fn a_tunnel_that_was_made_larger_is_told_its_size() {
        let said = said(&[(V4, 1_500), (V6, 1_500)], 1_440);
        assert_eq!((said.verdict, said.code), (Verdict::Problem, "mtu-small"));
        assert!(said.remedy.unwrap().contains("mtu-bytes = 1420"));
    }
}
