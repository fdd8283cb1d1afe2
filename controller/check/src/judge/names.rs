//! Verdicts about names: whether they exist, where they point, and whether all servers say so.

use std::collections::BTreeSet;
use std::net::IpAddr;

use malha_proto::is_public;

use super::{Case, Outcome, Trouble, dns_in_words, failed, found, listed, unknown};
use crate::check::Probe;
use crate::observation::{
    DnsAnswer, DnsSeen, InsideSeen, ListedServer, NameServersAnswer, NameServersSeen, Observation,
    Seen,
};
use crate::verdict::{Cause, Fault};

pub(super) fn exists(case: &Case<'_>) -> Outcome {
    let answers = answers(case, &case.own)?;
    let addresses = addresses(&answers);
    if !addresses.is_empty() {
        return Ok(shown(&addresses));
    }
    let fault = match answers
        .iter()
        .any(|it| !matches!(it.answer, DnsAnswer::Error { .. }))
    {
        true => Fault::NameMissing,
        false => Fault::NameServerError,
    };
    let said: Vec<String> = answers.iter().map(|it| dns_in_words(&it.answer)).collect();
    Err(found(fault, name(case), listed(&said)))
}

pub(super) fn only(case: &Case<'_>, declared: &[IpAddr]) -> Outcome {
    let found_addresses = existing(case)?;
    if declared.is_empty() {
        return Err(unknown(Cause::NothingDeclared, ""));
    }
    let others: Vec<&IpAddr> = found_addresses
        .iter()
        .filter(|address| !declared.contains(address))
        .collect();
    match others[..] {
        [] => Ok(shown(&found_addresses)),
        _ => Err(found(
            Fault::UndeclaredAddress,
            listed(declared),
            listed(&others),
        )),
    }
}

pub(super) fn no_private(case: &Case<'_>) -> Outcome {
    let addresses = existing(case)?;
    let private: Vec<&IpAddr> = addresses.iter().filter(|it| !is_public(**it)).collect();
    match private[..] {
        [] => Ok(shown(&addresses)),
        _ => Err(found(Fault::PrivateAddress, "", listed(&private))),
    }
}

pub(super) fn agree(case: &Case<'_>) -> Outcome {
    let answers = answers(case, &case.own)?;
    for seen in &answers {
        let server = &seen.server;
        let (fault, said) = match &seen.answer {
            DnsAnswer::Silent => (Fault::NameServerSilent, String::new()),
            DnsAnswer::Error { code } => (Fault::NameServerError, code.clone()),
            DnsAnswer::Records {
                is_authoritative: false,
                ..
            } => (Fault::NameServerLame, String::new()),
            _ => continue,
        };
        return Err(found(fault, "", format!("{server} {said}").trim()));
    }
    let content = |seen: &DnsSeen| match &seen.answer {
        DnsAnswer::Records {
            aliases, addresses, ..
        } => Some((aliases.clone(), addresses.clone())),
        _ => None,
    };
    if let [first, rest @ ..] = &answers[..]
        && let Some(other) = rest.iter().find(|it| content(it) != content(first))
    {
        let said = |seen: &DnsSeen| format!("{}: {}", seen.server, dns_in_words(&seen.answer));
        return Err(found(Fault::NameServersDisagree, said(first), said(other)));
    }
    // Findings come first; only then does it matter that some server could not be asked.
    if let Some(nowhere) = case.subject.unresolved_name_servers.first() {
        return Err(unknown(Cause::NoAddress, nowhere));
    }
    for server in &case.subject.name_servers {
        let observation = case
            .own
            .iter()
            .find(|it| it.address == Some(server.address));
        match observation.map(|it| &it.seen) {
            None => return Err(unknown(Cause::NotObserved, &server.name)),
            Some(Seen::Failed { why }) => return Err(failed(why)),
            Some(_) => {}
        }
    }
    let servers: Vec<&String> = answers.iter().map(|it| &it.server).collect();
    Ok(listed(&servers))
}

