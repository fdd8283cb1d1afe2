//! The UDP sockets of a tunnel over a restart: what comes meanwhile waits there, and nobody is told that the port is closed. They are
//! taken over only if address and number of shards are as they were.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use socket2::Socket;

use super::group::{bind_group, by_shard};
use crate::config::TunnelConfig;
use crate::error::TunnelError;
use crate::keeper::{Keeper, datagrams_name, give_back, open_when_freed};

/// The sockets of each shard as the last run left them, or new ones, which are kept from now on.
pub(super) fn of_shards(
    config: &TunnelConfig,
    keeper: &dyn Keeper,
    shards: usize,
) -> Result<Vec<Vec<Socket>>, TunnelError> {
    let names = |address: SocketAddr| -> Vec<String> {
        let owner = |shard| format!("{}/{shard}/{shards}", config.interface);
        let name = |shard| datagrams_name(&owner(shard), address);
        (0..shards).map(name).collect()
    };
    let wanted: Vec<_> = config.listen.iter().flat_map(|it| names(*it)).collect();
    let mut others = own(config, keeper);
    others.retain(|name| !wanted.contains(name));
    // Others may have given something back before.
    let freed_at = give_back(keeper, &others).max(keeper.freed_at());
    let group = |address: &SocketAddr| {
        let address = *address;
        let bind = || bind_group(address, shards);
        let group = kept_or_bound(keeper, &names(address), address, freed_at, bind);
        group.map_err(|source| TunnelError::Bind { address, source })
    };
    let groups = config.listen.iter().map(group);
    Ok(by_shard(
        groups.collect::<Result<_, TunnelError>>()?,
        shards,
    ))
}

/// Gives back all that the last run kept, for an engine whose sockets are not the process's; until when they may be in the way.
pub(crate) fn give_up(config: &TunnelConfig) -> Instant {
    let Some(keeper) = &config.keeper else {
        return Instant::now();
    };
    give_back(keeper.as_ref(), &own(config, keeper.as_ref()))
}

/// The names of what is kept for this interface.
fn own(config: &TunnelConfig, keeper: &dyn Keeper) -> Vec<String> {
    let head = format!("udp {}/", config.interface);
    let mut names = keeper.names();
    names.retain(|name| name.starts_with(&head));
    names
}

/// The sockets of one address, which may be in use until `freed_at`.
fn kept_or_bound(
    keeper: &dyn Keeper,
    names: &[String],
    address: SocketAddr,
    freed_at: Instant,
    bind: impl Fn() -> io::Result<Vec<Socket>>,
) -> io::Result<Vec<Socket>> {
    if let Some(kept) = take(keeper, names, address) {
        return Ok(kept);
    }
    // Some are there without the others, if a run ended before all were kept.
    let freed_at = freed_at.max(give_back(keeper, names));
    let group = open_when_freed(freed_at, bind)?;
    // Any free port is another one each time.
    if address.port() != 0 {
        let named = names.iter().zip(&group);
        named.for_each(|(name, socket)| keeper.keep(name, socket.as_fd()));
    }
    Ok(group)
}

