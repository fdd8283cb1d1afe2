//! Stories of the daily rotation: a real data folder, sessions without wires, and a wall clock that only the story moves.

use std::cell::Cell;

use malha_core::{Answer, Command, Selector};
use malha_proto::{
    Allow, Fingerprint, MachineFacts, MachineId, PROTOCOL_VERSION, PairKey, PairTable, Profile,
    Protocol, Revision, SiteId, WgKey,
};
use malha_store::Store;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::coordinator::Coordinator;
use crate::folder;
use crate::session::{Seat, SessionSummary, Transport};

thread_local! {
    /// The runtime of a test has one thread, this one.
    static WALL_MS: Cell<u64> = Cell::new(now_ms());
}

/// An installation: its folder, a controller that serves it, and two nodes that are each other's peers.
struct World {
    folder: TempDir,
    controller: Controller,
    nodes: [Node; 2],
    /// When the folder's first epoch began.
    began_ms: u64,
}

struct Controller {
    pairs: Arc<Pairs>,
    registry: Arc<Registry>,
    handle: Handle,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    tasks: [JoinHandle<()>; 2],
    /// What the hub was told, which has no session.
    hub: PairTable,
}

/// A node's end of its session, and what it was told in all of them.
struct Node {
    id: NodeId,
    key: WgKey,
    table: PairTable,
    here: Option<(Seat, PairSession)>,
}

impl World {
    /// Both nodes are here, and every pair has the first key.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (data, master) = (folder.path(), folder.path().join("master.key"));
        let zone = "malha.internal".parse().unwrap();
        folder::create(data, &master, zone).await.unwrap();
        let controller = Controller::start(&folder, &[]).await;
        let nodes = enrol(&controller.handle).await;
        controller.end().await;
        let controller = Controller::start(&folder, &nodes).await;
        let began_ms = controller.pairs.table().epochs().since_ms(1).unwrap();
        WALL_MS.set(began_ms);
        let mut world = Self {
            folder,
            controller,
            nodes,
            began_ms,
        };
        world.comes(0).await;
        world.comes(1).await;
        world.all_share(1).await;
        world
    }

    /// The controller ends, and another one serves its folder. Nobody has a session any more.
    async fn restart(mut self) -> Self {
        for node in &mut self.nodes {
            node.here = None;
        }
        self.controller.end().await;
        self.controller = Controller::start(&self.folder, &self.nodes).await;
        self
    }

    async fn comes(&mut self, which: usize) {
        let node = &mut self.nodes[which];
        let session = self.controller.pairs.open(node.id, PROTOCOL_VERSION).await;
        let seat = self.controller.registry.sit(node.id, summary());
        node.here = Some((seat, session.unwrap()));
    }

    fn leaves(&mut self, which: usize) {
        let (seat, session) = self.nodes[which].here.take().unwrap();
        self.controller.pairs.close(self.nodes[which].id, session);
        self.controller.registry.leave(&seat);
    }

    /// Has the rotation look at the clock, this long after the first epoch began; the newest epoch then.
    async fn looks_at(&self, after_the_first_ms: u64) -> u64 {
        self.clock_shows(after_the_first_ms);
        self.controller.pairs.turn().await;
        self.controller.pairs.table().epochs().newest()
    }

    fn clock_shows(&self, after_the_first_ms: u64) {
        WALL_MS.set(self.began_ms + after_the_first_ms);
    }

    /// Waits until both ends of every pair have heard of a key of this epoch; the keys.
    async fn all_share(&mut self, epoch: u64) -> [PairKey; 3] {
        let [one, other] = &mut self.nodes;
        let (a, b) = (one.end(), other.end());
        let between = self.controller.hears(one, b, epoch).await;
        assert_eq!(self.controller.hears(other, a, epoch).await, between);
        let [at_one, at_other] = [self.with_hub(0, epoch).await, self.with_hub(1, epoch).await];
        [between, at_one, at_other]
    }

    async fn with_hub(&mut self, which: usize, epoch: u64) -> PairKey {
        let (controller, node) = (&mut self.controller, &mut self.nodes[which]);
        let hub = (controller.pairs.hub, HUB_KEY);
        let at_node = controller.hears(node, hub, epoch).await;
        assert_eq!(controller.hub_hears(node.end(), epoch).await, at_node);
        at_node
    }

    /// The epoch of the key that a node has for the other one.
    fn epoch_at(&self, which: usize) -> Option<u64> {
        let [node, other] = [&self.nodes[which], &self.nodes[1 - which]];
        node.psk(other.end()).map(|psk| psk.epoch)
    }
}

