//! Stories of a whole agent in this process, against a real controller and without privilege.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use malha_proto::{RefusalCode, Revision, ToController, ToNode};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::agent::{ControlState, Transport};
use crate::enrol::enrol;
use crate::state::Ended;
use crate::status::{StatusDocument, ask};
use crate::testbed::{
    Lifetime, Network, TEST_LIMIT, TestAuthority, TestController, TestSession, balancer, netmap,
    plane_config, welcome,
};

struct Scene {
    authority: TestAuthority,
    controller: TestController,
    state: TempDir,
    agent: Option<(JoinHandle<Result<Ending, RunError>>, CancellationToken)>,
}

impl Scene {
    /// A controller and an enrolled machine.
    async fn enrolled(network: Network) -> Self {
        let authority = TestAuthority::new();
        let mut controller = TestController::start(&authority, Lifetime::Now, network).await;
        let token = authority.token(controller.port);
        let state = TempDir::new().unwrap();
        let folder = StateFolder::open(state.path()).unwrap();
        let keys = folder.keys_for_enrolment(&token).unwrap();
        let asked = {
            let token = token.clone();
            let keys = folder.keys_for_enrolment(&token).unwrap();
            tokio::spawn(async move { enrol(&token, &keys, None, machine::facts(None)).await })
        };
        let mut session = controller.session().await;
        let ToController::Enrol(request) = session.hear().await else {
            panic!("not an enrolment");
        };
        assert_eq!(Some(request.wg_key), keys.wg_public_key());
        let reply = authority.reply(&request);
        session.say(ToNode::Enrolled(Box::new(reply))).await;
        let reply = asked.await.unwrap().unwrap();
        folder.adopt_enrolment(&token, &reply).unwrap();
        Self {
            authority,
            controller,
            state,
            agent: None,
        }
    }

    fn start(&mut self) {
        let folder = StateFolder::open(self.state.path()).unwrap();
        let identity = folder.identity().unwrap().unwrap();
        let config = RunConfig {
            plane: plane_config(),
            engine_reason: EngineReason::Chosen,
            probes: crate::port_probe::ProbeChoice::default(),
            names: crate::names::NamesChoice::Off,
        };
        let stop = CancellationToken::new();
        let agent = tokio::spawn(run(folder, identity, config, stop.clone()));
        self.agent = Some((agent, stop));
    }

    async fn greeted(&mut self) -> (TestSession, malha_proto::Hello) {
        let mut session = self.controller.session().await;
        let ToController::Hello(hello) = session.hear().await else {
            panic!("not a hello");
        };
        session.say(welcome()).await;
        (session, *hello)
    }

    async fn ended(&mut self) -> Ending {
        let (agent, _) = self.agent.take().unwrap();
        timeout(TEST_LIMIT, agent).await.unwrap().unwrap().unwrap()
    }

    async fn stop(&mut self) {
        self.agent.as_ref().unwrap().1.cancel();
        assert_eq!(self.ended().await, Ending::Stopped);
    }

    fn socket(&self) -> PathBuf {
        self.state.path().join(STATUS_SOCKET)
    }

