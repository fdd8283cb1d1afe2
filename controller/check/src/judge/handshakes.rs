//! Verdicts about TLS: client certificates asked for, chains, usages, names, and how long certificates last.

use time::Duration;
use x509_parser::certificate::X509Certificate;

use super::{Case, Outcome, Trouble, broken, found, listed, unknown};
use crate::certificate::{self, covers, extended_usage, host_names, not_after, not_before};
use crate::check::{Issuers, Role};
use crate::observation::{Seen, TlsSeen, WithoutCertificate};
use crate::verdict::{Cause, Fault};

pub(super) fn client_certificate(case: &Case<'_>) -> Outcome {
    let tls = handshake(case)?;
    match (tls.asked_certificate, tls.without_certificate) {
        (true, WithoutCertificate::Accepted) => Err(found(
            Fault::CertificateOptional,
            "CertificateRequest",
            in_words(tls),
        )),
        (true, _) => Ok(in_words(tls)),
        (false, _) => Err(found(
            Fault::NoCertificateRequest,
            "CertificateRequest",
            in_words(tls),
        )),
    }
}

pub(super) fn chain(case: &Case<'_>, issuers: Issuers) -> Outcome {
    let tls = handshake(case)?;
    let anchors = certificate::from_pem(case.subject.issuers(issuers));
    if anchors.is_empty() {
        return Err(unknown(Cause::NothingDeclared, "issuers"));
    }
    let declared = subjects(&anchors);
    let leaf = leaf(tls)?;
    let between: Vec<&[u8]> = tls.chain.iter().skip(1).map(|it| &it.0[..]).collect();
    let path = certificate::chain(leaf.as_raw(), &between, &anchors, case.now);
    let path = path.map_err(broken(declared.clone()))?;
    let path = path.ok_or_else(|| unknown(Cause::Unsupported, ""))?;
    if !tls.has_proved_key {
        // Beside an ended certificate the TLS library goes no further; that is the finding then.
        valid_now(case, &leaf)?;
        let error = tls.error.clone().unwrap_or_default();
        return Err(found(Fault::KeyUnproven, declared, error));
    }
    Ok(path)
}

pub(super) fn usage(case: &Case<'_>, role: Role) -> Outcome {
    let tls = handshake(case)?;
    let leaf = leaf(tls)?;
    let usage = leaf.key_usage().ok().flatten();
    let signs = usage.as_ref().is_none_or(|usage| {
        usage.value.digital_signature()
            || usage.value.key_encipherment()
            || usage.value.key_agreement()
    });
    let extended = extended_usage(&leaf).map(|(usage, _)| usage);
    let serves = extended.is_none_or(|usage| usage.any || usage.server_auth);
    let calls = extended.is_none_or(|usage| usage.any || usage.client_auth);
    let (declared, is_right) = match role {
        Role::Authentication => ("digitalSignature, serverAuth, clientAuth", serves && calls),
        Role::WebServer => ("digitalSignature, serverAuth", serves),
    };
    let mut words = Vec::new();
    if let Some(usage) = &usage {
        words.push(usage.value.to_string());
    }
    if let Some(extended) = extended {
        let named = [
            (extended.any, "any"),
            (extended.server_auth, "serverAuth"),
            (extended.client_auth, "clientAuth"),
            (extended.ocsp_signing, "OCSPSigning"),
            (extended.time_stamping, "timeStamping"),
        ];
        let named = named.iter().filter(|(is_set, _)| *is_set);
        words.extend(named.map(|(_, word)| (*word).to_owned()));
    }
    if leaf.is_ca() {
        words.push("CA:TRUE".to_owned());
    }
    match signs && is_right && !leaf.is_ca() {
        true => Ok(listed(&words)),
        false => Err(found(Fault::UsageWrong, declared, listed(&words))),
    }
}

pub(super) fn lasting(case: &Case<'_>) -> Outcome {
    let tls = handshake(case)?;
    let leaf = leaf(tls)?;
    valid_now(case, &leaf)?;
    let left = not_after(&leaf) - case.now;
    let steps = [
        (7, Fault::Expires7),
        (15, Fault::Expires15),
        (30, Fault::Expires30),
        (60, Fault::Expires60),
    ];
    let step = steps
        .into_iter()
        .find(|(days, _)| left <= Duration::days(*days));
    match step {
        Some((days, fault)) => Err(found(fault, format!("> {days} d"), until(&leaf))),
        None => Ok(until(&leaf)),
    }
}

pub(super) fn host_name(case: &Case<'_>, host: &str) -> Outcome {
    let tls = handshake(case)?;
    let names = host_names(&leaf(tls)?);
    match covers(&names, host) {
        true => Ok(listed(&names)),
        false => Err(found(Fault::HostNameMismatch, host, listed(&names))),
    }
}

fn valid_now(case: &Case<'_>, leaf: &X509Certificate<'_>) -> Result<(), Trouble> {
    let now = case.now.to_string();
    if case.now > not_after(leaf) {
        return Err(found(Fault::Expired, now, until(leaf)));
    }
    if case.now < not_before(leaf) {
        let from = format!("notBefore {}", not_before(leaf));
        return Err(found(Fault::NotYetValid, now, from));
    }
    Ok(())
}

fn until(leaf: &X509Certificate<'_>) -> String {
    format!("notAfter {}", not_after(leaf))
}

/// A handshake that got as far as a certificate.
fn handshake<'c>(case: &Case<'c>) -> Result<&'c TlsSeen, Trouble> {
    let observation = case.seen(Fault::NoTls)?;
    let tls = match &observation.seen {
        Seen::Tls(tls) => tls,
        Seen::Url(url) => &url.tls,
        _ => return Err(unknown(Cause::NotObserved, "")),
    };
    match tls.chain.is_empty() {
        true => Err(found(Fault::NoTls, "TLS", in_words(tls))),
        false => Ok(tls),
    }
}

fn leaf(tls: &TlsSeen) -> Result<X509Certificate<'_>, Trouble> {
    let der = tls.chain.first().map(|it| &it.0[..]).unwrap_or_default();
    certificate::parse(der).ok_or_else(|| found(Fault::CertificateMalformed, "X.509", ""))
}

pub(super) fn subjects(certificates: &[Vec<u8>]) -> String {
    let parsed = certificates.iter().filter_map(|it| certificate::parse(it));
    let names: Vec<String> = parsed.map(|it| it.subject().to_string()).collect();
    names.join("; ")
}

pub(super) fn in_words(tls: &TlsSeen) -> String {
    let mut words = Vec::new();
    words.extend(tls.version.clone());
    let leaf = tls.chain.first().and_then(|it| certificate::parse(&it.0));
    words.extend(leaf.map(|leaf| format!("{} ({})", leaf.subject(), until(&leaf))));
    if tls.asked_certificate {
        words.push("CertificateRequest".to_owned());
    }
    match tls.without_certificate {
        WithoutCertificate::Accepted => words.push("goes on without".to_owned()),
        WithoutCertificate::Refused => words.push("refuses without".to_owned()),
        WithoutCertificate::Unclear => {}
    }
    words.extend(tls.error.clone());
    listed(&words)
}
