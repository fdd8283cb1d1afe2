//! What the host makes of the real table, in a namespace of its own.

use super::*;
use crate::kernel::rules::MAX_IDLE;
use crate::nftables::RUNS;

#[test]
fn what_was_counted_is_not_forgotten_with_the_table_the_rule_or_the_peer() {
    if cannot() {
        return;
    }
    let losses: [fn(&mut Host); 5] = [
        |host| host.restore_rules(),
        |host| set(host, &[hub()]),
        |host| remove(host, hub().public_key),
        |host| {
            set(host, &[hub()]);
            assert!(host.sweep(Instant::now()));
        },
        |host| {
            set(host, &[hub()]);
            host.restore_rules();
        },
    ];
    let totals = losses.map(|lose| {
        let played = std::thread::spawn(move || {
            let mut host = host_that_has_counted();
            lose(&mut host);
            let totals = host.filter_counters(Instant::now());
            let refused = totals.refused;
            [totals.admitted_by_rule, refused.no_rule, refused.fragment]
        });
        played.join().unwrap()
    });
    assert_eq!(totals, [[7, 5, 3]; 5]);
}

#[test]
fn a_peer_keeps_its_counts_when_the_table_is_put_back() {
    if cannot() {
        return;
    }
    let played = std::thread::spawn(|| {
        let mut host = host_that_has_counted();
        host.restore_rules();
        let status = &host.peers(Instant::now())[0];
        let counted = (status.rules[0].admitted, status.drops.filtered.no_rule);
        assert_eq!(counted, (7, 5));
    });
    played.join().unwrap();
}

#[test]
fn counters_that_cannot_be_read_stand_where_they_were() {
    if cannot() {
        return;
    }
    let played = std::thread::spawn(|| {
        let mut host = host_that_has_counted();
        let counted = host.filter_counters(Instant::now());
        nftables::remove_table("malha_m0").unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(host.filter_counters(later), counted);
        assert_eq!(counted.admitted_by_rule, 7);
    });
    played.join().unwrap();
}

/// Each list names all counters of the table, whoever's they are.
#[test]
fn counters_are_listed_once_for_many_rules_that_go_one_after_another() {
    if cannot() {
        return;
    }
    let played = std::thread::spawn(|| {
        let mut host = host_of_cable();
        set(&mut host, &crowd(1..=50, &[22, 80]));
        RUNS.take();
        for peer in crowd(1..=50, &[22]) {
            set(&mut host, &[peer]);
        }
        let now = Instant::now();
        let swept = [host.sweep(now), host.sweep(now)];
        let runs = RUNS.take();
        let lists = runs.iter().filter(|run| run.is_empty()).count();
        (lists, swept, has_counter("r50_tcp_80_80"))
    });
    assert_eq!(played.join().unwrap(), (1, [true, false], false));
}

#[test]
fn counters_are_swept_every_few_seconds_and_only_if_there_are_idle_ones() {
    if cannot() {
        return;
    }
    let played = std::thread::spawn(|| {
        let mut host = host_of_cable();
        let start = Instant::now();
        let sweep = |host: &mut Host, after_s| host.sweep(start + Duration::from_secs(after_s));
        let mut swept = Vec::new();
        for (after_s, ports) in [(0, &[22, 80][..]), (1, &[22]), (2, &[])] {
            set(&mut host, &crowd(1..=1, ports));
            swept.push(sweep(&mut host, after_s));
        }
        swept.extend([11, 30].map(|after_s| sweep(&mut host, after_s)));
        swept
    });
    let swept = played.join().unwrap();
    assert_eq!(swept, [false, true, false, true, false]);
}

#[test]
fn a_change_of_many_peers_is_one_run_of_nft() {
    if cannot() {
        return;
    }
    let played = std::thread::spawn(|| {
        let mut host = host_of_cable();
        set(&mut host, &crowd(1..=50, &[22, 80]));
        let (gone, stays) = (crowd(1..=20, &[]), crowd(21..=60, &[22]));
        RUNS.take();
        let change = PeersChange {
            gone: gone.iter().map(|peer| peer.public_key).collect(),
            set: stays.clone(),
        };
        let changed = host.change_peers(change, Instant::now());
        assert_eq!(changed.gone, [true; 20]);
        assert!(changed.set.iter().all(Result::is_ok));
        assert_eq!(RUNS.take().len(), 1);
        let is_known = |peer: &PeerConfig| host.peers.contains_key(&peer.public_key);
        assert!(stays.iter().all(is_known) && !gone.iter().any(is_known));
    });
    played.join().unwrap();
}

#[test]
fn who_may_do_less_is_cut_by_the_first_script_of_many() {
    if cannot() {
        return;
    }
    let played = std::thread::spawn(|| {
        let mut host = host_of_cable();
        set(&mut host, &crowd(1..=1, &[22, 80]));
        let many: Vec<u16> = (1..=256).collect();
        let mut change = crowd(2..=40, &many);
        change.extend(crowd(1..=1, &[22]));
        RUNS.take();
        set(&mut host, &change);
        let scripts = RUNS.take();
        assert!(scripts.len() > 1);
        assert!(scripts[0].contains("flush chain inet malha_m0 i1\n"));
        let longest = scripts.iter().map(String::len).max().unwrap();
        assert!(longest < 2 * SCRIPT_BYTES, "{longest}");
    });
    played.join().unwrap();
}

