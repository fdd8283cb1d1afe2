//! Sets of ports: unions and differences of what a node may open, with no range twice.

use malha_proto::{Allow, Protocol};

/// Ports per protocol, as ranges in order that neither overlap nor touch. ICMP is one port.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ports(Vec<Allow>);

impl Ports {
    pub(super) fn of(allows: impl IntoIterator<Item = Allow>) -> Self {
        let mut all: Vec<Allow> = allows.into_iter().collect();
        all.sort();
        let mut merged: Vec<Allow> = Vec::with_capacity(all.len());
        for allow in all {
            match merged.last_mut() {
                Some(last)
                    if last.protocol == allow.protocol
                        && allow.from_port <= last.to_port.saturating_add(1) =>
                {
                    last.to_port = last.to_port.max(allow.to_port);
                }
                _ => merged.push(allow),
            }
        }
        Self(merged)
    }

    /// Those of `self` that `other` has not.
    pub(super) fn without(&self, other: &Self) -> Vec<Allow> {
        self.0
            .iter()
            .flat_map(|allow| other.rest_of(*allow))
            .collect()
    }

    /// What is left of one range.
    fn rest_of(&self, allow: Allow) -> Vec<Allow> {
        let mut rest = Vec::new();
        let mut next = Some(allow.from_port);
        for taken in self.0.iter().filter(|it| it.protocol == allow.protocol) {
            let Some(from_port) = next else { break };
            if taken.to_port < from_port || taken.from_port > allow.to_port {
                continue;
            }
            if taken.from_port > from_port {
                let to_port = taken.from_port - 1;
                rest.push(Allow {
                    from_port,
                    to_port,
                    ..allow
                });
            }
            next = taken
                .to_port
                .checked_add(1)
                .filter(|next| *next <= allow.to_port);
        }
        if let Some(from_port) = next {
            rest.push(Allow { from_port, ..allow });
        }
        rest
    }
}

/// `tcp 80`, `udp 5500-5577`, `icmp`.
pub(super) fn shown(allow: &Allow) -> String {
    let name = match allow.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => return "icmp".to_owned(),
    };
    match allow.from_port == allow.to_port {
        true => format!("{name} {}", allow.from_port),
        false => format!("{name} {}-{}", allow.from_port, allow.to_port),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_ports() -> impl Strategy<Value = Vec<Allow>> {
        let range = (0_u16..3, 0_u16..24, 0_u16..8, any::<bool>());
        let range = range.prop_map(|(protocol, first, length, high)| {
            let from_port = if high { u16::MAX - first } else { first };
            let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp][usize::from(protocol)];
            let ports = (from_port, from_port.saturating_add(length));
            let (from_port, to_port) = if protocol == Protocol::Icmp {
                (0, 0)
            } else {
                ports
            };
            Allow {
                protocol,
                from_port,
                to_port,
            }
        });
        prop::collection::vec(range, 0..8)
    }

    fn has(allows: &[Allow], protocol: Protocol, port: u16) -> bool {
        allows.iter().any(|allow| allow.covers(protocol, port))
    }

    proptest! {
        #[test]
        fn a_difference_has_what_one_has_and_the_other_has_not(a in any_ports(), b in any_ports()) {
            let rest = Ports::of(a.clone()).without(&Ports::of(b.clone()));
            for port in (0..40).chain(u16::MAX - 40..=u16::MAX) {
                for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
                    let expected = has(&a, protocol, port) && !has(&b, protocol, port);
                    prop_assert_eq!(has(&rest, protocol, port), expected, "{:?} {}", protocol, port);
                }
            }
        }
    }
}
