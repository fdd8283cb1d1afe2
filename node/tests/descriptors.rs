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

use std::fs::{self, File};
use std::sync::{Arc, Mutex, PoisonError};

use ground::{Ground, SUBJECT, play};
use malha_node::descriptors::raise_limit;
use malha_node::guard::{GuardChoice, GuardConfig, GuardStatus};
use malha_node::plane::{Applied, Former, PlaneConfig, PlaneEvent, PlaneOrder, run_plane};
use malha_proto::{Netmap, PairTable, Port};
use malha_tunnel::{Engine, Offload};
use nodes::namespace::missing;
use nodes::{LIMIT, key};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
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
        let mut agent = Agent::start(GuardChoice::Auto);
        agent.apply(testbed::netmap(1)).await;
        let before = agent.guard_seen().await;
        assert!(matches!(before, GuardStatus::InPlace { restored: 0, .. }));

        let hoard = take_all_descriptors();
        // The first may have been on its way.
        agent.guard_seen().await;
        let without_descriptors = agent.guard_seen().await;
        give_back(hoard);
        assert_eq!(without_descriptors, before);
        agent.end().await;
    });
}

#[test]
fn for_want_of_descriptors_only_the_service_stays_closed_that_the_guard_does_not_cover_yet() {
    let _alone = LIMITED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(reason) = missing(&[("nft", "nftables")]) {
        println!("{reason}");
        return;
    }
    play(Ground::new(Engine::Userspace, 1), async |_| {
        let mut agent = Agent::start(GuardChoice::Required);
        let mut map = testbed::netmap(1);
        let covered = map.services.values_mut().next().unwrap();
        covered.target = ([192, 0, 2, 7], 9999).into();
        let (mut added, port) = (covered.clone(), covered.port.number());
        assert_eq!(agent.apply(map.clone()).await, Applied::whole());

        let hoard = take_all_descriptors();
        map.revision.0 += 1;
        added.id.0 += 1;
        added.port = Port::new(7000).unwrap();
        added.target = ([192, 0, 2, 8], 9999).into();
        map.services.insert(added.id, added.clone());
        let applied = agent.apply(map.clone()).await;
        agent.guard_seen().await;
        let guard = agent.guard_seen().await;
        give_back(hoard);
        let why = applied.doors.unwrap_err();
        assert!(why.starts_with(&added.id.to_string()), "{why}");
        assert!(!why.ends_with("more)"), "{why}");
        assert_eq!([port, 7000].map(is_listened_at), [true, false]);
        assert!(
            matches!(&guard, GuardStatus::InPlace { ports, trouble: Some(_), .. } if ports.contains(&port)),
            "{guard:?}"
        );

        assert_eq!(agent.apply(map).await, Applied::whole());
        assert_eq!([port, 7000].map(is_listened_at), [true, true]);
        agent.end().await;
    });
}

/// A data plane, and what is asked of it.
struct Agent {
    orders: mpsc::Sender<PlaneOrder>,
    events: mpsc::Receiver<PlaneEvent>,
    _pairs: watch::Sender<Option<Arc<PairTable>>>,
    plane: JoinHandle<()>,
}

impl Agent {
    fn start(guard: GuardChoice) -> Self {
        let (orders, inbox) = mpsc::channel(8);
        let (told, events) = mpsc::channel(64);
        let (_pairs, pairs) = watch::channel(None);
        let overlay = watch::channel(None).0;
        let plane = run_plane(config(guard), key(SUBJECT), inbox, pairs, told, overlay);
        Self {
            orders,
            events,
            _pairs,
            plane: tokio::spawn(plane),
        }
    }

    async fn apply(&mut self, map: Netmap) -> Applied {
        let order = PlaneOrder::Apply(Arc::new(map));
        self.orders.send(order).await.unwrap();
        loop {
            if let PlaneEvent::Applied { result, .. } = self.event().await {
                return result;
            }
        }
    }

    /// Waits for the next look at the tunnel that finds one.
    async fn guard_seen(&mut self) -> GuardStatus {
        loop {
            if let PlaneEvent::Observed(view) = self.event().await {
                return view.guard;
            }
        }
    }

    async fn event(&mut self) -> PlaneEvent {
        let event = timeout(LIMIT, self.events.recv()).await.unwrap();
        event.unwrap()
    }

    async fn end(self) {
        drop(self.orders);
        timeout(LIMIT, self.plane).await.unwrap().unwrap();
    }
}

/// Whether somebody listens at a port of the overlay, in the namespace of the calling thread.
fn is_listened_at(port: u16) -> bool {
    let sockets = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let listening = format!(":{port:04X} 00000000:0000 0A ");
    sockets.contains(&listening)
}

fn config(choice: GuardChoice) -> PlaneConfig {
    PlaneConfig {
        engine: Engine::Userspace,
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        interface: "malha0".to_owned(),
        mtu_bytes: 1_280,
        offload: Offload::default(),
        shards: Some(1),
        guard: GuardConfig {
            choice,
            except: [].into(),
        },
        former: Former::default(),
    }
}

fn take_all_descriptors() -> Vec<File> {
    limit_to(FEW);
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn give_back(hoard: Vec<File>) {
    drop(hoard);
    raise_limit();
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
