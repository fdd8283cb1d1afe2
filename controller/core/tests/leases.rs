//! One machine is never taken for two, and two are never taken for one: machines that crash at any step, lose replies,
//! speak late, renew keys and have their disks copied, against the rules of sessions.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod play;
mod world;

use malha_core::limits::MAX_FORMER_KEYS;
use malha_core::{Answer, Command};
use malha_proto::{Fingerprint, RefusalCode, WgKey};
use play::{Event, Fate, Play, any_event};
use proptest::prelude::*;
use world::{bytes32, facts};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn one_machine_is_never_quarantined_and_never_locked_out(events in prop::collection::vec(any_event(), 1..60)) {
        let mut play = Play::new();
        for event in events {
            play.play(0, event);
            prop_assert!(!play.is_quarantined(), "taken for two after {:?}", event);
        }
        play.restart(0);
        let answer = play.hello(0, Fate::Complete);
        prop_assert!(answer.is_ok(), "locked out: {:?}", answer);
    }

    /// The model itself checks each accepted hello, see [`Play::accepted`]. Of a copy that stayed behind by more renewals than a
    /// node remembers keys nobody learns; it is locked out, as one whose place was taken.
    #[test]
    fn a_copy_is_found_when_it_speaks_after_the_other_one(
        before in prop::collection::vec(any_event(), 0..12),
        same_machine: bool,
        events in prop::collection::vec((0_usize..2, any_event()), 0..30),
        first in 0_usize..2,
    ) {
        let mut play = Play::new();
        for event in before {
            play.play(0, event);
        }
        play.late.clear();
        play.copy(0, same_machine);
        for (at, event) in events {
            play.play(at, event);
        }
        if !play.is_quarantined() {
            let one = play.hello(first, Fate::Complete);
            play.restart(1 - first);
            let other = play.hello(1 - first, Fate::Complete);
            let node = play.world.state.node(play.node).unwrap();
            let has_forgotten = node.past_tls_keys.len() == MAX_FORMER_KEYS;
            let is_locked_out = [one, other].contains(&Err(Some(RefusalCode::Replaced)));
            let is_noticed = play.is_quarantined() || (has_forgotten && is_locked_out);
            prop_assert!(is_noticed, "nobody noticed: {:?}, {:?}", one, other);
        }
    }

    #[test]
    fn two_living_copies_are_told_apart_at_the_hello_of_the_second(same_machine: bool, confirmed: bool) {
        let mut play = Play::new();
        play.hello(0, Fate::Complete).unwrap();
        let copy = play.copy(0, same_machine);
        if !confirmed {
            play.hello(0, Fate::WordLost).unwrap();
        }
        prop_assert_eq!(play.hello(copy, Fate::Complete), Err(None));
        prop_assert!(play.is_quarantined());
    }

    #[test]
    fn the_chosen_machine_comes_back_with_new_keys_and_the_other_never_does(
        same_machine: bool,
        stale_copy: bool,
        keep_holder: bool,
        events in prop::collection::vec((any::<bool>(), any_event()), 0..40),
    ) {
        let mut play = Play::new();
        play.hello(0, Fate::Complete).unwrap();
        let copy = play.copy(0, same_machine);
        if stale_copy {
            play.hello(0, Fate::Complete).unwrap();
        }
        prop_assert_eq!(play.hello(copy, Fate::Complete), Err(None));
        let (kept, other) = if keep_holder { (0, copy) } else { (copy, 0) };
        prop_assert_eq!(play.hello(kept, Fate::Complete), Err(Some(RefusalCode::Cloned)));
        play.resolve(kept);
        // Where nothing but the running process tells the two apart, it must not restart before it has new keys.
        let alike = same_machine && !stale_copy;
        for (is_kept, event) in events {
            match (is_kept, event) {
                (true, Event::Restart | Event::Hello(Fate::CrashBeforeSaving) | Event::HelloBeside(Fate::CrashBeforeSaving) | Event::Renew(Fate::CrashBeforeSaving))
                    if alike => {}
                (true, event) => play.play(kept, event),
                (false, Event::Restart) => play.restart(other),
                (false, _) => prop_assert!(play.hello(other, Fate::Complete).is_err(), "the other one got a session"),
            }
            prop_assert!(!play.is_quarantined(), "quarantined again after {:?}", event);
        }
        play.hello(kept, Fate::Complete).unwrap();
        play.renew(kept, Fate::Complete);
        prop_assert!(play.world.state.node(play.node).unwrap().is_active());
        prop_assert_eq!(play.hello(kept, Fate::Complete), Ok(false));
        prop_assert_eq!(play.hello(other, Fate::Complete), Err(Some(RefusalCode::Replaced)));
    }
}

