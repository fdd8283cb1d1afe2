//! iperf3: TCP streams and UDP datagrams between the two machines, read from its JSON.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::wire::{Side, Wire};
use crate::lab::{PATIENCE, Process, eventually};

/// A server on the far side, until it is dropped.
pub(super) struct Iperf<'a> {
    wire: &'a Wire,
    to: Ipv4Addr,
    _server: Process,
}

/// What arrived, and what it cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) bytes: f64,
    pub(super) seconds: f64,
    /// Datagrams that arrived, and the share of those sent that did not; both 0 for TCP.
    pub(super) datagrams: f64,
    pub(super) lost_percent: f64,
    pub(super) processor: Duration,
}

impl Flow {
    pub(super) fn gbit_per_s(&self) -> f64 {
        self.bytes * 8.0 / self.seconds / 1e9
    }

    pub(super) fn processor_s_per_gb(&self) -> f64 {
        self.processor.as_secs_f64() / (self.bytes / 1e9)
    }

    pub(super) fn kpps(&self) -> f64 {
        self.datagrams / self.seconds / 1e3
    }

    pub(super) fn processor_us_per_datagram(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / self.datagrams
    }
}

impl<'a> Iperf<'a> {
    pub(super) fn start(wire: &'a Wire, to: Ipv4Addr) -> Result<Self> {
        let mut command = wire.namespace(Side::Far).command("iperf3");
        let server = wire.start("iperf3-server", command.arg("--server"))?;
        let listens = || {
            let near = wire.namespace(Side::Near);
            let reached = near.within(|| std::net::TcpStream::connect((to, PORT)))?;
            Ok(reached.map(drop)?)
        };
        eventually("iperf3 listens", PATIENCE, listens)?;
        Ok(Self {
            wire,
            to,
            _server: server,
        })
    }

    /// Streams from near to far.
    pub(super) fn tcp(&self, streams: usize, seconds: u64, control: &str) -> Result<Flow> {
        let streams = streams.to_string();
        let arguments = ["--parallel", &streams, "--congestion", control];
        let (end, processor) = self.run(&arguments, seconds)?;
        Ok(Flow {
            bytes: number(&end, "/sum_received/bytes")?,
            seconds: number(&end, "/sum_received/seconds")?,
            datagrams: 0.0,
            lost_percent: 0.0,
            processor,
        })
    }

    /// Datagrams of 64 bytes from near to far, as fast as they go unless a rate is given.
    pub(super) fn udp(&self, offered_kpps: Option<u64>, seconds: u64) -> Result<Flow> {
        let bits_per_s = offered_kpps.unwrap_or(0) * 1_000 * DATAGRAM_BYTES * 8;
        let (rate, length) = (bits_per_s.to_string(), DATAGRAM_BYTES.to_string());
        let arguments = ["--udp", "--length", &length, "--bitrate", &rate];
        let (end, processor) = self.run(&arguments, seconds)?;
        let bytes = number(&end, "/sum_received/bytes")?;
        let datagrams = bytes / DATAGRAM_BYTES as f64;
        let sent = number(&end, "/sum_sent/packets")?;
        ensure!(datagrams > 0.0, "no datagram arrived of {sent}");
        Ok(Flow {
            bytes,
            seconds: number(&end, "/sum_received/seconds")?,
            datagrams,
            lost_percent: (100.0 * (sent - datagrams) / sent).max(0.0),
            processor,
        })
    }

    /// Once more if it fails: a server that has just served sometimes hangs up on the next client.
    fn run(&self, arguments: &[&str], seconds: u64) -> Result<(Value, Duration)> {
        self.run_once(arguments, seconds)
            .or_else(|_| self.run_once(arguments, seconds))
    }

    fn run_once(&self, arguments: &[&str], seconds: u64) -> Result<(Value, Duration)> {
        let mut command = self.command(arguments, seconds);
        let limit = Duration::from_secs(seconds) + EXCHANGE_LIMIT;
        let before = self.wire.meter.used()?;
        let printed = self.wire.run("iperf3", &mut command, limit)?;
        let processor = self.wire.meter.used()?.saturating_sub(before);
        let mut result: Value = serde_json::from_slice(&printed).context("iperf3's JSON")?;
        if let Some(error) = result.get("error") {
            bail!("iperf3: {error}");
        }
        Ok((result["end"].take(), processor))
    }

    fn command(&self, arguments: &[&str], seconds: u64) -> Command {
        let mut command = self.wire.namespace(Side::Near).command("iperf3");
        command.args([
            "--json",
            "--interval",
            "0",
            "--client",
            &self.to.to_string(),
        ]);
        command.args(["--time", &seconds.to_string()]);
        command.args(arguments);
        command
    }
}

fn number(end: &Value, path: &str) -> Result<f64> {
    let number = end.pointer(path).and_then(Value::as_f64);
    number.with_context(|| format!("iperf3's JSON has no number at /end{path}"))
}

const PORT: u16 = 5201;
const DATAGRAM_BYTES: u64 = 64;
/// After its time iperf3 exchanges results, through whatever is still queued.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(20);