#[test]
fn one_peer_that_cannot_be_set_keeps_no_other_from_it() {
    if cannot() {
        return;
    }
    let played = std::thread::spawn(|| {
        let mut host = host_of_cable();
        let mut peers = crowd(1..=3, &[22]);
        peers[1].endpoints = vec!["0.0.0.0:1".parse().unwrap()];
        let change = PeersChange {
            gone: vec![],
            set: peers,
        };
        let changed = host.change_peers(change, Instant::now()).set;
        changed.iter().map(Result::is_ok).collect::<Vec<_>>()
    });
    assert_eq!(played.join().unwrap(), [true, false, true]);
}

#[test]
fn idle_counters_are_swept_at_once_when_too_many_wait() {
    if cannot() {
        return;
    }
    let played = std::thread::spawn(|| {
        let mut host = host_of_cable();
        set(&mut host, &[hub()]);
        let many: Vec<u16> = (1..=256).collect();
        let mut unseen = Change::default();
        for peer in crowd(1..=256, &many) {
            let rules = &mut host.rules.set;
            rules.set_peer(&peer, &mut unseen).unwrap();
            rules.remove_peer(&peer.public_key, &mut unseen);
        }
        assert!(host.rules.set.idle().len() > MAX_IDLE);
        set(&mut host, &crowd(1..=1, &[22]));
        host.rules.set.idle().len()
    });
    assert_eq!(played.join().unwrap(), 0);
}

/// Whether it was set at once or peer by peer, in another order.
#[test]
fn rules_are_told_from_those_that_somebody_changed_and_from_no_others() {
    if cannot() {
        return;
    }
    let played = std::thread::spawn(|| {
        let mut host = host_that_has_counted();
        for number in [9, 3, 6] {
            let mut peer = PeerConfig::new(PrivateKey::from_bytes([number; 32]).public_key());
            peer.allowed_ips = ["100.64.8.0/21", "fd00::1:0/112"]
                .map(|it| it.parse().unwrap())
                .into();
            peer.allowed_ips
                .push(format!("100.64.9.{number}/32").parse().unwrap());
            peer.ingress = vec![Allow::tcp(22..=22), Allow::tcp(80..=90)];
            set(&mut host, &[peer.clone()]);
            peer.ingress.remove(0);
            set(&mut host, &[peer.clone()]);
            assert_eq!(host.rules_found().unwrap(), host.rules_wanted().unwrap());
            if number == 3 {
                remove(&mut host, peer.public_key);
            }
        }
        assert_eq!(host.rules_found().unwrap(), host.rules_wanted().unwrap());
        assert_eq!(nftables::tables().unwrap(), ["malha_m0"]);
        for change in [
            "flush chain inet malha_m0 judge",
            "add rule inet malha_m0 i1 accept",
            "delete element inet malha_m0 from_host4 { 100.64.9.9 }",
            "add table inet malha_m0 { flags dormant; }",
        ] {
            nftables::apply(change).unwrap();
            assert_ne!(
                host.rules_found().unwrap(),
                host.rules_wanted().unwrap(),
                "{change}"
            );
            host.restore_rules();
        }
    });
    played.join().unwrap();
}

/// When more was told of all tables than can be held.
#[test]
fn rules_that_may_have_been_changed_are_set_again_only_if_they_were() {
    if cannot() {
        return;
    }
    let played = std::thread::spawn(|| {
        let host = host_that_has_counted();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let mut task = Task {
                host: Some(Box::new(host)),
                watch: nftables::TableWatch::new("malha_m0").unwrap(),
                inbox: mpsc::channel(1).1,
                events: broadcast::channel(1).0,
                watched: Watched::default(),
            };
            task.compare().await;
            let counted = ("d1".to_owned(), 5);
            assert!(nftables::counters("malha_m0").unwrap().contains(&counted));
            nftables::apply("flush chain inet malha_m0 judge").unwrap();
            task.compare().await;
            let host = task.host.unwrap();
            assert_eq!(host.rules_found().unwrap(), host.rules_wanted().unwrap());
        });
    });
    played.join().unwrap();
}

/// Peers by number; each may open these TCP ports.
fn crowd(numbers: std::ops::RangeInclusive<u16>, ports: &[u16]) -> Vec<PeerConfig> {
    let peer = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let mut key = [9; 32];
        key[..2].copy_from_slice(&[high, low]);
        let mut peer = PeerConfig::new(PublicKey::from_bytes(key));
        let address = Ipv4Addr::new(100, 65, high, low);
        peer.allowed_ips = vec![IpNet::from(IpAddr::from(address))];
        peer.ingress = ports.iter().map(|port| Allow::tcp(*port..=*port)).collect();
        peer
    };
    numbers.map(peer).collect()
}

fn has_counter(name: &str) -> bool {
    let counters = nftables::counters("malha_m0").unwrap();
    counters.iter().any(|(of, _)| of == name)
}

fn cannot() -> bool {
    let cannot =
        !nix::unistd::geteuid().is_root() || nftables::remove_table("malha_probe").is_err();
    if cannot {
        println!("skipped: it needs root and the package nftables");
    }
    cannot
}

/// By a rule of the hub 7, of its other packets 5, of fragments 3.
fn host_that_has_counted() -> Host {
    let mut host = host_of_cable();
    let ingress = vec![Allow::tcp(22..=22)];
    let hub = PeerConfig { ingress, ..hub() };
    set(&mut host, &[hub]);
    let mut table = host.rules.set.whole();
    for (counter, count) in [("r1_tcp_22_22", 7), ("d1", 5), ("fragment", 3)] {
        let added = format!("add counter inet malha_m0 {counter}\n");
        let counted =
            format!("add counter inet malha_m0 {counter} {{ packets {count} bytes 0 }}\n");
        table = table.replace(&added, &counted);
    }
    nftables::apply(&table).unwrap();
    host
}
