//! A profile's text (TOML, version 1) and what it says. Every refusal names line, column and field, and what would be right;
//! an unknown key is refused.

use std::collections::{BTreeMap, BTreeSet};

use malha_proto::{Label, Port, Profile, Protocol};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as ValueError, StrDeserializer};
use thiserror::Error;
use toml::Spanned;

use super::{Direction, Party, PortExposure, PortProbe, PortSpec, ProfileSpec, Release};
use crate::limits::{MAX_PORTS_PER_PROFILE, MAX_PROFILE_BYTES, MAX_PROFILE_ENTRIES};
use crate::policy::position;

/// Why a text is not a profile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct ProfileError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// With the field's name and what would be right.
    pub problem: String,
}

impl ProfileSpec {
    /// Reads a text.
    ///
    /// # Errors
    /// It is not a profile.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        if text.len() > MAX_PROFILE_BYTES {
            let problem = format!(
                "the text has {} bytes; a profile has at most {MAX_PROFILE_BYTES}",
                text.len()
            );
            return Err(error_at(text, 0, problem));
        }
        let raw: RawProfile = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            error_at(text, start, error.message().trim().to_owned())
        })?;
        let reader = Reader { text };
        if *raw.version.get_ref() != VERSION {
            let problem = format!("version: this program reads version {VERSION}");
            return Err(reader.refuse(&raw.version, problem));
        }
        let name = reader.word::<Profile>(&raw.profile, "profile", PROFILE_WORDS)?;
        let mut ports = Vec::with_capacity(raw.port.len());
        let mut taken = Taken::default();
        for raw in &raw.port {
            let port = reader.port(raw)?;
            reader.check_place(raw, &port, &mut taken)?;
            ports.push(port);
        }
        Ok(Self { name, ports })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    version: Spanned<i64>,
    profile: Spanned<String>,
    #[serde(default)]
    port: Vec<RawPort>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPort {
    name: Spanned<String>,
    protocol: Spanned<String>,
    ports: Spanned<Vec<Spanned<String>>>,
    direction: Spanned<String>,
    who: Spanned<Vec<Spanned<String>>>,
    exposure: Spanned<String>,
    probe: Spanned<String>,
    /// Closed by the guard if absent.
    guard: Option<bool>,
    since: Option<Spanned<String>>,
    before: Option<Spanned<String>>,
}

/// What earlier entries have.
#[derive(Default)]
struct Taken {
    names: BTreeSet<Label>,
    ports: BTreeMap<(Direction, Protocol, Port), Vec<(Label, Window)>>,
    count: usize,
}

/// From which release on, and before which.
type Window = (Option<Release>, Option<Release>);

