//! Verdicts about ports: open or closed, what answers behind them, and whether the organization's own list fits the profiles.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::{Case, Outcome, Trouble, failed, found, http_in_words, listed, unknown};
use crate::check::Probe;
use crate::observation::{HttpSeen, Seen, TcpSeen, UrlSeen};
use crate::plan::host_of;
use crate::subject::{Direction, Exposure, ProfilePort, Subject};
use crate::verdict::{Cause, Fault};

pub(super) fn open(case: &Case<'_>, control: Option<SocketAddr>) -> Outcome {
    match connected(case)? {
        TcpSeen::Open => Ok(TcpSeen::Open.as_str().to_owned()),
        seen => {
            check_control(case, seen, control)?;
            Err(found(
                Fault::PortClosed,
                TcpSeen::Open.as_str(),
                seen.as_str(),
            ))
        }
    }
}

pub(super) fn closed(case: &Case<'_>, control: Option<SocketAddr>) -> Outcome {
    match connected(case)? {
        TcpSeen::Open => Err(found(Fault::PortOpen, "closed", TcpSeen::Open.as_str())),
        seen => {
            check_control(case, seen, control)?;
            Ok(seen.as_str().to_owned())
        }
    }
}

fn connected(case: &Case<'_>) -> Result<TcpSeen, Trouble> {
    let observation = case.own.last();
    match observation.map(|it| &it.seen) {
        Some(Seen::Tcp(seen)) => Ok(*seen),
        Some(Seen::Failed { why }) => Err(failed(why)),
        _ => Err(unknown(Cause::NotObserved, "")),
    }
}

/// A reset comes from the other side. Silence, or a router's word, may come from a vantage point that reaches nothing at all.
fn check_control(
    case: &Case<'_>,
    seen: TcpSeen,
    control: Option<SocketAddr>,
) -> Result<(), Trouble> {
    let (TcpSeen::Silent | TcpSeen::Unreachable, Some(address)) = (seen, control) else {
        return Ok(());
    };
    let control = case.other(&Probe::TcpConnect { address });
    match control.last().map(|it| &it.seen) {
        Some(Seen::Tcp(TcpSeen::Open)) => Ok(()),
        _ => Err(unknown(Cause::ControlUnreachable, address.to_string())),
    }
}

pub(super) fn status(case: &Case<'_>, statuses: &[u16]) -> Outcome {
    let observation = case.seen(Fault::NoHttp)?;
    let Seen::Http(http) = &observation.seen else {
        return Err(unknown(Cause::NotObserved, ""));
    };
    match answered(http)? {
        status if statuses.contains(&status) => Ok(http_in_words(http)),
        _ => Err(found(
            Fault::StatusWrong,
            listed(statuses),
            http_in_words(http),
        )),
    }
}

pub(super) fn no_server_error(case: &Case<'_>) -> Outcome {
    let observation = case.seen(Fault::NoHttp)?;
    let http = match &observation.seen {
        Seen::Http(http) => http,
        Seen::OcspCache(cache) => &cache.without,
        Seen::Url(url) => sent(url)?,
        _ => return Err(unknown(Cause::NotObserved, "")),
    };
    match answered(http)? {
        ..500 => Ok(http_in_words(http)),
        _ => Err(found(Fault::StatusWrong, "< 500", http_in_words(http))),
    }
}

pub(super) fn ocsp_multipart(case: &Case<'_>) -> Outcome {
    let observation = case.seen(Fault::NoHttp)?;
    let Seen::OcspCache(cache) = &observation.seen else {
        return Err(unknown(Cause::NotObserved, ""));
    };
    answered(&cache.with_certificate)?;
    let declared = "multipart/*: application/ocsp-response";
    match &cache.with_certificate {
        HttpSeen::Answer {
            status: 200,
            content_type: Some(content_type),
            body,
            ..
        } if content_type.to_ascii_lowercase().starts_with("multipart/")
            && body
                .to_ascii_lowercase()
                .contains("application/ocsp-response") =>
        {
            Ok(http_in_words(&cache.with_certificate))
        }
        other => Err(found(Fault::NotMultipart, declared, http_in_words(other))),
    }
}

fn answered(http: &HttpSeen) -> Result<u16, Trouble> {
    match http {
        HttpSeen::Answer { status, .. } => Ok(*status),
        HttpSeen::Broken { error } => Err(found(Fault::NoHttp, "HTTP", error)),
    }
}

/// Nothing is asked of a server whose certificate leads nowhere; other checks say why.
fn sent(url: &UrlSeen) -> Result<&HttpSeen, Trouble> {
    let nothing = || unknown(Cause::Before, url.tls.error.clone().unwrap_or_default());
    url.http.as_ref().ok_or_else(nothing)
}

