//! A balancer's doors where a service manager keeps them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use malha_proto::NodeId;
use malha_tunnel::{Engine, PrivateKey, TunnelConfig};
use tokio::task::yield_now;

use super::*;
use crate::kept::tests::rig;
use crate::testbed::{balancer, netmap};

/// Reads all that comes, and closes what is not to be kept by reading it.
async fn listen_to(manager: UnixDatagram) {
    manager.set_nonblocking(true).unwrap();
    loop {
        while manager.recv(&mut [0; 200]).is_ok() {}
        yield_now().await;
    }
}

/// What lies in the queue of a manager is open until that has looked.
#[tokio::test]
async fn a_door_is_opened_again_though_the_manager_has_not_closed_it_yet() {
    let me = netmap(1).me.addresses;
    let mut config = TunnelConfig::new(PrivateKey::generate(), vec![IpAddr::from(me.v4).into()]);
    config.listen = vec![([127, 0, 0, 1], 0).into()];
    let tunnel = malha_tunnel::start(Engine::Netstack, config).unwrap();
    let (_folder, manager, kept) = rig(BTreeMap::new());
    let mut balancers = Balancers::after(Former {
        keeper: Some(Arc::new(kept)),
        ..Former::default()
    });
    let free = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let hub = netmap(1).peers[&NodeId(2)].addresses.v4;
    let door = Balancer {
        exposure: Exposure::Public,
        ..balancer(port, &[(hub, 80).into()])
    };
    let wanted = BTreeMap::from([(door.id, door)]);
    assert_eq!(balancers.open(&tunnel, me, &wanted).await, []);
    balancers.close_changed(&BTreeMap::new()).await;
    // On this one thread it comes to its turn when somebody waits.
    let managing = tokio::spawn(listen_to(manager));
    assert_eq!(balancers.open(&tunnel, me, &wanted).await, []);
    managing.abort();
}

#[test]
fn only_a_machine_without_ipv6_leaves_a_public_door_closed_to_it() {
    let (v4, v6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    let absent = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
    let wrong = [
        Errno::ADDRINUSE,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::ACCESS,
        Errno::PERM,
    ];
    let ignored = |ip: IpAddr| {
        let all = absent.into_iter().chain(wrong);
        let ignored = all.filter(|it| is_without_family(ip, &(*it).into()));
        ignored.collect::<Vec<_>>()
    };
    assert_eq!((ignored(v4), ignored(v6)), (vec![], absent.to_vec()));
}
