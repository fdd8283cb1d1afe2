//! Random conversations, packet by packet, and their bytes with right checksums.

use std::net::IpAddr;

/// What one packet is meant to be.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) leaving: bool,
    pub(super) remote: IpAddr,
    pub(super) ours: u16,
    pub(super) theirs: u16,
    pub(super) kind: Kind,
    pub(super) oddity: Oddity,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Tcp {
        flags: u8,
        sequence: u32,
        acknowledged: u32,
    },
    Udp,
    EchoRequest,
    EchoReply,
    /// An ICMP error about a packet of the conversation, sent by us or by them.
    Error {
        about: Box<Kind>,
        from_us: bool,
        /// The error's type.
        number: u8,
        quoted_as: Oddity,
        /// How much it quotes of what follows the IP header.
        quoted_bytes: usize,
    },
    /// Another protocol; those of ICMP belong to the other family here.
    Other(u8),
}

/// What must be refused whatever else is right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Oddity {
    None,
    /// Its place in units of 8 bytes. At 0 without more it is whole, and only IPv6 can say so.
    Fragment {
        at: u16,
        more: bool,
    },
    /// IPv4 options, or an IPv6 extension header of this number.
    Extended(u8),
    /// Of a quoted packet: it says that it is of the other family.
    Misnamed,
    /// The transport header is cut.
    Short,
    /// For another node.
    NotOurs,
}

/// Two sides and what TCP has counted; ports from a few, so that conversations meet the rules.
#[derive(Debug)]
pub(super) struct Conversation {
    remote: IpAddr,
    ours: u16,
    theirs: u16,
    protocol: Kind,
    /// They were let in before we began.
    theirs_first: bool,
    our_next: u32,
    their_next: u32,
    started: bool,
    answered: bool,
    ended: bool,
    /// What was said so far, for whoever reads a failure.
    history: Vec<(bool, u8, bool)>,
    /// By them, by us.
    finished: [bool; 2],
}

/// xorshift: the same packets at each run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }

    pub(super) fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

impl Conversation {
    pub(super) fn new(random: &mut Random) -> Self {
        Self {
            remote: random.one(&REMOTES).parse().unwrap(),
            ours: match random.below(2) {
                0 => random.one(&[22, 53, 80, 89, 90, 443]),
                _ => 32_768 + random.below(28_000) as u16,
            },
            theirs: 1_024 + random.below(60_000) as u16,
            protocol: random.one(&[TCP, TCP, Kind::Udp, Kind::EchoRequest]),
            our_next: random.below(1 << 30) as u32,
            their_next: random.below(1 << 30) as u32,
            theirs_first: false,
            started: false,
            answered: false,
            ended: false,
            history: Vec::new(),
            finished: [false; 2],
        }
    }

    pub(super) fn next(&self, random: &mut Random) -> Step {
        let leaving = random.below(3) == 0;
        let kind = match &self.protocol {
            Kind::Tcp { .. } => self.segment(leaving, random),
            Kind::EchoRequest => random.one(&[Kind::EchoRequest, Kind::EchoReply]),
            other => other.clone(),
        };
        let (leaving, kind) = match random.below(48) {
            0..4 => {
                let about = Box::new(self.quoted(random));
                let error = Kind::Error {
                    about,
                    from_us: random.below(3) > 0,
                    number: match self.remote.is_ipv4() {
                        true => random.one(&[3, 3, 3, 4, 5, 11, 12]),
                        false => random.one(&[1, 1, 1, 2, 3, 4, 100, 137]),
                    },
                    quoted_as: match random.below(16) {
                        0 => Oddity::Misnamed,
                        1..4 => self.form(random),
                        _ => Oddity::None,
                    },
                    quoted_bytes: random.one(&[0, 3, 4, 7, 8, WHOLE, WHOLE, WHOLE]),
                };
                (false, error)
            }
            4 => {
                let protocol = match self.remote.is_ipv4() {
                    true => random.one(&[2, 47, 50, 51, 58, 59, 89, 132]),
                    false => random.one(&[1, 2, 47, 59, 89, 132]),
                };
                (false, Kind::Other(protocol))
            }
            _ => (leaving, kind),
        };
        let oddity = match random.below(8) {
            0 if !leaving => self.oddity(random),
            _ => Oddity::None,
        };
        Step {
            leaving,
            remote: self.remote,
            ours: self.ours,
            theirs: self.theirs,
            kind,
            oddity,
        }
    }

