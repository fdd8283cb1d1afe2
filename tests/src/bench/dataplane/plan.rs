//! What a run of the benchmark measures, read from its arguments. It starts nothing.

use anyhow::{Context, Result, bail, ensure};

/// The parts to be measured, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) parts: Vec<Part>,
    /// Rounds; all contenders take a turn in each.
    pub(super) runs: usize,
    /// The length of one TCP measurement.
    pub(super) seconds: u64,
    /// Their names; empty means all that can run.
    pub(super) contenders: Vec<String>,
    pub(super) install_peers: bool,
    pub json: bool,
    pub(super) quick: bool,
}

/// One part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Streams, datagrams, pings, memory: all contenders.
    Throughput,
    /// What an idle node and idle peers cost.
    Idle,
    /// Handshakes of members, and of strangers.
    Handshakes,
    /// Streams over a long and bad line.
    Loss,
    /// A stream through a hub's relay.
    Relay,
    /// Streams over TLS, where UDP is blocked.
    Carrier,
    /// Streams over QUIC beside the tunnel, on the port of WireGuard and on another.
    Quic,
    /// Streams of a hub's members, with one shard and with two.
    Shards,
}

impl Plan {
    /// # Errors
    /// Says which word is not known, or which value is missing or out of range.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut plan = Self::default();
        let (mut runs, mut seconds) = (None, None);
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "--json" => plan.json = true,
                "--quick" => plan.quick = true,
                "--install-peers" => plan.install_peers = true,
                "--runs" => runs = Some(value()?.parse().context("--runs")?),
                "--seconds" => seconds = Some(value()?.parse().context("--seconds")?),
                "--contenders" => {
                    plan.contenders = value()?.split(',').map(str::to_owned).collect();
                }
                other => match PARTS.iter().find(|(name, _)| *name == other) {
                    Some((_, part)) => plan.parts.push(*part),
                    None => bail!("{other} is not known. {USAGE}"),
                },
            }
        }
        if plan.parts.is_empty() {
            plan.parts = PARTS.map(|(_, part)| part).to_vec();
        }
        plan.runs = runs.unwrap_or(if plan.quick { 1 } else { RUNS });
        plan.seconds = seconds.unwrap_or(if plan.quick { 2 } else { SECONDS });
        ensure!((1..=100).contains(&plan.runs), "--runs: 1 to 100");
        ensure!((1..=60).contains(&plan.seconds), "--seconds: 1 to 60");
        Ok(plan)
    }

    pub(super) fn measures(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            runs: RUNS,
            seconds: SECONDS,
            contenders: Vec::new(),
            install_peers: false,
            json: false,
            quick: false,
        }
    }
}

const PARTS: [(&str, Part); 8] = [
    ("--throughput", Part::Throughput),
    ("--idle", Part::Idle),
    ("--handshakes", Part::Handshakes),
    ("--loss", Part::Loss),
    ("--relay", Part::Relay),
    ("--carrier", Part::Carrier),
    ("--quic", Part::Quic),
    ("--shards", Part::Shards),
];
const RUNS: usize = 5;
const SECONDS: u64 = 5;
const USAGE: &str = "Known are --throughput, --idle, --handshakes, --loss, --relay, --carrier, --quic, --shards (none means all), --runs N, \
    --seconds N, --contenders A,B, --quick, --install-peers, --json";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan> {
        Plan::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn nothing_said_means_everything() {
        let plan = parse("").unwrap();
        assert_eq!(plan.parts.len(), PARTS.len());
        assert_eq!((plan.runs, plan.seconds), (RUNS, SECONDS));
    }

    #[test]
    fn what_is_said_wins_over_quick() {
        let plan = parse("--runs 3 --quick --contenders veth,malha").unwrap();
        assert_eq!((plan.runs, plan.seconds), (3, 2));
        assert_eq!(plan.contenders, ["veth", "malha"]);
    }

    #[test]
    fn an_unknown_word_is_refused_with_those_that_are_known() {
        let error = parse("--fast").unwrap_err().to_string();
        assert!(
            error.contains("--fast") && error.contains("--quick"),
            "{error}"
        );
        assert!(parse("--runs").is_err() && parse("--runs 0").is_err());
    }
}
