//! `malha-node doctor`: looks at everything that a node needs, all at the same time, and says of each look what was seen, what it
//! means and what to do. It works with the agent running, stopped, or not yet enrolled, changes nothing, and tells no secret.
//!
//! [`examine`] gathers first what is known ([`Subject`], the agent's status) and what the network answers ([`Ways`]), and then lets
//! each room judge its part: a judgement is a pure function of what was seen, except where the look is one call.

mod agent;
mod certificate;
mod clock;
mod disk;
mod dns;
mod engine;
mod files;
mod guard;
mod mtu;
mod names;
mod nat;
mod portal;
mod report;
mod services;
mod subject;
mod tcp;
mod tunnel;
mod udp;
mod ways;

use std::time::Duration;

use malha_proto::EnrolToken;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::clock::unix_s;
use crate::config::Settings;
use crate::state::{Started, StateError};
use crate::text::{self, Lang};

pub use report::{Finding, Look, Looked, REPORT_VERSION, Report, Verdict};

use subject::{Running, Subject};
use ways::Ways;

/// Looks at this machine, where the agent was last `started` in its way. It takes at most [`EXAMINATION_LIMIT`] and what the disk needs.
pub async fn examine(
    settings: Settings,
    started: Result<Option<Started>, StateError>,
    token: Option<EnrolToken>,
    lang: Lang,
) -> Report {
    let subject = Subject::of(settings, started, token);
    let services = services::look(&subject, lang);
    let ways = timeout(EXAMINATION_LIMIT, Ways::of(&subject));
    let agent = async {
        let running = Running::of(&subject).await;
        let names = names::look(&running, lang).await;
        (running, names)
    };
    let ((running, names), ways, services) = tokio::join!(agent, ways, services);
    let mut looks = match &ways {
        Ok(_) if subject.controllers.is_empty() => {
            no_ways("no-controller", &text::doctor::no_controller(lang))
        }
        Ok(ways) => of_ways(ways, &subject, lang),
        Err(_) => no_ways("out-of-time", &text::doctor::too_long(lang)),
    };
    looks.extend(services);
    looks.push(names.of(Look::Names));
    let udp_passes = ways.as_ref().is_ok_and(Ways::udp_passes);
    looks.extend(of_agent(&running, udp_passes, &subject, lang));
    // These ask the kernel and the disk.
    let on_machine = spawn_blocking(move || of_machine(&running, &subject, lang)).await;
    looks.extend(on_machine.unwrap_or_default());
    Report::new(looks)
}

fn of_ways(ways: &Ways, subject: &Subject, lang: Lang) -> Vec<Looked> {
    vec![
        dns::judge(&ways.names, ways.proxy(), lang).of(Look::Dns),
        udp::judge(&ways.udp, lang).of(Look::Udp),
        tcp::judge(&ways.tcp, lang).of(Look::Tcp),
        portal::judge(&ways.tcp, ways.page.as_ref(), lang).of(Look::Portal),
        nat::judge(&ways.sockets(), &ways.hops, lang).of(Look::Nat),
        mtu::judge(&ways.packets(), subject.settings.mtu_bytes, lang).of(Look::Mtu),
        clock::judge(ways.behind_ms(), ways.is_untimely(), lang).of(Look::Clock),
    ]
}

/// Nothing was asked, or too little was answered.
fn no_ways(code: &'static str, why: &str) -> Vec<Looked> {
    let looks = [
        Look::Dns,
        Look::Udp,
        Look::Tcp,
        Look::Portal,
        Look::Nat,
        Look::Mtu,
        Look::Clock,
    ];
    let untested = |look| Finding::could_not_test(code, why.to_owned()).of(look);
    looks.into_iter().map(untested).collect()
}

fn of_agent(running: &Running, udp_passes: bool, subject: &Subject, lang: Lang) -> [Looked; 3] {
    [
        agent::judge(running, &subject.enrolment, lang).of(Look::Agent),
        tunnel::judge(running, udp_passes, lang).of(Look::Tunnel),
        certificate::judge(&subject.validity, unix_s(), lang).of(Look::Certificate),
    ]
}

fn of_machine(running: &Running, subject: &Subject, lang: Lang) -> Vec<Looked> {
    vec![
        engine::look(running, subject, lang).of(Look::Engine),
        guard::look(running, subject, lang).of(Look::Guard),
        files::look(subject, lang).of(Look::Files),
        disk::look(running, &subject.settings.state, lang).of(Look::Disk),
    ]
}

/// For all that the network answers: each part of it has its own limit, and they add up to less.
pub const EXAMINATION_LIMIT: Duration = Duration::from_secs(25);
