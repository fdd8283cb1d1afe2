//! Names against two NSD servers whose zones a test writes, wrong on purpose.

use std::fs;
use std::net::SocketAddr;

use malha_check::{Cause, Fault, NameServer, Subject, Verdict};
use tempfile::TempDir;

use crate::net::{Host, Net, played};
use crate::parts::start_listening;
use crate::rig::{Looker, Run};

const NAME: &str = "xvia.sedec.example";
const DEV: &str = "xvia-dev.sedec.example";
const DNS: u16 = 53;

/// A server of names that runs until the test ends.
struct Nsd {
    address: SocketAddr,
    _folder: TempDir,
}

/// A server of the zone `sedec.example` with these records, or of no zone at all. The zone names this one as its server, and `others`.
async fn nsd_beside(net: &Net, host: &Host, others: &[&Host], records: Option<&str>) -> Nsd {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let mut conf = format!(
        "server:\n  ip-address: {}\n  zonesdir: \"{path}\"\n  database: \"\"\n  \
         pidfile: \"{path}/pid\"\n  xfrdfile: \"{path}/xfrd\"\n  zonelistfile: \"{path}/zones\"\n  \
         xfrdir: \"{path}\"\n  username: \"\"\n  server-count: 1\n  rrl-ratelimit: 0\n\
         remote-control:\n  control-enable: no\n",
        host.ip
    );
    if let Some(records) = records {
        conf.push_str("zone:\n  name: sedec.example\n  zonefile: zone\n");
        let named = others.iter().chain([&host]).map(|it| {
            let number = it.ip.to_string().replace('.', "-");
            format!("@ NS ns-{number}\nns-{number} A {}\n", it.ip)
        });
        let zone = format!(
            "$ORIGIN sedec.example.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n{}{records}\n",
            named.collect::<String>()
        );
        fs::write(folder.path().join("zone"), zone).unwrap();
    }
    fs::write(folder.path().join("nsd.conf"), conf).unwrap();
    let arguments = ["-d", "-c", "nsd.conf"];
    start_listening(net, (host, DNS), "nsd", &arguments, folder.path()).await;
    Nsd {
        address: host.at(DNS),
        _folder: folder,
    }
}

/// The only server.
async fn nsd(net: &Net, records: Option<&str>) -> Nsd {
    nsd_beside(net, &net.host(), &[], records).await
}

fn subject(servers: &[SocketAddr]) -> Subject {
    let mut subject = Subject::default();
    let named = servers.iter().zip(1..);
    subject.name_servers = named
        .map(|(address, number)| NameServer {
            name: format!("ns{number}"),
            address: *address,
        })
        .collect();
    subject.production.names = vec![NAME.to_owned()];
    subject.production.public_addresses = vec!["201.49.10.7".parse().unwrap()];
    subject.production.internal_addresses = vec!["10.90.0.10".parse().unwrap()];
    subject.development.names = vec![DEV.to_owned()];
    subject.development.public_addresses = vec!["201.49.10.8".parse().unwrap()];
    subject
}

/// Two servers with these records, asked for everything.
async fn asked(net: &Net, first: &str, second: Option<&str>) -> Run {
    let (one, other) = (net.host(), net.host());
    let _first = nsd_beside(net, &one, &[&other], Some(first)).await;
    let _second = nsd_beside(net, &other, &[&one], second).await;
    let subject = subject(&[one.at(DNS), other.at(DNS)]);
    Run::of(subject, &Looker::default()).await
}

fn of(name: &str, what: &str) -> String {
    let stage = if name == DEV {
        "development"
    } else {
        "production"
    };
    format!("{stage}/dns/{name}/{what}")
}

const RIGHT: &str = "xvia A 201.49.10.7\nxvia-dev A 201.49.10.8";

#[test]
fn right_records_on_both_servers_are_in_order() {
    played(async |net| {
        let run = asked(net, RIGHT, Some(RIGHT)).await;
        for name in [NAME, DEV] {
            for what in [
                "exists",
                "declared-addresses",
                "public-space",
                "servers-agree",
                "servers-declared",
                "not-on-other-stage",
            ] {
                run.assert_ok(&of(name, what));
            }
        }
        run.assert_ok(&of(DEV, &format!("differs-from/{NAME}")));
        match run.verdict(&of(NAME, "internal-view")) {
            Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::NoVantagePoint),
            verdict => panic!("{verdict:?}"),
        }
    });
}