/// A server counts as asked where one of its addresses was.
pub(super) fn servers_declared(case: &Case<'_>) -> Outcome {
    let all = listed_servers(case)?;
    let declared = &case.subject.name_servers;
    let is_asked = |it: &&&ListedServer| {
        let mut asked = declared.iter().map(|server| server.address.ip());
        asked.any(|ip| it.addresses.contains(&ip))
    };
    let others: Vec<&ListedServer> = all.iter().filter(|it| !is_asked(it)).copied().collect();
    let strangers: Vec<&ListedServer> = others
        .iter()
        .filter(|it| !it.addresses.is_empty())
        .copied()
        .collect();
    if !strangers.is_empty() {
        let declared: Vec<&String> = declared.iter().map(|it| &it.name).collect();
        let (declared, strangers) = (listed(&declared), servers(&strangers));
        return Err(found(Fault::NameServerUndeclared, declared, strangers));
    }
    match others.first() {
        // It may be one of those that were asked, or not.
        Some(nowhere) => Err(unknown(Cause::NoAddress, &nowhere.name)),
        None => Ok(servers(&all)),
    }
}

/// By the word of each server that was asked, and has a word.
fn listed_servers<'c>(case: &Case<'c>) -> Result<Vec<&'c ListedServer>, Trouble> {
    has_servers(case)?;
    let mut all = Vec::new();
    let mut trouble = unknown(Cause::NotObserved, "");
    for observation in &case.own {
        match &observation.seen {
            Seen::NameServers(NameServersSeen { server, answer }) => match answer {
                NameServersAnswer::Listed { servers, .. } => all.extend(servers),
                NameServersAnswer::Nothing { why } => {
                    trouble = unknown(Cause::NoConnection, format!("{server}: {why}"));
                }
            },
            Seen::Failed { why } => trouble = failed(why),
            _ => {}
        }
    }
    match all.is_empty() {
        true => Err(trouble),
        false => Ok(all),
    }
}

fn servers(servers: &[&ListedServer]) -> String {
    let in_words = |it: &&ListedServer| format!("{} ({})", it.name, listed(&it.addresses));
    let each: BTreeSet<String> = servers.iter().map(in_words).collect();
    let each: Vec<String> = each.into_iter().collect();
    listed(&each)
}

pub(super) fn servers_in_words(seen: &NameServersSeen) -> String {
    let NameServersSeen { server, answer } = seen;
    match answer {
        NameServersAnswer::Nothing { why } => format!("{server}: {why}"),
        NameServersAnswer::Listed { zone, servers: all } => {
            let all: Vec<&ListedServer> = all.iter().collect();
            format!("{server}: {zone} NS {}", servers(&all))
        }
    }
}

pub(super) fn differs(case: &Case<'_>, other: &str) -> Outcome {
    let own = name(case);
    if folded(own) == folded(other) {
        return Err(found(Fault::SameName, other, own));
    }
    let Probe::Dns { view, .. } = case.check.probe else {
        return Err(unknown(Cause::NotObserved, ""));
    };
    let own = existing(case)?;
    let name = other.to_owned();
    let observations = case.other(&Probe::Dns { name, view });
    let other_addresses = addresses(&answers(case, &observations)?);
    if other_addresses.is_empty() {
        return Err(unknown(Cause::NoAddress, other));
    }
    let shared: Vec<&IpAddr> = own.intersection(&other_addresses).collect();
    match shared[..] {
        [] => Ok(format!("{} / {}", shown(&own), shown(&other_addresses))),
        _ => Err(found(Fault::SameAddress, other, listed(&shared))),
    }
}

pub(super) fn not_on(case: &Case<'_>, other_stage: &[IpAddr]) -> Outcome {
    let addresses = existing(case)?;
    let crossed: Vec<&IpAddr> = addresses
        .iter()
        .filter(|it| other_stage.contains(it))
        .collect();
    match crossed[..] {
        [] => Ok(shown(&addresses)),
        _ => Err(found(Fault::OtherStage, "", listed(&crossed))),
    }
}

