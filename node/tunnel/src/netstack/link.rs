//! What smoltcp takes for a network device: one packet in, a bounded queue of packets out. It holds nothing between calls.

use std::collections::VecDeque;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

pub(crate) struct Link<'a> {
    pub(crate) inbound: Option<&'a [u8]>,
    pub(crate) outbound: &'a mut VecDeque<Vec<u8>>,
    /// Nothing is sent while this many packets wait, except the immediate answer to the inbound packet.
    pub(crate) room: usize,
    pub(crate) mtu_bytes: usize,
}

pub(crate) struct Inbound<'a>(&'a [u8]);

pub(crate) struct Outbound<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Link<'_> {
    type RxToken<'t>
        = Inbound<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Outbound<'t>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Inbound<'_>, Outbound<'_>)> {
        let packet = self.inbound.take()?;
        Some((Inbound(packet), Outbound(self.outbound)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outbound<'_>> {
        (self.outbound.len() < self.room).then_some(Outbound(self.outbound))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu_bytes;
        capabilities
    }
}

impl RxToken for Inbound<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

impl TxToken for Outbound<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, fill: F) -> R {
        let mut packet = vec![0; bytes];
        let filled = fill(&mut packet);
        self.0.push_back(packet);
        filled
    }
}
