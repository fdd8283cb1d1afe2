//! Whether somebody on the way answers in the controller's place: a captive portal, or a filter that opens TLS.

use super::report::Finding;
use super::ways::host;
use crate::agent::LinkFault;
use crate::control::look::{Carried, Page};
use crate::text::Lang;
use crate::text::doctor::{self as text, trouble};

/// `page` is who answered plain HTTP at the host of this controller.
pub(super) fn judge(
    tcp: &[(String, Carried)],
    page: Option<&(String, Page)>,
    lang: Lang,
) -> Finding {
    let stranger = tcp.iter().find_map(|(_, it)| {
        let error = it.control.as_ref().err()?;
        (error.fault == LinkFault::WrongController).then_some(error)
    });
    if let Some(why) = stranger {
        return Finding::problem("portal-tls", trouble::portal_tls(lang, why));
    }
    if tcp.iter().any(|(_, it)| it.control.is_ok()) {
        return Finding::ok("portal-none", text::portal_none(lang));
    }
    let astray = page.filter(|(controller, page)| leads_away(host(controller), page));
    match astray {
        Some((_, page)) => {
            let location = page.location.as_deref().unwrap_or("?");
            let trouble = trouble::portal_page(lang, page.status, location);
            Finding::problem("portal-page", trouble)
        }
        None => Finding::could_not_test("portal-unknown", text::portal_unknown(lang)),
    }
}

/// RFC 6585 §6 has a status for portals; most of them redirect to their own name.
fn leads_away(host: &str, page: &Page) -> bool {
    if page.status == NETWORK_AUTHENTICATION_REQUIRED {
        return true;
    }
    let location = page.location.as_deref().unwrap_or_default();
    let place = location.split_once("://").map(|(_, rest)| rest);
    let place = place.and_then(|rest| rest.split(['/', '?', '#']).next());
    let there = place.map(|place| place.rsplit('@').next().unwrap_or(place));
    let is_redirect = (300..400).contains(&page.status);
    is_redirect && there.is_some_and(|there| !is_host(there, host))
}

/// With or without a port.
fn is_host(place: &str, host: &str) -> bool {
    let place = place.to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    place == host || place.strip_prefix(&host).is_some_and(is_port)
}

fn is_port(rest: &str) -> bool {
    let digits = rest.strip_prefix(':').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

const NETWORK_AUTHENTICATION_REQUIRED: u16 = 511;

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;
    use crate::agent::LinkError;

    fn carried(control: Result<(), LinkFault>) -> Vec<(String, Carried)> {
        let error = |fault| LinkError::new(fault, "issued by CN=filter");
        let carried = Carried {
            proxy: None,
            control: control.map(|()| None).map_err(error),
            carrier: Ok(()),
            is_untimely: false,
        };
        vec![("hub.example:443".into(), carried)]
    }

    fn page(status: u16, location: &str) -> (String, Page) {
        let location = Some(location.to_owned()).filter(|it| !it.is_empty());
        ("hub.example:443".into(), Page { status, location })
    }

    #[test]
    fn a_foreign_certificate_is_a_portal_or_a_filter() {
        let said = judge(&carried(Err(LinkFault::WrongController)), None, Lang::En);
        assert_eq!((said.verdict, said.code), (Verdict::Problem, "portal-tls"));
        assert!(said.observed.contains("CN=filter"), "{}", said.observed);
    }

    #[test]
    fn the_controllers_own_answer_counts_more_than_what_port_80_says() {
        let astray = page(302, "http://login.example/");
        let said = judge(&carried(Ok(())), Some(&astray), Lang::En);
        assert_eq!(said.code, "portal-none");
    }

    #[test]
    fn only_a_redirection_to_somebody_else_is_a_portal() {
        for (status, location, code) in [
            (302, "http://login.example/?u=1", "portal-page"),
            (307, "https://hub.example.evil/", "portal-page"),
            (302, "https://hub.example@login.example/", "portal-page"),
            (511, "", "portal-page"),
            (308, "https://hub.example/", "portal-unknown"),
            (308, "https://HUB.example:8443/", "portal-unknown"),
            (302, "/login", "portal-unknown"),
            (404, "", "portal-unknown"),
            (200, "", "portal-unknown"),
        ] {
            let page = page(status, location);
            let said = judge(&carried(Err(LinkFault::Unreachable)), Some(&page), Lang::En);
            assert_eq!(said.code, code, "{status} {location}");
        }
    }
}