pub(super) fn away(case: &Case<'_>, names: &[String], addresses: &[IpAddr]) -> Outcome {
    let is_theirs = |host: &str| names.iter().any(|name| name.eq_ignore_ascii_case(host));
    if let Probe::Url { url } = &case.check.probe
        && let Some(host) = host_of(url)
        && is_theirs(host)
    {
        return Err(found(Fault::OtherStage, "", host));
    }
    let observation = case.seen(Fault::NoHttp)?;
    let ip = observation.address.map(|address| address.ip());
    if let Some(ip) = ip.filter(|ip| addresses.contains(ip)) {
        return Err(found(Fault::OtherStage, "", ip.to_string()));
    }
    let Seen::Url(seen) = &observation.seen else {
        return Err(unknown(Cause::NotObserved, ""));
    };
    if let HttpSeen::Answer {
        location: Some(location),
        ..
    } = sent(seen)?
        && host_of(location).is_some_and(is_theirs)
    {
        return Err(found(
            Fault::OtherStage,
            "",
            format!("Location: {location}"),
        ));
    }
    Ok(ip.map(|ip| ip.to_string()).unwrap_or_default())
}

pub(super) fn all_up(case: &Case<'_>) -> Outcome {
    let observation = case.seen(Fault::BackendDown)?;
    let Seen::Balancer(balancer) = &observation.seen else {
        return Err(unknown(Cause::NotObserved, ""));
    };
    match (balancer.up.is_empty(), balancer.down.is_empty()) {
        (_, false) => Err(found(Fault::BackendDown, "", listed(&balancer.down))),
        (true, true) => Err(unknown(Cause::NothingDeclared, "servers")),
        (false, true) => Ok(listed(&balancer.up)),
    }
}

/// Compares what the organization wrote down with its servers' profile, line by line.
pub(super) fn same(subject: &Subject) -> Outcome {
    if subject.profile.is_empty() {
        return Err(unknown(Cause::NothingDeclared, "profile"));
    }
    let (profile, egress) = by_direction(&subject.profile);
    let mut declared = Vec::new();
    let mut observed = Vec::new();
    let mut differ = |said: String, is: String| {
        declared.push(said);
        observed.push(is);
    };
    for port in &subject.declared_ports {
        let number = port.number;
        let outside = if port.from_outside { ", outside" } else { "" };
        let exposure = profile.get(&number).copied();
        let is_right = match port.direction {
            Direction::In if port.from_outside => exposure == Some(Exposure::Public),
            Direction::In => exposure.is_some_and(|it| it != Exposure::Never),
            Direction::Out => egress.contains(&number),
        };
        if !is_right {
            let (direction, is) = match port.direction {
                Direction::In => ("in", exposure.map_or("-", word)),
                Direction::Out => ("out", "-"),
            };
            differ(
                format!("{number} {direction}{outside}"),
                format!("{number} {is}"),
            );
        }
    }
    let says = |number: u16, direction: Direction| {
        let mut lines = subject.declared_ports.iter();
        lines.any(|it| it.number == number && it.direction == direction)
    };
    for (number, exposure) in &profile {
        if *exposure == Exposure::Public && !says(*number, Direction::In) {
            differ(format!("{number} -"), format!("{number} public"));
        }
    }
    for number in egress {
        if !says(number, Direction::Out) {
            differ(format!("{number} -"), format!("{number} out"));
        }
    }
    if declared.is_empty() {
        return Ok(format!("{} lines", subject.declared_ports.len()));
    }
    Err(found(
        Fault::PortsDiffer,
        declared.join("; "),
        observed.join("; "),
    ))
}

/// What comes in with its widest exposure, and what goes out.
fn by_direction(profile: &[ProfilePort]) -> (BTreeMap<u16, Exposure>, BTreeSet<u16>) {
    let (mut inward, mut outward) = (BTreeMap::new(), BTreeSet::new());
    for port in profile {
        if port.direction == Direction::Out {
            outward.insert(port.number);
            continue;
        }
        let known = inward.entry(port.number).or_insert(port.exposure);
        if width(port.exposure) > width(*known) {
            *known = port.exposure;
        }
    }
    (inward, outward)
}

fn width(exposure: Exposure) -> u8 {
    match exposure {
        Exposure::Never => 0,
        Exposure::Loopback => 1,
        Exposure::Tunnel => 2,
        Exposure::Public => 3,
    }
}

fn word(exposure: Exposure) -> &'static str {
    match exposure {
        Exposure::Never => "never",
        Exposure::Loopback => "loopback",
        Exposure::Tunnel => "tunnel",
        Exposure::Public => "public",
    }
}
