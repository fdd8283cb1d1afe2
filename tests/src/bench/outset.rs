//! From `malha-node up` to the first page at the public URL: real processes, and an operator who reacts at once.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hyper::StatusCode;
use serde_json::json;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use super::figures::Samples;
use super::installation::{Installation, ORGANIZATION, free_port, node, program, terminate};
use super::page::Browser;

/// How long it took.
pub(super) struct Outset {
    /// A new node; the operator adds service and route when it appears.
    pub(super) new_node: Samples,
    /// `malha node replace`: another machine takes the place of a node that has a route.
    pub(super) replaced: Samples,
}

/// Brings up `count` garages one after the other, and replaces each.
pub(super) async fn outset(
    installation: &Installation,
    folder: &Path,
    count: usize,
) -> Result<Outset> {
    let web = format!("127.0.0.1:{}", free_port()?);
    let garage = program("malha")?
        .args(["demo-garage", "--listen", &web])
        .spawn()?;
    let browser = Browser::new(installation.https(), &installation.edge_authority())?;
    let (mut new_node, mut replaced) = (Vec::new(), Vec::new());
    for number in 0..count {
        let place = Place {
            installation,
            browser: &browser,
            web: &web,
            site: format!("garagem-{number:02}"),
        };
        let token = installation.site(&place.site, 1).await?.expose();
        let (mut first, time) = place
            .bring_up(&folder.join(format!("first-{number}")), &token)
            .await?;
        new_node.push(time);
        let created = installation
            .create(&format!("{}/replace", node(&place.node())), &json!({}))
            .await?;
        let token = created["token"]
            .as_str()
            .context("the answer shows no token")?;
        terminate(&mut first).await?;
        let (mut second, time) = place
            .replace(&folder.join(format!("second-{number}")), token)
            .await?;
        replaced.push(time);
        terminate(&mut second).await?;
    }
    drop(garage);
    Ok(Outset {
        new_node: new_node.into_iter().collect(),
        replaced: replaced.into_iter().collect(),
    })
}

/// One garage with its public URL.
struct Place<'a> {
    installation: &'a Installation,
    browser: &'a Browser,
    web: &'a str,
    site: String,
}

impl Place<'_> {
    async fn bring_up(&self, state: &Path, token: &str) -> Result<(Child, Duration)> {
        let start = Instant::now();
        let agent = up(state, token)?;
        let appears = async {
            while !self.installation.has_node(&self.node()).await {
                sleep(POLL).await;
            }
        };
        timeout(PATIENCE, appears)
            .await
            .context("the node does not appear")?;
        let service = json!({
            "node": self.node(), "name": "web", "port": 80, "target": self.web, "kind": "http", "exposure": "public",
        });
        self.installation.create("/services", &service).await?;
        let route = json!({ "host": self.host(), "services": [format!("{}/web", self.node())] });
        self.installation.create("/routes", &route).await?;
        self.answers().await?;
        Ok((agent, start.elapsed()))
    }

    async fn replace(&self, state: &Path, token: &str) -> Result<(Child, Duration)> {
        let start = Instant::now();
        let agent = up(state, token)?;
        self.answers().await?;
        Ok((agent, start.elapsed()))
    }

    async fn answers(&self) -> Result<()> {
        let host = self.host();
        let answers = async {
            while !matches!(self.browser.visit(&host).await, Ok(StatusCode::OK)) {
                sleep(POLL).await;
            }
        };
        timeout(PATIENCE, answers)
            .await
            .with_context(|| format!("https://{host}/ does not answer"))
    }

    fn node(&self) -> String {
        format!("{ORGANIZATION}/{}/{NODE}", self.site)
    }

    fn host(&self) -> String {
        format!("{}.bench.test", self.site)
    }
}

fn up(state: &Path, token: &str) -> Result<Child> {
    let mut command = program("malha-node")?;
    command
        .args([
            "up", "--name", NODE, "--engine", "netstack", "--log", "error", "--state",
        ])
        .arg(state);
    Ok(command.env("MALHA_TOKEN", token).spawn()?)
}

const NODE: &str = "servidor";
const PATIENCE: Duration = Duration::from_secs(60);
/// Also the grain of what is measured.
const POLL: Duration = Duration::from_millis(20);