impl Controller {
    /// `nodes` are those that the state holds: the hub's netmap is known from the start, as with the real hub.
    async fn start(folder: &TempDir, nodes: &[Node]) -> Self {
        let data = folder.path();
        let opened = folder::open(data, &data.join("master.key")).await.unwrap();
        let (coordinator, handle) =
            Coordinator::new(opened.state, opened.store.clone(), opened.audit);
        let stop = CancellationToken::new();
        let coordinator = tokio::spawn(coordinator.run(stop.clone()));
        let hub = adopt_hub(&handle).await;
        let registry = Arc::new(Registry::default());
        let mut pairs = Pairs::new(
            opened.epochs,
            opened.pair_epochs,
            opened.master,
            hub,
            handle.clone(),
            registry.clone(),
        );
        pairs.clock = || WALL_MS.get();
        let pairs = Arc::new(pairs);
        let (runs, token) = (pairs.clone(), stop.clone());
        let rotation = tokio::spawn(async move { runs.run(token).await });
        let mut controller = Self {
            pairs,
            registry,
            handle,
            store: opened.store,
            stop,
            tasks: [coordinator, rotation],
            hub: PairTable::new(HUB_KEY),
        };
        controller.tell_hub();
        assert_eq!(controller.hub.len(), nodes.len());
        controller
    }

    async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.store.close().await.unwrap();
    }

    /// Listens as a node's session does, until the node has that epoch's key for the peer.
    async fn hears(&self, node: &mut Node, peer: (NodeId, WgKey), epoch: u64) -> PairKey {
        let (seat, session) = node.here.as_ref().expect("one that is away hears nothing");
        loop {
            for news in self.pairs.news(node.id, *session) {
                node.table.take(news);
            }
            let psk = psk(&node.table, node.key, peer);
            match psk.filter(|psk| psk.epoch == epoch) {
                Some(psk) => return psk,
                None => soon(seat.bell.notified()).await,
            }
        }
    }

    async fn hub_hears(&mut self, peer: (NodeId, WgKey), epoch: u64) -> PairKey {
        loop {
            self.tell_hub();
            let psk = psk(&self.hub, HUB_KEY, peer);
            match psk.filter(|psk| psk.epoch == epoch) {
                Some(psk) => return psk,
                None => soon(self.pairs.hub_stirred()).await,
            }
        }
    }

    fn tell_hub(&mut self) {
        let map = self.handle.state().netmap(self.pairs.hub);
        for news in self.pairs.hub_news(map.as_ref()) {
            self.hub.take(news);
        }
    }
}

impl Node {
    fn end(&self) -> (NodeId, WgKey) {
        (self.id, self.key)
    }

    fn psk(&self, peer: (NodeId, WgKey)) -> Option<PairKey> {
        psk(&self.table, self.key, peer)
    }
}

#[tokio::test]
async fn after_a_day_every_pair_has_a_new_key_and_not_a_millisecond_before() {
    let mut world = World::new().await;
    let first = world.all_share(1).await;
    assert_eq!(world.looks_at(EPOCH_MS - 1).await, 1);
    world.clock_shows(EPOCH_MS);
    let second = world.all_share(2).await;
    for (old, new) in first.iter().zip(&second) {
        assert_ne!(old.secret, new.secret);
        assert_eq!(new.since_ms, world.began_ms + EPOCH_MS);
    }
    assert_eq!(world.looks_at(2 * EPOCH_MS - 1).await, 2);
    assert_eq!(world.looks_at(2 * EPOCH_MS).await, 3);
    world.all_share(3).await;
    world.controller.end().await;
}

