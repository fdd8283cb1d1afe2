//! The policy's text (TOML, version 1) and what it says. Every refusal names line, column and field, and what would be
//! right; an unknown key is refused. It knows no state: names stay names.

use std::collections::BTreeSet;
use std::ops::Range;

use malha_proto::{Allow, Label, Protocol};
use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;
use toml::value::Datetime;

use super::schedule::{self, Schedule};
use super::who::Who;
use crate::limits::{MAX_GRANTS, MAX_POLICY_BYTES, MAX_POLICY_TEST_TIMES, MAX_POLICY_TESTS};
use crate::model::Opening;

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

/// Why a text is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct PolicyError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// With the field's name and what would be right.
    pub problem: String,
}

impl Policy {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            let problem = format!(
                "the text has {} bytes; a policy has at most {MAX_POLICY_BYTES}",
                text.len()
            );
            return Err(error_at(text, 0, problem));
        }
        let raw: RawPolicy = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            error_at(text, start, error.message().trim().to_owned())
        })?;
        let reader = Reader { text };
        if *raw.version.get_ref() != VERSION {
            let problem = format!("version: this program reads version {VERSION}");
            return Err(reader.refuse(&raw.version, problem));
        }
        let policy = Self {
            rules: reader.rules(raw.grant)?,
            cases: reader.cases(raw.test)?,
        };
        let grants = policy.rules.iter().map(Rule::grants).sum::<usize>();
        if grants > MAX_GRANTS {
            let problem = format!(
                "the text makes {grants} grants (each from, with each to, with each port); at most {MAX_GRANTS} are \
                 allowed: say more at once with org:, profile: or tag:"
            );
            return Err(error_at(text, 0, problem));
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
    fn rules(&self, raw: Vec<RawRule>) -> Result<Vec<Rule>, PolicyError> {
        let mut names = BTreeSet::new();
        let mut rules = Vec::with_capacity(raw.len());
        for raw in raw {
            let at = raw.name.span();
            let rule = self.rule(raw)?;
            if !names.insert(rule.name.clone()) {
                let problem = format!(
                    "grant {0}: name: another grant is called {0}; each needs a name of its own",
                    rule.name
                );
                return Err(error_at(self.text, at.start, problem));
            }
            rules.push(rule);
        }
        Ok(rules)
    }

    fn rule(&self, raw: RawRule) -> Result<Rule, PolicyError> {
        let name: Label = self.read(&raw.name, "grant: name", |text| {
            text.parse()
                .map_err(|error: malha_proto::NameError| error.to_string())
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

    fn opens(&self, raw: &RawRule, name: &Label) -> Result<Vec<Opening>, PolicyError> {
        let refuse = |at: Range<usize>, problem: String| {
            Err(error_at(
                self.text,
                at.start,
                format!("grant {name}: {problem}"),
            ))
        };
        match (&raw.protocol, &raw.ports, &raw.service) {
            (None | Some(_), None, Some(service)) => {
                if let Some(protocol) = &raw.protocol
                    && *protocol.get_ref() != Protocol::Tcp
                {
                    let problem = "protocol: a service is reached over \"tcp\"; remove the line";
                    return refuse(protocol.span(), problem.to_owned());
                }
                let service = self.read(service, &format!("grant {name}: service"), |text| {
                    text.parse::<Label>().map_err(|error| error.to_string())
                })?;
                Ok(vec![Opening::Service { service }])
            }
            (_, Some(_), Some(service)) => refuse(
                service.span(),
                "service: there are ports too; keep one of the two".to_owned(),
            ),
            (None, _, None) => refuse(
                raw.name.span(),
                "protocol: missing; write \"tcp\", \"udp\" or \"icmp\", or a service".to_owned(),
            ),
            (Some(protocol), ports, None) => match (*protocol.get_ref(), ports) {
                (Protocol::Icmp, None) => Ok(vec![Opening::Ports(ICMP)]),
                (Protocol::Icmp, Some(ports)) => refuse(
                    ports.span(),
                    "ports: icmp has none; remove the line".to_owned(),
                ),
                (_, None) => refuse(
                    protocol.span(),
                    "ports: missing; write a list like [\"5500\", \"8000-8010\"], or a service"
                        .to_owned(),
                ),
                (protocol, Some(ports)) => {
                    self.list(ports, &format!("grant {name}: ports"), |text| {
                        port_range(protocol, text).map(Opening::Ports)
                    })
                }
            },
        }
    }

    fn schedule(&self, raw: &RawSchedule, field: &str) -> Result<Schedule, PolicyError> {
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
            let problem = format!(
                "{field}: to: it must differ from the start; a whole day is from \"00:00\" to \"24:00\""
            );
            return Err(self.refuse(&raw.to, problem));
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

    fn cases(&self, raw: Vec<RawCase>) -> Result<Vec<Case>, PolicyError> {
        if let Some(excess) = raw.get(MAX_POLICY_TESTS) {
            let problem = format!("test: at most {MAX_POLICY_TESTS} are allowed");
            return Err(self.refuse(&excess.from, problem));
        }
        let mut times = BTreeSet::new();
        let mut cases = Vec::with_capacity(raw.len());
        for raw in &raw {
            let case = self.case(raw)?;
            times.extend(case.at_ms);
            if times.len() > MAX_POLICY_TEST_TIMES {
                let problem = format!(
                    "test: at: at most {MAX_POLICY_TEST_TIMES} different times are allowed"
                );
                return Err(self.refuse(&raw.from, problem));
            }
            cases.push(case);
        }
        Ok(cases)
    }

    fn case(&self, raw: &RawCase) -> Result<Case, PolicyError> {
        let who = |text: &Spanned<String>, field| self.read(text, field, |text| text.parse());
        let port = match (*raw.protocol.get_ref(), &raw.port) {
            (Protocol::Icmp, None) => 0,
            (Protocol::Icmp, Some(port)) => {
                return Err(self.refuse(
                    port,
                    "test: port: icmp has none; remove the line".to_owned(),
                ));
            }
            (_, None) => {
                let problem = "test: port: missing; write one like 5500".to_owned();
                return Err(self.refuse(&raw.protocol, problem));
            }
            (_, Some(port)) => *port.get_ref(),
        };
        let allowed = self.read(&raw.expect, "test: expect", |text| match text.as_str() {
            "allow" => Ok(true),
            "deny" => Ok(false),
            _ => Err(format!(
                "{text:?} is no verdict; write \"allow\" or \"deny\""
            )),
        })?;
        let at_ms = match &raw.at {
            Some(at) => Some(self.read(at, "test: at", schedule::moment)?),
            None => None,
        };
        let name = match &raw.name {
            Some(name) => Some(self.read(name, "test: name", |text| {
                crate::text::check_display_name(text).map_err(|error| error.to_string())?;
                Ok(text.clone())
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
        read: impl Fn(&String) -> Result<T, String>,
    ) -> Result<Vec<T>, PolicyError> {
        let mut items = Vec::with_capacity(raw.get_ref().len());
        for text in raw.get_ref() {
            let item = self.read(text, field, &read)?;
            if items.contains(&item) {
                let problem = format!("{field}: {:?} stands twice", text.get_ref());
                return Err(self.refuse(text, problem));
            }
            items.push(item);
        }
        if items.is_empty() {
            return Err(self.refuse(
                raw,
                format!("{field}: the list is empty; name at least one"),
            ));
        }
        Ok(items)
    }

    fn read<R, T>(
        &self,
        raw: &Spanned<R>,
        field: &str,
        read: impl FnOnce(&R) -> Result<T, String>,
    ) -> Result<T, PolicyError> {
        read(raw.get_ref()).map_err(|problem| self.refuse(raw, format!("{field}: {problem}")))
    }

    fn refuse<R>(&self, raw: &Spanned<R>, problem: String) -> PolicyError {
        error_at(self.text, raw.span().start, problem)
    }
}

fn port_range(protocol: Protocol, text: &str) -> Result<Allow, String> {
    let wrong =
        || format!("{text:?} is no port; write one like \"5500\" or a range like \"8000-8010\"");
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
        return Err(format!(
            "{text:?} ends before it starts; write \"{to_port}-{from_port}\""
        ));
    }
    Ok(Allow {
        protocol,
        from_port,
        to_port,
    })
}

fn error_at(text: &str, offset: usize, problem: String) -> PolicyError {
    let (line, column) = position(text, offset);
    PolicyError {
        line,
        column,
        problem,
    }
}

/// Line and column of a byte, from 1.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

const VERSION: i64 = 1;
const ICMP: Allow = Allow {
    protocol: Protocol::Icmp,
    from_port: 0,
    to_port: 0,
};

#[cfg(test)]
mod tests;