/// Turns raw fields into right ones; knows the text, for lines and columns.
struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn port(&self, raw: &RawPort) -> Result<PortSpec, ProfileError> {
        let name: Label = self.read(&raw.name, "port: name", |text| {
            text.parse()
                .map_err(|error: malha_proto::NameError| error.to_string())
        })?;
        let field = |field: &str| format!("port {name}: {field}");
        let protocol = self.word::<Protocol>(&raw.protocol, &field("protocol"), PROTOCOL_WORDS)?;
        if protocol == Protocol::Icmp {
            let problem = format!("port {name}: protocol: icmp has no ports; {PROTOCOL_WORDS}");
            return Err(self.refuse(&raw.protocol, problem));
        }
        let release = |text: &Option<Spanned<String>>, name: &str| match text {
            Some(text) => self
                .read(text, &field(name), |text| text.parse::<Release>())
                .map(Some),
            None => Ok(None),
        };
        let port = PortSpec {
            protocol,
            ports: self.ports(&raw.ports, &field("ports"))?,
            direction: self.word(&raw.direction, &field("direction"), DIRECTION_WORDS)?,
            who: self.parties(&raw.who, &field("who"))?,
            exposure: self.word(&raw.exposure, &field("exposure"), EXPOSURE_WORDS)?,
            probe: self.word(&raw.probe, &field("probe"), PROBE_WORDS)?,
            guard: raw.guard.unwrap_or(true),
            since: release(&raw.since, "since")?,
            before: release(&raw.before, "before")?,
            name,
        };
        self.check_sense(raw, &port)?;
        Ok(port)
    }

    /// What two right fields may not say together.
    fn check_sense(&self, raw: &RawPort, port: &PortSpec) -> Result<(), ProfileError> {
        let name = &port.name;
        let nobody = port.who.contains(&Party::Nobody);
        let closed = matches!(port.exposure, PortExposure::Loopback | PortExposure::Never);
        if nobody != closed {
            let problem = format!(
                "port {name}: who: \"nobody\" goes with exposure \"loopback\" or \"never\", and with nothing else"
            );
            return Err(self.refuse(&raw.who, problem));
        }
        if nobody && port.who.len() > 1 {
            let problem = format!("port {name}: who: \"nobody\" stands alone");
            return Err(self.refuse(&raw.who, problem));
        }
        if port.direction == Direction::Out && closed {
            let problem = format!(
                "port {name}: exposure: outbound it says where the other side answers: \"tunnel\" or \"public\""
            );
            return Err(self.refuse(&raw.exposure, problem));
        }
        if port.protocol == Protocol::Udp && port.probe != PortProbe::None {
            let problem = format!("port {name}: probe: udp is not probed; write \"none\"");
            return Err(self.refuse(&raw.probe, problem));
        }
        if let (Some(since), Some(before), Some(at)) = (port.since, port.before, &raw.before)
            && before <= since
        {
            let problem =
                format!("port {name}: before: no release is from {since} on and before {before}");
            return Err(self.refuse(at, problem));
        }
        Ok(())
    }

    /// That no other entry has its name, or one of its ports at the same time.
    fn check_place(
        &self,
        raw: &RawPort,
        port: &PortSpec,
        taken: &mut Taken,
    ) -> Result<(), ProfileError> {
        let name = &port.name;
        if !taken.names.insert(name.clone()) {
            let problem = format!(
                "port {name}: name: another entry is called {name}; each needs a name of its own"
            );
            return Err(self.refuse(&raw.name, problem));
        }
        if taken.names.len() > MAX_PROFILE_ENTRIES {
            let problem = format!("port: at most {MAX_PROFILE_ENTRIES} entries are allowed");
            return Err(self.refuse(&raw.name, problem));
        }
        taken.count += port.ports.len();
        if taken.count > MAX_PORTS_PER_PROFILE {
            let problem = format!(
                "port {name}: ports: a profile has at most {MAX_PORTS_PER_PROFILE} ports in all"
            );
            return Err(self.refuse(&raw.ports, problem));
        }
        if port.direction == Direction::Out {
            return Ok(());
        }
        let window = (port.since, port.before);
        for number in &port.ports {
            let others = taken
                .ports
                .entry((port.direction, port.protocol, *number))
                .or_default();
            if let Some((other, _)) = others.iter().find(|(_, it)| overlap(*it, window)) {
                let problem = format!(
                    "port {name}: ports: port {other} has {number} inbound too; keep one of the two, or give them \
                     \"since\" and \"before\""
                );
                return Err(self.refuse(&raw.ports, problem));
            }
            others.push((name.clone(), window));
        }
        Ok(())
    }

    fn ports(
        &self,
        raw: &Spanned<Vec<Spanned<String>>>,
        field: &str,
    ) -> Result<BTreeSet<Port>, ProfileError> {
        let mut ports = BTreeSet::new();
        for text in raw.get_ref() {
            for port in self.read(text, field, port_range)? {
                if !ports.insert(port) {
                    let problem = format!("{field}: {port} stands twice");
                    return Err(self.refuse(text, problem));
                }
            }
        }
        self.check_any(raw, field, ports.is_empty())?;
        Ok(ports)
    }

    fn parties(
        &self,
        raw: &Spanned<Vec<Spanned<String>>>,
        field: &str,
    ) -> Result<BTreeSet<Party>, ProfileError> {
        let mut parties = BTreeSet::new();
        for text in raw.get_ref() {
            if !parties.insert(self.word::<Party>(text, field, PARTY_WORDS)?) {
                let problem = format!("{field}: {:?} stands twice", text.get_ref());
                return Err(self.refuse(text, problem));
            }
        }
        self.check_any(raw, field, parties.is_empty())?;
        Ok(parties)
    }

    fn check_any<R>(
        &self,
        raw: &Spanned<R>,
        field: &str,
        is_empty: bool,
    ) -> Result<(), ProfileError> {
        if is_empty {
            let problem = format!("{field}: the list is empty; name at least one");
            return Err(self.refuse(raw, problem));
        }
        Ok(())
    }

    /// One of the words that a type is written with.
    fn word<T: DeserializeOwned>(
        &self,
        raw: &Spanned<String>,
        field: &str,
        right: &str,
    ) -> Result<T, ProfileError> {
        self.read(raw, field, |text| {
            T::deserialize(StrDeserializer::<ValueError>::new(text)).map_err(|_| {
                let shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
                format!("{shown:?} is not known; {right}")
            })
        })
    }

    fn read<T>(
        &self,
        raw: &Spanned<String>,
        field: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ProfileError> {
        read(raw.get_ref()).map_err(|problem| self.refuse(raw, format!("{field}: {problem}")))
    }

    fn refuse<R>(&self, raw: &Spanned<R>, problem: String) -> ProfileError {
        error_at(self.text, raw.span().start, problem)
    }
}

