//! What the guard closes, said of maps and tried in network namespaces of the tests' own: nothing here touches the machine's rules.

mod neighbours;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use malha_proto::{ClosedPort, Port, Profile, Protocol};
use malha_tunnel::PrivateKey;
use nix::sched::{CloneFlags, unshare};
use tokio::sync::{mpsc, watch};
use tokio::time::advance;

use super::*;
use crate::plane::{MAX_ORDERS, PlaneEvent, PlaneOrder, run_plane};
use crate::testbed;

#[test]
fn a_guard_with_nothing_to_close_says_so() {
    let said = |ports: &[u16], restored| {
        let status = GuardStatus::InPlace {
            ports: ports.iter().copied().collect(),
            udp: [].into(),
            restored,
            trouble: None,
        };
        status.say(Lang::En)
    };
    for restored in [0, 2] {
        let nothing = "in place; this machine has no port to close";
        assert_eq!(said(&[], restored), nothing);
    }
    assert!(said(&[80, 5500], 0).ends_with("the ports: 80, 5500"));
}

#[test]
fn a_guard_that_is_behind_says_what_it_closes_and_why_that_is_not_all() {
    let status = GuardStatus::InPlace {
        ports: [80].into(),
        udp: [].into(),
        restored: 0,
        trouble: Some("no descriptor is left".into()),
    };
    let said = status.say(Lang::En);
    assert!(said.contains("ports: 80; "), "{said}");
    assert!(said.ends_with("no descriptor is left"), "{said}");
}

/// Nothing would be tried again then, since nothing is to be closed.
#[test]
fn what_was_refused_and_is_not_wanted_any_more_is_no_trouble() {
    let map = Arc::new(testbed::netmap(0));
    let mut guard = guard(GuardChoice::Required);
    guard.in_force = Some(Ports::of(&map, &BTreeSet::new(), &BTreeSet::new()));
    guard.refused = Some("no descriptor is left".into());
    guard.map = Some(map);
    guard.follow();
    assert_eq!(guard.refused, None);
}

#[test]
fn a_service_closes_its_port_and_a_target_on_this_machine() {
    let mut map = testbed::netmap(1);
    let (id, service) = map
        .services
        .iter()
        .next()
        .map(|(k, v)| (*k, v.clone()))
        .unwrap();
    let mut elsewhere = service.clone();
    elsewhere.id = malha_proto::ServiceId(id.0 + 1);
    elsewhere.port = Port::new(7000).unwrap();
    elsewhere.target = ([192, 0, 2, 1], 9999).into();
    map.services.insert(elsewhere.id, elsewhere);
    map.closed = Some([closed(Protocol::Tcp, 9011)].into());
    let wanted = [service.port.number(), service.target.port(), 7000, 9011];
    assert_eq!(tcp(&map, &BTreeSet::new()), wanted.into());
    let except = BTreeSet::from([7000, 9011]);
    assert!(tcp(&map, &except).is_disjoint(&except));
}

#[test]
fn the_controller_says_what_the_profile_closes() {
    let mut map = testbed::netmap(1);
    map.services.clear();
    map.me.profile = Profile::SecurityServer;
    let none = BTreeSet::new();
    // A map from before the controller said it.
    assert_eq!(tcp(&map, &none), [5500, 5577].into());
    map.closed = Some([closed(Protocol::Tcp, 4000), closed(Protocol::Udp, 161)].into());
    assert_eq!(tcp(&map, &none), [4000].into());
    assert_eq!(Ports::of(&map, &none, &[].into()).udp, [161].into());
    assert_eq!(Ports::of(&map, &[161].into(), &[].into()).udp, none);
    map.closed = Some([].into());
    assert_eq!(Ports::of(&map, &none, &[].into()), Ports::default());
}

fn tcp(map: &Netmap, except: &BTreeSet<u16>) -> BTreeSet<u16> {
    Ports::of(map, except, &[].into()).tcp
}

