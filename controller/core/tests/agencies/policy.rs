//! What adding an agency does to the policy in force: its words stay, and it may refuse the agency.

use malha_core::policy::Policy;
use malha_core::{Command, Rejection, Selector};
use malha_proto::{Allow, Profile, Protocol};

use crate::world::World;
use crate::world::shaping::agency;
use crate::{add, enrol, opens, with_policy};

#[test]
fn the_policy_in_force_keeps_its_words_and_takes_the_new_ones_with_their_tests() {
    let mut world = with_policy();
    let first = add(&mut world, agency("sedec"));
    assert_eq!(first.policy.version, Some(3));
    enrol(&mut world, &first, 0..4);
    let second = add(&mut world, agency("sefaz"));
    enrol(&mut world, &second, 0..4);
    let text = world.state.policy_text();
    assert!(text.starts_with("version = 1 # ours\n"));
    assert!(text.contains(&first.policy.text) && text.contains(&second.policy.text));
    let policy = Policy::parse(&text).unwrap();
    let trial = world.state.try_policy(&policy, world.now_ms).unwrap();
    assert_eq!(trial.refusal(), None);
    // What all agencies share was said by the first one.
    assert!(first.policy.text.contains("xroad-producao-peers"));
    assert!(!second.policy.text.contains("\"xroad-producao-peers\""));
}

#[test]
fn a_policy_that_says_the_contrary_refuses_the_whole_agency() {
    let mut world = World::bare();
    let text = r#"
version = 1
[[grant]]
name = "everything"
from = ["profile:security-server"]
to = ["profile:security-server"]
protocol = "tcp"
ports = ["1-65535"]
[[test]]
from = "profile:security-server"
to = "profile:security-server"
protocol = "tcp"
port = 5500
expect = "allow"
"#;
    let command = world.apply_policy(text, None);
    world.run(command).unwrap();
    let added = add(&mut world, agency("sedec"));
    enrol(&mut world, &added, 0..4);
    let before = world.state.clone();
    let refused = world.run(Command::AddAgency(Box::new(agency("sefaz"))));
    let Err(Rejection::Invalid { field: "test", .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(world.state == before);
}

#[test]
fn without_a_policy_the_first_one_is_written_with_names_and_tests() {
    let mut world = World::bare();
    let added = add(&mut world, agency("sedec"));
    assert_eq!(
        added.policy.version,
        Some(2),
        "version 1 is what was before"
    );
    let text = world.state.policy_text();
    assert!(text.contains("name = \"sedec-producao-cluster\"") && !text.contains("grant-g"));
    let policy = Policy::parse(&text).unwrap();
    let trial = world.state.try_policy(&policy, world.now_ms).unwrap();
    assert!(trial.refusal().is_none() && policy.cases.len() > policy.rules.len());
    let other = add(&mut world, agency("sefaz"));
    enrol(&mut world, &added, 0..4);
    enrol(&mut world, &other, 0..4);
    let (ours, theirs) = ("sedec/producao/xvia1", "sefaz/producao/xvia1");
    assert!(opens(&world, ours, theirs, 5500));
    assert!(!opens(&world, ours, theirs, 4000));
}

#[test]
fn grants_that_stood_alone_stay_in_the_first_policy() {
    let mut world = World::bare();
    let garages = Selector::Profile(Profile::Garage);
    let grant = Command::AddGrant {
        from: garages,
        to: Selector::Tag("impressoras".parse().unwrap()),
        allow: Allow {
            protocol: Protocol::Tcp,
            from_port: 631,
            to_port: 631,
        },
    };
    world.run(grant).unwrap();
    add(&mut world, agency("sedec"));
    let text = world.state.policy_text();
    assert!(text.contains("tag:impressoras") && text.contains("port = 631"));
    let policy = Policy::parse(&text).unwrap();
    let trial = world.state.try_policy(&policy, world.now_ms).unwrap();
    assert_eq!(trial.refusal(), None);
}
