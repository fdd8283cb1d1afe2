//! Answers packets that no connection takes, as a host does: resets, port unreachable, echo replies. It keeps no state.

use std::net::IpAddr;
use std::time::Instant;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::wire::{HardwareAddress, IpCidr};

use super::clock::Clock;
use super::connection::Terms;
use super::link::{Link, Outbox};

pub(crate) struct Refuser {
    interface: Interface,
    none: SocketSet<'static>,
}

impl Refuser {
    pub(crate) fn new(terms: &Terms) -> Self {
        let mut link = Link {
            inbound: None,
            outbox: &mut Outbox::default(),
            room_bytes: 0,
            mtu_bytes: terms.mtu_bytes,
        };
        let config = Config::new(HardwareAddress::Ip);
        Self {
            interface: Interface::new(config, &mut link, terms.clock.now()),
            none: SocketSet::new(Vec::new()),
        }
    }

    pub(crate) fn answer(
        &mut self,
        packet: &[u8],
        own: IpAddr,
        outbox: &mut Outbox,
        mtu_bytes: usize,
        clock: Clock,
        now: Instant,
    ) {
        let prefix = if own.is_ipv4() { 32 } else { 128 };
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            let pushed = addresses.push(IpCidr::new(own.into(), prefix));
            debug_assert!(pushed.is_ok(), "there is room for one address");
        });
        let mut link = Link {
            inbound: Some(packet),
            outbox,
            room_bytes: 0,
            mtu_bytes,
        };
        self.interface
            .poll_ingress_single(clock.at(now), &mut link, &mut self.none);
    }
}