fn closed(protocol: Protocol, port: u16) -> ClosedPort {
    ClosedPort {
        protocol,
        port: Port::new(port).unwrap(),
    }
}

/// Plays a story in a network namespace that has loopback alone. It says so where that can't be done.
pub(super) fn alone<F: Future<Output = ()>>(story: impl FnOnce() -> F + Send + 'static) {
    if !nix::unistd::geteuid().is_root() || nftables::remove_table("malha_probe").is_err() {
        println!("skipped: it needs root and the package nftables");
        return;
    }
    let played = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(story());
    });
    played.join().unwrap();
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).status();
    assert!(done.unwrap().success(), "ip {words}");
}

fn guard(choice: GuardChoice) -> Guard {
    let config = GuardConfig {
        choice,
        except: [].into(),
    };
    Guard::new(config, Engine::Userspace, "m0")
}

#[test]
fn a_guard_that_is_turned_off_takes_its_table_away() {
    alone(async || {
        let map = Arc::new(testbed::netmap(1));
        guard(GuardChoice::Auto).close(&map).await;
        assert!(is_in_place("m0").unwrap());
        let mut off = guard(GuardChoice::Off);
        off.close(&map).await;
        off.check().await;
        assert!(!is_in_place("m0").unwrap());
        assert!(off.left().is_empty());
    });
}

#[test]
fn a_table_that_cannot_be_taken_away_is_told_of_until_it_can() {
    alone(async || {
        let mut owner = Command::new("nft")
            .arg("-i")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let table = b"add table inet malha_guard_m0 { flags owner; }\nlist tables\n";
        owner.stdin.as_mut().unwrap().write_all(table).unwrap();
        let heard = BufReader::new(owner.stdout.take().unwrap()).lines();
        let mut heard = heard.map_while(Result::ok);
        assert!(heard.any(|line| line.ends_with("malha_guard_m0")));
        let mut off = guard(GuardChoice::Off);
        off.check().await;
        assert!(matches!(off.status(), GuardStatus::StillInForce(_)));
        owner.kill().unwrap();
        owner.wait().unwrap();
        advance(RESTORE_PAUSE).await;
        off.check().await;
        assert_eq!(off.status(), GuardStatus::Off);
    });
}

/// As where there is no nftables: no table can have that name.
#[tokio::test]
async fn a_guard_that_cannot_be_set_has_failed_only_where_something_is_open() {
    let config = GuardConfig {
        choice: GuardChoice::Auto,
        except: [].into(),
    };
    let mut guard = Guard::new(config, Engine::Userspace, "no name");
    let mut map = testbed::netmap(1);
    guard.close(&Arc::new(map.clone())).await;
    assert!(matches!(guard.status(), GuardStatus::Failed(_)));
    map.services.clear();
    guard.close(&Arc::new(map)).await;
    assert!(matches!(guard.status(), GuardStatus::Idle(_)));
}

/// As after a reboot where another WireGuard took the port.
#[test]
fn a_tunnel_that_cant_start_leaves_the_guard_in_place_and_told_of() {
    alone(async || {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut config = testbed::plane_config();
        config.listen = vec![taken.local_addr().unwrap()];
        config.guard.choice = GuardChoice::Required;
        let mut map = testbed::netmap(1);
        map.closed = Some([closed(Protocol::Tcp, 4000)].into());
        let (orders, order_inbox) = mpsc::channel(1);
        let (events, mut heard) = mpsc::channel(MAX_ORDERS);
        let (pairs, overlay) = (watch::channel(None).1, watch::channel(None).0);
        let key = PrivateKey::generate();
        tokio::spawn(run_plane(config, key, order_inbox, pairs, events, overlay));
        let order = PlaneOrder::Apply(Arc::new(map));
        orders.send(order).await.unwrap();
        let applied = loop {
            if let PlaneEvent::Applied { result, .. } = heard.recv().await.unwrap() {
                break result;
            }
        };
        assert!(applied.peers.is_err());
        assert!(is_in_place("malha0").unwrap());
        let PlaneEvent::Down(view) = heard.recv().await.unwrap() else {
            panic!("a tunnel is there");
        };
        assert!(matches!(view.guard, GuardStatus::InPlace { ports, .. } if ports.contains(&4000)));
    });
}

