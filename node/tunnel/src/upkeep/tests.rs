//! An interface in a namespace of its own, of which somebody takes routes away. It needs root, and is skipped elsewhere.

use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

use super::*;

/// Plays a story with one end of a cable that is as it is to be.
fn play(story: impl FnOnce(&mut Upkeep, Instant) + Send + 'static) {
    if !geteuid().is_root() {
        println!("skipped: it needs root");
        return;
    }
    let played = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link add m0 type veth peer name m1");
        ip("link set m1 up");
        let own = ["100.64.0.1/10", "fd00::1/48"].map(|it| it.parse().unwrap());
        let index = if_nametoindex("m0").unwrap();
        let mut upkeep = Upkeep::untouched("m0", index, &own).unwrap();
        upkeep.set().unwrap();
        story(&mut upkeep, Instant::now());
    });
    played.join().unwrap();
}

/// Looks some seconds later, when what was heard of our own work is no news any more.
fn mended(upkeep: &mut Upkeep, later: Instant) -> u64 {
    for seconds in 0..3 {
        upkeep.mend(later + Duration::from_secs(seconds)).unwrap();
    }
    upkeep.state.borrow().mended
}

fn ip(words: &str) {
    let called = Command::new("ip").args(words.split(' ')).status();
    assert!(called.unwrap().success(), "ip {words}");
}

fn leads_out_by(address: &str) -> String {
    let asked = Command::new("ip").args(["route", "get", address]).output();
    let said = String::from_utf8(asked.unwrap().stdout).unwrap();
    let mut words = said.split(' ').skip_while(|word| *word != "dev");
    words.nth(1).unwrap_or_default().to_owned()
}

#[test]
fn routes_that_are_there_are_not_set_again() {
    play(|upkeep, now| assert_eq!(mended(upkeep, now), 0));
}

#[test]
fn a_route_that_somebody_took_away_alone_is_set_again_and_counted_once() {
    for (network, address) in NETWORKS {
        play(move |upkeep, now| {
            mended(upkeep, now);
            ip(&format!("route del {network}"));
            assert_eq!(leads_out_by(address), "");
            assert_eq!(mended(upkeep, now + LATER), 1);
            assert_eq!(leads_out_by(address), "m0");
        });
    }
}

#[test]
fn a_route_in_the_place_of_which_somebody_put_another_is_before_that_one_again() {
    play(|upkeep, now| {
        mended(upkeep, now);
        let [(network, address), _] = NETWORKS;
        ip(&format!("route replace {network} dev m1"));
        assert_eq!(leads_out_by(address), "m1");
        assert_eq!(mended(upkeep, now + LATER), 1);
        assert_eq!(leads_out_by(address), "m0");
    });
}

#[test]
fn who_takes_a_route_away_again_and_again_is_followed_at_a_pace() {
    play(|upkeep, now| {
        let [(network, _), _] = NETWORKS;
        let later = now + LATER;
        mended(upkeep, now);
        for _ in 0..2 {
            ip(&format!("route del {network}"));
            upkeep.mend(later).unwrap();
        }
        assert_eq!(upkeep.state.borrow().mended, 1);
        assert_eq!(upkeep.next_look(), Some(later + LOOK_PAUSE));
        upkeep.mend(later + LOOK_PAUSE).unwrap();
        assert_eq!(upkeep.state.borrow().mended, 2);
    });
}

/// As when somebody does that between the look at the addresses and the one at the routes.
#[test]
fn an_interface_that_loses_its_ipv6_meanwhile_is_not_taken_for_gone() {
    play(|upkeep, _| {
        ip("link set m0 mtu 1000");
        let error = upkeep.set_routes().unwrap_err();
        assert!(!is_absent(&error), "{error}");
    });
}

const NETWORKS: [(&str, &str); 2] = [("100.64.0.0/10", "100.64.0.9"), ("fd00::/48", "fd00::9")];
const LATER: Duration = Duration::from_secs(10);
