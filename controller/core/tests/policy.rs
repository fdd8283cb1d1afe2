//! Policies as an operator meets them: what they change is seen first, tests gate them, they come and go with time and names.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use std::collections::BTreeMap;

use malha_core::limits::MAX_DIFFERENCE_LATER;
use malha_core::policy::{Author, CaseVerdict, LaterChange, Policy, VersionOrigin};
use malha_core::{Answer, Command, Node, Question, Rejection, Selector, State, Verdict};
use malha_proto::{Allow, Exposure, Fingerprint, NodeId, Profile, Protocol};
use world::policy_text::{PORTS, policy_text};
use world::{World, label};

const XROAD: &str = r#"version = 1
[[grant]]
name = "xroad"
from = ["profile:security-server"]
to = ["profile:security-server"]
protocol = "tcp"
ports = ["5500", "5577"]
[[test]]
from = "profile:security-server"
to = "profile:security-server"
protocol = "tcp"
port = 5500
expect = "allow"
"#;

/// What [`XROAD`] opens is closed, and a test says so.
const CLOSED: &str = r#"version = 1
[[test]]
from = "profile:security-server"
to = "profile:security-server"
protocol = "tcp"
port = 5500
expect = "deny"
"#;

fn of_profile(state: &State, profile: Profile) -> Vec<NodeId> {
    let fit = |node: &&Node| node.profile == profile && !node.hub;
    state.nodes().filter(fit).map(|node| node.id).collect()
}

fn tcp(from: NodeId, to: NodeId, port: u16) -> Question {
    Question {
        from,
        to,
        protocol: Protocol::Tcp,
        port,
    }
}

fn opens(state: &State, from: NodeId, to: NodeId, port: u16) -> bool {
    state.explain(&tcp(from, to, port)).unwrap().verdict == Verdict::Allowed
}

fn apply(world: &mut World, text: &str, within_ms: Option<u64>) -> Result<u64, Rejection> {
    let command = world.apply_policy(text, within_ms);
    match world.run(command)?.answer {
        Answer::Policy { version } => Ok(version),
        other => panic!("{other:?}"),
    }
}

fn confirm(version: u64) -> Command {
    Command::ConfirmPolicy {
        version,
        author: Author::Controller,
    }
}

fn path(state: &State, id: NodeId) -> String {
    let name = state.node_name(id).unwrap();
    let mut labels: Vec<&str> = name.as_str().split('.').collect();
    labels.reverse();
    labels.join("/")
}

#[test]
fn what_a_policy_changes_is_said_with_names_and_counts_before_it_is_saved() {
    let world = World::furnished();
    let servers = of_profile(&world.state, Profile::SecurityServer);
    let policy = Policy::parse(XROAD).unwrap();
    let difference = world
        .state
        .policy_difference(&policy, XROAD, world.now_ms)
        .unwrap();
    let pairs = (servers.len() * (servers.len() - 1)) as u64;
    assert_eq!(
        (difference.gaining, difference.losing, difference.rows.len()),
        (pairs, 0, 1)
    );
    let row = &difference.rows[0];
    let names: Vec<String> = servers.iter().map(|id| path(&world.state, *id)).collect();
    assert_eq!((&row.from.names, row.to.count), (&names, servers.len()));
    let ports: Vec<u16> = row.gained.iter().map(|allow| allow.from_port).collect();
    assert_eq!((ports, row.lost.is_empty()), (vec![5_500, 5_577], true));
}

