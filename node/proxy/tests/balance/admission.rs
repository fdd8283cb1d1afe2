//! Who is let in at all.

use tokio::io::AsyncReadExt;

use crate::rig::{Rig, Server, spec};

#[tokio::test]
async fn a_source_that_is_not_listed_is_reset() {
    let server = Server::start(b'a').await;
    let mut listed = spec(&[&server]);
    listed.allowed_sources = vec!["198.51.100.0/24".parse().unwrap()];
    let rig = Rig::start(listed.clone()).await;
    assert!(rig.meet().await.is_err());
    assert_eq!(rig.balancer.counters().strange_connections.value(), 1);
    listed.allowed_sources.push("127.0.0.0/8".parse().unwrap());
    rig.balancer.change(listed).unwrap();
    assert_eq!(rig.meet().await.unwrap(), b'a');
}

#[tokio::test]
async fn clients_by_ipv6_are_listed_limited_and_carried_like_others() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let server = Server::start(b'a').await;
    let mut narrow = spec(&[&server]);
    narrow.allowed_sources = vec!["2001:db8::/32".parse().unwrap()];
    narrow.limits.connections_per_source = 1;
    let rig = Rig::start_on_ipv6(narrow.clone()).await;
    assert!(rig.meet().await.is_err());
    narrow.allowed_sources.push("::1/128".parse().unwrap());
    rig.balancer.change(narrow).unwrap();
    let mut first = rig.connect().await;
    assert_eq!(first.read_u8().await.unwrap(), b'a');
    assert!(rig.meet().await.is_err(), "the /64 has its one place");
    let status = rig.balancer.status();
    assert_eq!(
        (status.strange_connections, status.refused_connections),
        (1, 1)
    );
}

#[tokio::test]
async fn one_source_can_not_take_every_place() {
    let server = Server::start(b'a').await;
    let mut narrow = spec(&[&server]);
    narrow.limits.connections_per_source = 2;
    let rig = Rig::start(narrow).await;
    let (mut first, mut second) = (rig.connect().await, rig.connect().await);
    assert_eq!(first.read_u8().await.unwrap(), b'a');
    assert_eq!(second.read_u8().await.unwrap(), b'a');
    assert!(rig.meet().await.is_err());
    assert_eq!(rig.balancer.status().refused_connections, 1);
    drop(first);
    rig.until(|backends| backends[0].connections == 1).await;
    let counters = rig.balancer.counters();
    while counters.open_connections.value() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.meet().await.unwrap(), b'a');
}
