//! Whether the target of each declared service answers, as the agent probes it.

use futures_util::future::join_all;
use malha_proto::{Service, ServiceState};

use super::report::{Finding, Look, Looked};
use super::subject::Subject;
use crate::probe::probe;
use crate::text::Lang;
use crate::text::doctor::{self as text, trouble};

/// One finding per service.
pub(super) async fn look(subject: &Subject, lang: Lang) -> Vec<Looked> {
    let services = subject.netmap.iter().flat_map(|map| map.services.values());
    let looks = services.take(MAX_SERVICES).map(async |service| {
        let state = probe(service.target, service.kind).await;
        judge(service, state, lang).of(Look::Services)
    });
    let looked = join_all(looks).await;
    match looked.is_empty() {
        false => looked,
        true => {
            let (code, why) = match subject.is_enrolled() {
                true => ("services-none", text::services_none(lang)),
                false => ("services-not-enrolled", text::not_enrolled(lang)),
            };
            vec![Finding::could_not_test(code, why).of(Look::Services)]
        }
    }
}

fn judge(service: &Service, state: ServiceState, lang: Lang) -> Finding {
    let (name, target) = (&service.name, service.target);
    match state {
        ServiceState::Up => {
            Finding::ok("service-answers", text::service_answers(lang, name, target))
        }
        ServiceState::Refused => Finding::problem(
            "service-refused",
            trouble::service_refused(lang, name, target),
        ),
        ServiceState::Timeout | ServiceState::Unknown => Finding::problem(
            "service-silent",
            trouble::service_silent(lang, name, target),
        ),
        ServiceState::Broken => Finding::problem(
            "service-broken",
            trouble::service_broken(lang, name, target),
        ),
    }
}

/// They are probed at the same time.
const MAX_SERVICES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed;

    #[test]
    fn each_state_of_a_target_has_its_own_remedy() {
        let map = testbed::netmap(1);
        let service = map.services.values().next().unwrap();
        let said = |state| judge(service, state, Lang::Pt);
        assert_eq!(said(ServiceState::Up).remedy, None);
        let problems = [
            ServiceState::Refused,
            ServiceState::Timeout,
            ServiceState::Broken,
        ];
        let remedies: std::collections::BTreeSet<_> =
            problems.map(|state| said(state).remedy.unwrap()).into();
        assert_eq!(remedies.len(), problems.len());
        for state in problems {
            assert!(said(state).observed.contains("127.0.0.1:8080"));
        }
    }
}