    /// What this node sends is what a TCP would; what comes may be anything.
    fn segment(&self, leaving: bool, random: &mut Random) -> Kind {
        let flags = match (leaving, self.answered) {
            (true, _) if self.theirs_first => random.one(&[0x12, 0x10, 0x18, 0x11, 0x14]),
            (true, false) => 0x02,
            (true, true) => random.one(&[0x10, 0x18, 0x10, 0x11, 0x14]),
            (false, _) => random.one(&[
                0x02, 0x12, 0x12, 0x12, 0x10, 0x18, 0x10, 0x11, 0x14, 0x00, 0x03, 0x01, 0x06, 0x3f,
            ]),
        };
        let (sequence, acknowledged) = match leaving {
            true if flags == 0x02 => (self.our_next - u32::from(self.started), 0),
            // As have a repeated SYN and FIN.
            true if flags == 0x11 => (self.our_next - u32::from(self.finished[1]), self.their_next),
            true => (self.our_next, self.their_next),
            // A repeated SYN+ACK has the old number.
            false if flags == 0x12 => (self.their_next - u32::from(self.answered), self.our_next),
            false => (self.their_next, self.our_next),
        };
        Kind::Tcp {
            flags,
            sequence,
            acknowledged,
        }
    }

    fn oddity(&self, random: &mut Random) -> Oddity {
        match random.below(5) {
            0 => Oddity::Short,
            1 => Oddity::NotOurs,
            _ => self.form(random),
        }
    }

    fn form(&self, random: &mut Random) -> Oddity {
        let is_ipv4 = self.remote.is_ipv4();
        match random.below(2) {
            0 => {
                let (at, more) = random.one(&[(0, true), (2, true), (2, false), (0, is_ipv4)]);
                Oddity::Fragment { at, more }
            }
            _ => Oddity::Extended(random.one(&[0, 43, 50, 51, 60, 135, 139, 140])),
        }
    }

    fn quoted(&self, random: &mut Random) -> Kind {
        match &self.protocol {
            Kind::Tcp { .. } => Kind::Tcp {
                flags: random.one(&[0x02, 0x10]),
                sequence: self.our_next,
                acknowledged: 0,
            },
            Kind::EchoRequest => random.one(&[Kind::EchoRequest, Kind::EchoReply]),
            other => other.clone(),
        }
    }

    /// Whether conntrack and the filter may forget it at different times: whose the second FIN is, conntrack guesses, and an
    /// opening whose SYN was repeated it counts from the first.
    pub(super) fn has_two_ages(&self) -> bool {
        let admitted = self.history.iter().filter(|(_, _, admitted)| *admitted);
        let fins = admitted.clone().filter(|(_, flags, _)| flags & 1 != 0);
        fins.count() > 1 || (self.started && !self.answered && self.history.len() > 1)
    }

    /// Learns what became of a packet. True when the conversation is over and another should take its place.
    pub(super) fn follow(&mut self, step: &Step, admitted: bool) -> bool {
        let Kind::Tcp { flags, .. } = step.kind else {
            return false;
        };
        self.history.push((step.leaving, flags, admitted));
        // conntrack takes a SYN after a FIN for the end of the old connection, and one that a rule lets in for part of ours.
        let is_syn = !step.leaving && flags == 0x02;
        if is_syn && (self.finished != [false; 2] || (self.started && admitted)) {
            return true;
        }
        if !admitted {
            return false;
        }
        // After a reset, or a packet after both FINs, the two differ in when they forget. No TCP takes anything by then.
        if self.ended || flags & 0x04 != 0 {
            return true;
        }
        self.theirs_first |= !step.leaving && !self.started;
        let syn = flags & 0x02 != 0;
        let is_first = match step.leaving {
            true => !self.started,
            false => !self.answered,
        };
        self.started |= step.leaving;
        self.answered |= !step.leaving && syn;
        let next = match step.leaving {
            true => &mut self.our_next,
            false => &mut self.their_next,
        };
        let finished = &mut self.finished[usize::from(step.leaving)];
        let fin = flags & 0x01 != 0 && !*finished;
        *finished |= fin;
        *next = next.wrapping_add(u32::from(syn && is_first) + u32::from(fin));
        self.ended = self.finished == [true; 2];
        false
    }
}

impl Step {
    /// Whatever the permissions are, and whatever went before.
    pub(super) fn is_never_admitted(&self) -> bool {
        let is_lie = matches!(
            self.kind,
            Kind::Error { from_us: false, .. } | Kind::Other(_)
        );
        !self.leaving && (is_lie || self.oddity != Oddity::None)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let not_ours = self.oddity == Oddity::NotOurs;
        let ours = match (self.remote.is_ipv4(), not_ours) {
            (true, false) => "100.64.0.1",
            (true, true) => "100.64.0.77",
            (false, false) => "fd00::1",
            (false, true) => "fd00::77",
        };
        let ours = ours.parse().unwrap();
        let (source, destination) = match self.leaving {
            true => (ours, self.remote),
            false => (self.remote, ours),
        };
        let (protocol, mut payload) =
            transport(&self.kind, self.leaving, self, source, destination);
        if self.oddity == Oddity::Short {
            payload.truncate(7);
        }
        ip(source, destination, protocol, &payload, self.oddity)
    }
}

