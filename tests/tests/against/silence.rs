//! What says nothing is not known: never in order, never a finding of the service, never closed.

use malha_check::{Cause, PortProbe, Verdict};

use crate::authority::Authority;
use crate::net::played;
use crate::parts::serve_page;
use crate::rig::{HEALTH, Looker, MESSAGES, Run, service, subject, tls_server};

#[test]
fn a_machine_that_swallows_everything_and_one_that_is_not_there_are_not_known() {
    played(async |net| {
        let authority = Authority::new("AC");
        let issued = authority.issue("servidor-1", "authentication", 400);
        let host = net.host();
        let messages = tls_server(net, (&host, MESSAGES), &issued, &["-Verify", "1"]).await;
        let health = serve_page(&host, HEALTH, 200);
        let mut absent = health;
        absent.set_ip("203.0.113.200".parse().unwrap());
        let mut subject = subject(&[
            (messages, PortProbe::TlsClientCertificate),
            (health, PortProbe::Health),
            (absent, PortProbe::Health),
        ]);
        subject.issuers_pem = vec![authority.pem()];

        host.falls_silent();
        let run = Run::of(subject.clone(), &Looker::default()).await;
        for (id, said) in [
            (service(messages, "client-certificate"), "silent"),
            (service(messages, "chain"), "silent"),
            (service(health, "health"), "silent"),
            (service(absent, "health"), "unreachable"),
        ] {
            let Verdict::CouldNotTest { why } = run.verdict(&id) else {
                panic!("{id}: {:?}", run.verdict(&id));
            };
            assert_eq!(
                (why.cause, &why.detail[..]),
                (Cause::NoConnection, said),
                "{id}"
            );
        }

        host.speaks_again();
        let run = Run::of(subject, &Looker::default()).await;
        run.assert_ok(&service(messages, "client-certificate"));
        run.assert_ok(&service(health, "health"));
    });
}
