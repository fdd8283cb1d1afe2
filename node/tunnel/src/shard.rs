//! Where a peer lives among the shards of a tunnel, and how a datagram tells: plain arithmetic, the same in every shard. A
//! peer never moves.

pub(crate) mod ring;

use crate::key::PublicKey;

/// One shard of a tunnel, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    number: usize,
    count: usize,
}

impl Place {
    /// The one shard of a tunnel that has no other.
    pub(crate) const ALONE: Self = Self {
        number: 0,
        count: 1,
    };

    pub(crate) fn first_of(count: usize) -> Self {
        Self { number: 0, count }
    }

    pub(crate) fn all(count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(move |number| Self { number, count })
    }

    pub(crate) fn number(self) -> usize {
        self.number
    }

    pub(crate) fn count(self) -> usize {
        self.count
    }

    pub(crate) fn is_alone(self) -> bool {
        self.count == 1
    }

    /// The other shards.
    pub(crate) fn others(self) -> impl Iterator<Item = usize> {
        (0..self.count).filter(move |number| *number != self.number)
    }

    pub(crate) fn of_peer(self, key: &PublicKey) -> usize {
        shard_of(key, self.count)
    }

    /// The shard that numbered something one by one, beginning with its own number, in steps of as many as there are.
    pub(crate) fn of_number(self, number: u32) -> usize {
        number as usize % self.count
    }

    /// Writes this shard's number into the low bits of a session index.
    pub(crate) fn mark(self, index: u32) -> u32 {
        let mask = u32::from(session_mask(self.count));
        index & !mask | self.number as u32 & mask
    }

    /// The shard that has to do with a datagram from the underlay: for a message of a session the one that its receiver index
    /// names, for our own frames and QUIC the first, and for everything else the one where it arrived.
    pub(crate) fn of_datagram(self, datagram: &[u8]) -> usize {
        let marked = match datagram.first() {
            Some(&RESPONSE) => datagram.get(RESPONSE_INDEX_AT),
            Some(&(COOKIE | DATA)) => datagram.get(INDEX_AT),
            Some(0x08..=0x7f | 0xc0..=0xff) => return 0,
            _ => None,
        };
        let shard = marked.map(|byte| usize::from(byte & session_mask(self.count)));
        shard
            .filter(|shard| *shard < self.count)
            .unwrap_or(self.number)
    }

    /// Datagrams of one sender, cut where the shard that they are for changes. A batch that the kernel joined mostly is for one.
    pub(crate) fn split(
        self,
        datagrams: &[u8],
        stride: usize,
    ) -> impl Iterator<Item = (usize, &[u8])> {
        let stride = stride.max(1);
        let mut rest = datagrams;
        std::iter::from_fn(move || {
            let shard = self.of_datagram(&rest[..stride.min(rest.len())]);
            let same = rest.chunks(stride);
            let same = same.take_while(|it| self.of_datagram(it) == shard);
            let bytes = (same.count() * stride).min(rest.len());
            let (run, tail) = rest.split_at(bytes);
            rest = tail;
            (!run.is_empty()).then_some((shard, run))
        })
    }
}

/// The shard in which a peer lives, from 0 on, in a tunnel that has so many. Keys are points of a curve, so their low bits are as
/// good as a hash; who grinds a key to share a shard with others has to be enrolled first, and gains nothing but company.
pub fn shard_of(peer: &PublicKey, shards: usize) -> usize {
    let bytes = peer.as_bytes().first_chunk().copied().unwrap_or_default();
    (u64::from_le_bytes(bytes) % shards.max(1) as u64) as usize
}

/// How many shards a tunnel gets: as many as wanted, or what suits this machine.
pub(crate) fn count(wanted: Option<usize>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    wanted.unwrap_or_else(|| suitable(cores()))
}

/// Half of the cores, since the kernel needs about as much for its part of each packet.
fn suitable(cores: usize) -> usize {
    (cores / 2).clamp(1, MAX_BY_ITSELF)
}

/// The bits of the lowest byte of a session index that name the shard.
pub(crate) fn session_mask(count: usize) -> u8 {
    (count.next_power_of_two() - 1) as u8
}

/// Types of messages, and where the lowest byte of the receiver's session index stands in them: behind the byte that
/// boringtun numbers sessions with (paper §5.4.3, §5.4.6, §5.4.7).
pub(crate) const INITIATION: u8 = 1;
pub(crate) const RESPONSE: u8 = 2;
pub(crate) const COOKIE: u8 = 3;
pub(crate) const DATA: u8 = 4;
pub(crate) const RESPONSE_INDEX_AT: usize = 9;
pub(crate) const INDEX_AT: usize = 5;

