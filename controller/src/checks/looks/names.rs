//! What names lead to inside the overlay, as a member says on this controller's order.

use malha_check::{DnsAnswer, Failure, InsideSeen, Observation, Probe, Seen, Vantage, View};
use malha_proto::{HostName, MAX_PROBE_NAMES, NameAnswer, NameSeen, NodeId};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{LOOK_LIMIT_MS, patiently};
use crate::session::Registry;

pub(super) async fn look(
    registry: &Registry,
    node: NodeId,
    looks: &[(Vantage, String)],
    ends: Instant,
) -> Vec<Observation> {
    let (mut wanted, mut seen) = (Vec::new(), Vec::new());
    for (vantage, name) in looks {
        match name.parse::<HostName>() {
            Ok(host) => wanted.push((vantage, name, host)),
            Err(error) => {
                let error = error.to_string();
                seen.push(observation(vantage, name, Err(Failure::Local { error })));
            }
        }
    }
    for some in wanted.chunks(MAX_PROBE_NAMES) {
        let answers = patiently(ends, || {
            let names = some.iter().map(|(_, _, host)| host.clone()).collect();
            registry.resolve(node, names, LOOK_LIMIT_MS)
        })
        .await;
        let each = some.iter().enumerate();
        seen.extend(each.map(|(at, (vantage, name, _))| {
            let answer = match &answers {
                Ok(answers) => answers.get(at).map_or_else(no_answer, inside),
                Err(why) => Err(why.clone()),
            };
            observation(vantage, name, answer)
        }));
    }
    seen
}

fn observation(vantage: &Vantage, name: &str, seen: Result<Seen, Failure>) -> Observation {
    Observation {
        time: OffsetDateTime::now_utc(),
        vantage: vantage.clone(),
        probe: Probe::Dns {
            name: name.to_owned(),
            view: View::Internal,
        },
        address: None,
        seen: seen.unwrap_or_else(|why| Seen::Failed { why }),
    }
}

fn no_answer() -> Result<Seen, Failure> {
    let error = "no answer".to_owned();
    Err(Failure::Local { error })
}

fn inside(seen: &NameSeen) -> Result<Seen, Failure> {
    let resolver = match &seen.resolver {
        NameAnswer::Addresses(addresses) => DnsAnswer::Records {
            is_authoritative: true,
            aliases: Vec::new(),
            addresses: addresses.clone(),
        },
        NameAnswer::NoName => DnsAnswer::NoName,
        NameAnswer::Refused => DnsAnswer::Error {
            code: "REFUSED".to_owned(),
        },
        NameAnswer::Silent => DnsAnswer::Silent,
        NameAnswer::Off => {
            let reason = "its agent answers no names (names in its node.toml, or port 53 is taken)";
            return Err(Failure::NodeRefused {
                reason: reason.to_owned(),
            });
        }
    };
    Ok(Seen::Inside(InsideSeen {
        resolver,
        programs: seen.system.clone(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_answers_no_names_is_no_answer_about_them() {
        let said = |resolver| {
            inside(&NameSeen {
                resolver,
                system: None,
            })
        };
        assert!(matches!(
            said(NameAnswer::Off),
            Err(Failure::NodeRefused { .. })
        ));
        for answer in [NameAnswer::NoName, NameAnswer::Refused, NameAnswer::Silent] {
            assert!(matches!(said(answer), Ok(Seen::Inside(_))));
        }
    }
}