    /// Asks until the status is as expected.
    async fn status_when(&self, is: impl Fn(&StatusDocument) -> bool) -> StatusDocument {
        let socket = self.socket();
        let asking = async {
            loop {
                if let Ok(status) = ask(&socket).await
                    && is(&status)
                {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(TEST_LIMIT, asking)
            .await
            .expect("the status should become so")
    }
}

/// A folder with these files on a file system of its own, which has few inodes, and which only this thread and its children see.
fn with_few_inodes(files: &TempDir) -> TempDir {
    let folder = TempDir::new().unwrap();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    let few = Some("nr_inodes=32,mode=0700");
    let none = MsFlags::empty();
    mount(Some("small"), folder.path(), Some("tmpfs"), none, few).unwrap();
    for file in std::fs::read_dir(files).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

/// A door of this machine behind which nobody answers.
fn unanswered_door(port: u16) -> malha_proto::Balancer {
    let hub = netmap(1).peers[&NodeId(2)].addresses.v4;
    malha_proto::Balancer {
        exposure: malha_proto::Exposure::Public,
        ..balancer(port, &[(hub, 80).into()])
    }
}

fn applied(message: ToController) -> Option<Revision> {
    match message {
        ToController::Applied { revision } => Some(revision),
        _ => None,
    }
}

#[tokio::test]
async fn an_enrolled_node_resumes_follows_and_says_farewell() {
    let mut scene = Scene::enrolled(Network::Open).await;
    scene.start();
    let (mut session, hello) = scene.greeted().await;
    assert_eq!(session.transport, Transport::Quic);
    assert_eq!(hello.applied, Some(Revision(10)));
    assert_eq!(hello.digest, Some(netmap(10).digest()));
    let saved = |message| (message == ToController::LeaseSaved).then_some(());
    session.hear_until(saved).await;
    let delta = netmap(10).diff(&netmap(11));
    session.say(ToNode::Delta(Box::new(delta))).await;
    assert_eq!(session.hear_until(applied).await, Revision(11));
    scene.stop().await;
    let last = session.end().await.pop();
    let reason = FarewellReason::Stopped;
    assert_eq!(last, Some(ToController::Farewell { reason }));
    assert!(!scene.socket().exists());
    let folder = StateFolder::open(scene.state.path()).unwrap();
    assert_eq!(folder.netmap().unwrap(), Some(netmap(11)));
    assert_eq!(folder.lease().unwrap(), malha_proto::Lease([1; 16]));
}

#[tokio::test]
async fn a_node_whose_udp_is_blocked_comes_over_tcp() {
    let mut scene = Scene::enrolled(Network::UdpBlocked).await;
    scene.start();
    let (session, _) = scene.greeted().await;
    assert_eq!(session.transport, Transport::Tcp);
    let status = scene
        .status_when(|status| status.control.state == ControlState::Online)
        .await;
    assert_eq!(status.control.transport.as_deref(), Some("TCP"));
    scene.stop().await;
}

#[tokio::test]
async fn a_dropped_session_comes_back_with_the_same_instance() {
    let mut scene = Scene::enrolled(Network::Open).await;
    scene.start();
    let (session, first) = scene.greeted().await;
    drop(session);
    let (_session, second) = scene.greeted().await;
    assert_eq!(first.instance, second.instance);
    scene.stop().await;
}

#[tokio::test]
async fn without_a_controller_the_last_known_good_map_runs_and_the_status_says_so() {
    let mut scene = Scene::enrolled(Network::Open).await;
    let authority = TestAuthority::new();
    let gone = TestController::start(&authority, Lifetime::Now, Network::UdpBlocked).await;
    std::mem::replace(&mut scene.controller, gone).stop().await;
    scene.start();
    let status = scene
        .status_when(|status| status.netmap.in_force == Some(Revision(10)))
        .await;
    assert!(status.netmap.last_known_good);
    assert!(!status.is_healthy());
    assert_eq!(status.name.as_deref(), Some("servidor.garagem.org"));
    assert_eq!(status.services.len(), 1);
    scene.stop().await;
}

/// All that the data plane needs is there.
#[tokio::test]
async fn an_agent_whose_disk_has_no_room_for_its_status_socket_runs_and_has_it_later() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: it needs root");
        return;
    }
    let mut scene = Scene::enrolled(Network::Open).await;
    scene.state = with_few_inodes(&scene.state);
    let filler = |number: usize| scene.state.path().join(format!("filler{number}"));
    let fillers: Vec<_> = (0..)
        .map(filler)
        .take_while(|it| std::fs::write(it, "").is_ok())
        .collect();
    scene.start();
    let (_session, hello) = scene.greeted().await;
    assert_eq!(hello.applied, Some(Revision(10)));
    assert!(!scene.socket().exists() && !fillers.is_empty());
    for filler in fillers {
        std::fs::remove_file(filler).unwrap();
    }
    scene
        .status_when(|status| status.netmap.in_force == Some(Revision(10)))
        .await;
    scene.stop().await;
    umount(scene.state.path()).unwrap();
}

#[tokio::test]
async fn a_damaged_map_on_disk_is_asked_for_again() {
    let mut scene = Scene::enrolled(Network::Open).await;
    std::fs::write(scene.state.path().join("netmap.cbor"), "nonsense").unwrap();
    scene.start();
    let (mut session, hello) = scene.greeted().await;
    assert_eq!(hello.applied, None);
    session.say(ToNode::Snapshot(Box::new(netmap(12)))).await;
    assert_eq!(session.hear_until(applied).await, Revision(12));
    scene.stop().await;
}

#[tokio::test]
async fn a_removed_node_ends_and_remembers_it() {
    let mut scene = Scene::enrolled(Network::Open).await;
    scene.start();
    let (session, _) = scene.greeted().await;
    let code = RefusalCode::NodeRemoved;
    let text = String::new();
    session.say(ToNode::Refused { code, text }).await;
    assert_eq!(scene.ended().await, Ending::Removed);
    let folder = StateFolder::open(scene.state.path()).unwrap();
    let identity = folder.identity().unwrap().unwrap();
    assert_eq!(identity.ended, Some(Ended::Removed));
}

#[tokio::test]
async fn the_survivor_of_a_clone_gets_new_keys_and_uses_them() {
    let mut scene = Scene::enrolled(Network::Open).await;
    scene.start();
    let mut session = scene.controller.session().await;
    session.hear().await;
    let old = session.node_certificate.clone();
    let ToNode::Welcome(mut told) = welcome() else {
        unreachable!("welcome() welcomes");
    };
    told.rekey = Some(true);
    session.say(ToNode::Welcome(told)).await;
    let renew = |message| match message {
        ToController::Renew { csr, wg_key } => Some((csr, wg_key)),
        _ => None,
    };
    let (csr, wg_key) = session.hear_until(renew).await;
    let certificate = scene.authority.sign(&csr);
    let renewed = certificate.clone();
    session.say(ToNode::Renewed { certificate }).await;
    session.say(ToNode::Snapshot(Box::new(netmap(11)))).await;
    assert_eq!(session.hear_until(applied).await, Revision(11));
    drop(session);
    let (session, _) = scene.greeted().await;
    let shown = session.node_certificate.clone();
    assert_eq!(shown.as_deref(), Some(&renewed[..]));
    assert_ne!(shown, old);
    scene.stop().await;
    let folder = StateFolder::open(scene.state.path()).unwrap();
    assert_eq!(folder.keys().unwrap().wg_public_key(), wg_key);
}

#[tokio::test]
async fn services_are_probed_and_news_go_out() {
    let mut scene = Scene::enrolled(Network::Open).await;
    scene.start();
    let (mut session, _) = scene.greeted().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut map = netmap(11);
    let service = map.services.values_mut().next().unwrap();
    service.kind = malha_proto::ServiceKind::Tcp;
    service.target = listener.local_addr().unwrap();
    session.say(ToNode::Snapshot(Box::new(map))).await;
    let state = |message| match message {
        ToController::Report(report) => report.services.first().map(|service| service.state),
        _ => None,
    };
    let up = |message| state(message).filter(|s| *s == malha_proto::ServiceState::Up);
    session.hear_until(up).await;
    drop(listener);
    let refused = |message| state(message).filter(|s| *s == malha_proto::ServiceState::Refused);
    session.hear_until(refused).await;
    scene.stop().await;
}

/// Else it would take what it has for the whole answer.
#[tokio::test]
async fn who_is_not_served_in_time_is_reset_before_the_agent_ends() {
    let mut scene = Scene::enrolled(Network::Open).await;
    scene.start();
    let (mut session, _) = scene.greeted().await;
    let free = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut map = netmap(11);
    let door = unanswered_door(port);
    map.balancers.insert(door.id, door);
    session.say(ToNode::Snapshot(Box::new(map))).await;
    assert_eq!(session.hear_until(applied).await, Revision(11));
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_nonblocking(true).unwrap();
    let is_taken = |status: &StatusDocument| {
        status
            .balancers
            .first()
            .is_some_and(|it| it.counts.open == 1)
    };
    scene.status_when(is_taken).await;
    scene.stop().await;
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
