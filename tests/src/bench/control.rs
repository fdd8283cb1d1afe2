//! `tests/bench/control`: how fast machines enrol, a URL begins to answer and a change reaches everyone, and what a connected
//! node costs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::etcd::Etcd;
use super::figures::{fsyncs, resident_bytes};
use super::installation::{Installation, ORGANIZATION};
use super::link::{Underlay, credentials};
use super::machine::{Enrolled, Machine};
use super::outset::outset;
use super::report::{Report, Row};
use super::session::Session;
use super::spread::Audience;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Scale {
    /// The sizes of the sites that one change touches.
    pub audiences: Vec<usize>,
    /// Changes per site.
    pub rounds: usize,
    /// Garages that are brought up and replaced.
    pub garages: usize,
}

impl Scale {
    /// What the figures in the documents are made with.
    #[must_use]
    pub fn full() -> Self {
        Self {
            audiences: vec![1, 100, 1_000],
            rounds: 100,
            garages: 10,
        }
    }

    /// Enough to see that it works.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            audiences: vec![1, 10],
            rounds: 5,
            garages: 1,
        }
    }
}

/// Measures everything on a fresh installation in a temporary folder.
pub async fn control(scale: &Scale) -> Result<Report> {
    let folder = tempfile::Builder::new().prefix("malha-bench-").tempdir()?;
    let mut report = Report::new("control");
    report.note(machine()?);
    let fsync = fsyncs(folder.path(), FSYNCS)?;
    let etcd = Etcd::start(folder.path()).await?;
    if etcd.is_none() {
        report.note(
            "etcd is not installed (Debian: etcd-server), so nothing could be measured beside it",
        );
    }
    report.note("etcd: one record made durable per enrolment, watchers told per change; without TLS, certificates, acknowledgements");
    report.note("no other overlay's controller was run (Debian 12 packages none), so the other rows stand alone");
    let mut installation = Installation::start(folder.path()).await?;
    installation
        .create("/organizations", &json!({ "name": ORGANIZATION }))
        .await?;

    let outset = outset(&installation, folder.path(), scale.garages).await?;
    report.add_times(
        "malha-node up to the first 200, new node",
        &outset.new_node,
        ETCD,
        None,
    );
    report.add_times(
        "malha-node up to the first 200, replaced box",
        &outset.replaced,
        ETCD,
        None,
    );

    let crowd = Crowd::enrol(&installation, scale).await?;
    let theirs = match &etcd {
        Some(etcd) => Some(etcd.puts_per_s(crowd.nodes(), AT_ONCE).await?),
        None => None,
    };
    report.add(
        Row::new("enrolments, each durable", crowd.enrolled_per_s, "1/s").beside(ETCD, theirs),
    );

    // A fresh process: what enrolment needed must not count as what sessions need.
    installation.restart().await?;
    sleep(SETTLE).await;
    let before = resident_bytes(installation.process()?)?;
    let mut sessions = crowd.connect(&installation).await?;
    sleep(SETTLE).await;
    let after = resident_bytes(installation.process()?)?;
    let theirs = memory_per_watcher(etcd.as_ref(), crowd.listeners()).await?;
    report.add(Row::new("sessions opened", sessions.opened_per_s, "1/s"));
    let ours_kib = (after - before) / crowd.listeners() as f64 / KIB;
    report.add(Row::new("memory per connected node", ours_kib, "KiB").beside(ETCD, theirs));
    report.add(Row::new(
        "memory of the controller with all connected",
        after / KIB / KIB,
        "MiB",
    ));

    for audience in &crowd.audiences {
        audience.join(&installation).await?;
        let ours = audience.measure(&installation, scale.rounds).await?;
        let theirs = match &etcd {
            Some(etcd) => {
                let mut watchers = etcd.watchers(audience.nodes).await?;
                Some(etcd.spread(&mut watchers, scale.rounds).await?)
            }
            None => None,
        };
        let name = format!("one change applied and acknowledged by {}", audience.nodes);
        report.add_times(&name, &ours, ETCD, theirs.as_ref());
    }
    sessions.check()?;
    report.add_times("for scale: this disk's fsync of 4 KiB", &fsync, ETCD, None);
    Ok(report)
}

