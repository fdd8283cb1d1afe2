//! Sessions of machines that do what they should not, over a stream in memory.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must stop")]

use malha_proto::{
    Exposure, FrameDecoder, Hello, MAX_FRAME_TO_CONTROLLER_BYTES, MAX_FRAME_TO_NODE_BYTES,
    NodeReport, Port, RefusalCode, ServiceKind, encode_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::*;
use crate::api::tests::rig::facts;
use crate::session::testbed::{LIMIT, World};
use crate::session::{Remote, Transport, dispatch};

/// A machine with a control stream; it says what it is told to say.
struct Machine {
    stream: DuplexStream,
    decoder: FrameDecoder,
    certificate: PeerCertificate,
    lease: Lease,
    served: JoinHandle<()>,
}

impl Machine {
    /// A newly enrolled one. `pipe_bytes`: what either side may send before the other reads it.
    async fn new(world: &World, pipe_bytes: usize) -> Self {
        let (node, lease) = world.rig.enrolled(NAME).await;
        let key = world.rig.state().node(node).unwrap().tls_key;
        let certificate = PeerCertificate { node, key };
        let (near, stream) = tokio::io::duplex(pipe_bytes);
        let (read, write) = tokio::io::split(near);
        let remote = Remote::Fixed(remote());
        let channel = Channel::new(read, write, remote, Transport::Quic, Some(certificate));
        Self {
            stream,
            decoder: FrameDecoder::new(MAX_FRAME_TO_NODE_BYTES),
            certificate,
            lease,
            served: tokio::spawn(serve(world.context.clone(), channel)),
        }
    }

    async fn says(&mut self, message: &ToController) {
        let frame = encode_frame(message, MAX_FRAME_TO_CONTROLLER_BYTES).unwrap();
        self.stream.write_all(&frame).await.unwrap();
    }

    async fn says_hello(&mut self) {
        let hello = Hello {
            version: malha_proto::PROTOCOL_VERSION,
            instance: 1,
            lease: self.lease.clone(),
            applied: None,
            digest: None,
            facts: facts(NAME, 2),
        };
        self.says(&ToController::Hello(Box::new(hello))).await;
    }

    /// Until something begins to come.
    async fn waits_for_answer(&mut self) {
        let mut first = [0];
        self.stream.read_exact(&mut first).await.unwrap();
        self.decoder.push(&first);
    }

    async fn hears(&mut self) -> ToNode {
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return message;
            }
            match self.stream.read(&mut buffer).await.unwrap() {
                0 => panic!("the controller closed the stream"),
                read => self.decoder.push(&buffer[..read]),
            }
        }
    }

    async fn hears_until(&mut self, message: &ToNode) {
        while self.hears().await != *message {}
    }

    async fn hears_until_map(&mut self) {
        while !matches!(self.hears().await, ToNode::Snapshot(_)) {}
    }

    /// Until it is refused, and the session over.
    async fn waits_for_refusal(mut self) -> (RefusalCode, String) {
        let refused = async {
            loop {
                if let ToNode::Refused { code, text } = self.hears().await {
                    return (code, text);
                }
            }
        };
        let refused = timeout(LIMIT, refused).await.expect("it should be refused");
        drop(self.stream);
        timeout(LIMIT, self.served).await.unwrap().unwrap();
        refused
    }
}

/// A machine is answered and has no seat yet when a copy of it shows itself: the order that ends its session finds nobody.
#[tokio::test]
async fn a_session_that_was_granted_ends_though_the_copy_came_before_its_seat() {
    let world = World::new().await;
    // So narrow that the welcome waits for its reader.
    let mut machine = Machine::new(&world, 64).await;
    machine.says_hello().await;
    timeout(LIMIT, machine.waits_for_answer())
        .await
        .expect("a welcome should begin");
    let PeerCertificate { node, key } = machine.certificate;
    let copy = Command::OpenSession {
        node,
        tls_key: key,
        lease: Lease([7; 16]),
        instance: 2,
        facts: facts(NAME, 2),
        source: Some(remote()),
        live: None,
    };
    let answer = world.rig.does(copy).await.answer;
    assert!(matches!(answer, Answer::Cloned { .. }), "{answer:?}");
    world.context.registry.order(node, Order::Cloned);
    let (code, _) = machine.waits_for_refusal().await;
    assert_eq!(code, RefusalCode::Cloned);
}

