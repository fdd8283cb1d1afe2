//! Which backend is met.

use std::collections::BTreeSet;

use malha_proxy::balance::{Algorithm, Check, Condition, Probe};

use crate::rig::{HealthPort, Rig, Server, spec};

#[tokio::test]
async fn two_backends_share_what_comes() {
    let (a, b) = (Server::start(b'a').await, Server::start(b'b').await);
    let rig = Rig::start(spec(&[&a, &b])).await;
    rig.until(|all| all.iter().all(|it| it.condition == Condition::Up))
        .await;
    let mut met = BTreeSet::new();
    for _ in 0..4 {
        met.insert(rig.meet().await.unwrap());
    }
    assert_eq!(met, BTreeSet::from([b'a', b'b']));
}

#[tokio::test]
async fn one_source_keeps_its_backend() {
    let (a, b) = (Server::start(b'a').await, Server::start(b'b').await);
    let mut affine = spec(&[&a, &b]);
    affine.algorithm = Algorithm::SourceAffinity;
    let rig = Rig::start(affine).await;
    rig.until(|all| all.iter().all(|it| it.condition == Condition::Up))
        .await;
    let first = rig.meet().await.unwrap();
    for _ in 0..8 {
        assert_eq!(rig.meet().await.unwrap(), first);
    }
}

#[tokio::test]
async fn a_health_port_in_maintenance_takes_its_backend_out() {
    let server = Server::start(b'a').await;
    let health = HealthPort::start().await;
    let mut asked = spec(&[&server]);
    asked.check = Check::new(Probe::Http {
        port: health.port,
        path: "/".into(),
    });
    health.answer(503);
    let rig = Rig::start(asked).await;
    rig.until(|all| all[0].condition == Condition::Down).await;
    assert!(rig.meet().await.is_err());
    assert_eq!(rig.balancer.status().unserved_connections, 1);
    health.answer(200);
    // Not up for 35 s, but the only one, and well.
    rig.until(|all| all[0].condition == Condition::Recovering)
        .await;
    assert_eq!(rig.meet().await.unwrap(), b'a');
}
