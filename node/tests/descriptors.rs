//! An agent where descriptors are few. It is a program of its own: the limit holds for all that runs beside it.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

#[allow(dead_code, reason = "the tunnel's own stories use the rest")]
#[path = "../tunnel/tests/conformance/ground.rs"]
mod ground;
#[path = "../tunnel/tests/nodes/mod.rs"]
mod nodes;
#[allow(dead_code, reason = "each test crate uses its part of the testbed")]
#[path = "../src/testbed.rs"]
mod testbed;

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use ground::{Ground, SUBJECT, play};
use malha_node::descriptors::raise_limit;
use malha_node::guard::{GuardChoice, GuardConfig, GuardStatus};
use malha_node::plane::{Former, PlaneConfig, PlaneEvent, PlaneOrder, run_plane};
use malha_tunnel::{Engine, Offload};
use nodes::namespace::missing;
use nodes::{LIMIT, key};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

#[test]
fn a_process_takes_all_the_descriptors_that_it_may_have() {
    let _alone = LIMITED.lock().unwrap_or_else(PoisonError::into_inner);
    let allowed = getrlimit(Resource::Nofile).maximum;
    limit_to(FEW);
    raise_limit();
    let limit = getrlimit(Resource::Nofile);
    assert_eq!((limit.current, limit.maximum), (allowed, allowed));
}

#[test]
fn a_guard_that_cannot_be_looked_at_for_want_of_descriptors_was_changed_by_nobody() {
    let _alone = LIMITED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(reason) = missing(&[("nft", "nftables")]) {
        println!("{reason}");
        return;
    }
    play(Ground::new(Engine::Userspace, 1), async |_| {
        let (orders, inbox) = mpsc::channel(8);
        let (told, mut events) = mpsc::channel(64);
        let (_pairs, pairs) = watch::channel(None);
        let overlay = watch::channel(None).0;
        let plane = run_plane(config(), key(SUBJECT), inbox, pairs, told, overlay);
        let plane = tokio::spawn(plane);
        let map = Arc::new(testbed::netmap(1));
        orders.send(PlaneOrder::Apply(map)).await.unwrap();
        let before = guard_seen(&mut events).await;
        assert!(matches!(before, GuardStatus::InPlace { restored: 0, .. }));

        limit_to(FEW);
        let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        // The first may have been on its way.
        guard_seen(&mut events).await;
        let without_descriptors = guard_seen(&mut events).await;
        drop(hoard);
        raise_limit();
        assert_eq!(without_descriptors, before);
        drop(orders);
        timeout(LIMIT, plane).await.unwrap().unwrap();
    });
}

/// Waits for the next look at the tunnel that finds one.
async fn guard_seen(events: &mut mpsc::Receiver<PlaneEvent>) -> GuardStatus {
    loop {
        let event = timeout(LIMIT, events.recv()).await.unwrap();
        if let PlaneEvent::Observed(view) = event.unwrap() {
            return view.guard;
        }
    }
}

fn config() -> PlaneConfig {
    PlaneConfig {
        engine: Engine::Userspace,
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        interface: "malha0".to_owned(),
        mtu_bytes: 1_280,
        offload: Offload::default(),
        shards: Some(1),
        guard: GuardConfig {
            choice: GuardChoice::Auto,
            except: [].into(),
        },
        former: Former::default(),
    }
}

fn limit_to(descriptors: u64) {
    let few = Rlimit {
        current: Some(descriptors),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, few).unwrap();
}

static LIMITED: Mutex<()> = Mutex::new(());
const FEW: u64 = 64;