/// Whether some release has both.
fn overlap(a: Window, b: Window) -> bool {
    let starts_before_end = |since: Option<Release>, before: Option<Release>| match (since, before)
    {
        (Some(since), Some(before)) => since < before,
        _ => true,
    };
    starts_before_end(a.0, b.1) && starts_before_end(b.0, a.1)
}

/// `5500`, or `8000-8010` for all of them.
fn port_range(text: &str) -> Result<Vec<Port>, String> {
    let shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    let wrong =
        || format!("{shown:?} is no port; write one like \"5500\" or a range like \"8000-8010\"");
    let number = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let port = digits.parse().ok().filter(|port| plain && *port != 0);
        port.ok_or_else(wrong)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!(
            "{shown:?} ends before it starts; write \"{last}-{first}\""
        ));
    }
    if usize::from(last - first) >= MAX_PORTS_PER_PROFILE {
        return Err(format!(
            "{shown:?} has more than {MAX_PORTS_PER_PROFILE} ports"
        ));
    }
    Ok((first..=last).filter_map(Port::new).collect())
}

fn error_at(text: &str, offset: usize, problem: String) -> ProfileError {
    let (line, column) = position(text, offset);
    ProfileError {
        line,
        column,
        problem,
    }
}

const VERSION: i64 = 1;
const MAX_SHOWN_CHARS: usize = 40;
const PROFILE_WORDS: &str =
    "write \"garage\", \"security-server\", \"balancer\", \"central\" or \"edge\"";
const PROTOCOL_WORDS: &str = "write \"tcp\" or \"udp\"";
const DIRECTION_WORDS: &str = "write \"in\" or \"out\"";
const EXPOSURE_WORDS: &str = "write \"tunnel\", \"public\", \"loopback\" or \"never\"";
const PARTY_WORDS: &str = "write \"peers\", \"central\", \"information-systems\", \"operators\", \"balancer\", \
    \"cluster\", \"trust-services\", \"anyone\" or \"nobody\"";
const PROBE_WORDS: &str =
    "write \"tcp\", \"tls-client-certificate\", \"http\", \"https\", \"health\" or \"none\"";