fn transport(
    kind: &Kind,
    leaving: bool,
    step: &Step,
    source: IpAddr,
    destination: IpAddr,
) -> (u8, Vec<u8>) {
    let v4 = source.is_ipv4();
    let (from, to) = match leaving {
        true => (step.ours.to_be_bytes(), step.theirs.to_be_bytes()),
        false => (step.theirs.to_be_bytes(), step.ours.to_be_bytes()),
    };
    let icmp = if v4 { 1 } else { 58 };
    let (protocol, checksum_at, mut bytes) = match kind {
        Kind::Tcp {
            flags,
            sequence,
            acknowledged,
        } => {
            let numbers = [sequence.to_be_bytes(), acknowledged.to_be_bytes()].concat();
            let rest = vec![5 << 4, *flags, 0xff, 0xff, 0, 0, 0, 0];
            (6, 16, [[from, to].concat(), numbers, rest].concat())
        }
        Kind::Udp => (
            17,
            6,
            [[from, to].concat(), vec![0, 12, 0, 0], b"body".to_vec()].concat(),
        ),
        Kind::EchoRequest | Kind::EchoReply => {
            let number = match (kind == &Kind::EchoRequest, v4) {
                (true, true) => 8,
                (false, true) => 0,
                (true, false) => 128,
                (false, false) => 129,
            };
            let [high, low] = step.ours.to_be_bytes();
            (icmp, 2, vec![number, 0, 0, 0, high, low, 0, 1])
        }
        Kind::Error {
            about,
            from_us,
            number,
            quoted_as,
            quoted_bytes,
        } => {
            // We sent it to them, or they sent it to us.
            let (a, b) = match from_us {
                true => (destination, source),
                false => (source, destination),
            };
            let (protocol, inner) = transport(about, *from_us, step, a, b);
            let mut quoted = ip(a, b, protocol, &inner, *quoted_as);
            let header_bytes = quoted.len() - inner.len();
            quoted.truncate(header_bytes.saturating_add(*quoted_bytes));
            // Of a packet that was too big: 1400 bytes are not.
            let error = vec![*number, 1, 0, 0, 0, 0, 5, 120];
            (icmp, 2, [error, quoted].concat())
        }
        Kind::Other(protocol) => {
            // What would be an echo request in its own family.
            let first = match protocol {
                1 => 8,
                58 => 128,
                _ => 0,
            };
            return (*protocol, [vec![first], vec![0; 23]].concat());
        }
    };
    let mut summed = match protocol {
        1 => Vec::new(),
        _ => pseudo_header(source, destination, protocol, bytes.len()),
    };
    summed.extend(&bytes);
    bytes[checksum_at..checksum_at + 2].copy_from_slice(&checksum(&summed).to_be_bytes());
    (protocol, bytes)
}

fn ip(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    payload: &[u8],
    oddity: Oddity,
) -> Vec<u8> {
    let mut packet = Vec::new();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let options: &[u8] = match oddity {
                Oddity::Extended(_) => &[1, 1, 1, 1],
                _ => &[],
            };
            let fragment: u16 = match oddity {
                Oddity::Fragment { at, more } => u16::from(more) << 13 | at,
                _ => 0x4000,
            };
            let header_bytes = 20 + options.len();
            packet.extend([0x40 | (header_bytes / 4) as u8, 0]);
            packet.extend(((header_bytes + payload.len()) as u16).to_be_bytes());
            packet.extend([0, 1]);
            packet.extend(fragment.to_be_bytes());
            packet.extend([64, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(options);
            let sum = checksum(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (next, extension) = match oddity {
                Oddity::Extended(number) => (number, vec![protocol, 0, 1, 4, 0, 0, 0, 0]),
                Oddity::Fragment { at, more } => {
                    let [high, low] = (at << 3 | u16::from(more)).to_be_bytes();
                    (44, vec![protocol, 0, high, low, 0, 0, 0, 9])
                }
                _ => (protocol, vec![]),
            };
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(((extension.len() + payload.len()) as u16).to_be_bytes());
            packet.extend([next, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(extension);
        }
        _ => panic!("both addresses must be of one family"),
    }
    packet.extend(payload);
    if oddity == Oddity::Misnamed {
        packet[0] = if source.is_ipv4() { 0x65 } else { 0x45 };
    }
    packet
}

fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    bytes.extend([0, protocol]);
    bytes.extend((length as u16).to_be_bytes());
    bytes
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The last two are nobody's.
const REMOTES: [&str; 10] = [
    "100.64.0.2",
    "fd00::2",
    "100.64.0.3",
    "fd00::3",
    "100.64.9.7",
    "fd00:9::7",
    "100.64.9.9",
    "fd00:9::9",
    "100.64.0.200",
    "fd00::200",
];
const TCP: Kind = Kind::Tcp {
    flags: 0,
    sequence: 0,
    acknowledged: 0,
};
pub(super) const WHOLE: usize = usize::MAX;
