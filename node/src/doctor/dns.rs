//! Whether this machine finds the controllers by their names.

use std::net::SocketAddr;

use super::report::Finding;
use super::ways::host;
use crate::agent::LinkError;
use crate::text::Lang;
use crate::text::doctor::{self as text, trouble};

/// `proxy` resolves names by itself, so a machine behind one needs no resolver that knows the world.
pub(super) fn judge(
    names: &[(String, Result<Vec<SocketAddr>, LinkError>)],
    proxy: Option<&str>,
    lang: Lang,
) -> Finding {
    if names.is_empty() {
        return Finding::could_not_test("dns-not-needed", text::dns_not_needed(lang));
    }
    let failed = names
        .iter()
        .find_map(|(name, found)| Some((host(name), found.as_ref().err()?)));
    match (failed, proxy) {
        (None, _) => {
            let found = names.iter().filter_map(|(name, found)| {
                let first = found.as_ref().ok()?.first()?;
                Some(format!("{} → {}", host(name), first.ip()))
            });
            let found: Vec<String> = found.collect();
            Finding::ok("dns-answers", text::dns_found(lang, found.join(", ")))
        }
        (Some((name, _)), Some(_)) => Finding::ok("dns-by-proxy", text::dns_by_proxy(lang, name)),
        (Some((name, why)), None) => {
            Finding::problem("dns-fails", trouble::dns_fails(lang, name, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;
    use crate::agent::LinkFault;

    fn said(found: Result<Vec<SocketAddr>, LinkError>, proxy: Option<&str>) -> Finding {
        judge(&[("hub.example:443".into(), found)], proxy, Lang::En)
    }

    #[test]
    fn a_name_without_an_address_is_a_problem_unless_a_proxy_finds_it() {
        let found = || Ok(vec!["192.0.2.1:443".parse().unwrap()]);
        let lost = || Err(LinkError::new(LinkFault::Name, "no such name"));
        assert_eq!(said(found(), None).code, "dns-answers");
        let fails = said(lost(), None);
        assert_eq!((fails.verdict, fails.code), (Verdict::Problem, "dns-fails"));
        assert!(fails.observed.contains("hub.example"), "{}", fails.observed);
        assert_eq!(said(lost(), Some("proxy:3128")).code, "dns-by-proxy");
        assert_eq!(judge(&[], None, Lang::En).verdict, Verdict::CouldNotTest);
    }
}
