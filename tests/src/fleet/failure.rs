//! What a simulation tells when the product did not hold: what broke, when, after which events, and how to see it again.

use std::collections::VecDeque;
use std::fmt;

use malha_node::agent::Millis;

/// Something that may never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken(String);

/// A seed whose story ended badly.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub at_ms: Millis,
    pub what: String,
    /// The last events, oldest first.
    pub last: Vec<String>,
}

/// The last events, and a fingerprint of all.
#[derive(Debug, Default)]
pub(super) struct Journal {
    last: VecDeque<String>,
    fingerprint: u64,
}

impl Broken {
    pub(super) fn new(what: String) -> Self {
        Self(what)
    }
}

/// An error where none may be.
pub(super) fn broken(what: &str, error: impl fmt::Display) -> Broken {
    Broken(format!("{what}: {error}"))
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the last events:")?;
        for line in &self.last {
            writeln!(f, "  {line}")?;
        }
        writeln!(
            f,
            "seed {} broke at {} ms: {}",
            self.seed, self.at_ms, self.what
        )?;
        write!(
            f,
            "see it again: MALHA_SEED={} cargo test -p malha-tests --test fleet",
            self.seed
        )
    }
}

impl Journal {
    pub(super) fn write(&mut self, at: Millis, line: &fmt::Arguments) {
        let line = format!("{at:>9} {line}");
        for byte in line.bytes() {
            self.fingerprint = (self.fingerprint ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        if self.last.len() == KEPT_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(super) fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}

const KEPT_LINES: usize = 3000;
/// FNV-1a, 64 bits.
const FNV_PRIME: u64 = 0x0100_0000_01b3;
