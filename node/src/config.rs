//! The agent's settings: flags, then environment, then the TOML file, then defaults. Unknown keys are refused with their line.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use malha_tunnel::{Engine, MAX_SHARDS, QUIET_LOG};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use crate::engine::{EngineChoice, EngineReason};
use crate::guard::{GuardChoice, GuardConfig};
use crate::names::NamesChoice;
use crate::port_probe::ProbeChoice;

/// Read when it is there and no other file is named.
pub const DEFAULT_FILE: &str = "/etc/malha/node.toml";

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

/// What the file may say; each flag that is given overrides its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Wishes {
    pub state: Option<PathBuf>,
    pub engine: Option<EngineChoice>,
    /// UDP addresses of the tunnel; a node that others dial needs a fixed port.
    pub listen: Option<Vec<SocketAddr>>,
    pub interface: Option<String>,
    pub mtu_bytes: Option<usize>,
    /// Whether batches of packets are left to the kernel to cut and join; off for kernels that do it wrong.
    pub offload: Option<bool>,
    /// Threads of the engine `userspace`; as many as suit the machine if nothing is said.
    pub tunnel_shards: Option<usize>,
    /// UDP to the hub always passes here: with it, the engine `auto` may leave WireGuard to the kernel.
    pub plain_udp: Option<bool>,
    pub guard: Option<GuardChoice>,
    /// TCP ports that the guard leaves open.
    pub guard_except: Option<BTreeSet<u16>>,
    /// What a controller may have this machine look at, for checks.
    pub probes: Option<ProbeChoice>,
    /// Which names programs are to ask the agent for.
    pub names: Option<NamesChoice>,
    pub log: Option<String>,
    pub log_format: Option<LogFormat>,
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    pub state: PathBuf,
    pub engine: EngineChoice,
    /// A flag or a variable says so, and not the file.
    #[serde(skip)]
    pub engine_is_typed: bool,
    pub listen: Vec<SocketAddr>,
    pub interface: String,
    pub mtu_bytes: usize,
    pub offload: bool,
    pub tunnel_shards: Option<usize>,
    pub plain_udp: bool,
    pub guard: GuardChoice,
    pub guard_except: BTreeSet<u16>,
    pub probes: ProbeChoice,
    pub names: NamesChoice,
    pub log: String,
    pub log_format: LogFormat,
}

impl Wishes {
    /// Reads a file; the error names line and key.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// These wishes where they are given, else the other ones.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            state: self.state.or(other.state),
            engine: self.engine.or(other.engine),
            listen: self.listen.or(other.listen),
            interface: self.interface.or(other.interface),
            mtu_bytes: self.mtu_bytes.or(other.mtu_bytes),
            offload: self.offload.or(other.offload),
            tunnel_shards: self.tunnel_shards.or(other.tunnel_shards),
            plain_udp: self.plain_udp.or(other.plain_udp),
            guard: self.guard.or(other.guard),
            guard_except: self.guard_except.or(other.guard_except),
            probes: self.probes.or(other.probes),
            names: self.names.or(other.names),
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
        }
    }

    /// Fills in the defaults and checks the values.
    pub fn settle(self) -> Result<Settings, String> {
        let settings = Settings {
            state: match self.state {
                Some(state) => state,
                None => default_state()?,
            },
            engine: self.engine.unwrap_or_default(),
            engine_is_typed: false,
            listen: self.listen.unwrap_or_default(),
            interface: self.interface.unwrap_or_else(|| DEFAULT_INTERFACE.into()),
            mtu_bytes: self.mtu_bytes.unwrap_or(DEFAULT_MTU_BYTES),
            offload: self.offload.unwrap_or(true),
            tunnel_shards: self.tunnel_shards,
            plain_udp: self.plain_udp.unwrap_or(false),
            guard: self.guard.unwrap_or_default(),
            guard_except: (self.guard_except).unwrap_or_else(|| GUARD_EXCEPT.into()),
            probes: self.probes.unwrap_or_default(),
            names: self.names.unwrap_or_default(),
            log: self.log.unwrap_or_else(|| DEFAULT_LOG.into()),
            log_format: self.log_format.unwrap_or_default(),
        };
        settings.check()?;
        Ok(settings)
    }
}

impl Settings {
    /// Which engine this machine may run, and why.
    #[must_use]
    pub fn decide_engine(&self) -> (Engine, EngineReason) {
        match self.engine.decide(self.plain_udp) {
            (engine, EngineReason::Chosen) if self.engine_is_typed => {
                (engine, EngineReason::Argument)
            }
            decided => decided,
        }
    }

    #[must_use]
    pub fn guard(&self) -> GuardConfig {
        GuardConfig {
            choice: self.guard,
            except: self.guard_except.clone(),
        }
    }