#[test]
fn a_missing_name_and_one_without_an_address_are_findings() {
    played(async |net| {
        let records = "xvia-dev TXT \"a\"";
        let run = asked(net, records, Some(records)).await;
        run.assert_fault(&of(NAME, "exists"), Fault::NameMissing);
        run.assert_fault(&of(DEV, "exists"), Fault::NameMissing);
        run.assert_ok(&of(NAME, "servers-agree"));
    });
}

#[test]
fn undeclared_addresses_are_found_behind_aliases_and_in_ipv6() {
    played(async |net| {
        let records = "xvia CNAME a\na CNAME b\nb A 201.49.10.7\nb A 201.49.10.99\n\
                   xvia-dev A 201.49.10.8\nxvia-dev AAAA 2001:db8::8";
        let run = asked(net, records, Some(records)).await;
        let observed = |name| match run.verdict(&of(name, "declared-addresses")) {
            Verdict::Finding(finding) => {
                assert_eq!(finding.fault, Fault::UndeclaredAddress);
                assert!(!finding.evidence.is_empty());
                finding.observed
            }
            verdict => panic!("{verdict:?}"),
        };
        assert_eq!(observed(NAME), "201.49.10.99");
        assert_eq!(observed(DEV), "2001:db8::8");
        let Verdict::Ok { evidence, .. } = run.verdict(&of(NAME, "public-space")) else {
            panic!("private?");
        };
        let said = &evidence[0].observed;
        assert!(
            said.contains("CNAME a.sedec.example. CNAME b.sedec.example."),
            "{said}"
        );
    });
}

#[test]
fn an_alias_that_leaves_the_zone_is_followed_as_this_machine_resolves_it() {
    played(async |net| {
        let records = "xvia CNAME frente.outra.example.\nxvia-dev A 201.49.10.8";
        let (first, second) = (nsd(net, Some(records)).await, nsd(net, Some(records)).await);
        let subject = subject(&[first.address, second.address]);
        let mut dial = Looker::default();
        let there = (
            "frente.outra.example".to_owned(),
            "201.49.10.7".parse().unwrap(),
        );
        dial.names.extend([there]);
        let run = Run::of(subject.clone(), &dial).await;
        run.assert_ok(&of(NAME, "declared-addresses"));
        let wrong = (
            "frente.outra.example".to_owned(),
            "201.49.10.66".parse().unwrap(),
        );
        dial.names.extend([wrong]);
        let run = Run::of(subject, &dial).await;
        run.assert_fault(&of(NAME, "declared-addresses"), Fault::UndeclaredAddress);
    });
}

#[test]
fn an_alias_into_a_delegated_zone_is_followed_there() {
    played(async |net| {
        let records = "xvia CNAME frente.nuvem\nxvia-dev A 201.49.10.8\nnuvem NS ns.nuvem\n\
                   ns.nuvem A 201.49.1.9";
        let server = nsd(net, Some(records)).await;
        let mut dial = Looker::default();
        let there = "frente.nuvem.sedec.example".to_owned();
        dial.names.extend([(there, "201.49.10.7".parse().unwrap())]);
        let run = Run::of(subject(&[server.address]), &dial).await;
        run.assert_ok(&of(NAME, "exists"));
        run.assert_ok(&of(NAME, "declared-addresses"));
    });
}

#[test]
fn private_and_crossed_addresses_are_findings() {
    played(async |net| {
        let records = "xvia A 10.1.1.1\nxvia-dev A 201.49.10.7";
        let run = asked(net, records, Some(records)).await;
        run.assert_fault(&of(NAME, "public-space"), Fault::PrivateAddress);
        run.assert_fault(&of(DEV, "not-on-other-stage"), Fault::OtherStage);
        let shared = "xvia A 201.49.10.7\nxvia-dev CNAME xvia";
        let run = asked(net, shared, Some(shared)).await;
        run.assert_fault(
            &of(DEV, &format!("differs-from/{NAME}")),
            Fault::SameAddress,
        );
    });
}

#[test]
fn servers_that_disagree_refuse_or_are_silent_are_findings() {
    played(async |net| {
        let other = "xvia A 201.49.10.9\nxvia-dev A 201.49.10.8";
        let run = asked(net, RIGHT, Some(other)).await;
        run.assert_fault(&of(NAME, "servers-agree"), Fault::NameServersDisagree);
        run.assert_ok(&of(DEV, "servers-agree"));
        let run = asked(net, RIGHT, None).await;
        run.assert_fault(&of(NAME, "servers-agree"), Fault::NameServerError);
        run.assert_ok(&of(NAME, "exists"));
        let first = nsd(net, Some(RIGHT)).await;
        let subject = subject(&[first.address, net.host().at(DNS)]);
        let run = Run::of(subject, &Looker::default()).await;
        run.assert_fault(&of(NAME, "servers-agree"), Fault::NameServerSilent);
        run.assert_ok(&of(NAME, "declared-addresses"));
    });
}

