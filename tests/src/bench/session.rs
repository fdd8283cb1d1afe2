//! A node's control session without its data plane: netmaps are patched and acknowledged, reports go out at each heartbeat.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use malha_proto::{
    HEARTBEAT_INTERVAL_MS, Hello, Netmap, NodeReport, PROTOCOL_VERSION, ToController, ToNode,
};
use quinn::Endpoint;
use tokio::time::{MissedTickBehavior, interval};

use super::link::Link;
use super::machine::Enrolled;

/// A welcomed session.
pub(super) struct Session {
    link: Link,
    netmap: Netmap,
}

impl Session {
    /// Says hello with what the enrolment gave; the lease is as good as saved.
    pub(super) async fn open(
        node: &Enrolled,
        number: usize,
        from: &Endpoint,
        to: SocketAddr,
    ) -> Result<Self> {
        let mut link = Link::open(from, to, node.credentials()?).await?;
        let netmap = node.reply.netmap.clone();
        let hello = Hello {
            version: PROTOCOL_VERSION,
            instance: number as u64,
            lease: node.reply.lease.clone(),
            applied: Some(netmap.revision),
            digest: Some(netmap.digest()),
            facts: node.facts.clone(),
        };
        link.send(&ToController::Hello(Box::new(hello))).await?;
        match link.receive().await? {
            ToNode::Welcome(_) => {}
            other => bail!("said hello and heard {other:?}"),
        }
        link.send(&ToController::LeaseSaved).await?;
        Ok(Self { link, netmap })
    }

    /// Follows the controller. Returns only with an error.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = self.link.receive() => self.take(message?).await?,
                _ = heartbeat.tick() => {
                    let report = NodeReport { applied: self.netmap.revision, ..NodeReport::default() };
                    self.link.send(&ToController::Report(report)).await?;
                }
            }
        }
    }

    async fn take(&mut self, message: ToNode) -> Result<()> {
        match message {
            ToNode::Snapshot(netmap) => self.netmap = *netmap,
            ToNode::Delta(delta) => self.netmap.patch(*delta)?,
            // Its tunnels are not there, so neither are their keys.
            ToNode::Heartbeat | ToNode::Pairs(_) => return Ok(()),
            other => bail!("a session heard {other:?}"),
        }
        self.link
            .send(&ToController::Applied {
                revision: self.netmap.revision,
            })
            .await
    }
}

const HEARTBEAT: Duration = Duration::from_millis(HEARTBEAT_INTERVAL_MS);