#[tokio::test]
async fn the_age_of_the_keys_outlives_restarts_of_the_controller() {
    let mut world = World::new().await;
    for hour in [7, 14, 21] {
        assert_eq!(world.looks_at(hour * HOUR_MS).await, 1);
        world = world.restart().await;
    }
    assert_eq!(world.looks_at(EPOCH_MS - 1).await, 1);
    assert_eq!(world.looks_at(EPOCH_MS).await, 2);
    world.comes(0).await;
    world.comes(1).await;
    world.all_share(2).await;
    world.controller.end().await;
}

#[tokio::test]
async fn a_controller_that_was_down_at_the_moment_makes_up_for_it_once() {
    let mut world = World::new().await;
    let first = world.all_share(1).await;
    world.clock_shows(3 * EPOCH_MS + HOUR_MS);
    world = world.restart().await;
    assert_eq!(world.looks_at(3 * EPOCH_MS + HOUR_MS).await, 2);
    // Nobody was here to hear of it: the hub waits with the keys that the nodes have on disk.
    let hub = world.controller.hub.clone();
    for (node, key) in world.nodes.iter().zip(&first[1..]) {
        assert_eq!(psk(&hub, HUB_KEY, node.end()).as_ref(), Some(key));
    }
    world.comes(0).await;
    world.comes(1).await;
    world.all_share(2).await;
    world.controller.end().await;
}

#[tokio::test]
async fn a_node_that_was_away_keeps_its_keys_and_so_do_its_peers_until_it_is_back() {
    let mut world = World::new().await;
    let [between, ..] = world.all_share(1).await;
    world.leaves(1);
    assert_eq!(world.looks_at(EPOCH_MS).await, 2);
    world.with_hub(0, 2).await;
    assert_eq!(world.epoch_at(0), Some(1));
    world.controller.tell_hub();
    let at_hub = psk(&world.controller.hub, HUB_KEY, world.nodes[1].end());
    assert_eq!(
        at_hub,
        world.nodes[1].psk((world.controller.pairs.hub, HUB_KEY))
    );
    // The controller too starts anew before it is back, and the next day begins.
    world = world.restart().await;
    world.comes(0).await;
    assert_eq!(world.looks_at(2 * EPOCH_MS).await, 3);
    world.with_hub(0, 3).await;
    let still = world.nodes[0].psk(world.nodes[1].end());
    assert_eq!(still, Some(between));
    world.comes(1).await;
    world.all_share(3).await;
    world.controller.end().await;
}

#[tokio::test]
async fn a_rotation_by_hand_begins_the_day_anew() {
    let mut world = World::new().await;
    world.looks_at(EPOCH_MS - HOUR_MS).await;
    let operator = Actor::controller();
    let rotated = world.controller.pairs.rotate(&operator, None).await;
    assert_eq!(rotated.unwrap(), 2);
    assert_eq!(world.looks_at(EPOCH_MS).await, 2);
    world = world.restart().await;
    assert_eq!(world.looks_at(2 * EPOCH_MS - HOUR_MS - 1).await, 2);
    assert_eq!(world.looks_at(2 * EPOCH_MS - HOUR_MS).await, 3);
    world.controller.end().await;
}

/// The first start was before the machine knew the time, and its clock stood years ahead.
#[tokio::test]
async fn a_clock_that_was_set_back_by_years_does_not_keep_the_keys_for_years() {
    let mut world = World::new().await;
    let years_ms = 10 * 365 * EPOCH_MS;
    world.began_ms -= years_ms;
    assert_eq!(world.looks_at(0).await, 2);
    let [key, ..] = world.all_share(2).await;
    assert_eq!(key.since_ms, world.began_ms);
    assert_eq!(world.looks_at(EPOCH_MS - 1).await, 2);
    assert_eq!(world.looks_at(EPOCH_MS).await, 3);
    world.controller.end().await;
}