/// The difference against the two netmaps, pair by pair and port by port.
#[test]
fn the_counts_of_a_difference_are_those_of_the_netmaps() {
    let mut world = World::furnished();
    world.furnish_balancers();
    let open = |state: &State| -> BTreeMap<(NodeId, NodeId), Vec<bool>> {
        let asked = (0..70_u16).map(|n| PORTS[usize::from(n) % 5].saturating_sub(7) + n / 5);
        let asked: Vec<u16> = asked.collect();
        let pairs = state
            .nodes()
            .flat_map(|from| state.nodes().map(move |to| (from, to)));
        let lists = pairs.map(|(from, to)| {
            let map = state.netmap(to.id).unwrap();
            let allow = map
                .peers
                .get(&from.id)
                .map(|peer| peer.allow.clone())
                .unwrap_or_default();
            let has = |protocol| {
                let allow = &allow;
                asked
                    .iter()
                    .map(move |port| allow.iter().any(|it| it.covers(protocol, *port)))
            };
            let all = has(Protocol::Tcp)
                .chain(has(Protocol::Udp))
                .chain(has(Protocol::Icmp));
            ((from.id, to.id), all.collect())
        });
        lists.collect()
    };
    for seed in 0..40 {
        let text = policy_text(&world.state, seed);
        let policy = Policy::parse(&text).unwrap();
        let said = world
            .state
            .policy_difference(&policy, &text, world.now_ms)
            .unwrap();
        let before = open(&world.state);
        apply(&mut world, &text, None).unwrap();
        let after = open(&world.state);
        let count = |gains: bool| {
            let changed = before.iter().filter(|(pair, was)| {
                let mut ports = was.iter().zip(&after[*pair]);
                ports.any(|(was, is)| was != is && *is == gains)
            });
            changed.count() as u64
        };
        assert_eq!(
            (said.gaining, said.losing),
            (count(true), count(false)),
            "{text}"
        );
    }
}

#[test]
fn a_policy_that_would_do_something_else_than_was_seen_is_refused() {
    let mut world = World::furnished();
    let stale = world.apply_policy(XROAD, None);
    let site = world.state.sites().next().unwrap().id;
    world.enrol(site, Profile::SecurityServer, 77);
    let refused = world.run(stale).unwrap_err().to_string();
    assert!(
        refused.contains("look at the difference again"),
        "{refused}"
    );
    apply(&mut world, XROAD, None).unwrap();
    let blind = Command::ApplyPolicy {
        text: "version = 1\n".to_owned(),
        difference: Fingerprint([0; 32]),
        confirm_within_ms: None,
        emergency: None,
        author: Author::Controller,
    };
    assert!(world.run(blind).is_err());
}

#[test]
fn a_failing_test_or_a_missed_profile_keeps_a_policy_out() {
    let mut world = World::furnished();
    let failing = XROAD.replace("\"allow\"", "\"deny\"");
    let refused = apply(&mut world, &failing, None).unwrap_err().to_string();
    assert!(
        refused.contains("L9: deny profile:security-server"),
        "{refused}"
    );
    let missing = XROAD.replacen(
        "to = [\"profile:security-server\"]",
        "to = [\"org:acme\"]",
        1,
    );
    let refused = apply(
        &mut world,
        &missing
            .replace("\"allow\"", "\"deny\"")
            .replace("5500\ne", "9\ne"),
        None,
    );
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("garage") && refused.contains("edge"),
        "{refused}"
    );
    assert!(world.state.policy().is_none() && world.state.grants().count() == 0);
}

#[test]
fn a_test_sees_what_services_open_to_edges_and_each_pair_by_itself() {
    let mut world = World::furnished();
    let garage = of_profile(&world.state, Profile::Garage)[3];
    world.service(garage, "site", 8_080, Exposure::Public);
    let text = "version = 1\n[[test]]\nfrom = \"edge\"\nto = \"profile:garage\"\nprotocol = \"tcp\"\nport = 8080\nexpect = \"deny\"\n";
    let policy = Policy::parse(text).unwrap();
    let trial = world.state.try_policy(&policy, world.now_ms).unwrap();
    let CaseVerdict::Fails { to, .. } = trial.outcomes[0].verdict else {
        panic!("{trial:?}")
    };
    assert_eq!(to, garage);
}

#[test]
fn grants_that_stood_alone_become_the_first_version_and_come_back_with_it() {
    let mut world = World::furnished();
    let garages = of_profile(&world.state, Profile::Garage);
    let (a, b) = (garages[0], garages[1]);
    let allow = Allow {
        protocol: Protocol::Tcp,
        from_port: 22,
        to_port: 22,
    };
    let add = Command::AddGrant {
        from: Selector::Node(a),
        to: Selector::Node(b),
        allow,
    };
    world.run(add.clone()).unwrap();
    let refused = apply(&mut world, XROAD, None).unwrap_err().to_string();
    assert!(refused.contains("speaks of garage"), "{refused}");
    let covered = CLOSED.replace("security-server", "garage");
    let covered = XROAD.to_owned() + covered.trim_start_matches("version = 1\n");
    assert_eq!(apply(&mut world, &covered, None).unwrap(), 2);
    assert!(!opens(&world.state, a, b, 22));
    let refused = world.run(add).unwrap_err().to_string();
    assert!(refused.contains("malha policy apply"), "{refused}");
    let back = Command::RollbackPolicy {
        version: 1,
        emergency: None,
        author: Author::Controller,
    };
    world.run(back).unwrap();
    assert!(opens(&world.state, a, b, 22));
    let newest = world.state.policy_versions().last().unwrap();
    assert_eq!(
        (newest.version, newest.origin),
        (3, VersionOrigin::Returned { to: 1 })
    );
}

