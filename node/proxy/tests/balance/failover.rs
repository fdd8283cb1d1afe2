//! Backends that fail under load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use malha_proxy::balance::Condition;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::rig::{Rig, Server, spec};

#[tokio::test]
async fn a_backend_that_refuses_gives_way_to_the_next_unseen() {
    let (dead, alive) = (Server::start(b'd').await, Server::start(b'a').await);
    let mut plain = spec(&[&dead, &alive]);
    // Checks would find it out too; here the connection itself must.
    plain.check.interval = Duration::from_secs(60);
    let rig = Rig::start(plain).await;
    rig.until(|all| all.iter().all(|it| it.condition == Condition::Up))
        .await;
    dead.kill().await;
    for _ in 0..4 {
        assert_eq!(rig.meet().await.unwrap(), b'a');
    }
    assert_eq!(rig.balancer.counters().retried_connections.value(), 1);
    rig.until(|all| all[0].condition == Condition::Down).await;
}

/// As an agent does for a service whose program has died: the connection is taken, and then reset.
#[tokio::test]
async fn a_backend_that_takes_connections_and_throws_them_out_gives_way_at_once() {
    let (dead, alive) = (Server::start(b'd').await, Server::start(b'a').await);
    let rig = Rig::start(spec(&[&dead, &alive])).await;
    rig.until(|all| all.iter().all(|it| it.condition == Condition::Up))
        .await;
    let address = dead.address;
    dead.kill().await;
    let _takes_and_resets = Server::throwing_out(address).await;
    let mut lost = 0;
    for _ in 0..200 {
        match rig.meet().await {
            Ok(met) => assert_eq!(met, b'a'),
            Err(_) => lost += 1,
        }
    }
    assert!(lost <= 1, "{lost} connections met a server that is gone");
    rig.until(|all| all[0].condition == Condition::Down).await;
}

/// A connection that the dead server had accepted may fail; one made after its end may not.
#[tokio::test]
async fn no_new_connection_fails_when_one_of_two_servers_dies_under_load() {
    let (dying, alive) = (Server::start(b'd').await, Server::start(b'a').await);
    let rig = Arc::new(Rig::start(spec(&[&dying, &alive])).await);
    rig.until(|all| all.iter().all(|it| it.condition == Condition::Up))
        .await;
    let (dead, enough) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (rig, dead, enough) = (Arc::clone(&rig), Arc::clone(&dead), Arc::clone(&enough));
        clients.spawn(async move {
            while enough.load(Ordering::SeqCst) < 400 {
                let is_dead = dead.load(Ordering::SeqCst);
                let met = rig.meet().await;
                if is_dead {
                    assert_eq!(met.unwrap(), b'a');
                    enough.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
    }
    while rig.balancer.status().backends[0].total < 40 {
        tokio::task::yield_now().await;
    }
    dying.kill().await;
    dead.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn no_new_connection_waits_two_seconds_for_a_machine_that_lost_its_power() {
    let (dying, alive) = (Server::start(b'd').await, Server::start(b'a').await);
    let silent = Arc::new(Mutex::new(None));
    let rig = Rig::start_with_silent(spec(&[&dying, &alive]), Arc::clone(&silent)).await;
    rig.until(|all| all.iter().all(|it| it.condition == Condition::Up))
        .await;
    *silent.lock().unwrap() = Some(dying.address);
    let lost_at = Instant::now();
    let mut longest = Duration::ZERO;
    while lost_at.elapsed() < Duration::from_secs(3) {
        let began = Instant::now();
        assert_eq!(rig.meet().await.unwrap(), b'a');
        longest = longest.max(began.elapsed());
    }
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    rig.until(|all| all[0].condition == Condition::Down).await;
}