#[test]
fn a_machine_of_a_restored_backup_opens_with_whatever_lease_it_has() {
    let mut play = Play::new();
    play.hello(0, Fate::Complete).unwrap();
    let backup: Vec<_> = play.world.state.entities().collect();
    play.hello(0, Fate::Complete).unwrap();
    play.hello(0, Fate::Complete).unwrap();
    let without_leases = backup
        .into_iter()
        .filter(|it| !matches!(it, malha_core::Entity::Lease(_)));
    play.world.state =
        malha_core::State::restore(play.world.state.revision(), without_leases).unwrap();
    play.restart(0);
    assert_eq!(play.hello(0, Fate::Complete), Ok(false));
}

#[test]
fn a_lease_that_is_on_disk_late_does_not_take_the_next_session_s_away() {
    let mut play = Play::new();
    play.hello(0, Fate::Complete).unwrap();
    play.play(0, Event::HelloBeside(Fate::WordLost));
    assert_eq!(play.hello(0, Fate::Complete), Ok(false));
    play.play(0, Event::HelloBeside(Fate::WordLost));
    play.restart(0);
    assert_eq!(play.hello(0, Fate::Complete), Ok(false));
}

#[test]
fn while_rekeying_old_keys_do_not_free_the_node() {
    let mut play = Play::new();
    play.hello(0, Fate::Complete).unwrap();
    let copy = play.copy(0, false);
    assert_eq!(play.hello(copy, Fate::Complete), Err(None));
    play.resolve(0);
    assert_eq!(play.hello(0, Fate::Complete), Ok(true));
    let node = play.world.state.node(play.node).unwrap().clone();
    let instance = play.machines[0].instance;
    let tls_only = Command::RenewNode {
        node: play.node,
        instance,
        tls_key: Fingerprint(bytes32(77_000)),
        wg_key: None,
    };
    assert!(play.world.run(tls_only).is_err());
    assert!(play.world.state.netmap(node.id).unwrap().peers.is_empty());
    play.renew(0, Fate::Complete);
    assert!(!play.world.state.netmap(node.id).unwrap().peers.is_empty());
}

#[test]
fn a_new_box_opens_while_the_one_whose_place_it_takes_is_still_connected() {
    let mut play = Play::new();
    play.hello(0, Fate::Complete).unwrap();
    let replace = Command::ReplaceNode {
        id: play.node,
        ttl_s: 3_600,
    };
    let Answer::Token { id, secret } = play.world.run(replace).unwrap().answer else {
        panic!("no token");
    };
    let fresh = play.copy(0, false);
    let tls_key = Fingerprint(bytes32(88_000));
    let enrol = Command::Enrol {
        token: id,
        secret,
        wg_key: WgKey(bytes32(88_000)),
        tls_key,
        name: None,
        facts: facts(play.machines[fresh].disk.machine),
    };
    let Answer::Enrolled { lease, .. } = play.world.run(enrol).unwrap().answer else {
        panic!("no lease");
    };
    play.machines[fresh].disk.tls_key = tls_key;
    play.machines[fresh].disk.lease = lease;
    play.known_saved = None;
    assert!(play.machines[0].online);
    assert_eq!(play.hello(fresh, Fate::Complete), Ok(false));
    assert_eq!(
        play.hello(0, Fate::Complete),
        Err(Some(RefusalCode::Replaced))
    );
}

#[test]
fn a_machine_that_never_hears_of_its_renewals_is_not_locked_out() {
    let mut play = Play::new();
    for _ in 0..3 * malha_core::limits::MAX_FORMER_KEYS {
        play.hello(0, Fate::Complete).unwrap();
        play.renew(0, Fate::ReplyLost);
    }
    assert_eq!(
        play.hello(0, Fate::Complete),
        Ok(true),
        "it is asked to renew again"
    );
    play.renew(0, Fate::Complete);
    assert_eq!(play.hello(0, Fate::Complete), Ok(false));
}
