//! A profile's text (TOML, version 1) and what it says. Every refusal names line, column and field, and what would be right;
//! an unknown key is refused.

use std::collections::{BTreeMap, BTreeSet};

use malha_proto::{Label, Port, Profile, Protocol};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as ValueError, StrDeserializer};
use toml::Spanned;

use super::{Direction, Party, PortExposure, PortProbe, PortSpec, ProfileSpec, Release};
use crate::limits::{MAX_PORTS_PER_PROFILE, MAX_PROFILE_BYTES, MAX_PROFILE_ENTRIES};
use crate::policy::PROFILE_WORDS;
use crate::reason::Reason;
use crate::text_error::TextError;

impl ProfileSpec {
    /// Reads a text.
    ///
    /// # Errors
    /// It is not a profile.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        if text.len() > MAX_PROFILE_BYTES {
            let reason = Reason::TextLong {
                bytes: text.len(),
                most: MAX_PROFILE_BYTES,
            };
            return Err(TextError::at(text, 0, "", reason));
        }
        let raw: RawProfile =
            toml::from_str(text).map_err(|error| TextError::syntax(text, &error))?;
        let reader = Reader { text };
        if *raw.version.get_ref() != VERSION {
            let reason = Reason::TextVersion { version: VERSION };
            return Err(reader.refuse(&raw.version, "version", reason));
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
    fn port(&self, raw: &RawPort) -> Result<PortSpec, TextError> {
        let name: Label = self.read(&raw.name, "port: name", |text| {
            text.parse().map_err(|error| Reason::Name { error })
        })?;
        let field = |field: &str| format!("port {name}: {field}");
        let protocol = self.word::<Protocol>(&raw.protocol, &field("protocol"), PROTOCOL_WORDS)?;
        if protocol == Protocol::Icmp {
            return Err(self.refuse(&raw.protocol, &field("protocol"), Reason::ProfileIcmp));
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
    fn check_sense(&self, raw: &RawPort, port: &PortSpec) -> Result<(), TextError> {
        let field = |field: &str| format!("port {}: {field}", port.name);
        let nobody = port.who.contains(&Party::Nobody);
        let closed = matches!(port.exposure, PortExposure::Loopback | PortExposure::Never);
        if nobody != closed {
            return Err(self.refuse(&raw.who, &field("who"), Reason::NobodyOpen));
        }
        if nobody && port.who.len() > 1 {
            return Err(self.refuse(&raw.who, &field("who"), Reason::NobodyAlone));
        }
        if port.direction == Direction::Out && closed {
            return Err(self.refuse(&raw.exposure, &field("exposure"), Reason::OutboundClosed));
        }
        if port.protocol == Protocol::Udp && port.probe != PortProbe::None {
            return Err(self.refuse(&raw.probe, &field("probe"), Reason::UdpProbe));
        }
        if let (Some(since), Some(before), Some(at)) = (port.since, port.before, &raw.before)
            && before <= since
        {
            let (since, before) = (since.to_string(), before.to_string());
            let reason = Reason::NoReleaseBetween { since, before };
            return Err(self.refuse(at, &field("before"), reason));
        }
        Ok(())
    }

    /// That no other entry has its name, or one of its ports at the same time.
    fn check_place(
        &self,
        raw: &RawPort,
        port: &PortSpec,
        taken: &mut Taken,
    ) -> Result<(), TextError> {
        let name = &port.name;
        let field = |field: &str| format!("port {name}: {field}");
        if !taken.names.insert(name.clone()) {
            let reason = Reason::NameTaken {
                name: name.to_string(),
            };
            return Err(self.refuse(&raw.name, &field("name"), reason));
        }
        if taken.names.len() > MAX_PROFILE_ENTRIES {
            let most = MAX_PROFILE_ENTRIES;
            return Err(self.refuse(&raw.name, "port", Reason::AtMost { most }));
        }
        taken.count += port.ports.len();
        if taken.count > MAX_PORTS_PER_PROFILE {
            let most = MAX_PORTS_PER_PROFILE;
            return Err(self.refuse(&raw.ports, &field("ports"), Reason::AtMost { most }));
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
                let reason = Reason::PortInboundTwice {
                    other: other.to_string(),
                    port: number.number(),
                };
                return Err(self.refuse(&raw.ports, &field("ports"), reason));
            }
            others.push((name.clone(), window));
        }
        Ok(())
    }

    fn ports(
        &self,
        raw: &Spanned<Vec<Spanned<String>>>,
        field: &str,
    ) -> Result<BTreeSet<Port>, TextError> {
        let mut ports = BTreeSet::new();
        for text in raw.get_ref() {
            for port in self.read(text, field, port_range)? {
                if !ports.insert(port) {
                    let reason = Reason::StandsTwice {
                        text: port.to_string(),
                    };
                    return Err(self.refuse(text, field, reason));
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
    ) -> Result<BTreeSet<Party>, TextError> {
        let mut parties = BTreeSet::new();
        for text in raw.get_ref() {
            if !parties.insert(self.word::<Party>(text, field, PARTY_WORDS)?) {
                let reason = Reason::StandsTwice {
                    text: format!("{:?}", text.get_ref()),
                };
                return Err(self.refuse(text, field, reason));
            }
        }
        self.check_any(raw, field, parties.is_empty())?;
        Ok(parties)
    }

    fn check_any<R>(&self, raw: &Spanned<R>, field: &str, is_empty: bool) -> Result<(), TextError> {
        if is_empty {
            return Err(self.refuse(raw, field, Reason::EmptyList));
        }
        Ok(())
    }

    /// One of the words that a type is written with.
    fn word<T: DeserializeOwned>(
        &self,
        raw: &Spanned<String>,
        field: &str,
        words: &'static str,
    ) -> Result<T, TextError> {
        self.read(raw, field, |text| {
            T::deserialize(StrDeserializer::<ValueError>::new(text)).map_err(|_| {
                Reason::UnknownWord {
                    text: shortened(text),
                    words,
                }
            })
        })
    }

    fn read<T>(
        &self,
        raw: &Spanned<String>,
        field: &str,
        read: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> Result<T, TextError> {
        read(raw.get_ref()).map_err(|reason| self.refuse(raw, field, reason))
    }

    fn refuse<R>(&self, raw: &Spanned<R>, field: &str, reason: Reason) -> TextError {
        TextError::at(self.text, raw.span().start, field, reason)
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
fn port_range(text: &str) -> Result<Vec<Port>, Reason> {
    let wrong = || Reason::NoPort {
        text: shortened(text),
    };
    let number = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let port = digits.parse().ok().filter(|port| plain && *port != 0);
        port.ok_or_else(wrong)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (number(first)?, number(last)?);
    if first > last {
        return Err(Reason::PortRangeBackwards {
            text: shortened(text),
            right: format!("{last}-{first}"),
        });
    }
    if usize::from(last - first) >= MAX_PORTS_PER_PROFILE {
        return Err(Reason::PortRangeWide {
            text: shortened(text),
        });
    }
    Ok((first..=last).filter_map(Port::new).collect())
}

/// What a refusal repeats of a text.
fn shortened(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

const VERSION: i64 = 1;
const MAX_SHOWN_CHARS: usize = 40;
const PROTOCOL_WORDS: &str = "\"tcp\", \"udp\"";
const DIRECTION_WORDS: &str = "\"in\", \"out\"";
const EXPOSURE_WORDS: &str = "\"tunnel\", \"public\", \"loopback\", \"never\"";
const PARTY_WORDS: &str = "\"peers\", \"central\", \"information-systems\", \"operators\", \"balancer\", \
    \"cluster\", \"trust-services\", \"anyone\", \"nobody\"";
const PROBE_WORDS: &str =
    "\"tcp\", \"tls-client-certificate\", \"http\", \"https\", \"health\", \"none\"";
