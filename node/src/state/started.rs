//! What the agent was last started with, for who looks at the machine when it is stopped: `started.json`. It holds nothing secret,
//! decides nothing at the next start, and a start does not fail for it.

use std::collections::BTreeSet;
use std::path::Path;

use malha_tunnel::Engine;
use serde::{Deserialize, Serialize};

use super::versioned::{self, VERSION};
use super::{STARTED, StateError, atomic};
use crate::clock::unix_ms;
use crate::config::{Settings, Wishes};
use crate::engine::{EngineChoice, EngineReason};
use crate::guard::{GuardChoice, GuardConfig};

/// One start of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Started {
    version: u32,
    /// Milliseconds of the Unix epoch.
    pub at_ms: u64,
    /// What no file says, and so nobody can know without this.
    #[serde(default)]
    pub arguments: Arguments,
    asked: Asked,
    /// None in the file of a program before this was noted.
    #[serde(default)]
    guard: Option<GuardAsked>,
    #[serde(with = "engine_name")]
    pub engine: Engine,
    pub reason: EngineReason,
    /// Threads of the tunnel.
    pub shards: usize,
}

/// Settings that came as flags or in the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Arguments {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offload: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_shards: Option<usize>,
}

/// The settings in force of which the data plane was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Asked {
    engine: EngineChoice,
    plain_udp: bool,
    offload: bool,
    tunnel_shards: Option<usize>,
}

/// What the guard was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct GuardAsked {
    interface: String,
    choice: GuardChoice,
    except: BTreeSet<u16>,
}

impl Started {
    /// A start now, with these settings, of which `typed` came as flags or in the environment.
    #[must_use]
    pub fn now(settings: &Settings, typed: &Wishes, engine: Engine, reason: EngineReason) -> Self {
        Self {
            version: VERSION,
            at_ms: unix_ms(),
            arguments: Arguments {
                engine: typed.engine,
                offload: typed.offload,
                tunnel_shards: typed.tunnel_shards,
            },
            asked: Asked::of(settings),
            guard: Some(GuardAsked::of(settings)),
            engine,
            reason,
            shards: engine.shards(settings.tunnel_shards),
        }
    }

    /// The last start by what a state folder says; None before the first one.
    ///
    /// # Errors
    /// The file can't be read, or says something else.
    pub fn glimpse(folder: &Path) -> Result<Option<Self>, StateError> {
        versioned::read(&folder.join(STARTED))
    }

    /// Whether a start with these settings would be as this one was.
    #[must_use]
    pub fn is_like(&self, settings: &Settings) -> bool {
        self.asked == Asked::of(settings)
    }

    /// What it takes to set the same guard again, whatever the configuration says now. None where that was not noted.
    #[must_use]
    pub fn guard_wishes(&self) -> Option<Wishes> {
        let guard = self.guard.clone()?;
        Some(Wishes {
            engine: Some(self.asked.engine),
            plain_udp: Some(self.asked.plain_udp),
            offload: Some(self.asked.offload),
            tunnel_shards: self.asked.tunnel_shards,
            interface: Some(guard.interface),
            guard: Some(guard.choice),
            guard_except: Some(guard.except),
            ..Wishes::default()
        })
    }

    #[must_use]
    pub fn offload(&self) -> bool {
        self.asked.offload
    }

    /// How long ago it was; zero where the clock was set back since.
    #[must_use]
    pub fn age_ms(&self) -> u64 {
        unix_ms().saturating_sub(self.at_ms)
    }

    pub(super) fn save(&self, folder: &Path) -> Result<(), StateError> {
        let text = versioned::to_json(self);
        atomic::write(&folder.join(STARTED), text.as_bytes())
    }
}

impl From<Arguments> for Wishes {
    fn from(arguments: Arguments) -> Self {
        Self {
            engine: arguments.engine,
            offload: arguments.offload,
            tunnel_shards: arguments.tunnel_shards,
            ..Self::default()
        }
    }
}

impl Asked {
    fn of(settings: &Settings) -> Self {
        Self {
            engine: settings.engine,
            plain_udp: settings.plain_udp,
            offload: settings.offload,
            tunnel_shards: settings.tunnel_shards,
        }
    }
}

impl GuardAsked {
    fn of(settings: &Settings) -> Self {
        let GuardConfig { choice, except } = settings.guard();
        Self {
            interface: settings.interface.clone(),
            choice,
            except,
        }
    }
}

mod engine_name {
    use malha_tunnel::Engine;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(engine: &Engine, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(engine)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Engine, D::Error> {
        let name = String::deserialize(from)?;
        let all = [Engine::Netstack, Engine::Userspace, Engine::Kernel];
        let engine = all.into_iter().find(|engine| engine.to_string() == name);
        engine.ok_or_else(|| Error::custom(format!("{name:?} is no engine")))
    }
}