/// Every simulated machine.
struct Crowd {
    audiences: Vec<Audience>,
    /// In the order of the audiences; the last of each is its speaker.
    nodes: Vec<Enrolled>,
    enrolled_per_s: f64,
    underlay: Underlay,
}

impl Crowd {
    async fn enrol(installation: &Installation, scale: &Scale) -> Result<Self> {
        let mut audiences = Vec::new();
        let mut machines = Vec::new();
        for nodes in &scale.audiences {
            let audience = Audience::new(installation, *nodes).await?;
            for name in audience.names() {
                machines.push(Machine::new(&name, machines.len(), &audience.token)?);
            }
            audiences.push(audience);
        }
        let pilot = installation.site("pilot", 1).await?;
        let authority = Machine::new("pilot", machines.len(), &pilot)?
            .enrol_first(&pilot)
            .await?
            .authority();
        let trust = credentials(&authority, None)?;
        let sources = machines.len().div_ceil(MACHINES_PER_SOURCE);
        let underlay = Underlay::new(u8::try_from(sources).context("too many machines")?)?;
        let count = machines.len();
        let start = Instant::now();
        let enrolments = machines.into_iter().enumerate().map(|(number, machine)| {
            machine.enrol(underlay.of(number), installation.control, trust.clone())
        });
        let nodes: Vec<Enrolled> = stream::iter(enrolments)
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let enrolled_per_s = count as f64 / start.elapsed().as_secs_f64();
        Ok(Self {
            audiences,
            nodes,
            enrolled_per_s,
            underlay,
        })
    }

    fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The nodes that connect: all but the speakers.
    fn listeners(&self) -> usize {
        self.audiences.iter().map(|audience| audience.nodes).sum()
    }

    async fn connect(&self, installation: &Installation) -> Result<Sessions> {
        let mut listening = Vec::new();
        let mut from = 0;
        for audience in &self.audiences {
            listening.extend(from..from + audience.nodes);
            from += audience.nodes + 1;
        }
        let start = Instant::now();
        let mut running = JoinSet::new();
        // Each runs as soon as it is welcomed: a session that waits for the others would be taken for dead.
        let mut opening = stream::iter(listening)
            .map(|number| {
                Session::open(
                    &self.nodes[number],
                    number,
                    self.underlay.of(number),
                    installation.control,
                )
            })
            .buffer_unordered(AT_ONCE);
        while let Some(session) = opening.next().await {
            running.spawn(session?.run());
        }
        let opened_per_s = running.len() as f64 / start.elapsed().as_secs_f64();
        Ok(Sessions {
            running,
            opened_per_s,
        })
    }
}

/// Sessions that follow the controller.
struct Sessions {
    running: JoinSet<Result<()>>,
    opened_per_s: f64,
}

impl Sessions {
    /// An error when one of them ended.
    fn check(&mut self) -> Result<()> {
        match self.running.try_join_next() {
            Some(ended) => ended?.context("a session ended"),
            None => {
                ensure!(!self.running.is_empty(), "no session ran");
                Ok(())
            }
        }
    }
}

/// Whose figures these are.
pub(super) fn machine() -> Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "{cores} cores, shared by everything that is measured; load average {load} now"
    ))
}

async fn memory_per_watcher(etcd: Option<&Etcd>, count: usize) -> Result<Option<f64>> {
    let Some(etcd) = etcd else { return Ok(None) };
    let before = etcd.resident_bytes()?;
    let watchers = etcd.watchers(count).await?;
    sleep(SETTLE).await;
    let after = etcd.resident_bytes()?;
    drop(watchers);
    Ok(Some((after - before) / count as f64 / KIB))
}

const ETCD: &str = "etcd";
/// Enrolments, sessions and puts under way at once.
const AT_ONCE: usize = 64;
/// Below what the controller takes at once from one address.
const MACHINES_PER_SOURCE: usize = 50;
/// Three heartbeats and what they stir up.
const SETTLE: Duration = Duration::from_secs(5);
const FSYNCS: usize = 200;
const KIB: f64 = 1_024.0;
