//! From observations to a verdict. Pure: the same observations at the same moment give the same verdict, now and in an audit years
//! later. What was not observed is never in order.

mod handshakes;
mod names;
mod ports;
mod revocation;
mod stamps;

use time::OffsetDateTime;

use crate::certificate::Broken;
use crate::check::{Check, Expect, Probe, Vantage};
use crate::observation::{DnsAnswer, Failure, HttpSeen, Observation, Seen, TcpSeen};
use crate::subject::Subject;
use crate::verdict::{Cause, Evidence, Fault, Finding, Verdict, Why};

/// The verdict of one check. `observations` are those of one run, of this check and of others; of two of the same look the later
/// one counts. `now` is when the run ended: certificates and answers are judged by it.
#[must_use]
pub fn judge(
    check: &Check,
    subject: &Subject,
    observations: &[Observation],
    now: OffsetDateTime,
) -> Verdict {
    let case = Case {
        subject,
        check,
        all: observations,
        own: latest(&check.vantage, &check.probe, observations),
        now,
    };
    match case.outcome() {
        Ok(observed) => Verdict::Ok {
            observed,
            evidence: case.evidence(),
        },
        Err(Trouble::Found {
            fault,
            declared,
            observed,
        }) => Verdict::Finding(Finding {
            fault,
            declared,
            observed,
            evidence: case.evidence(),
        }),
        Err(Trouble::Unknown(why)) => Verdict::CouldNotTest { why },
    }
}

/// Why a check is not in order.
enum Trouble {
    Found {
        fault: Fault,
        declared: String,
        observed: String,
    },
    Unknown(Why),
}

/// What was seen, in a few words, or the trouble.
type Outcome = Result<String, Trouble>;

struct Case<'c> {
    subject: &'c Subject,
    check: &'c Check,
    /// All of the run: some verdicts look at what other checks saw.
    all: &'c [Observation],
    /// Those of this check's look, the latest of each address.
    own: Vec<&'c Observation>,
    now: OffsetDateTime,
}

impl<'c> Case<'c> {
    fn outcome(&self) -> Outcome {
        if !self.check.vantage.is_manned() {
            return Err(unknown(Cause::NoVantagePoint, ""));
        }
        match &self.check.probe {
            Probe::UdpPort { .. } => return Err(unknown(Cause::NotOverTcp, "")),
            Probe::Unresolved { name, .. } => return Err(unknown(Cause::NoAddress, name)),
            _ => {}
        }
        match &self.check.expect {
            Expect::Declared => Err(unknown(Cause::NothingDeclared, "")),
            Expect::WithinLimits => Err(unknown(Cause::TooMuch, "")),
            Expect::SamePorts => ports::same(self.subject),
            Expect::NameExists => names::exists(self),
            Expect::OnlyAddresses { declared } => names::only(self, declared),
            Expect::NoPrivateAddress => names::no_private(self),
            Expect::ServersAgree => names::agree(self),
            Expect::ServersDeclared => names::servers_declared(self),
            Expect::DiffersFrom { other } => names::differs(self, other),
            Expect::NotOn { addresses } => names::not_on(self, addresses),
            Expect::InternalView { addresses } => names::internal_view(self, addresses),
            Expect::Open { control } => ports::open(self, *control),
            Expect::Closed { control } => ports::closed(self, *control),
            Expect::TurnedAway { control, balancers } => {
                ports::turned_away(self, *control, balancers)
            }
            Expect::Status { statuses } => ports::status(self, statuses),
            Expect::NoServerError => ports::no_server_error(self),
            Expect::OcspMultipart => ports::ocsp_multipart(self),
            Expect::AwayFrom { names, addresses } => ports::away(self, names, addresses),
            Expect::AllUp => ports::all_up(self),
            Expect::ClientCertificate => handshakes::client_certificate(self),
            Expect::Chain { issuers } => handshakes::chain(self, *issuers),
            Expect::Usage { role } => handshakes::usage(self, *role),
            Expect::Lasting => handshakes::lasting(self),
            Expect::HostName { host } => handshakes::host_name(self, host),
            Expect::OcspSigned => revocation::signed(self),
            Expect::OcspFresh => revocation::fresh(self),
            Expect::OcspGood => revocation::good(self),
            Expect::StampMatches => stamps::matches(self),
            Expect::StampSigned => stamps::signed(self),
            Expect::StampClock { tolerance } => stamps::clock(self, *tolerance),
        }
    }

