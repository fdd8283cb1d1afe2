//! Who is chosen to look from where.

use malha_core::{Command, Tag};
use malha_proto::{
    EnrolToken, Fingerprint, MachineFacts, MachineId, PROTOCOL_VERSION, Revision, WgKey,
};
use serde_json::json;

use super::*;
use crate::api::tests::rig::Rig;
use crate::session::{SessionSummary, Transport};

/// `sefaz` with the server `ss-1`, which members of `sefaz` may open at 5500, and a node of another organization.
struct Scene {
    rig: Rig,
    server: NodeId,
    member: NodeId,
    stranger: NodeId,
}

impl Scene {
    async fn new() -> Self {
        let rig = Rig::furnished().await;
        let member = rig.enrol("ss-2").await;
        rig.post("/organizations", json!({"name": "outra"})).await;
        rig.post("/sites", json!({"organization": "outra", "name": "loja"}))
            .await;
        let token = json!({"site": "outra/loja", "profile": "garage"});
        let created = rig.post("/tokens", token).await;
        let token: EnrolToken = created["token"].as_str().unwrap().parse().unwrap();
        rig.does(Command::Enrol {
            token: token.id,
            secret: token.secret,
            wg_key: WgKey([77; 32]),
            tls_key: Fingerprint([77; 32]),
            name: Some("vigia".parse().unwrap()),
            facts: facts(),
        })
        .await;
        let node = |path: &str| rig.state().node_by_path(path).unwrap().id;
        Self {
            server: node("sefaz/producao/ss-1"),
            member,
            stranger: node("outra/loja/vigia"),
            rig,
        }
    }

    /// The node has a session from this address and speaks this version.
    fn connects(&self, node: NodeId, from: &str, version: u16) {
        let summary = SessionSummary {
            instance: node.0,
            tls_key: Fingerprint([2; 32]),
            transport: Transport::Quic,
            remote: format!("{from}:40000").parse().unwrap(),
            since_ms: 0,
            facts: facts(),
            version,
            applied: Revision(0),
        };
        // It keeps its seat in the registry's eyes as long as nobody leaves it.
        drop(self.rig.context.registry.sit(node, summary));
    }

    async fn tags(&self, node: NodeId) {
        let tags = [OUTSIDE_TAG.parse::<Tag>().unwrap()].into();
        self.rig.does(Command::SetNodeTags { id: node, tags }).await;
    }

    fn outside(&self, declared: &str) -> Result<NodeId, NoOutside> {
        let state = self.rig.state();
        let lookouts = Lookouts::new(&state, &self.rig.context.registry, &self.rig.context.live);
        let organization = state.organization_by_name("sefaz").unwrap().id;
        lookouts.outside(organization, &[declared.parse().unwrap()])
    }

    fn members(&self, port: u16) -> (Option<NodeId>, Option<NodeId>) {
        let state = self.rig.state();
        let lookouts = Lookouts::new(&state, &self.rig.context.registry, &self.rig.context.live);
        let around = lookouts.around(self.server);
        (around.granted(port), around.ungranted(port))
    }
}

#[tokio::test]
async fn names_are_asked_of_a_member_that_may_open_something_and_knows_how() {
    let scene = Scene::new().await;
    let asker = || {
        let state = scene.rig.state();
        let lookouts = Lookouts::new(&state, &scene.rig.context.registry, &scene.rig.context.live);
        let server = state.node(scene.server).unwrap();
        lookouts.asker(&[server])
    };
    scene.connects(scene.stranger, "198.51.100.7", PROTOCOL_VERSION);
    scene.connects(scene.member, "203.0.113.9", NAMES_SINCE_VERSION - 1);
    assert_eq!(asker(), None);
    scene.connects(scene.member, "203.0.113.9", NAMES_SINCE_VERSION);
    assert_eq!(asker(), Some((scene.member, [scene.server].into())));
}

fn inside(node: &str) -> NoOutside {
    NoOutside::Inside {
        node: node.to_owned(),
    }
}

fn facts() -> MachineFacts {
    MachineFacts {
        host_name: "maquina".into(),
        machine: MachineId([7; 16]),
        agent_version: "1".into(),
        os: "linux".into(),
        engine: None,
    }
}

#[tokio::test]
async fn the_policy_says_who_looks_with_a_grant_and_who_without() {
    let scene = Scene::new().await;
    assert_eq!(scene.members(5_500), (None, None));
    scene.connects(scene.stranger, "198.51.100.7", PROTOCOL_VERSION);
    assert_eq!(scene.members(5_500), (None, Some(scene.stranger)));
    scene.connects(scene.member, "203.0.113.9", PROTOCOL_VERSION);
    assert_eq!(
        scene.members(5_500),
        (Some(scene.member), Some(scene.stranger))
    );
    // A peer whose packets arrive says more of the server's filter than a stranger.
    assert_eq!(scene.members(4_000), (None, Some(scene.member)));
}

#[tokio::test]
async fn who_is_too_old_does_not_look() {
    let scene = Scene::new().await;
    scene.connects(scene.member, "203.0.113.9", PROBES_SINCE_VERSION - 1);
    assert_eq!(scene.members(5_500), (None, None));
}

#[tokio::test]
async fn outside_is_who_is_tagged_so_and_shares_nothing_with_the_organization() {
    let scene = Scene::new().await;
    let declared = "203.0.113.10";
    assert_eq!(scene.outside(declared), Err(NoOutside::Untagged));
    scene.tags(scene.stranger).await;
    assert_eq!(scene.outside(declared), Err(NoOutside::Offline));
    scene.connects(scene.stranger, "198.51.100.7", PROTOCOL_VERSION);
    assert_eq!(scene.outside(declared), Ok(scene.stranger));
    let inside = || Err(inside("outra/loja/vigia"));
    assert_eq!(
        scene.outside("198.51.100.7"),
        inside(),
        "it comes from a declared address"
    );
    scene.connects(scene.server, "198.51.100.7", PROTOCOL_VERSION);
    assert_eq!(
        scene.outside(declared),
        inside(),
        "it comes from where the server comes from"
    );
}

#[tokio::test]
async fn a_node_of_the_organization_is_never_outside_of_it() {
    let scene = Scene::new().await;
    scene.tags(scene.member).await;
    scene.connects(scene.member, "198.51.100.7", PROTOCOL_VERSION);
    assert_eq!(
        scene.outside("203.0.113.10"),
        Err(inside("sefaz/producao/ss-2"))
    );
}