/// It reads its first map for as long as it may, and has no seat until then.
#[tokio::test]
async fn a_box_whose_place_was_taken_before_it_had_a_seat_takes_none() {
    let world = World::new().await;
    let mut machine = Machine::new(&world, 64).await;
    machine.says_hello().await;
    machine.waits_for_answer().await;
    let node = machine.certificate.node;
    world.rig.replaced(NAME).await;
    let tls_key = world.rig.state().node(node).unwrap().tls_key;
    let successor = SessionSummary {
        instance: 1,
        tls_key,
        transport: Transport::Quic,
        remote: remote(),
        since_ms: now_ms(),
        facts: facts(NAME, 3),
        version: malha_proto::PROTOCOL_VERSION,
        applied: world.rig.revision(),
    };
    let seat = world.context.registry.sit(node, successor);
    let reason = FarewellReason::Superseded;
    timeout(LIMIT, machine.hears_until(&ToNode::Farewell { reason }))
        .await
        .expect("the session should end");
    assert_eq!(*seat.order.borrow(), Order::Continue);
    assert_eq!(world.context.registry.find(node).unwrap().tls_key, tls_key);
}

#[tokio::test]
async fn a_node_that_never_stops_talking_is_heard_at_a_pace() {
    let world = World::new().await;
    let mut machine = Machine::new(&world, 1 << 20).await;
    machine.says_hello().await;
    assert!(matches!(machine.hears().await, ToNode::Welcome(_)));
    assert!(matches!(machine.hears().await, ToNode::Snapshot(_)));
    // From here on nothing waits for another thread.
    tokio::time::pause();
    for _ in 0..300 {
        let report = NodeReport::default();
        machine.says(&ToController::Report(report)).await;
    }
    let mut heard_at = Vec::new();
    while heard_at.len() < 300 {
        if machine.hears().await == ToNode::Heartbeat {
            heard_at.push(Instant::now());
        }
    }
    // All are heard: 200 at once, the others 20 a second.
    assert_eq!(heard_at[199] - heard_at[0], Duration::ZERO);
    let paced = heard_at[299] - heard_at[199];
    assert!((4_900..=5_100).contains(&paced.as_millis()), "{paced:?}");
}

/// A map that fills the way to the node keeps the session busy; what the node said meanwhile lies there unread.
#[tokio::test]
async fn a_node_that_takes_its_map_slowly_is_not_silent() {
    let world = World::new().await;
    let mut machine = Machine::new(&world, 64).await;
    machine.says_hello().await;
    machine.hears_until_map().await;
    // From here on nothing waits for another thread.
    tokio::time::pause();
    for _ in 0..8 {
        machine.says(&ToController::NeedSnapshot).await;
        let report = NodeReport::default();
        machine.says(&ToController::Report(report)).await;
        machine.waits_for_answer().await;
        tokio::time::advance(SESSION_TIMEOUT * 3 / 2).await;
        machine.hears_until_map().await;
        machine.hears_until(&ToNode::Heartbeat).await;
    }
}