#[test]
fn a_policy_that_nobody_confirms_goes_again_and_a_confirmed_one_stays() {
    let mut world = World::furnished();
    let servers = of_profile(&world.state, Profile::SecurityServer);
    let open = |world: &World| opens(&world.state, servers[0], servers[1], 5_500);
    apply(&mut world, XROAD, Some(60_000)).unwrap();
    assert_eq!(world.state.policy_wakes_ms(), Some(world.now_ms + 60_000));
    assert!(
        apply(&mut world, "version = 1\n", None).is_err(),
        "one at a time"
    );
    world.now_ms += 59_999;
    world.run(Command::Sweep).unwrap();
    assert!(open(&world));
    world.now_ms += 1;
    assert!(world.run(confirm(2)).is_err(), "too late");
    let swept = world.run(Command::Sweep).unwrap();
    assert_eq!(swept.answer, Answer::Policy { version: 3 });
    assert!(!open(&world));
    apply(&mut world, XROAD, Some(60_000)).unwrap();
    world.run(confirm(4)).unwrap();
    world.now_ms += 86_400_000;
    assert!(world.run(Command::Sweep).unwrap().changes.is_empty());
    assert!(open(&world));
}

/// Nodes that lose their controller by a policy must know the way back.
#[test]
fn while_a_policy_waits_the_netmaps_of_those_it_concerns_carry_what_comes_back() {
    let mut world = World::furnished();
    let servers = of_profile(&world.state, Profile::SecurityServer);
    let former = |world: &World, at: NodeId, from: NodeId| {
        let map = world.state.netmap(at).unwrap();
        let peer = map.peers.get(&from)?;
        Some((peer.allow.len(), peer.former.clone()))
    };
    let (a, b) = (servers[0], servers[1]);
    apply(&mut world, XROAD, Some(60_000)).unwrap();
    let (ports, carried) = former(&world, a, b).unwrap();
    let carried = carried.unwrap();
    assert_eq!((ports, carried.version, carried.within_ms), (2, 2, 60_000));
    assert!(carried.allow.is_empty());
    let garage = of_profile(&world.state, Profile::Garage)[0];
    assert!(world.state.waits_with_policy(a) && !world.state.waits_with_policy(garage));
    world.run(confirm(2)).unwrap();
    assert_eq!(former(&world, a, b), Some((2, None)));
    apply(&mut world, CLOSED, Some(60_000)).unwrap();
    let (ports, carried) = former(&world, a, b).unwrap();
    assert_eq!(
        (ports, carried.unwrap().allow.len()),
        (0, 2),
        "they stay peers until then"
    );
    world.run(confirm(3)).unwrap();
    assert_eq!(former(&world, a, b), None);
}

#[test]
fn a_schedule_opens_and_closes_at_its_boundaries_and_an_expiry_once() {
    let mut world = World::furnished();
    let servers = of_profile(&world.state, Profile::SecurityServer);
    // The world starts at 08:00 UTC.
    let timed = "ports = [\"5500\", \"5577\"]\nexpires = 2027-01-16T08:30:00Z\nschedule = { from = \"05:00\", to = \"06:00\", zone = \"America/Cuiaba\" }";
    let text = XROAD.replace("ports = [\"5500\", \"5577\"]", timed) + "at = 2027-01-15T09:10:00Z\n";
    apply(&mut world, &text, None).unwrap();
    let start_ms = world.now_ms;
    let mut changes = Vec::new();
    while let Some(wakes_ms) = world.state.policy_wakes_ms() {
        world.now_ms = wakes_ms;
        world.run(Command::Sweep).unwrap();
        changes.push((
            (wakes_ms - start_ms) / 60_000,
            opens(&world.state, servers[0], servers[1], 5_500),
        ));
    }
    assert_eq!(changes, [(60, true), (120, false), (1_470, false)]);
}