    fn check(&self) -> Result<(), String> {
        if !(MIN_MTU_BYTES..=MAX_MTU_BYTES).contains(&self.mtu_bytes) {
            return Err(format!(
                "mtu-bytes is {}; it must be {MIN_MTU_BYTES} to {MAX_MTU_BYTES}",
                self.mtu_bytes
            ));
        }
        if let Some(shards) = self.tunnel_shards
            && !(1..=MAX_SHARDS).contains(&shards)
        {
            return Err(format!(
                "tunnel-shards is {shards}; it must be 1 to {MAX_SHARDS}; left out, it is what suits the machine"
            ));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let fits = (1..=MAX_INTERFACE_CHARS).contains(&self.interface.len());
        if !fits || !self.interface.chars().all(plain) || self.interface.starts_with('.') {
            return Err(format!(
                "interface {:?} must be 1 to {MAX_INTERFACE_CHARS} of a-z, A-Z, 0-9, '-', '_' and '.'",
                self.interface
            ));
        }
        if self.listen.len() > MAX_LISTEN {
            return Err(format!("listen may name {MAX_LISTEN} addresses at most"));
        }
        self.log_filter().map(drop)
    }

    /// The log level, or directives like `info,malha_node=debug`.
    pub fn log_filter(&self) -> Result<EnvFilter, String> {
        EnvFilter::try_new(format!("{QUIET_LOG},{}", self.log)).map_err(|error| {
            let log = &self.log;
            format!("log {log:?} is not error, warn, info, debug or trace: {error}")
        })
    }
}

fn default_state() -> Result<PathBuf, String> {
    if is_root() {
        return Ok(ROOT_STATE.into());
    }
    let absolute = |path: PathBuf| Some(path).filter(|path| path.is_absolute());
    let named = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    named
        .and_then(absolute)
        .or_else(|| Some(home.and_then(absolute)?.join(".local/state")))
        .map(|base| base.join("malha-node"))
        .ok_or_else(|| "neither XDG_STATE_HOME nor HOME is set; give --state".into())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
}

const ROOT_STATE: &str = "/var/lib/malha-node";
const DEFAULT_INTERFACE: &str = "malha0";
const DEFAULT_LOG: &str = "info";
const DEFAULT_MTU_BYTES: usize = 1_280;
/// IPv6 needs 1280 (RFC 8200 §5).
const MIN_MTU_BYTES: usize = 1_280;
const MAX_MTU_BYTES: usize = 9_216;
/// IFNAMSIZ without its end.
const MAX_INTERFACE_CHARS: usize = 15;
const MAX_LISTEN: usize = 8;
/// SSH: who offers it in the overlay must not lose the machine by it.
const GUARD_EXCEPT: [u16; 1] = [22];

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn parse(text: &str) -> Result<Wishes, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_name() {
        let error = parse("engine = \"auto\"\nengin = \"x\"\n").unwrap_err();
        assert!(
            error.contains("line 2") && error.contains("engin"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_value_names_what_would_be_right() {
        let error = parse("engine = \"wireguard\"").unwrap_err();
        assert!(
            error.contains("userspace") && error.contains("line 1"),
            "{error}"
        );
        for (text, hint) in [
            ("mtu-bytes = 100", "1280"),
            ("tunnel-shards = 0", "1 to 16"),
            ("tunnel-shards = 17", "left out"),
            ("interface = \"a/b\"", "interface"),
            ("log = \"a=b=c\"", "warn"),
        ] {
            let error = parse(text).unwrap().settle().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn the_log_says_nothing_of_single_handshakes_and_datagrams_unless_asked_to() {
        for (text, is_heard) in [
            ("", false),
            ("log = \"debug\"", false),
            ("log = \"info,boringtun=debug,quinn_udp=debug\"", true),
        ] {
            let filter = parse(text).unwrap().settle().unwrap().log_filter();
            let log = tracing_subscriber::fmt().with_env_filter(filter.unwrap());
            tracing::subscriber::with_default(log.finish(), || {
                let handshakes = tracing::enabled!(target: "boringtun::noise", Level::ERROR);
                let datagrams = tracing::enabled!(target: "quinn_udp", Level::WARN);
                let own = tracing::enabled!(Level::WARN);
                assert_eq!(
                    (handshakes, datagrams, own),
                    (is_heard, is_heard, true),
                    "{text}"
                );
            });
        }
    }

    #[test]
    fn a_flag_goes_before_the_file() {
        let flag = Wishes {
            engine: Some(EngineChoice::Netstack),
            ..Wishes::default()
        };
        let file = parse("engine = \"userspace\"\nstate = \"/x\"").unwrap();
        let settings = flag.or(file).settle().unwrap();
        assert_eq!(settings.engine, EngineChoice::Netstack);
        assert_eq!(settings.state, Path::new("/x"));
    }
}
