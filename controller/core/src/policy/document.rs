//! The policy's text (TOML, version 1) and what it says. Every refusal names line, column and field, and what would be
//! right; an unknown key is refused. It knows no state: names stay names.

use std::collections::BTreeSet;
use std::ops::Range;

use malha_proto::{Allow, Label, Protocol};
use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::schedule::{self, Schedule};
use super::who::Who;
use crate::limits::{MAX_GRANTS, MAX_POLICY_BYTES, MAX_POLICY_TEST_TIMES, MAX_POLICY_TESTS};
use crate::model::Opening;
use crate::reason::Reason;
use crate::text_error::{TextError, position};

/// What a text says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub rules: Vec<Rule>,
    pub cases: Vec<Case>,
}

/// A `[[grant]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub name: Label,
    /// Where it stands in the text, from 1.
    pub line: usize,
    pub from: Vec<Who>,
    pub to: Vec<Who>,
    pub opens: Vec<Opening>,
    pub schedule: Option<Schedule>,
    pub expires_ms: Option<u64>,
}

/// A `[[test]]`: what must, or must not, be open from every one of a kind to every one of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub name: Option<String>,
    pub line: usize,
    pub from: Who,
    pub to: Who,
    pub protocol: Protocol,
    /// Without meaning for ICMP.
    pub port: u16,
    pub allowed: bool,
    /// When; now if absent.
    pub at_ms: Option<u64>,
}

impl Policy {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        if text.len() > MAX_POLICY_BYTES {
            let reason = Reason::TextLong {
                bytes: text.len(),
                most: MAX_POLICY_BYTES,
            };
            return Err(TextError::at(text, 0, "", reason));
        }
        let raw: RawPolicy =
            toml::from_str(text).map_err(|error| TextError::syntax(text, &error))?;
        let reader = Reader { text };
        if *raw.version.get_ref() != VERSION {
            let reason = Reason::TextVersion { version: VERSION };
            return Err(reader.refuse(&raw.version, "version", reason));
        }
        let policy = Self {
            rules: reader.rules(raw.grant)?,
            cases: reader.cases(raw.test)?,
        };
        let grants = policy.rules.iter().map(Rule::grants).sum::<usize>();
        if grants > MAX_GRANTS {
            return Err(TextError::at(text, 0, "", Reason::PolicyTooWide { grants }));
        }
        Ok(policy)
    }
}

impl Rule {
    /// How many grants it makes when everything that it names exists.
    fn grants(&self) -> usize {
        self.from
            .len()
            .saturating_mul(self.to.len())
            .saturating_mul(self.opens.len())
    }

