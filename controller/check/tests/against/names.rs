//! Names against two NSD servers whose zones a test writes, wrong on purpose.

use std::fs;
use std::net::SocketAddr;

use malha_check::{Cause, Fault, NameServer, Subject, Verdict};
use tempfile::TempDir;

use crate::parts::{Part, free_address, start_listening};
use crate::rig::{Loopback, Run};

const NAME: &str = "xvia.sedec.example";
const DEV: &str = "xvia-dev.sedec.example";

struct Nsd {
    part: Part,
    _folder: TempDir,
}

/// A server of the zone `sedec.example` with these records, or of no zone at all.
async fn nsd(records: Option<&str>) -> Option<Nsd> {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let path = folder.path().display();
    let (ip, port) = (address.ip(), address.port());
    let mut conf = format!(
        "server:\n  ip-address: {ip}@{port}\n  zonesdir: \"{path}\"\n  database: \"\"\n  \
         pidfile: \"{path}/pid\"\n  xfrdfile: \"{path}/xfrd\"\n  zonelistfile: \"{path}/zones\"\n  \
         xfrdir: \"{path}\"\n  username: \"\"\n  server-count: 1\n  rrl-ratelimit: 0\n\
         remote-control:\n  control-enable: no\n"
    );
    if let Some(records) = records {
        conf.push_str("zone:\n  name: sedec.example\n  zonefile: zone\n");
        let zone = format!(
            "$ORIGIN sedec.example.\n$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\n\
             ns1 A 201.49.1.1\n{records}\n"
        );
        fs::write(folder.path().join("zone"), zone).unwrap();
    }
    fs::write(folder.path().join("nsd.conf"), conf).unwrap();
    let arguments = ["-d", "-c", "nsd.conf"].map(str::to_owned);
    let part = start_listening("nsd", "nsd", &arguments, folder.path(), address).await?;
    Some(Nsd {
        part,
        _folder: folder,
    })
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
async fn asked(first: &str, second: Option<&str>) -> Option<Run> {
    let first = nsd(Some(first)).await?;
    let second = nsd(second).await?;
    let subject = subject(&[first.part.address, second.part.address]);
    Some(Run::of(subject, &Loopback::default()).await)
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

#[tokio::test]
async fn right_records_on_both_servers_are_in_order() {
    let Some(run) = asked(RIGHT, Some(RIGHT)).await else {
        return;
    };
    for name in [NAME, DEV] {
        for what in [
            "exists",
            "declared-addresses",
            "public-space",
            "servers-agree",
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
}

#[tokio::test]
async fn a_missing_name_and_one_without_an_address_are_findings() {
    let records = "xvia-dev TXT \"a\"";
    let Some(run) = asked(records, Some(records)).await else {
        return;
    };
    run.assert_fault(&of(NAME, "exists"), Fault::NameMissing);
    run.assert_fault(&of(DEV, "exists"), Fault::NameMissing);
    run.assert_ok(&of(NAME, "servers-agree"));
}

#[tokio::test]
async fn undeclared_addresses_are_found_behind_aliases_and_in_ipv6() {
    let records = "xvia CNAME a\na CNAME b\nb A 201.49.10.7\nb A 201.49.10.99\n\
                   xvia-dev A 201.49.10.8\nxvia-dev AAAA 2001:db8::8";
    let Some(run) = asked(records, Some(records)).await else {
        return;
    };
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
}

#[tokio::test]
async fn an_alias_that_leaves_the_zone_is_followed_as_this_machine_resolves_it() {
    let records = "xvia CNAME frente.outra.example.\nxvia-dev A 201.49.10.8";
    let (Some(first), Some(second)) = (nsd(Some(records)).await, nsd(Some(records)).await) else {
        return;
    };
    let subject = subject(&[first.part.address, second.part.address]);
    let mut dial = Loopback::default();
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
}

#[tokio::test]
async fn an_alias_into_a_delegated_zone_is_followed_there() {
    let records = "xvia CNAME frente.nuvem\nxvia-dev A 201.49.10.8\nnuvem NS ns.nuvem\n\
                   ns.nuvem A 201.49.1.9";
    let Some(server) = nsd(Some(records)).await else {
        return;
    };
    let mut dial = Loopback::default();
    let there = "frente.nuvem.sedec.example".to_owned();
    dial.names.extend([(there, "201.49.10.7".parse().unwrap())]);
    let run = Run::of(subject(&[server.part.address]), &dial).await;
    run.assert_ok(&of(NAME, "exists"));
    run.assert_ok(&of(NAME, "declared-addresses"));
}

#[tokio::test]
async fn private_and_crossed_addresses_are_findings() {
    let records = "xvia A 10.1.1.1\nxvia-dev A 201.49.10.7";
    let Some(run) = asked(records, Some(records)).await else {
        return;
    };
    run.assert_fault(&of(NAME, "public-space"), Fault::PrivateAddress);
    run.assert_fault(&of(DEV, "not-on-other-stage"), Fault::OtherStage);
    let shared = "xvia A 201.49.10.7\nxvia-dev CNAME xvia";
    let Some(run) = asked(shared, Some(shared)).await else {
        return;
    };
    run.assert_fault(
        &of(DEV, &format!("differs-from/{NAME}")),
        Fault::SameAddress,
    );
}

#[tokio::test]
async fn servers_that_disagree_refuse_or_are_silent_are_findings() {
    let other = "xvia A 201.49.10.9\nxvia-dev A 201.49.10.8";
    let Some(run) = asked(RIGHT, Some(other)).await else {
        return;
    };
    run.assert_fault(&of(NAME, "servers-agree"), Fault::NameServersDisagree);
    run.assert_ok(&of(DEV, "servers-agree"));
    let Some(run) = asked(RIGHT, None).await else {
        return;
    };
    run.assert_fault(&of(NAME, "servers-agree"), Fault::NameServerError);
    run.assert_ok(&of(NAME, "exists"));
    let Some(first) = nsd(Some(RIGHT)).await else {
        return;
    };
    let subject = subject(&[first.part.address, free_address()]);
    let run = Run::of(subject, &Loopback::default()).await;
    run.assert_fault(&of(NAME, "servers-agree"), Fault::NameServerSilent);
    run.assert_ok(&of(NAME, "declared-addresses"));
}

#[tokio::test]
async fn a_server_that_points_to_others_for_a_name_does_not_answer_for_it_itself() {
    let lame = "xvia NS ns.outra\nns.outra A 201.49.1.9\nxvia-dev A 201.49.10.8";
    let Some(run) = asked(RIGHT, Some(lame)).await else {
        return;
    };
    run.assert_fault(&of(NAME, "servers-agree"), Fault::NameServerLame);
    run.assert_ok(&of(DEV, "servers-agree"));
}

#[tokio::test]
async fn one_name_for_both_stages_is_a_finding() {
    let Some(server) = nsd(Some(RIGHT)).await else {
        return;
    };
    let mut subject = subject(&[server.part.address]);
    let dev = format!("{}.", NAME.to_uppercase());
    subject.development.names = vec![dev.clone()];
    let run = Run::of(subject, &Loopback::default()).await;
    let id = format!("development/dns/{dev}/differs-from/{NAME}");
    run.assert_fault(&id, Fault::SameName);
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_and_a_server_without_datagrams_are_asked_over_tcp() {
    let addresses = (0..120).map(|last| format!("xvia A 201.49.20.{last}\n"));
    let records: String = addresses.collect();
    let Some(server) = nsd(Some(&records)).await else {
        return;
    };
    let mut subject = subject(&[server.part.address]);
    let declared = (0..120).map(|last| std::net::IpAddr::from([201, 49, 20, last]));
    subject.production.public_addresses = declared.take(16).collect();
    for has_udp in [true, false] {
        let dial = Loopback {
            has_no_udp: !has_udp,
            ..Loopback::default()
        };
        let run = Run::of(subject.clone(), &dial).await;
        let Verdict::Finding(finding) = run.verdict(&of(NAME, "declared-addresses")) else {
            panic!("undeclared addresses passed");
        };
        let observed = finding.observed.split(", ").count();
        assert_eq!(observed, 64 - 16, "with datagrams: {has_udp}");
    }
}

#[tokio::test]
async fn without_any_server_nothing_is_known_of_a_name() {
    let run = Run::of(subject(&[free_address()]), &Loopback::default()).await;
    match run.verdict(&of(NAME, "exists")) {
        Verdict::CouldNotTest { why } => assert_eq!(why.cause, Cause::NoConnection),
        verdict => panic!("{verdict:?}"),
    }
}