#[tokio::test]
async fn a_clock_that_is_corrected_by_seconds_rotates_nothing() {
    let mut world = World::new().await;
    world.began_ms -= 30_000;
    assert_eq!(world.looks_at(0).await, 1);
    world.controller.end().await;
}

async fn soon(news: impl Future<Output = ()>) {
    let came = tokio::time::timeout(PATIENCE, news).await;
    came.expect("no news came");
}

fn psk(table: &PairTable, me: WgKey, (peer, key): (NodeId, WgKey)) -> Option<PairKey> {
    table.with(me, peer, key)?.psk.clone()
}

async fn submit(handle: &Handle, command: Command) -> Answer {
    let accepted = handle.submit(command, Actor::controller(), None).await;
    accepted.unwrap().answer
}

async fn site(handle: &Handle, organization: &str) -> SiteId {
    if let Some(site) = handle.state().site_by_path(&format!("{organization}/s")) {
        return site.id;
    }
    let command = Command::CreateOrganization {
        name: organization.parse().unwrap(),
        display_name: String::new(),
    };
    let Answer::Organization(organization) = submit(handle, command).await else {
        unreachable!("an organization was asked for")
    };
    let command = Command::CreateSite {
        organization,
        name: "s".parse().unwrap(),
        display_name: String::new(),
    };
    let Answer::Site(site) = submit(handle, command).await else {
        unreachable!("a site was asked for")
    };
    site
}

async fn adopt_hub(handle: &Handle) -> NodeId {
    let command = Command::AdoptHub {
        site: site(handle, "malha").await,
        name: "hub".parse().unwrap(),
        wg_key: HUB_KEY,
        tls_key: Fingerprint([9; 32]),
        endpoints: vec!["192.0.2.1:51820".parse().unwrap()],
        facts: facts(9),
    };
    let Answer::Node(hub) = submit(handle, command).await else {
        unreachable!("the hub was adopted")
    };
    hub
}

/// Two nodes, allowed to reach each other.
async fn enrol(handle: &Handle) -> [Node; 2] {
    let site = site(handle, "sefaz").await;
    let command = Command::CreateToken {
        site,
        profile: Profile::Garage,
        uses: 2,
        ttl_s: 600,
    };
    let Answer::Token { id, secret } = submit(handle, command).await else {
        unreachable!("a token was asked for")
    };
    let mut nodes = Vec::new();
    for number in [1, 2] {
        let key = WgKey([number; 32]);
        let command = Command::Enrol {
            token: id,
            secret: secret.clone(),
            wg_key: key,
            tls_key: Fingerprint([number; 32]),
            name: None,
            facts: facts(number),
        };
        let Answer::Enrolled { node, .. } = submit(handle, command).await else {
            unreachable!("a node was enrolled")
        };
        nodes.push(Node {
            id: node,
            key,
            table: PairTable::new(key),
            here: None,
        });
    }
    let all = Selector::Site(site);
    let allow = Allow {
        protocol: Protocol::Tcp,
        from_port: 5500,
        to_port: 5500,
    };
    submit(
        handle,
        Command::AddGrant {
            from: all,
            to: all,
            allow,
        },
    )
    .await;
    nodes.try_into().unwrap_or_else(|_| unreachable!("two"))
}

fn summary() -> SessionSummary {
    SessionSummary {
        instance: 1,
        tls_key: Fingerprint([1; 32]),
        transport: Transport::Quic,
        remote: "203.0.113.9:40000".parse().unwrap(),
        since_ms: 0,
        facts: facts(1),
        version: PROTOCOL_VERSION,
        applied: Revision(0),
    }
}

fn facts(number: u8) -> MachineFacts {
    MachineFacts {
        host_name: format!("servidor-{number}"),
        machine: MachineId([number; 16]),
        agent_version: "0".to_owned(),
        os: "Debian".to_owned(),
        engine: None,
    }
}

const HUB_KEY: WgKey = WgKey([200; 32]);
const HOUR_MS: u64 = 60 * 60 * 1_000;
/// The loop looks at the clock each second; the rest is for a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);