/// All of them or none.
fn take(keeper: &dyn Keeper, names: &[String], address: SocketAddr) -> Option<Vec<Socket>> {
    let is_there = |it: &Socket| {
        let local = it.local_addr().ok().and_then(|local| local.as_socket());
        local == Some(address)
    };
    let kept = |name: &String| keeper.take(name).map(Socket::from).filter(is_there);
    names.iter().map(kept).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::net::UdpSocket;
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::keeper::LONGEST_CLOSE;
    use crate::key::PrivateKey;

    /// What a service manager has.
    #[derive(Debug, Default)]
    struct Store(Mutex<BTreeMap<String, OwnedFd>>);

    impl Keeper for Store {
        fn take(&self, name: &str) -> Option<OwnedFd> {
            self.0.lock().unwrap().get(name)?.try_clone().ok()
        }

        fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) {
            let own = descriptor.try_clone_to_owned().unwrap();
            self.0.lock().unwrap().insert(name.to_owned(), own);
        }

        fn forget(&self, name: &str) {
            self.0.lock().unwrap().remove(name);
        }

        fn freed_at(&self) -> Instant {
            Instant::now()
        }

        fn leave(&self) {}

        fn names(&self) -> Vec<String> {
            self.0.lock().unwrap().keys().cloned().collect()
        }

        fn forget_unclaimed(&self) {}
    }

    fn config(address: SocketAddr) -> (TunnelConfig, Arc<Store>) {
        let key = PrivateKey::from_bytes([1; 32]);
        let mut config = TunnelConfig::new(key, vec!["100.64.0.1/10".parse().unwrap()]);
        config.listen = vec![address];
        (config, Arc::default())
    }

    fn free() -> SocketAddr {
        let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap()
    }

    #[test]
    fn what_comes_between_two_runs_is_there_in_the_second_one_in_its_shard() {
        for shards in [1, 2] {
            let address = free();
            let (config, store) = config(address);
            drop(of_shards(&config, store.as_ref(), shards).unwrap());
            let caller = UdpSocket::bind("127.0.0.1:0").unwrap();
            // QUIC, which is the first shard's.
            caller.send_to(&[0xc0, 1], address).unwrap();
            let sockets = of_shards(&config, store.as_ref(), shards).unwrap();
            assert_eq!(sockets.len(), shards);
            let first = UdpSocket::from(sockets[0][0].try_clone().unwrap());
            assert_eq!(first.recv(&mut [0; 8]).unwrap(), 2);
        }
    }

    #[test]
    fn other_shards_and_other_addresses_are_bound_anew_and_the_former_given_back() {
        let address = free();
        let (mut config, store) = config(address);
        drop(of_shards(&config, store.as_ref(), 1).unwrap());
        let two = of_shards(&config, store.as_ref(), 2).unwrap();
        assert_eq!(store.names().len(), 2);
        drop(two);
        let other = free();
        config.listen = vec![other];
        let sockets = of_shards(&config, store.as_ref(), 1).unwrap();
        let local = sockets[0][0].local_addr().unwrap().as_socket();
        assert_eq!(local, Some(other));
        UdpSocket::bind(address).unwrap();
    }

    /// It would find its port in use for as long as the manager keeps them. Two ports, so that nothing is made here.
    #[test]
    fn the_kernels_engine_leaves_no_socket_of_another_one_kept() {
        let address = free();
        let (mut config, store) = config(address);
        drop(of_shards(&config, store.as_ref(), 2).unwrap());
        config.keeper = Some(store.clone());
        config.listen.push(free());
        let started = crate::start(crate::Engine::Kernel, config);
        assert!(matches!(started, Err(TunnelError::TwoPorts(..))));
        assert_eq!(store.names(), Vec::<String>::new());
        UdpSocket::bind(address).unwrap();
    }

    /// Nobody takes the rest for the whole, and what is left of it is in the way until the manager has closed it.
    #[test]
    fn what_was_only_kept_in_part_is_bound_anew_once_it_is_gone() {
        let address = free();
        let (config, store) = config(address);
        drop(of_shards(&config, store.as_ref(), 2).unwrap());
        let names = store.names();
        store.forget(&names[1]);
        let tries = Cell::new(0);
        let bind = || match tries.replace(tries.get() + 1) {
            0 => Err(io::ErrorKind::AddrInUse.into()),
            _ => bind_group(address, 2),
        };
        let group = kept_or_bound(store.as_ref(), &names, address, Instant::now(), bind);
        assert_eq!((group.unwrap().len(), tries.get()), (2, 2));
        assert_eq!(store.names(), names);
    }

    #[test]
    fn a_port_of_somebody_else_is_named_at_once() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (config, store) = config(taken.local_addr().unwrap());
        let began = Instant::now();
        assert!(of_shards(&config, store.as_ref(), 1).is_err());
        assert!(began.elapsed() < LONGEST_CLOSE && store.names().is_empty());
    }
}
