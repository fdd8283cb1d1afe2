//! All shards of one node, for tests that know nothing of them: what one leaves to another is done before anybody looks.

use std::cell::Cell;
use std::time::Instant;

use super::{Device, Gate};
use crate::config::{PeerConfig, TunnelConfig};
use crate::error::TunnelError;
use crate::key::PublicKey;
use crate::offload::join::Arrival;
use crate::path::{CarrierId, Path, Transmit};
use crate::relay::RelayPair;
use crate::shard::Place;
use crate::status::{DeviceCounters, PeerStatus, RelayCounters, TunnelEvent};

pub(crate) struct Cluster {
    pub(crate) shards: Vec<Device>,
    /// The shard whose socket gets the next datagram that names none.
    turn: usize,
}

thread_local! {
    /// How many shards the nodes of a test get.
    static SHARDS: Cell<usize> = const { Cell::new(1) };
}

/// Tells a story again with nodes of several shards.
pub(crate) fn with_shards(count: usize, story: impl FnOnce()) {
    let before = SHARDS.replace(count);
    story();
    SHARDS.set(before);
}

impl Cluster {
    pub(crate) fn new(config: &TunnelConfig, now: Instant) -> Self {
        let gate = Gate::new(config, now);
        let shards =
            Place::all(SHARDS.get()).map(|place| Device::at(place, gate.clone(), config, now));
        Self {
            shards: shards.collect::<Result<_, _>>().unwrap(),
            turn: 0,
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place::first_of(self.shards.len())
    }

    /// The shard where a peer lives.
    pub(crate) fn home(&mut self, key: &PublicKey) -> &mut Device {
        let home = self.place().of_peer(key);
        &mut self.shards[home]
    }

    pub(crate) fn set_peer(&mut self, config: PeerConfig, now: Instant) -> Result<(), TunnelError> {
        let set = |shard: &mut Device| shard.set_peer(config.clone(), now);
        let all: Vec<_> = self.shards.iter_mut().map(set).collect();
        self.trade(now);
        all.into_iter().collect()
    }

    pub(crate) fn set_relay_pairs(
        &mut self,
        pairs: Vec<RelayPair>,
        now: Instant,
    ) -> Result<(), TunnelError> {
        self.shards[0].set_relay_pairs(pairs, now)
    }

    pub(crate) fn handle_datagrams(
        &mut self,
        path: Path,
        datagrams: &[u8],
        stride: usize,
        now: Instant,
    ) {
        self.turn = (self.turn + 1) % self.shards.len();
        let arrived = self.shards[self.turn].place;
        for (shard, run) in arrived.split(datagrams, stride) {
            self.shards[shard].handle_datagrams(path, run, stride, now);
            self.trade(now);
        }
    }

    pub(crate) fn handle_datagram(&mut self, path: Path, datagram: &[u8], now: Instant) {
        self.handle_datagrams(path, datagram, datagram.len(), now);
    }

    pub(crate) fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        let shard = self.shards[0].other_shard(packet).unwrap_or(0);
        self.shards[shard].handle_packet(packet, now);
        self.trade(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for shard in &mut self.shards {
            shard.handle_timeout(now);
        }
        self.trade(now);
    }

    pub(crate) fn handle_carrier_opened(&mut self, id: CarrierId, via: PublicKey, now: Instant) {
        self.home(&via).handle_carrier_opened(id, via, now);
        self.trade(now);
    }

    pub(crate) fn handle_carrier_closed(&mut self, id: CarrierId, now: Instant) {
        let shard = self.place().of_number(id.0);
        self.shards[shard].handle_carrier_closed(id, now);
        self.trade(now);
    }

    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        loop {
            let next = self.shards.iter_mut().find_map(Device::poll_transmit);
            // To look at what is to be sent may leave it to another.
            if next.is_some() || !self.trade(now) {
                return next;
            }
        }
    }

    pub(crate) fn poll_packet(&mut self) -> Option<Arrival> {
        self.shards.iter_mut().find_map(Device::poll_packet)
    }

    pub(crate) fn poll_event(&mut self) -> Option<TunnelEvent> {
        self.shards.iter_mut().find_map(Device::poll_event)
    }

    pub(crate) fn peers(&self, now: Instant) -> Vec<PeerStatus> {
        let each = self.shards.iter().map(|shard| shard.peers(now));
        each.collect::<Vec<_>>().concat()
    }

    pub(crate) fn relay_counters(&self) -> RelayCounters {
        let mut sum = RelayCounters::default();
        self.shards
            .iter()
            .for_each(|shard| sum += shard.relay_counters());
        sum
    }

    pub(crate) fn counters(&self) -> DeviceCounters {
        let mut sum = DeviceCounters::default();
        self.shards.iter().for_each(|shard| sum += shard.counters());
        sum
    }

    /// Does all errands. False if there were none.
    fn trade(&mut self, now: Instant) -> bool {
        let mut traded = false;
        for _ in 0..MAX_ROUNDS {
            let errands: Vec<_> = self
                .shards
                .iter_mut()
                .flat_map(|shard| std::iter::from_fn(|| shard.poll_errand()).collect::<Vec<_>>())
                .collect();
            if errands.is_empty() {
                return traded;
            }
            traded = true;
            for (to, parcel) in errands {
                self.shards[to].handle_errand(parcel, now);
            }
        }
        panic!("the shards send errands in a circle");
    }
}

/// A frame for a relay channel goes to its hub's shard and to its peer's: no errand leads to more than these.
const MAX_ROUNDS: usize = 8;