/// More than this a tunnel gets only when told so: its one reader of the interface would be the limit.
const MAX_BY_ITSELF: usize = 8;
/// The most that a tunnel can be told to have.
pub const MAX_SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::PrivateKey;

    fn message(kind: u8, index_at: usize, index: u32) -> Vec<u8> {
        let mut message = vec![kind, 0, 0, 0];
        message.resize(64, 0xa5);
        let session = (index << 8 | 7).to_le_bytes();
        message[index_at - 1..index_at + 3].copy_from_slice(&session);
        message
    }

    proptest! {
        #[test]
        fn every_shard_reads_the_number_that_one_of_them_wrote(
            count in 1..=MAX_SHARDS,
            writer in 0..MAX_SHARDS,
            reader in 0..MAX_SHARDS,
            random in 0u32..1 << 24,
        ) {
            let places: Vec<_> = Place::all(count).collect();
            let (writer, reader) = (places[writer % count], places[reader % count]);
            let index = writer.mark(random);
            prop_assert!(index < 1 << 24);
            for (kind, at) in [(RESPONSE, RESPONSE_INDEX_AT), (COOKIE, INDEX_AT), (DATA, INDEX_AT)] {
                let message = message(kind, at, index);
                prop_assert_eq!(reader.of_datagram(&message), writer.number());
            }
        }

        #[test]
        fn any_datagram_is_for_a_shard_that_there_is(
            count in 1..=MAX_SHARDS,
            datagrams in prop::collection::vec(any::<u8>(), 0..200),
            stride in 0usize..60,
        ) {
            for place in Place::all(count) {
                let runs: Vec<_> = place.split(&datagrams, stride).collect();
                prop_assert!(runs.iter().all(|(shard, _)| *shard < count));
                let joined: Vec<u8> = runs.iter().flat_map(|(_, run)| run.to_vec()).collect();
                prop_assert_eq!(&joined, &datagrams);
                for (shard, run) in runs {
                    for datagram in run.chunks(stride.max(1)) {
                        prop_assert_eq!(place.of_datagram(datagram), shard);
                    }
                }
            }
        }
    }

    #[test]
    fn a_single_shard_leaves_indexes_and_datagrams_alone() {
        assert_eq!(Place::ALONE.mark(0xabcdef), 0xabcdef);
        let batch = [message(DATA, INDEX_AT, 0xffffff), vec![0x40; 64]].concat();
        assert_eq!(Place::ALONE.split(&batch, 64).count(), 1);
    }

    #[test]
    fn frames_and_quic_are_for_the_first_shard_and_strangers_for_the_one_they_met() {
        let place = Place::all(3).nth(2).unwrap();
        for first in [0x08, 0x13, 0x3f, 0x40, 0x7f, 0xc0, 0xff] {
            assert_eq!(place.of_datagram(&[first, 0]), 0, "{first:#x}");
        }
        for stranger in [&[][..], &[INITIATION; 148], &[0; 20], &[5], &[DATA, 0, 0]] {
            assert_eq!(place.of_datagram(stranger), 2);
        }
        // No shard has the number 3.
        assert_eq!(place.of_datagram(&message(DATA, INDEX_AT, 3)), 2);
    }

    #[test]
    fn peers_spread_evenly_and_every_shard_agrees_where() {
        for count in [2, 3, 8] {
            let mut peers = vec![0u32; count];
            for _ in 0..count * 200 {
                let key = PrivateKey::generate().public_key();
                let shards: Vec<_> = Place::all(count).map(|it| it.of_peer(&key)).collect();
                assert!(shards.iter().all(|shard| *shard == shards[0]));
                peers[shards[0]] += 1;
            }
            // Each is expected to get 200, with a deviation of 14.
            assert!(peers.iter().all(|it| (100..300).contains(it)), "{peers:?}");
        }
    }

    #[test]
    fn a_machine_of_two_cores_gets_one_shard_and_a_large_one_no_more_than_eight() {
        let counts = [0, 1, 2, 3, 4, 8, 16, 128].map(suitable);
        assert_eq!(counts, [1, 1, 1, 1, 2, 4, 8, 8]);
        assert_eq!(count(Some(3)), 3);
    }
}
