//! Verdicts about ports: open or closed, what answers behind them, and whether the organization's own list fits its servers' profile.

use std::net::{IpAddr, SocketAddr};

use super::{Case, Outcome, Trouble, failed, found, http_in_words, listed, unknown};
use crate::check::{Probe, Vantage};
use crate::observation::{HttpSeen, Seen, TcpSeen, UrlSeen};
use crate::plan::authority::host_of;
use crate::subject::{Direction, Exposure, PortDifference, Subject};
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
        // Inside, silence is how a filter says no. Outside it may be a way that leads nowhere.
        seen @ (TcpSeen::Silent | TcpSeen::Unreachable)
            if control.is_none() && matches!(case.check.vantage, Vantage::Outside { .. }) =>
        {
            Err(unknown(Cause::NoControl, seen.as_str()))
        }
        seen => {
            check_control(case, seen, control)?;
            Ok(seen.as_str().to_owned())
        }
    }
}

/// As [`closed`], but a balancer has accepted before it looks at its list.
pub(super) fn turned_away(
    case: &Case<'_>,
    control: Option<SocketAddr>,
    balancers: &[String],
) -> Outcome {
    let serves = |seen: &Seen| matches!(seen, Seen::Balancer(it) if !it.up.is_empty());
    let mut of_balancers = balancers.iter().flat_map(|name| case.balancer(name));
    match connected(case)? {
        TcpSeen::Dismissed if !of_balancers.any(|it| serves(&it.seen)) => {
            Err(unknown(Cause::NobodyServed, balancers.join(", ")))
        }
        _ => closed(case, control),
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

/// What the organization wrote down against its servers' profile, as they were compared.
pub(super) fn same(subject: &Subject) -> Outcome {
    let Some(differences) = &subject.port_differences else {
        return Err(unknown(Cause::NothingDeclared, "profile"));
    };
    if differences.is_empty() {
        return Ok(format!("{} lines", subject.declared_ports.len()));
    }
    let told = |tell: fn(&PortDifference) -> String| {
        let each: Vec<String> = differences.iter().map(tell).collect();
        each.join("; ")
    };
    Err(found(Fault::PortsDiffer, told(declared), told(in_profile)))
}

fn declared(it: &PortDifference) -> String {
    let number = it.number;
    let places = match (it.is_declared_inside, it.is_declared_outside) {
        (false, false) => return format!("{number} -"),
        (true, false) => "inside",
        (false, true) => "outside",
        (true, true) => "inside, outside",
    };
    format!("{number} {} {places}", towards(it.direction))
}

fn in_profile(it: &PortDifference) -> String {
    let number = it.number;
    match it.exposure {
        None => format!("{number} -"),
        Some(exposure) => format!("{number} {} {}", towards(it.direction), word(exposure)),
    }
}

fn towards(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
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