pub(super) fn internal_view(case: &Case<'_>, declared: &[IpAddr]) -> Outcome {
    let observation = case.own.iter().max_by_key(|it| it.time);
    let seen = match observation.map(|it| &it.seen) {
        Some(Seen::Inside(seen)) => seen,
        Some(Seen::Failed { why }) => return Err(failed(why)),
        _ => return Err(unknown(Cause::NotObserved, "")),
    };
    if declared.is_empty() {
        return Err(unknown(Cause::NothingDeclared, ""));
    }
    let declared: BTreeSet<IpAddr> = declared.iter().copied().collect();
    let resolved = match &seen.resolver {
        DnsAnswer::Records { addresses, .. } => addresses.iter().copied().collect(),
        DnsAnswer::Silent => return Err(unknown(Cause::NoConnection, "agent")),
        DnsAnswer::Error { .. } | DnsAnswer::NoName => BTreeSet::new(),
    };
    // One family is enough for programs: a machine may have an entry of its own for it.
    let leads_inside = |programs: &Vec<IpAddr>| {
        !programs.is_empty() && programs.iter().all(|it| declared.contains(it))
    };
    match resolved == declared && seen.programs.as_ref().is_some_and(leads_inside) {
        true => Ok(shown(&declared)),
        false => Err(found(
            Fault::InternalViewWrong,
            shown(&declared),
            inside_in_words(seen),
        )),
    }
}

pub(super) fn inside_in_words(seen: &InsideSeen) -> String {
    let resolver = dns_in_words(&seen.resolver);
    match seen.programs.as_deref() {
        None => format!("agent: {resolver}"),
        Some([]) => format!("agent: {resolver}; programs: no address"),
        Some(programs) => format!("agent: {resolver}; programs: {}", listed(programs)),
    }
}

/// What the servers said; an error where none was asked, could be asked, or answered.
fn answers<'o>(
    case: &Case<'_>,
    observations: &[&'o Observation],
) -> Result<Vec<&'o DnsSeen>, Trouble> {
    has_servers(case)?;
    let mut answers = Vec::new();
    let mut failure = None;
    for observation in observations {
        match &observation.seen {
            Seen::Dns(seen) => answers.push(seen),
            Seen::Failed { why } => failure = Some(failed(why)),
            _ => {}
        }
    }
    if answers.is_empty() {
        return Err(failure.unwrap_or_else(|| unknown(Cause::NotObserved, "")));
    }
    if answers.iter().all(|it| it.answer == DnsAnswer::Silent) {
        let servers: Vec<&String> = answers.iter().map(|it| &it.server).collect();
        return Err(unknown(Cause::NoConnection, listed(&servers)));
    }
    Ok(answers)
}

fn has_servers(case: &Case<'_>) -> Result<(), Trouble> {
    let subject = case.subject;
    match (
        subject.name_servers.is_empty(),
        subject.unresolved_name_servers.first(),
    ) {
        (false, _) => Ok(()),
        (true, Some(nowhere)) => Err(unknown(Cause::NoAddress, nowhere)),
        (true, None) => Err(unknown(Cause::NothingDeclared, "name servers")),
    }
}

/// The addresses of a name that has some.
fn existing(case: &Case<'_>) -> Result<BTreeSet<IpAddr>, Trouble> {
    let addresses = addresses(&answers(case, &case.own)?);
    match addresses.is_empty() {
        true => Err(unknown(Cause::NoAddress, name(case))),
        false => Ok(addresses),
    }
}

fn addresses(answers: &[&DnsSeen]) -> BTreeSet<IpAddr> {
    let lists = answers.iter().filter_map(|it| match &it.answer {
        DnsAnswer::Records { addresses, .. } => Some(addresses),
        _ => None,
    });
    lists.flatten().copied().collect()
}

fn name<'c>(case: &Case<'c>) -> &'c str {
    match &case.check.probe {
        Probe::Dns { name, .. } => name,
        _ => "",
    }
}

fn folded(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn shown(addresses: &BTreeSet<IpAddr>) -> String {
    let addresses: Vec<&IpAddr> = addresses.iter().collect();
    listed(&addresses)
}