#[test]
fn the_table_of_another_interface_stays_and_is_told_of() {
    alone(async || {
        nftables::apply("add table inet malha_guard_before\nadd table inet other\n").unwrap();
        let mut guard = guard(GuardChoice::Auto);
        guard.close(&Arc::new(testbed::netmap(1))).await;
        guard.check().await;
        assert_eq!(guard.left(), ["malha_guard_before"]);
        assert!(is_in_place("before").unwrap());
    });
}

/// As a firewall that loads all its rules at once.
#[test]
fn a_large_change_of_somebody_elses_table_is_none_of_the_guards() {
    alone(async || {
        let mut guard = guard(GuardChoice::Auto);
        guard.close(&Arc::new(testbed::netmap(1))).await;
        let chains = (0..2_000).map(|number| format!("add chain inet other c{number}\n"));
        let chains: String = chains.collect();
        nftables::apply(&format!("add table inet other\n{chains}")).unwrap();
        assert_eq!(restored(&mut guard).await, 0);
    });
}

/// When more was told of all tables than can be held.
#[test]
fn a_guard_that_may_have_been_changed_is_looked_at_before_anybody_is_accused() {
    alone(async || {
        let mut guard = guard(GuardChoice::Auto);
        guard.close(&Arc::new(testbed::netmap(1))).await;
        guard.disturbed = Some(Heard::TooMuch);
        assert_eq!(restored(&mut guard).await, 0);
        assert_eq!(guard.disturbed, None);
        for (times, change) in [
            (1, "flush chain inet malha_guard_m0 guard"),
            (2, "delete table inet malha_guard_m0"),
        ] {
            nftables::apply(change).unwrap();
            guard.watch.as_mut().unwrap().forget();
            guard.disturbed = Some(Heard::TooMuch);
            assert_eq!(restored(&mut guard).await, times);
            let listed = Content::of("malha_guard_m0").unwrap();
            assert!(format!("{listed:?}").contains("@ports"), "{listed:?}");
        }
    });
}

/// How often the guard was put back after a second in which the plane listens to it.
async fn restored(guard: &mut Guard) -> u64 {
    let second = tokio::time::sleep(Duration::from_secs(1));
    tokio::pin!(second);
    loop {
        tokio::select! {
            () = guard.changed() => guard.answer().await,
            () = &mut second => break guard.restored,
        }
    }
}

#[test]
fn a_target_whose_address_comes_after_the_map_is_closed_too() {
    alone(async || {
        let map = map_with_target("192.0.2.7");
        let mut guard = guard(GuardChoice::Auto);
        guard.close(&Arc::new(map)).await;
        assert!(!guard.ports.tcp.contains(&9999));
        ip("address add 192.0.2.7/32 dev lo");
        advance(RESTORE_PAUSE).await;
        guard.check().await;
        assert!(
            matches!(guard.status(), GuardStatus::InPlace { ports, restored: 0, .. } if ports.contains(&9999))
        );
    });
}

/// As keepalived and HAProxy want it: any address can be bound.
#[test]
fn a_target_elsewhere_stays_open_where_foreign_addresses_can_be_bound() {
    alone(async || {
        for family in ["ipv4", "ipv6"] {
            fs::write(format!("/proc/sys/net/{family}/ip_nonlocal_bind"), "1").unwrap();
        }
        for elsewhere in ["192.0.2.7", "2001:db8::7"] {
            let map = map_with_target(elsewhere);
            assert!(!closed_for(map).await.contains(&9999), "{elsewhere}");
        }
        ip("address add 192.0.2.7/32 dev lo");
        ip("route add local 198.51.100.0/24 dev lo");
        for here in [
            "192.0.2.7",
            "::ffff:192.0.2.7",
            "198.51.100.9",
            "127.9.9.9",
            "0.0.0.0",
        ] {
            let map = map_with_target(here);
            assert!(closed_for(map).await.contains(&9999), "{here}");
        }
    });
}