#[test]
fn a_difference_names_the_grants_that_are_closed_now() {
    let mut world = World::furnished();
    let later = |world: &World, text: &str| -> Vec<_> {
        let policy = Policy::parse(text).unwrap();
        let seen = world.state.policy_difference(&policy, text, world.now_ms);
        let seen = seen.unwrap();
        assert_eq!((seen.gaining, seen.losing), (0, 0));
        let named = seen.later.into_iter();
        named.map(|it| (it.name.to_string(), it.change)).collect()
    };
    let start_ms = world.now_ms;
    // The world starts on a Friday at 08:00 UTC.
    let timed = |more: &str| XROAD.replace("\"5577\"]", &format!("\"5577\"]\n{more}"));
    let hours = "schedule = { from = \"05:00\", to = \"06:00\", zone = \"America/Cuiaba\" }";
    let opens = |from_ms| vec![("xroad".to_owned(), LaterChange::Opens { from_ms })];
    let closed = timed(hours) + "at = 2027-01-15T09:10:00Z\n";
    assert_eq!(
        later(&world, &closed),
        opens(Some(start_ms + 60 * 60_000)),
        "in an hour"
    );
    let short = timed(&format!("{hours}\nexpires = 2027-01-15T08:30:00Z"));
    assert_eq!(later(&world, &short), opens(None), "it is over before");
    let over = timed("expires = 2027-01-15T07:59:00Z");
    let since_ms = start_ms - 60_000;
    let expired = LaterChange::Expired { since_ms };
    assert_eq!(later(&world, &over), [("xroad".to_owned(), expired)]);

    apply(&mut world, &closed, None).unwrap();
    assert_eq!(later(&world, &closed), [], "it was there before");
    let moved = format!("# A comment above.\n{closed}");
    assert_eq!(later(&world, &moved), [], "it only moved");
    assert_eq!(
        later(&world, CLOSED),
        [("xroad".to_owned(), LaterChange::Gone)]
    );
}

#[test]
fn of_very_many_grants_that_are_closed_now_the_first_are_named_and_the_rest_is_counted() {
    let world = World::furnished();
    let grant = |number: usize| {
        format!(
            "[[grant]]\nname = \"g{number}\"\nfrom = [\"profile:garage\"]\nto = [\"profile:garage\"]\n\
             protocol = \"icmp\"\nexpires = 2020-01-01T00:00:00Z\n"
        )
    };
    let more = 7;
    let grants: String = (0..MAX_DIFFERENCE_LATER + more).map(grant).collect();
    let text = format!("version = 1\n{grants}");
    let policy = Policy::parse(&text).unwrap();
    let seen = world.state.policy_difference(&policy, &text, world.now_ms);
    let seen = seen.unwrap();
    assert_eq!(
        (seen.later.len(), seen.later_left_out),
        (MAX_DIFFERENCE_LATER, more)
    );
    assert_eq!(seen.later[0].name.as_str(), "g0");
}

#[test]
fn a_name_that_goes_means_nobody_and_means_again_what_gets_it() {
    let mut world = World::furnished();
    let garages = of_profile(&world.state, Profile::Garage);
    let (named, other) = (garages[0], garages[1]);
    let name = path(&world.state, named);
    let text = format!(
        "version = 1\n[[grant]]\nname = \"a\"\nfrom = [\"node:{name}\"]\nto = [\"profile:garage\"]\nprotocol = \"icmp\"\n\
         [[test]]\nfrom = \"node:{name}\"\nto = \"profile:garage\"\nprotocol = \"icmp\"\nexpect = \"allow\"\n"
    );
    apply(&mut world, &text, None).unwrap();
    let open = |world: &World| {
        let question = Question {
            protocol: Protocol::Icmp,
            ..tcp(named, other, 0)
        };
        world.state.explain(&question).unwrap().verdict == Verdict::Allowed
    };
    assert!(open(&world));
    let former = world.state.node(named).unwrap().name.clone();
    world
        .run(Command::RenameNode {
            id: named,
            name: label("novo"),
        })
        .unwrap();
    assert!(!open(&world));
    let policy = Policy::parse(&text).unwrap();
    assert_eq!(
        world.state.unresolved(&policy)[0].name,
        format!("node:{name}")
    );
    world
        .run(Command::RenameNode {
            id: named,
            name: former,
        })
        .unwrap();
    assert!(open(&world));
    world
        .run(Command::RemoveNode {
            id: named,
            detach: false,
        })
        .unwrap();
    assert_eq!(world.state.grants().count(), 0);
}
