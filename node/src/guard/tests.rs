//! What the guard closes, said of maps and tried in network namespaces of the tests' own: nothing here touches the machine's rules.

use std::process::Command;

use malha_proto::{ClosedPort, Port};
use nix::sched::{CloneFlags, unshare};
use tokio::time::advance;

use super::*;
use crate::testbed;

#[test]
fn a_guard_with_nothing_to_close_says_so() {
    let said = |ports: &[u16], restored| {
        let status = GuardStatus::InPlace {
            ports: ports.iter().copied().collect(),
            udp: [].into(),
            restored,
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
    assert_eq!(Ports::of(&map, &none).udp, [161].into());
    assert_eq!(Ports::of(&map, &[161].into()).udp, none);
    map.closed = Some([].into());
    assert_eq!(Ports::of(&map, &none), Ports::default());
}

fn tcp(map: &Netmap, except: &BTreeSet<u16>) -> BTreeSet<u16> {
    Ports::of(map, except).tcp
}

fn closed(protocol: Protocol, port: u16) -> ClosedPort {
    ClosedPort {
        protocol,
        port: Port::new(port).unwrap(),
    }
}

/// Plays a story in a network namespace that has loopback alone. It says so where that can't be done.
fn alone<F: Future<Output = ()>>(story: impl FnOnce() -> F + Send + 'static) {
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
        guard(GuardChoice::Auto).close(&map).await.unwrap();
        assert!(is_in_place("m0").unwrap());
        let mut off = guard(GuardChoice::Off);
        off.close(&map).await.unwrap();
        off.check().await;
        assert!(!is_in_place("m0").unwrap());
        assert!(off.left().is_empty());
    });
}

#[test]
fn the_table_of_another_interface_stays_and_is_told_of() {
    alone(async || {
        nftables::apply("add table inet malha_guard_before\nadd table inet other\n").unwrap();
        let mut guard = guard(GuardChoice::Auto);
        guard.close(&Arc::new(testbed::netmap(1))).await.unwrap();
        guard.check().await;
        assert_eq!(guard.left(), ["malha_guard_before"]);
        assert!(is_in_place("before").unwrap());
    });
}

#[test]
fn a_target_whose_address_comes_after_the_map_is_closed_too() {
    alone(async || {
        let mut map = testbed::netmap(1);
        let service = map.services.values_mut().next().unwrap();
        service.target = ([192, 0, 2, 7], 9999).into();
        let mut guard = guard(GuardChoice::Auto);
        guard.close(&Arc::new(map)).await.unwrap();
        assert!(!guard.ports.tcp.contains(&9999));
        ip("address add 192.0.2.7/32 dev lo");
        advance(RESTORE_PAUSE).await;
        guard.check().await;
        assert!(
            matches!(guard.status(), GuardStatus::InPlace { ports, restored: 0, .. } if ports.contains(&9999))
        );
    });
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
