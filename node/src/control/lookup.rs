//! The addresses of names, asked of this machine's resolver: one question per host at a time, which outlives who asked and whose
//! answer is there for whoever asks next. It never connects.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::agent::{LinkError, LinkFault};

/// How long somebody waits for a name's first answer. A resolver gives each silent name server 5 s (resolv.conf(5)), so this is enough for
/// one of them, within the time of one attempt to connect.
pub(crate) const LOOKUP_LIMIT: Duration = Duration::from_secs(9);

/// How long a look at the network waits for it: all three name servers that a resolver takes, each asked once, so that it is told which
/// of them are dead.
const LOOK_LIMIT: Duration = Duration::from_secs(16);

/// An answer that takes longer comes from a name server behind one that is silent.
pub(crate) const SLOW_LOOKUP: Duration = Duration::from_secs(3);

/// Where there is a former answer, the next one gets so long before that one serves.
const PATIENCE: Duration = Duration::from_secs(1);

/// More than three silent name servers, asked twice each, take.
const QUESTION_LIMIT: Duration = Duration::from_secs(60);

/// More questions of one host that were asked on a former network are not left to themselves at the same time.
const MAX_OUTDATED: u32 = 3;

/// More hosts are not remembered, nor asked for at the same time.
const MAX_HOSTS: usize = 32;

/// More addresses of one host are not tried.
const MAX_ADDRESSES: usize = 8;

/// What is known of names. There is one per process, as there is one resolver; a lock, since attempts to connect are tasks of their own
/// and have nothing else in common.
pub(super) struct Lookups(Mutex<BTreeMap<String, Host>>);

/// Where a host is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    /// Why these are those of a former answer; None where they are of a new one.
    pub(super) stale: Option<LinkError>,
}

struct Host {
    /// Of the last answer that had any; both families in turn.
    addresses: Vec<IpAddr>,
    question: Question,
    /// Questions given up since the last one that ended.
    outdated: u32,
    is_slow: bool,
    used: Instant,
}

/// None until it is answered.
type Question = watch::Receiver<Option<Answer>>;

#[derive(Clone)]
struct Answer {
    addresses: Result<Vec<IpAddr>, Arc<str>>,
    took: Duration,
}

/// The addresses of `place` (`host:port`), from a question that is answered now. For looks: it waits as long as a resolver may need.
pub(crate) async fn resolve(place: &str) -> Result<Vec<SocketAddr>, LinkError> {
    let (addresses, stale) = look_up_within(LOOK_LIMIT, place).await?;
    stale.map_or(Ok(addresses), Err)
}

/// The same to connect to, from a former answer where there is one and the name server is silent or at a loss; then also why.
pub(super) async fn look_up(
    place: &str,
) -> Result<(Vec<SocketAddr>, Option<LinkError>), LinkError> {
    look_up_within(LOOKUP_LIMIT, place).await
}

async fn look_up_within(
    limit: Duration,
    place: &str,
) -> Result<(Vec<SocketAddr>, Option<LinkError>), LinkError> {
    if let Ok(address) = place.parse() {
        return Ok((vec![address], None));
    }
    let Some((host, port)) = place
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
    else {
        return Err(failed(place, "it is not host:port"));
    };
    let asked = host.to_owned();
    let question = async move {
        let found = tokio::net::lookup_host((asked, port)).await?;
        Ok(found.map(|it| it.ip()).collect())
    };
    let found = LOOKUPS.find(host, limit, question).await?;
    let addresses = found.addresses.into_iter();
    Ok((
        addresses.map(|ip| SocketAddr::new(ip, port)).collect(),
        found.stale,
    ))
}

/// The slowest host of this process and how long its last answer took, where that is more than [`SLOW_LOOKUP`].
pub(crate) fn slow_lookup() -> Option<(String, Duration)> {
    LOOKUPS.slowest()
}

/// What is asked on the network before may never be answered: who asks from now on asks anew.
pub(crate) fn network_changed() {
    LOOKUPS.outdate();
}

static LOOKUPS: Lookups = Lookups::new();

