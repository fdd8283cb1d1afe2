//! Admission of client connections: a limit for all and one per source. Never waits and never queues.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::counters::ConnectionCounts;

/// Counts the open connections.
#[derive(Debug)]
pub(crate) struct Admission {
    counters: Arc<dyn ConnectionCounts>,
    /// Accept loops and ending connections meet here; held only to change two numbers.
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    total_limit: usize,
    source_limit: usize,
    total: usize,
    by_source: BTreeMap<IpAddr, usize>,
}

/// One admitted connection; dropping it frees its place.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    source: IpAddr,
}

impl Admission {
    pub(crate) fn new(
        total: usize,
        per_source: usize,
        counters: Arc<dyn ConnectionCounts>,
    ) -> Arc<Self> {
        let open = Open {
            total_limit: total,
            source_limit: per_source,
            total: 0,
            by_source: BTreeMap::new(),
        };
        Arc::new(Self {
            counters,
            open: Mutex::new(open),
        })
    }

    /// For connections to come; those that are open stay.
    pub(crate) fn set_limits(&self, total: usize, per_source: usize) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total_limit = total;
        open.source_limit = per_source;
    }

    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Admitted> {
        let source = source_of(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let here = open.by_source.get(&source).copied().unwrap_or(0);
        if open.total >= open.total_limit || here >= open.source_limit {
            self.counters.refused().add(1);
            return None;
        }
        open.total += 1;
        open.by_source.insert(source, here + 1);
        self.counters.open().add(1);
        Some(Admitted {
            admission: Arc::clone(self),
            source,
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let open = &self.admission.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(here) = open.by_source.get_mut(&self.source) {
            *here -= 1;
            if *here == 0 {
                open.by_source.remove(&self.source);
            }
        }
        self.admission.counters.open().subtract(1);
    }
}

/// One IPv4 address, or the /64 that one IPv6 customer holds.
fn source_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::EdgeCounters;

    fn counts() -> Arc<dyn ConnectionCounts> {
        Arc::new(EdgeCounters::default())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_source_can_not_take_every_place() {
        let admission = Admission::new(3, 2, counts());
        let first = admission.admit(ip("192.0.2.1")).unwrap();
        let _second = admission.admit(ip("::ffff:192.0.2.1")).unwrap();
        assert!(admission.admit(ip("192.0.2.1")).is_none());
        let _other = admission.admit(ip("192.0.2.2")).unwrap();
        assert!(admission.admit(ip("192.0.2.3")).is_none(), "all are taken");
        drop(first);
        assert!(admission.admit(ip("192.0.2.1")).is_some());
        assert_eq!(admission.counters.refused().value(), 2);
    }

    #[test]
    fn an_ipv6_customer_is_one_source_and_leaves_nothing_behind() {
        let admission = Admission::new(9, 1, counts());
        let held = admission.admit(ip("2001:db8::1")).unwrap();
        assert!(admission.admit(ip("2001:db8::2")).is_none());
        assert!(admission.admit(ip("2001:db8:0:1::1")).is_some());
        drop(held);
        assert_eq!(admission.counters.open().value(), 0);
        assert!(admission.open.lock().unwrap().by_source.is_empty());
    }
}