/// As when the process has no descriptor left.
#[test]
fn where_nobody_can_be_asked_a_known_target_stays_closed_and_an_unknown_one_is_told_of() {
    alone(async || {
        ip("address add 192.0.2.7/32 dev lo");
        let map = Arc::new(map_with_target("192.0.2.7"));
        let mut guard = guard(GuardChoice::Required);
        guard.look = no_look;
        let guarded = guard.close(&map).await;
        assert!(guarded.map.services.is_empty());
        let [(service, why)] = &guarded.withheld[..] else {
            panic!("{:?}", guarded.withheld);
        };
        let only = map.services.keys().next().unwrap();
        assert_eq!(*service, only.to_string());
        assert!(why.ends_with("no descriptor is left"), "{why}");
        assert_eq!(closed_and_trouble(&guard), (false, true));
        guard.look = local_addresses;
        advance(RESTORE_PAUSE).await;
        guard.check().await;
        assert_eq!(closed_and_trouble(&guard), (true, false));
        guard.look = no_look;
        advance(RESTORE_PAUSE).await;
        guard.check().await;
        assert_eq!(closed_and_trouble(&guard), (true, true));
    });
}

#[test]
fn where_nobody_can_be_asked_services_whose_targets_were_seen_are_offered_all_the_same() {
    alone(async || {
        let mut map = map_with_target("192.0.2.7");
        let mut guard = guard(GuardChoice::Required);
        assert_eq!(guard.close(&Arc::new(map.clone())).await.withheld, []);
        guard.look = no_look;
        let seen = map.services.values().next().unwrap().clone();
        let mut unseen = seen.clone();
        unseen.id = malha_proto::ServiceId(seen.id.0 + 1);
        unseen.target = ([192, 0, 2, 8], 9999).into();
        map.services.insert(unseen.id, unseen.clone());
        let guarded = guard.close(&Arc::new(map)).await;
        assert!(guarded.map.services.keys().eq([&seen.id]));
        let withheld = guarded.withheld.iter().map(|(service, _)| service);
        assert!(withheld.eq([&unseen.id.to_string()]));
    });
}

fn no_look(_: &BTreeSet<IpAddr>) -> io::Result<BTreeSet<IpAddr>> {
    Err(io::Error::other("no descriptor is left"))
}

/// Whether a guard in place closes a target's port, and whether it says that it is behind.
fn closed_and_trouble(guard: &Guard) -> (bool, bool) {
    match guard.status() {
        GuardStatus::InPlace { ports, trouble, .. } => (ports.contains(&9999), trouble.is_some()),
        other => panic!("{other:?}"),
    }
}

async fn closed_for(map: Netmap) -> BTreeSet<u16> {
    let mut guard = guard(GuardChoice::Auto);
    guard.close(&Arc::new(map)).await;
    guard.ports.tcp
}

fn map_with_target(address: &str) -> Netmap {
    let mut map = testbed::netmap(1);
    let service = map.services.values_mut().next().unwrap();
    service.target = (address.parse::<IpAddr>().unwrap(), 9999).into();
    map
}

/// The demo's node may run as root beside a real agent, whose interface has the same name.
#[test]
fn an_agent_without_an_interface_takes_no_table_away() {
    alone(async || {
        nftables::apply("add table inet malha_guard_m0\n").unwrap();
        let config = GuardConfig {
            choice: GuardChoice::Off,
            except: [].into(),
        };
        let mut guard = Guard::new(config, Engine::Netstack, "m0");
        guard.check().await;
        assert_eq!(guard.left(), ["malha_guard_m0"]);
        assert!(is_in_place("m0").unwrap());
    });
}