    /// The one observation of a look that has one. A refused connection is what the other side says: `fault`. A silent one is
    /// not known to be anybody's.
    fn seen(&self, fault: Fault) -> Result<&'c Observation, Trouble> {
        let observation = self.own.iter().max_by_key(|it| it.time);
        let observation = observation.ok_or_else(|| unknown(Cause::NotObserved, ""))?;
        match &observation.seen {
            Seen::Failed { why } => Err(failed(why)),
            Seen::Tcp(TcpSeen::Refused) => Err(found(fault, "", TcpSeen::Refused.as_str())),
            Seen::Tcp(tcp) => Err(unknown(Cause::NoConnection, tcp.as_str())),
            _ => Ok(observation),
        }
    }

    /// What was seen of a balancer.
    fn balancer(&self, name: &str) -> Vec<&'c Observation> {
        let name = name.to_owned();
        latest(&Vantage::Controller, &Probe::Balancer { name }, self.all)
    }

    /// What another look from this vantage point showed.
    fn other(&self, probe: &Probe) -> Vec<&'c Observation> {
        latest(&self.check.vantage, probe, self.all)
    }

    fn evidence(&self) -> Vec<Evidence> {
        let mut observations = self.own.clone();
        if let (Expect::DiffersFrom { other }, Probe::Dns { view, .. }) =
            (&self.check.expect, &self.check.probe)
        {
            let (name, view) = (other.clone(), *view);
            observations.extend(self.other(&Probe::Dns { name, view }));
        }
        let control = match self.check.expect {
            Expect::Open { control }
            | Expect::Closed { control }
            | Expect::TurnedAway { control, .. } => control,
            _ => None,
        };
        if let Expect::TurnedAway { balancers, .. } = &self.check.expect {
            observations.extend(balancers.iter().flat_map(|it| self.balancer(it)));
        }
        if let Some(address) = control {
            observations.extend(self.other(&Probe::TcpConnect { address }));
        }
        observations.into_iter().map(evidence).collect()
    }
}

/// The latest observation of each address that a look went to.
fn latest<'o>(
    vantage: &Vantage,
    probe: &Probe,
    observations: &'o [Observation],
) -> Vec<&'o Observation> {
    let same = |it: &&Observation| it.vantage == *vantage && it.probe == *probe;
    let mut kept: Vec<&Observation> = Vec::new();
    for observation in observations.iter().filter(same) {
        let place = place_of(observation);
        match kept.iter_mut().find(|it| place_of(it) == place) {
            Some(known) if known.time <= observation.time => *known = observation,
            Some(_) => {}
            None => kept.push(observation),
        }
    }
    kept
}

/// Looks at one place replace each other. Only DNS has several places in one look, its servers.
fn place_of(observation: &Observation) -> Option<std::net::SocketAddr> {
    match observation.probe {
        Probe::Dns { .. } | Probe::NameServers { .. } => observation.address,
        _ => None,
    }
}

fn found(fault: Fault, declared: impl Into<String>, observed: impl Into<String>) -> Trouble {
    Trouble::Found {
        fault,
        declared: declared.into(),
        observed: shortened(observed.into()),
    }
}

/// A server may say numbers and names of any length; a finding is for people to read.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_OBSERVED_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn broken(declared: impl Into<String>) -> impl FnOnce(Broken) -> Trouble {
    let declared = declared.into();
    |(fault, observed)| found(fault, declared, observed)
}

fn unknown(cause: Cause, detail: impl Into<String>) -> Trouble {
    let detail = detail.into();
    Trouble::Unknown(Why { cause, detail })
}

