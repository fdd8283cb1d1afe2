//! Backends that fail under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use malha_proxy::balance::Condition;
use tokio::task::JoinSet;

use crate::rig::{Rig, Server, spec};

#[tokio::test]
async fn a_backend_that_refuses_gives_way_to_the_next_unseen() {
    let (dead, alive) = (Server::start(b'd').await, Server::start(b'a').await);
    let mut plain = spec(&[&dead, &alive]);
    // Checks would find it out too; here the connection itself must.
    plain.check.interval = std::time::Duration::from_secs(60);
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