#[tokio::test]
async fn a_node_that_renews_its_keys_without_end_keeps_its_session_and_its_keys() {
    let world = World::new().await;
    let mut machine = Machine::new(&world, 1 << 20).await;
    let (limits, node) = (&world.context.limits, machine.certificate.node);
    while limits.renewals.take(&node, now_ms()).is_ok() {}
    machine.says_hello().await;
    let (csr, wg_key) = (vec![], None);
    machine.says(&ToController::Renew { csr, wg_key }).await;
    machine
        .says(&ToController::Report(NodeReport::default()))
        .await;
    loop {
        match timeout(LIMIT, machine.hears()).await.unwrap() {
            ToNode::Heartbeat => break,
            ToNode::Welcome(_) | ToNode::Snapshot(_) | ToNode::Pairs(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_node_that_opens_sessions_without_end_is_told_when_it_may_again() {
    let world = World::new().await;
    let mut machine = Machine::new(&world, 1 << 20).await;
    let (limits, key) = (&world.context.limits, machine.certificate.key);
    while limits.openings.take(&key, now_ms()).is_ok() {}
    machine.says_hello().await;
    let (code, text) = machine.waits_for_refusal().await;
    assert_eq!(code, RefusalCode::Busy);
    assert_eq!(
        text,
        "this machine asks for too many sessions; try again in 2 s"
    );
}

#[tokio::test]
async fn a_box_whose_place_was_taken_loses_its_session_at_once() {
    let world = World::new().await;
    tokio::spawn(dispatch(world.context.clone()));
    let mut machine = Machine::new(&world, 1 << 20).await;
    machine.says_hello().await;
    assert!(matches!(machine.hears().await, ToNode::Welcome(_)));
    world.rig.replaced(NAME).await;
    let reason = FarewellReason::Superseded;
    timeout(LIMIT, machine.hears_until(&ToNode::Farewell { reason }))
        .await
        .expect("the session should end");
}

/// A map may take minutes; that its reader has lost its place must not wait so long.
#[tokio::test]
async fn a_box_whose_place_was_taken_loses_its_session_in_the_middle_of_a_map() {
    let world = World::new().await;
    tokio::spawn(dispatch(world.context.clone()));
    let mut machine = Machine::new(&world, 64).await;
    machine.says_hello().await;
    machine.hears_until_map().await;
    machine.says(&ToController::NeedSnapshot).await;
    machine.waits_for_answer().await;
    world.rig.replaced(NAME).await;
    timeout(LIMIT, machine.served).await.unwrap().unwrap();
}

/// Before anybody looks, a service has come and gone: nothing is to be sent.
#[tokio::test]
async fn a_node_runs_with_changes_that_cancelled_each_other() {
    let world = World::new().await;
    let mut machine = Machine::new(&world, 1 << 20).await;
    let node = machine.certificate.node;
    machine.says_hello().await;
    let ToNode::Welcome(welcome) = machine.hears().await else {
        panic!("it should be welcome");
    };
    machine.hears_until_map().await;
    let revision = welcome.revision;
    machine.says(&ToController::Applied { revision }).await;
    let registry = &world.context.registry;
    let mut progress = registry.progress();
    let runs_with = |revision| registry.applied_by(node) >= Some(revision);
    let first = progress.wait_for(|_| runs_with(revision));
    timeout(LIMIT, first).await.unwrap().unwrap();
    let added = Command::AddService {
        node,
        name: "web".parse().unwrap(),
        port: Port::new(80).unwrap(),
        target: ([127, 0, 0, 1], 8080).into(),
        kind: ServiceKind::Http,
        exposure: Exposure::Public,
    };
    world.rig.does(added).await;
    let state = world.rig.state();
    let id = state.services().find(|service| service.node == node);
    let id = id.unwrap().id;
    world.rig.does(Command::RemoveService { id }).await;
    registry.ring([&node]);
    let both = world.rig.revision();
    let caught_up = progress.wait_for(|_| runs_with(both));
    let caught_up = timeout(LIMIT, caught_up).await;
    caught_up.expect("nothing is missing").unwrap();
}

/// A stolen one reads slowly on purpose: its map is still on the way when another box takes its place.
#[tokio::test]
async fn a_box_whose_place_was_taken_while_it_read_hears_nothing_of_the_other_ones_pairs() {
    let world = World::new().await;
    let mut machine = Machine::new(&world, 64).await;
    machine.says_hello().await;
    while !matches!(machine.hears().await, ToNode::Pairs(_)) {}
    machine.says(&ToController::NeedSnapshot).await;
    machine.waits_for_answer().await;
    let node = machine.certificate.node;
    world.rig.replaced(NAME).await;
    let state = world.rig.state();
    world.context.pairs.follow(&state, [&node]);
    let reason = FarewellReason::Superseded;
    let heard = async {
        loop {
            match machine.hears().await {
                ToNode::Farewell { reason: last } if last == reason => return,
                ToNode::Pairs(pairs) => panic!("it was told of {} pairs", pairs.pairs.len()),
                // Rung before, the session would end in the middle of it.
                ToNode::Snapshot(_) => world.context.registry.ring(&[node]),
                _ => {}
            }
        }
    };
    timeout(LIMIT, heard).await.expect("the session should end");
}

/// Nothing of a node's own netmap says which key it has.
#[tokio::test]
async fn a_node_with_a_new_key_is_told_of_its_pairs_anew() {
    let world = World::new().await;
    tokio::spawn(dispatch(world.context.clone()));
    let mut machine = Machine::new(&world, 1 << 20).await;
    machine.says_hello().await;
    assert!(matches!(machine.hears().await, ToNode::Welcome(_)));
    let key = WgKey([77; 32]);
    let renewed = Command::RenewNode {
        node: machine.certificate.node,
        instance: 1,
        tls_key: Fingerprint([77; 32]),
        wg_key: Some(key),
    };
    world.rig.does(renewed).await;
    let told = async {
        loop {
            if let ToNode::Pairs(pairs) = machine.hears().await
                && pairs.me == key
            {
                return;
            }
        }
    };
    timeout(LIMIT, told).await.expect("it should hear of them");
}

fn remote() -> SocketAddr {
    ([203, 0, 113, 9], 40_000).into()
}

const NAME: &str = "ss-2";