#[test]
fn a_server_that_points_to_others_for_a_name_does_not_answer_for_it_itself() {
    played(async |net| {
        let lame = "xvia NS ns.outra\nns.outra A 201.49.1.9\nxvia-dev A 201.49.10.8";
        let run = asked(net, RIGHT, Some(lame)).await;
        run.assert_fault(&of(NAME, "servers-agree"), Fault::NameServerLame);
        run.assert_ok(&of(DEV, "servers-agree"));
    });
}

#[test]
fn one_name_for_both_stages_is_a_finding() {
    played(async |net| {
        let server = nsd(net, Some(RIGHT)).await;
        let mut subject = subject(&[server.address]);
        let dev = format!("{}.", NAME.to_uppercase());
        subject.development.names = vec![dev.clone()];
        let run = Run::of(subject, &Looker::default()).await;
        let id = format!("development/dns/{dev}/differs-from/{NAME}");
        run.assert_fault(&id, Fault::SameName);
    });
}

#[test]
fn an_answer_too_long_for_a_datagram_and_a_server_without_datagrams_are_asked_over_tcp() {
    played(async |net| {
        let addresses = (0..120).map(|last| format!("xvia A 201.49.20.{last}\n"));
        let records: String = addresses.collect();
        let server = nsd(net, Some(&records)).await;
        let mut subject = subject(&[server.address]);
        let declared = (0..120).map(|last| std::net::IpAddr::from([201, 49, 20, last]));
        subject.production.public_addresses = declared.take(16).collect();
        for has_udp in [true, false] {
            let dial = Looker {
                has_no_udp: !has_udp,
                ..Looker::default()
            };
            let run = Run::of(subject.clone(), &dial).await;
            let Verdict::Finding(finding) = run.verdict(&of(NAME, "declared-addresses")) else {
                panic!("undeclared addresses passed");
            };
            let observed = finding.observed.split(", ").count();
            assert_eq!(observed, 64 - 16, "with datagrams: {has_udp}");
        }
    });
}

#[test]
fn without_any_server_nothing_is_known_of_a_name() {
    played(async |net| {
        let run = Run::of(subject(&[net.host().at(DNS)]), &Looker::default()).await;
        match run.verdict(&of(NAME, "exists")) {
            Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::NoConnection),
            verdict => panic!("{verdict:?}"),
        }
    });
}

#[test]
fn a_server_of_the_zone_that_was_not_declared_is_a_finding() {
    played(async |net| {
        let (declared, hidden) = (net.host(), net.host());
        let aliased =
            "xvia CNAME frente.outra.example.\nxvia-dev A 201.49.10.8\n@ NS ns.fora.example.";
        let _server = nsd_beside(net, &declared, &[&hidden], Some(aliased)).await;
        let subject = subject(&[declared.at(DNS)]);
        let mut dial = Looker::default();
        dial.names.insert("ns.fora.example".to_owned(), declared.ip);
        let run = Run::of(subject.clone(), &dial).await;
        for name in [NAME, DEV] {
            let Verdict::Finding(finding) = run.verdict(&of(name, "servers-declared")) else {
                panic!("{:?}", run.verdict(&of(name, "servers-declared")));
            };
            assert_eq!(finding.fault, Fault::NameServerUndeclared);
            let (number, ip) = (hidden.ip.to_string().replace('.', "-"), hidden.ip);
            assert_eq!(
                finding.observed,
                format!("ns-{number}.sedec.example ({ip})")
            );
        }

        let mut both = subject.clone();
        both.name_servers.push(NameServer {
            name: "ns2".to_owned(),
            address: hidden.at(DNS),
        });
        let run = Run::of(both, &dial).await;
        run.assert_ok(&of(NAME, "servers-declared"));
        // Where the address of one is not known, neither is whether it was asked.
        let alone = nsd(net, Some("xvia A 201.49.10.7\n@ NS ns.fora.example.")).await;
        let run = Run::of(self::subject(&[alone.address]), &Looker::default()).await;
        match run.verdict(&of(NAME, "servers-declared")) {
            Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::NoAddress),
            verdict => panic!("{verdict:?}"),
        }
    });
}