impl Lookups {
    const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Asks, unless a question for this host is under way, and waits: for the first answer within the limit, or [`PATIENCE`] where
    /// there is a former one.
    async fn find(
        &self,
        host: &str,
        limit: Duration,
        question: impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    ) -> Result<Found, LinkError> {
        let (mut asked, former) = self.ask(host, question)?;
        let limit = match former.is_empty() {
            true => limit,
            false => PATIENCE,
        };
        let why = match timeout(limit, asked.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => match answer.as_ref().map(|it| it.addresses.clone()) {
                Some(Ok(addresses)) => {
                    let stale = None;
                    return Ok(Found { addresses, stale });
                }
                Some(Err(why)) => why,
                None => GIVEN_UP.into(),
            },
            Ok(Err(_)) => GIVEN_UP.into(),
            Err(_) => {
                let limit_s = limit.as_secs();
                format!("no name server answers within {limit_s} s; are the first ones of /etc/resolv.conf alive?").into()
            }
        };
        let error = failed(host, why);
        match former.is_empty() {
            true => Err(error),
            false => Ok(Found {
                addresses: former,
                stale: Some(error),
            }),
        }
    }

    /// The question under way, or a new one, and the addresses of the last answer.
    fn ask(
        &self,
        host: &str,
        question: impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    ) -> Result<(Question, Vec<IpAddr>), LinkError> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.iter_mut().for_each(|(host, it)| it.learn(host));
        if !hosts.contains_key(host) && hosts.len() >= MAX_HOSTS {
            let idle = hosts.iter().filter(|(_, it)| !it.is_asked_for());
            let oldest = idle.min_by_key(|(_, it)| it.used);
            let oldest = oldest.map(|(host, _)| host.clone());
            let full = || failed(host, "too many names are asked for at the same time");
            hosts.remove(&oldest.ok_or_else(full)?);
        }
        let known = hosts.entry(host.to_owned()).or_insert_with(Host::new);
        if !known.is_asked_for() {
            known.question = begin(question);
        }
        known.used = Instant::now();
        Ok((known.question.clone(), known.addresses.clone()))
    }

    fn outdate(&self) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (host, known) in hosts.iter_mut() {
            known.learn(host);
            if known.is_asked_for() && known.outdated < MAX_OUTDATED {
                known.outdated += 1;
                known.question = nobody_asks();
            }
        }
    }

    fn slowest(&self) -> Option<(String, Duration)> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let took = hosts.iter().filter_map(|(host, it)| {
            let took = it.question.borrow().as_ref()?.took;
            Some((host.clone(), took))
        });
        took.filter(|(_, took)| *took >= SLOW_LOOKUP)
            .max_by_key(|(_, took)| *took)
    }
}

impl Host {
    fn new() -> Self {
        Self {
            addresses: Vec::new(),
            question: nobody_asks(),
            outdated: 0,
            is_slow: false,
            used: Instant::now(),
        }
    }

    /// A question whose task has ended without a word, with its runtime, is none.
    fn is_asked_for(&self) -> bool {
        self.question.borrow().is_none() && self.question.has_changed().is_ok()
    }

    /// Takes the answer that came since the last question.
    fn learn(&mut self, host: &str) {
        let answer = self.question.borrow();
        let Some(answer) = answer.as_ref() else {
            return;
        };
        if let Ok(addresses) = &answer.addresses {
            self.addresses.clone_from(addresses);
        }
        self.outdated = 0;
        let is_slow = answer.took >= SLOW_LOOKUP;
        if is_slow && !self.is_slow {
            let took_s = answer.took.as_secs_f32();
            tracing::warn!(%host, took_s, "name servers answer slowly; is the first one of /etc/resolv.conf alive?");
        }
        self.is_slow = is_slow;
    }
}

/// Asks in a task of its own, so that the answer comes whatever becomes of who waits for it.
fn begin(question: impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static) -> Question {
    let (answer, asked) = watch::channel(None);
    let since = Instant::now();
    tokio::spawn(async move {
        let addresses = match timeout(QUESTION_LIMIT, question).await {
            Ok(Ok(found)) => match in_turn(found) {
                found if found.is_empty() => Err("the name has no address".into()),
                found => Ok(found),
            },
            Ok(Err(error)) => Err(error.to_string().into()),
            Err(_) => Err("the resolver never answers".into()),
        };
        let took = since.elapsed();
        answer.send_replace(Some(Answer { addresses, took }));
    });
    asked
}

fn nobody_asks() -> Question {
    watch::channel(None).1
}

fn in_turn(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = found.into_iter().partition(IpAddr::is_ipv6);
    let mut turns = Vec::new();
    for nth in 0..v6.len().max(v4.len()) {
        turns.extend(v6.get(nth));
        turns.extend(v4.get(nth));
    }
    turns.truncate(MAX_ADDRESSES);
    turns
}

fn failed(name: &str, why: impl std::fmt::Display) -> LinkError {
    LinkError::new(LinkFault::Name, format!("{name}: {why}"))
}

const GIVEN_UP: &str = "the resolver's answer was not waited for";

#[cfg(test)]
mod tests;
