//! The naive judge, straight from the text of docs/SECURITY.md: it sees what a packet is meant to be, not its bytes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::packets::{Kind, Oddity, Step};

/// The flows that this node opened, and whether the other side has ever taken or anyone has ended them.
#[derive(Default)]
pub(super) struct Model {
    opened: BTreeMap<(usize, IpAddr, &'static str, u16, u16), bool>,
}

impl Model {
    pub(super) fn admits(&mut self, step: &Step) -> bool {
        let Some(peer) = owner(step.remote) else {
            return step.leaving;
        };
        let flow = match &step.kind {
            Kind::Error { about, .. } => self.flow(peer, step, about),
            kind => self.flow(peer, step, kind),
        };
        let begun = self.opened.get(&flow).copied();
        match (&step.kind, step.leaving) {
            (Kind::Tcp { flags: 0x02, .. }, true) => _ = self.opened.entry(flow).or_insert(false),
            (Kind::Tcp { flags, .. }, true) if flags & 4 != 0 && begun.is_some() => {
                self.opened.insert(flow, true);
            }
            (Kind::Udp, true) if !permits(peer, "udp", step.ours) => {
                self.opened.insert(flow, true);
            }
            (Kind::EchoRequest, true) => _ = self.opened.insert(flow, true),
            (_, true) => {}
            _ if step.oddity != Oddity::None => return false,
            (Kind::Tcp { flags, .. }, false) => {
                let [fin, syn, rst, ack] = [1, 2, 4, 16].map(|bit| flags & bit != 0);
                let sensible = match (syn, rst) {
                    (true, true) => false,
                    (true, false) => !fin && ack,
                    (false, true) => !fin,
                    (false, false) => ack,
                };
                let answers = sensible && begun.is_some_and(|begun| begun || !fin);
                if answers && (syn || rst) {
                    self.opened.insert(flow, true);
                }
                return answers || permits(peer, "tcp", step.ours);
            }
            (Kind::Udp, false) => return begun.is_some() || permits(peer, "udp", step.ours),
            (Kind::EchoRequest, false) => return permits(peer, "echo", 0),
            (Kind::EchoReply, false) => return begun.is_some(),
            (
                Kind::Error {
                    about,
                    from_us,
                    number,
                    quoted_as,
                    quoted_bytes,
                },
                false,
            ) => {
                let (errors, needed): (&[u8], _) = match (step.remote.is_ipv4(), &**about) {
                    (_, Kind::EchoReply) => return false,
                    (true, Kind::EchoRequest) => (&[3, 11, 12], 8),
                    (true, _) => (&[3, 11, 12], 4),
                    (false, Kind::EchoRequest) => (&[1, 2, 3, 4], 8),
                    (false, _) => (&[1, 2, 3, 4], 4),
                };
                let is_plain = match quoted_as {
                    Oddity::None => true,
                    Oddity::Fragment { at: 0, .. } => step.remote.is_ipv4(),
                    _ => false,
                };
                let is_legible = errors.contains(number) && is_plain && *quoted_bytes >= needed;
                return *from_us && is_legible && begun.is_some();
            }
            (Kind::Other(_), false) => return false,
        }
        true
    }

    fn flow(
        &self,
        peer: usize,
        step: &Step,
        kind: &Kind,
    ) -> (usize, IpAddr, &'static str, u16, u16) {
        match kind {
            Kind::Tcp { .. } => (peer, step.remote, "tcp", step.ours, step.theirs),
            Kind::Udp => (peer, step.remote, "udp", step.ours, step.theirs),
            _ => (peer, step.remote, "echo", step.ours, 0),
        }
    }
}

/// The longest prefix that holds the address.
fn owner(address: IpAddr) -> Option<usize> {
    let text = address.to_string();
    match text.as_str() {
        "100.64.0.2" | "fd00::2" | "100.64.9.9" | "fd00:9::9" => Some(0),
        "100.64.0.3" | "fd00::3" => Some(1),
        _ if text.starts_with("100.64.9.") || text.starts_with("fd00:9::") => Some(2),
        _ => None,
    }
}

fn permits(peer: usize, protocol: &str, port: u16) -> bool {
    match (peer, protocol) {
        (0, "tcp") => (80..=89).contains(&port),
        (0, "udp") => port == 53,
        (0, "echo") => true,
        (2, "udp") => true,
        (2, "tcp") => port == 443,
        _ => false,
    }
}