fn failed(why: &Failure) -> Trouble {
    match why {
        Failure::NodeOffline => unknown(Cause::NodeOffline, ""),
        Failure::NodeRefused { reason } => unknown(Cause::NodeRefused, reason),
        Failure::NoRoute => unknown(Cause::NoRoute, ""),
        Failure::Local { error } => unknown(Cause::Local, error),
        Failure::Before { error } => unknown(Cause::Before, error),
        Failure::NoTime => unknown(Cause::NoTime, ""),
    }
}

fn evidence(observation: &Observation) -> Evidence {
    let address = match (&observation.address, &observation.probe) {
        (Some(address), _) => address.to_string(),
        (
            None,
            Probe::Dns { name, .. } | Probe::NameServers { name } | Probe::Balancer { name },
        ) => name.clone(),
        (None, Probe::Url { url } | Probe::Ocsp { url, .. } | Probe::TimeStamp { url }) => {
            url.clone()
        }
        (
            None,
            Probe::TcpConnect { address }
            | Probe::TcpStay { address }
            | Probe::Tls { address }
            | Probe::Http { address, .. }
            | Probe::OcspCache { address, .. }
            | Probe::UdpPort { address },
        ) => address.to_string(),
        (None, Probe::Declaration | Probe::Unresolved { .. }) => String::new(),
    };
    Evidence {
        time: observation.time,
        vantage: observation.vantage.clone(),
        address,
        observed: in_words(&observation.seen),
    }
}

/// An observation in a line, in field words.
fn in_words(seen: &Seen) -> String {
    match seen {
        Seen::Tcp(tcp) => tcp.as_str().to_owned(),
        Seen::Dns(dns) => format!("{}: {}", dns.server, dns_in_words(&dns.answer)),
        Seen::NameServers(seen) => names::servers_in_words(seen),
        Seen::Tls(tls) => handshakes::in_words(tls),
        Seen::Http(http) => http_in_words(http),
        Seen::OcspCache(cache) => format!(
            "?cert={}: {}; /: {}",
            cache.certificate_sha1,
            http_in_words(&cache.with_certificate),
            http_in_words(&cache.without)
        ),
        Seen::Url(url) => match &url.http {
            Some(http) => format!(
                "{}; {}",
                handshakes::in_words(&url.tls),
                http_in_words(http)
            ),
            None => handshakes::in_words(&url.tls),
        },
        Seen::Inside(inside) => names::inside_in_words(inside),
        Seen::Ocsp(ocsp) => http_in_words(&ocsp.http),
        Seen::TimeStamp(stamp) => http_in_words(&stamp.http),
        Seen::Balancer(balancer) => format!(
            "up: {}; down: {}",
            listed(&balancer.up),
            listed(&balancer.down)
        ),
        Seen::Failed { why } => format!("{why:?}"),
    }
}

fn dns_in_words(answer: &DnsAnswer) -> String {
    match answer {
        DnsAnswer::Silent => "silent".to_owned(),
        DnsAnswer::Error { code } => code.clone(),
        DnsAnswer::NoName => "NXDOMAIN".to_owned(),
        DnsAnswer::Records {
            aliases, addresses, ..
        } => {
            let path = aliases.iter().map(|alias| format!("CNAME {alias} "));
            let path: String = path.collect();
            format!("{path}{}", listed(addresses))
        }
    }
}

fn http_in_words(http: &HttpSeen) -> String {
    match http {
        HttpSeen::Broken { error } => error.clone(),
        HttpSeen::Answer {
            status,
            content_type,
            ..
        } => match content_type {
            Some(content_type) => format!("HTTP {status}, {content_type}"),
            None => format!("HTTP {status}"),
        },
    }
}

/// With commas; a dash for nothing.
fn listed<T: ToString>(things: &[T]) -> String {
    if things.is_empty() {
        return "-".to_owned();
    }
    let texts: Vec<String> = things.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

const MAX_OBSERVED_CHARS: usize = 2_000;

#[cfg(test)]
mod tests;
