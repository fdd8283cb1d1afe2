//! The addresses from which clients come through a tunnel, each with the end of its connections: asked for once, and not for every
//! connection. Who leaves its peer is cut here; nobody is admitted.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard, Weak};

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::balancer::Floor;
use super::link::{Cut, SourceWatch};

/// Those of one door.
pub(super) struct Sources {
    watch: Arc<dyn SourceWatch>,
    /// Read once per connection.
    known: RwLock<HashMap<IpAddr, Arc<Source>>>,
}

/// One of them; every connection from there holds it.
#[derive(Debug)]
pub(super) struct Source {
    cut: CancellationToken,
    _watching: AbortOnDropHandle<()>,
}

impl Sources {
    pub(super) fn new(watch: Arc<dyn SourceWatch>) -> Self {
        Self {
            watch,
            known: RwLock::default(),
        }
    }

    /// None: it must be [learnt](Self::learn) first.
    pub(super) fn find(&self, address: IpAddr) -> Option<Arc<Source>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&address).cloned()
    }

    /// Asks for an address, and remembers it if there is room.
    ///
    /// # Errors
    /// Nobody may be served who comes from there.
    pub(super) async fn learn(
        self: &Arc<Self>,
        floor: Weak<Floor>,
        address: IpAddr,
    ) -> io::Result<Arc<Source>> {
        if let Some(source) = self.find(address) {
            return Ok(source);
        }
        let ends = self.watch.cut(address).await?;
        let cut = CancellationToken::new();
        let watched = (Arc::downgrade(self), floor, address);
        let watching = tokio::spawn(watch(watched, ends, cut.clone()));
        let source = Arc::new(Source {
            cut,
            _watching: AbortOnDropHandle::new(watching),
        });
        let mut known = self.change();
        if known.len() >= MAX_SOURCES {
            // Nobody is connected from there.
            known.retain(|_, it| Arc::strong_count(it) > 1);
        }
        if known.len() < MAX_SOURCES && !source.is_cut() {
            known.insert(address, Arc::clone(&source));
        }
        Ok(source)
    }

    /// Cuts one, and has its address asked for anew.
    fn cut(&self, address: IpAddr, cut: &CancellationToken) {
        let mut known = self.change();
        cut.cancel();
        if known.get(&address).is_some_and(|it| it.is_cut()) {
            known.remove(&address);
        }
    }

    fn change(&self) -> RwLockWriteGuard<'_, HashMap<IpAddr, Arc<Source>>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Whoever had a place at a backend before this said so is told to end.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    /// For a connection that hears of it by itself.
    pub(super) fn into_cut(self: Arc<Self>) -> Cut {
        Box::pin(async move { self.cut.cancelled().await })
    }
}

async fn watch(
    (sources, floor, address): (Weak<Sources>, Weak<Floor>, IpAddr),
    ends: Cut,
    cut: CancellationToken,
) {
    ends.await;
    // First, so that whoever is still let in by it is counted as open at a backend.
    match sources.upgrade() {
        Some(sources) => sources.cut(address, &cut),
        None => cut.cancel(),
    }
    if let Some(floor) = floor.upgrade() {
        floor.pool().cut_source(address);
    }
}

/// Of one door. From more addresses at a time every connection is asked for by itself.
const MAX_SOURCES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use async_trait::async_trait;

    use super::*;

    /// Everybody may stay for ever.
    struct Peers;

    #[async_trait]
    impl SourceWatch for Peers {
        async fn cut(&self, _: IpAddr) -> io::Result<Cut> {
            Ok(Box::pin(pending()))
        }
    }

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    #[tokio::test]
    async fn who_is_connected_is_remembered_as_long_as_there_is_room() {
        let sources = Arc::new(Sources::new(Arc::new(Peers)));
        let mut connected = Vec::new();
        for number in 0..MAX_SOURCES {
            let learnt = sources.learn(Weak::new(), address(number)).await;
            connected.push(learnt.unwrap());
        }
        let late = sources.learn(Weak::new(), address(MAX_SOURCES)).await;
        assert!(!late.unwrap().is_cut(), "it is served all the same");
        assert!(sources.find(address(MAX_SOURCES)).is_none());

        connected.pop();
        let late = sources.learn(Weak::new(), address(MAX_SOURCES)).await;
        assert!(Arc::ptr_eq(
            &late.unwrap(),
            &sources.find(address(MAX_SOURCES)).unwrap()
        ));
        assert!(sources.find(address(MAX_SOURCES - 1)).is_none());
        assert!(sources.find(address(0)).is_some());
    }
}
