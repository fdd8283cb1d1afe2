//! Whether this machine finds the controllers by their names.

use super::report::Finding;
use super::ways::{Named, host};
use crate::control::SLOW_LOOKUP;
use crate::text::Lang;
use crate::text::doctor::{self as text, trouble};

/// `proxy` resolves names by itself, so a machine behind one needs no resolver that knows the world.
pub(super) fn judge(names: &[Named], proxy: Option<&str>, lang: Lang) -> Finding {
    if names.is_empty() {
        return Finding::could_not_test("dns-not-needed", text::dns_not_needed(lang));
    }
    let failed = names
        .iter()
        .find_map(|it| Some((host(&it.controller), it.found.as_ref().err()?)));
    match (failed, proxy) {
        (None, _) => answered(names, lang),
        (Some((name, _)), Some(_)) => Finding::ok("dns-by-proxy", text::dns_by_proxy(lang, name)),
        (Some((name, why)), None) => {
            Finding::problem("dns-fails", trouble::dns_fails(lang, name, why))
        }
    }
}

fn answered(names: &[Named], lang: Lang) -> Finding {
    let slowest = names.iter().max_by_key(|it| it.took);
    if let Some(slow) = slowest.filter(|it| it.took >= SLOW_LOOKUP) {
        let took_s = format!("{:.1}", slow.took.as_secs_f32());
        let trouble = trouble::dns_slow(lang, host(&slow.controller), took_s);
        return Finding::problem("dns-slow", trouble);
    }
    let found = names.iter().filter_map(|it| {
        let first = it.found.as_ref().ok()?.first()?;
        Some(format!("{} → {}", host(&it.controller), first.ip()))
    });
    let found: Vec<String> = found.collect();
    Finding::ok("dns-answers", text::dns_found(lang, found.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::super::report::Verdict;
    use super::*;
    use crate::agent::{LinkError, LinkFault};

    fn named(found: Result<Vec<SocketAddr>, LinkError>, took: Duration) -> Named {
        Named {
            controller: "hub.example:443".into(),
            found,
            took,
        }
    }

    fn said(found: Result<Vec<SocketAddr>, LinkError>, proxy: Option<&str>) -> Finding {
        judge(&[named(found, Duration::from_millis(20))], proxy, Lang::En)
    }

    #[test]
    fn an_answer_that_comes_late_is_a_problem_that_names_its_time() {
        let found = || Ok(vec!["192.0.2.1:443".parse().unwrap()]);
        let late = named(found(), Duration::from_millis(5_036));
        let late = judge(&[named(found(), Duration::ZERO), late], None, Lang::En);
        assert_eq!((late.verdict, late.code), (Verdict::Problem, "dns-slow"));
        assert!(late.observed.contains("5.0 s"), "{}", late.observed);
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