    /// Whether it holds at this time.
    #[must_use]
    pub fn holds(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|end_ms| now_ms < end_ms)
            && self.schedule.as_ref().is_none_or(|it| it.holds(now_ms))
    }

    /// The next time after `now_ms` at which it may begin or cease to hold.
    pub(super) fn next_boundary_ms(&self, now_ms: u64) -> Option<u64> {
        let expires_ms = self.expires_ms.filter(|end_ms| *end_ms > now_ms);
        if self.expires_ms.is_some() && expires_ms.is_none() {
            return None;
        }
        let schedule = self.schedule.as_ref();
        let boundary_ms = schedule.and_then(|it| it.next_boundary_ms(now_ms));
        boundary_ms.into_iter().chain(expires_ms).min()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    version: Spanned<i64>,
    #[serde(default)]
    grant: Vec<RawRule>,
    #[serde(default)]
    test: Vec<RawCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: Spanned<String>,
    from: Spanned<Vec<Spanned<String>>>,
    to: Spanned<Vec<Spanned<String>>>,
    protocol: Option<Spanned<Protocol>>,
    ports: Option<Spanned<Vec<Spanned<String>>>>,
    service: Option<Spanned<String>>,
    schedule: Option<RawSchedule>,
    expires: Option<Spanned<Datetime>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSchedule {
    /// Every day if absent.
    days: Option<Spanned<Vec<Spanned<String>>>>,
    from: Spanned<String>,
    to: Spanned<String>,
    zone: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: Option<Spanned<String>>,
    from: Spanned<String>,
    to: Spanned<String>,
    protocol: Spanned<Protocol>,
    port: Option<Spanned<u16>>,
    expect: Spanned<String>,
    at: Option<Spanned<Datetime>>,
}

/// Turns raw fields into right ones; knows the text, for lines and columns.
struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn rules(&self, raw: Vec<RawRule>) -> Result<Vec<Rule>, TextError> {
        let mut names = BTreeSet::new();
        let mut rules = Vec::with_capacity(raw.len());
        for raw in raw {
            let at = raw.name.span();
            let rule = self.rule(raw)?;
            if !names.insert(rule.name.clone()) {
                let field = format!("grant {}: name", rule.name);
                let name = rule.name.to_string();
                let reason = Reason::NameTaken { name };
                return Err(TextError::at(self.text, at.start, &field, reason));
            }
            rules.push(rule);
        }
        Ok(rules)
    }

    fn rule(&self, raw: RawRule) -> Result<Rule, TextError> {
        let name: Label = self.read(&raw.name, "grant: name", |text| {
            text.parse().map_err(|error| Reason::Name { error })
        })?;
        let field = |field: &str| format!("grant {name}: {field}");
        let line = position(self.text, raw.name.span().start).0;
        let from = self.list(&raw.from, &field("from"), |text| text.parse::<Who>())?;
        let to = self.list(&raw.to, &field("to"), |text| text.parse::<Who>())?;
        let opens = self.opens(&raw, &name)?;
        let schedule = match &raw.schedule {
            Some(raw) => Some(self.schedule(raw, &field("schedule"))?),
            None => None,
        };
        let expires_ms = match &raw.expires {
            Some(at) => Some(self.read(at, &field("expires"), schedule::moment)?),
            None => None,
        };
        Ok(Rule {
            name,
            line,
            from,
            to,
            opens,
            schedule,
            expires_ms,
        })
    }

    fn opens(&self, raw: &RawRule, name: &Label) -> Result<Vec<Opening>, TextError> {
        let refuse = |at: Range<usize>, field: &str, reason| {
            let field = format!("grant {name}: {field}");
            Err(TextError::at(self.text, at.start, &field, reason))
        };
        match (&raw.protocol, &raw.ports, &raw.service) {
            (None | Some(_), None, Some(service)) => {
                if let Some(protocol) = &raw.protocol
                    && *protocol.get_ref() != Protocol::Tcp
                {
                    return refuse(protocol.span(), "protocol", Reason::ServiceProtocol);
                }
                let service: Label =
                    self.read(service, &format!("grant {name}: service"), |text| {
                        text.parse().map_err(|error| Reason::Name { error })
                    })?;
                Ok(vec![Opening::Service { service }])
            }
            (_, Some(_), Some(service)) => {
                refuse(service.span(), "service", Reason::ServiceAndPorts)
            }
            (None, _, None) => refuse(raw.name.span(), "protocol", Reason::ProtocolMissing),
            (Some(protocol), ports, None) => match (*protocol.get_ref(), ports) {
                (Protocol::Icmp, None) => Ok(vec![Opening::Ports(ICMP)]),
                (Protocol::Icmp, Some(ports)) => {
                    refuse(ports.span(), "ports", Reason::IcmpHasNoPorts)
                }
                (_, None) => refuse(protocol.span(), "ports", Reason::PortsMissing),
                (protocol, Some(ports)) => {
                    self.list(ports, &format!("grant {name}: ports"), |text| {
                        port_range(protocol, text).map(Opening::Ports)
                    })
                }
            },
        }
    }

    fn schedule(&self, raw: &RawSchedule, field: &str) -> Result<Schedule, TextError> {
        let mut days = [raw.days.is_none(); 7];
        if let Some(named) = &raw.days {
            for day in self.list(named, &format!("{field}: days"), |text| schedule::day(text))? {
                days[day] = true;
            }
        }
        let time = |text: &Spanned<String>, name: &str| {
            self.read(text, &format!("{field}: {name}"), |text| {
                schedule::time_of_day(text)
            })
        };
        let (from_min, to_min) = (time(&raw.from, "from")?, time(&raw.to, "to")?);
        if from_min == to_min || from_min == 24 * 60 {
            let field = format!("{field}: to");
            return Err(self.refuse(&raw.to, &field, Reason::ScheduleEmpty));
        }
        let offset_min = self.read(&raw.zone, &format!("{field}: zone"), |text| {
            schedule::zone(text)
        })?;
        Ok(Schedule {
            days,
            from_min,
            to_min,
            offset_min,
        })
    }

    fn cases(&self, raw: Vec<RawCase>) -> Result<Vec<Case>, TextError> {
        if let Some(excess) = raw.get(MAX_POLICY_TESTS) {
            let most = MAX_POLICY_TESTS;
            return Err(self.refuse(&excess.from, "test", Reason::AtMost { most }));
        }
        let mut times = BTreeSet::new();
        let mut cases = Vec::with_capacity(raw.len());
        for raw in &raw {
            let case = self.case(raw)?;
            times.extend(case.at_ms);
            if times.len() > MAX_POLICY_TEST_TIMES {
                return Err(self.refuse(&raw.from, "test: at", Reason::TestTimes));
            }
            cases.push(case);
        }
        Ok(cases)
    }

    fn case(&self, raw: &RawCase) -> Result<Case, TextError> {
        let who = |text: &Spanned<String>, field| self.read(text, field, |text| text.parse());
        let port = match (*raw.protocol.get_ref(), &raw.port) {
            (Protocol::Icmp, None) => 0,
            (Protocol::Icmp, Some(port)) => {
                return Err(self.refuse(port, "test: port", Reason::IcmpHasNoPorts));
            }
            (_, None) => {
                return Err(self.refuse(&raw.protocol, "test: port", Reason::TestPortMissing));
            }
            (_, Some(port)) => *port.get_ref(),
        };
        let allowed = self.read(&raw.expect, "test: expect", |text| match text.as_str() {
            "allow" => Ok(true),
            "deny" => Ok(false),
            _ => Err(Reason::UnknownWord {
                text: text.clone(),
                words: "\"allow\", \"deny\"",
            }),
        })?;
        let at_ms = match &raw.at {
            Some(at) => Some(self.read(at, "test: at", schedule::moment)?),
            None => None,
        };
        let name = match &raw.name {
            Some(name) => Some(self.read(name, "test: name", |text| {
                crate::text::display_name_flaw(text).map_or_else(|| Ok(text.clone()), Err)
            })?),
            None => None,
        };
        Ok(Case {
            name,
            line: position(self.text, raw.from.span().start).0,
            from: who(&raw.from, "test: from")?,
            to: who(&raw.to, "test: to")?,
            protocol: *raw.protocol.get_ref(),
            port,
            allowed,
            at_ms,
        })
    }

    /// At least one, each once.
    fn list<T: PartialEq>(
        &self,
        raw: &Spanned<Vec<Spanned<String>>>,
        field: &str,
        read: impl Fn(&String) -> Result<T, Reason>,
    ) -> Result<Vec<T>, TextError> {
        let mut items = Vec::with_capacity(raw.get_ref().len());
        for text in raw.get_ref() {
            let item = self.read(text, field, &read)?;
            if items.contains(&item) {
                let text_twice = format!("{:?}", text.get_ref());
                let reason = Reason::StandsTwice { text: text_twice };
                return Err(self.refuse(text, field, reason));
            }
            items.push(item);
        }
        if items.is_empty() {
            return Err(self.refuse(raw, field, Reason::EmptyList));
        }
        Ok(items)
    }

    fn read<R, T>(
        &self,
        raw: &Spanned<R>,
        field: &str,
        read: impl FnOnce(&R) -> Result<T, Reason>,
    ) -> Result<T, TextError> {
        read(raw.get_ref()).map_err(|reason| self.refuse(raw, field, reason))
    }

    fn refuse<R>(&self, raw: &Spanned<R>, field: &str, reason: Reason) -> TextError {
        TextError::at(self.text, raw.span().start, field, reason)
    }
}

fn port_range(protocol: Protocol, text: &str) -> Result<Allow, Reason> {
    let wrong = || Reason::NoPort {
        text: text.to_owned(),
    };
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits
            .parse::<u16>()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(wrong),
        false => Err(wrong()),
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (from_port, to_port) = (number(first)?, number(last)?);
    if from_port > to_port {
        return Err(Reason::PortRangeBackwards {
            text: text.to_owned(),
            right: format!("{to_port}-{from_port}"),
        });
    }
    Ok(Allow {
        protocol,
        from_port,
        to_port,
    })
}

const VERSION: i64 = 1;
const ICMP: Allow = Allow {
    protocol: Protocol::Icmp,
    from_port: 0,
    to_port: 0,
};

#[cfg(test)]
mod tests;
