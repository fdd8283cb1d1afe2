//! One change and all nodes that it touches: how long until each of them has said that it runs with it.

use std::time::Instant;

use anyhow::{Result, ensure};
use malha_proto::EnrolToken;
use serde_json::json;

use super::figures::Samples;
use super::installation::{Installation, ORGANIZATION, node};

/// Nodes that one change touches: a site, and a node beside it with which the whole site has a tunnel.
pub(super) struct Audience {
    pub(super) nodes: usize,
    pub(super) token: EnrolToken,
}

impl Audience {
    /// Creates the site; its machines and the one beside them enrol with the token.
    pub(super) async fn new(installation: &Installation, nodes: usize) -> Result<Self> {
        let token = installation.site(&site(nodes), nodes + 1).await?;
        Ok(Self { nodes, token })
    }

    /// The names of its machines; the last is the one that changes.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        (0..self.nodes)
            .map(|number| format!("node-{number:04}"))
            .chain([SPEAKER.to_owned()])
    }

    /// Makes the site the speaker's peers.
    pub(super) async fn join(&self, installation: &Installation) -> Result<()> {
        let (from, to) = (
            format!("site:{}", self.site()),
            format!("node:{}", self.speaker()),
        );
        let grant = json!({ "from": from, "to": to, "protocol": "tcp", "from_port": 5_500 });
        installation.create("/grants", &grant).await?;
        self.change(installation, 0).await
    }

    /// Changes the speaker's endpoint `rounds` times. Each time is from the operator's request to the answer that everyone
    /// has applied it, and the change is durable.
    pub(super) async fn measure(
        &self,
        installation: &Installation,
        rounds: usize,
    ) -> Result<Samples> {
        let mut times = Vec::new();
        for round in 1..=rounds {
            let start = Instant::now();
            self.change(installation, round).await?;
            times.push(start.elapsed());
        }
        Ok(times.into_iter().collect())
    }

    async fn change(&self, installation: &Installation, round: usize) -> Result<()> {
        let port = 10_000 + round;
        let path = format!(
            "{}/endpoints?wait=applied&timeout_ms=30000",
            node(&self.speaker())
        );
        let answer = installation
            .put(
                &path,
                &json!({ "endpoints": [format!("192.0.2.1:{port}")] }),
            )
            .await?;
        let applied = &answer["applied"];
        // The hub is everyone's peer and reads the state itself.
        let touched = self.nodes + 1;
        let all = applied["nodes"] == touched && applied["of"] == touched;
        ensure!(
            round == 0 || all,
            "not {touched} nodes applied it: {applied}"
        );
        Ok(())
    }

    fn site(&self) -> String {
        format!("{ORGANIZATION}/{}", site(self.nodes))
    }

    fn speaker(&self) -> String {
        format!("{}/{SPEAKER}", self.site())
    }
}

fn site(nodes: usize) -> String {
    format!("of-{nodes}")
}

const SPEAKER: &str = "speaker";
