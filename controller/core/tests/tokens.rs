//! Enrolment tokens as their holders meet them: each fault has its own answer, and no race makes two machines of one use.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use malha_core::{Answer, Command, Context, Rejection};
use malha_proto::{NodeId, Profile, RefusalCode, Secret32, SiteId, TokenId};
use proptest::prelude::*;
use world::{World, bytes32, enrol_command, label};

fn site(world: &World) -> SiteId {
    world.state.sites().next().unwrap().id
}

fn refusal(result: Result<malha_core::Outcome, Rejection>) -> RefusalCode {
    match result {
        Err(Rejection::Refused { code, .. }) => code,
        other => panic!("{:?}", other.map(|outcome| outcome.answer)),
    }
}

fn enrolled(result: Result<malha_core::Outcome, Rejection>) -> (NodeId, malha_proto::Lease, bool) {
    match result.unwrap().answer {
        Answer::Enrolled { node, lease, again } => (node, lease, again),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unknown_token_and_a_wrong_secret_get_the_same_answer() {
    let mut world = World::furnished();
    let (token, _) = world.token(site(&world), Profile::Garage, 1);
    let wrong_secret = world
        .run(enrol_command(token, Secret32([9; 32]), 1, None))
        .unwrap_err();
    let unknown = world
        .run(enrol_command(TokenId(9_999), Secret32([9; 32]), 1, None))
        .unwrap_err();
    assert_eq!(wrong_secret, unknown);
    assert_eq!(refusal(Err(unknown)), RefusalCode::TokenUnknown);
}

#[test]
fn an_expired_a_used_and_a_revoked_token_are_told_apart() {
    let mut world = World::furnished();
    let (token, secret) = world.token(site(&world), Profile::Garage, 1);
    let (revoked, revoked_secret) = world.token(site(&world), Profile::Garage, 1);
    let (used, used_secret) = world.token(site(&world), Profile::Garage, 1);
    world.run(Command::RevokeToken { id: revoked }).unwrap();
    world
        .run(enrol_command(used, used_secret.clone(), 1, None))
        .unwrap();
    assert_eq!(
        refusal(world.run(enrol_command(revoked, revoked_secret, 2, None))),
        RefusalCode::TokenRevoked
    );
    assert_eq!(
        refusal(world.run(enrol_command(used, used_secret, 2, None))),
        RefusalCode::TokenUsed
    );
    world.now_ms += 3_600_000;
    assert_eq!(
        refusal(world.run(enrol_command(token, secret, 2, None))),
        RefusalCode::TokenExpired
    );
}

#[test]
fn a_lost_reply_is_repeated_with_a_fresh_lease_even_when_the_token_is_used_up_and_expired() {
    let mut world = World::furnished();
    let (token, secret) = world.token(site(&world), Profile::Garage, 1);
    let (node, first, again) = enrolled(world.run(enrol_command(token, secret.clone(), 1, None)));
    assert!(!again);
    world.now_ms += 7_200_000;
    let (repeated, second, again) = enrolled(world.run(enrol_command(token, secret, 1, None)));
    assert!(again && repeated == node && first != second);
}

#[test]
fn a_reply_is_not_repeated_after_a_revocation_or_the_removal_of_the_node() {
    let mut world = World::furnished();
    let (token, secret) = world.token(site(&world), Profile::Garage, 1);
    let (node, ..) = enrolled(world.run(enrol_command(token, secret.clone(), 1, None)));
    world
        .run(Command::RemoveNode {
            id: node,
            detach: false,
        })
        .unwrap();
    assert_eq!(
        refusal(world.run(enrol_command(token, secret.clone(), 1, None))),
        RefusalCode::TokenUsed
    );
    world.run(Command::RevokeToken { id: token }).unwrap();
    assert_eq!(
        refusal(world.run(enrol_command(token, secret, 1, None))),
        RefusalCode::TokenRevoked
    );
}

#[test]
fn a_key_that_is_another_nodes_is_refused() {
    let mut world = World::furnished();
    world.enrol(site(&world), Profile::Garage, 1);
    let (token, secret) = world.token(site(&world), Profile::Garage, 1);
    assert_eq!(
        refusal(world.run(enrol_command(token, secret, 1, None))),
        RefusalCode::KeyTaken
    );
}

#[test]
fn a_reply_is_repeated_only_to_both_keys_of_the_machine() {
    let mut world = World::furnished();
    let (token, secret) = world.token(site(&world), Profile::Garage, 2);
    enrolled(world.run(enrol_command(token, secret.clone(), 1, None)));
    let Command::Enrol {
        token,
        secret,
        tls_key,
        name,
        facts,
        ..
    } = enrol_command(token, secret, 1, None)
    else {
        unreachable!()
    };
    let wg_key = malha_proto::WgKey([77; 32]);
    let other = Command::Enrol {
        token,
        secret,
        wg_key,
        tls_key,
        name,
        facts,
    };
    assert_eq!(refusal(world.run(other)), RefusalCode::KeyTaken);
}

#[test]
fn a_wished_name_that_is_taken_is_refused_and_a_made_one_is_numbered() {
    let mut world = World::furnished();
    let (token, secret) = world.token(site(&world), Profile::Garage, 3);
    let name = |world: &World, node| world.state.node(node).unwrap().name.to_string();
    let (first, ..) = enrolled(world.run(enrol_command(token, secret.clone(), 12, None)));
    let (second, ..) = enrolled(world.run(enrol_command(token, secret.clone(), 17, None)));
    assert_eq!(
        (name(&world, first).as_str(), name(&world, second).as_str()),
        ("garagem-2", "garagem-2-2")
    );
    let wished = Some(label("garagem-2"));
    assert_eq!(
        refusal(world.run(enrol_command(token, secret, 22, wished))),
        RefusalCode::NameTaken
    );
}

#[test]
fn a_replacement_keeps_identity_name_addresses_services_and_routes() {
    let mut world = World::furnished();
    let route = world.state.routes().next().unwrap().clone();
    let service = world
        .state
        .service(*route.services.first().unwrap())
        .unwrap()
        .clone();
    let before = world.state.node(service.node).unwrap().clone();
    let Answer::Token {
        id: older,
        secret: older_secret,
    } = world
        .run(Command::ReplaceNode {
            id: before.id,
            ttl_s: 600,
        })
        .unwrap()
        .answer
    else {
        panic!("no token")
    };
    let Answer::Token { id, secret } = world
        .run(Command::ReplaceNode {
            id: before.id,
            ttl_s: 600,
        })
        .unwrap()
        .answer
    else {
        panic!("no token")
    };
    assert_eq!(
        refusal(world.run(enrol_command(older, older_secret, 77, None))),
        RefusalCode::TokenRevoked
    );
    let (node, ..) = enrolled(world.run(enrol_command(id, secret, 77, None)));
    let after = world.state.node(node).unwrap();
    assert_eq!(
        (after.id, &after.name, after.addresses),
        (before.id, &before.name, before.addresses)
    );
    assert_ne!(
        (after.wg_key, after.tls_key),
        (before.wg_key, before.tls_key)
    );
    assert_eq!(world.state.route(route.id), Some(&route));
    assert_eq!(world.state.service(service.id), Some(&service));
    let old_machine = Command::OpenSession {
        node,
        tls_key: before.tls_key,
        lease: malha_proto::Lease([0; 16]),
        instance: 1,
        facts: world::facts(1),
        source: None,
        live: None,
    };
    assert_eq!(refusal(world.run(old_machine)), RefusalCode::Replaced);
}

#[test]
fn an_exhausted_pool_refuses_until_an_address_has_rested() {
    let mut world = World::furnished();
    let site = site(&world);
    let (token, secret) = world.token(site, Profile::Garage, 300);
    let mut last = None;
    let refused = (1_000..1_300).find_map(|machine| {
        match world.run(enrol_command(token, secret.clone(), machine, None)) {
            Ok(outcome) => {
                last = Some(outcome.answer);
                None
            }
            refused => Some(refusal(refused)),
        }
    });
    assert_eq!(refused, Some(RefusalCode::PoolExhausted));
    assert_eq!(world.state.nodes().len(), 254);
    let Some(Answer::Enrolled { node, .. }) = last else {
        panic!("nobody enrolled")
    };
    world
        .run(Command::RemoveNode {
            id: node,
            detach: false,
        })
        .unwrap();
    assert_eq!(
        refusal(world.run(enrol_command(token, secret, 2_000, None))),
        RefusalCode::PoolExhausted
    );
    world.now_ms += malha_core::limits::ADDRESS_QUARANTINE_MS;
    world.enrol(site, Profile::Garage, 250);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Requests race to one writer: whatever their order and however often each is repeated, a use is used once.
    #[test]
    fn racing_machines_get_exactly_as_many_places_as_the_token_has(
        uses in 1_u32..4, attempts in prop::collection::vec(0_u64..12, 1..60),
    ) {
        let mut world = World::furnished();
        let before = world.state.nodes().len();
        let (token, secret) = world.token(site(&world), Profile::Garage, uses);
        let mut first_answers = 0;
        for machine in &attempts {
            match world.run(enrol_command(token, secret.clone(), 500 + machine, None)) {
                Ok(outcome) => first_answers += u32::from(matches!(outcome.answer, Answer::Enrolled { again: false, .. })),
                refused => prop_assert_eq!(refusal(refused), RefusalCode::TokenUsed),
            }
        }
        let machines: std::collections::BTreeSet<u64> = attempts.iter().copied().collect();
        let expected = uses.min(machines.len() as u32);
        prop_assert_eq!(first_answers, expected);
        prop_assert_eq!(world.state.nodes().len() - before, expected as usize);
        prop_assert_eq!(world.state.token(token).unwrap().uses_left, uses - expected);
    }
}

#[test]
fn a_command_on_an_older_state_is_not_seen_by_the_newer_one() {
    let mut world = World::furnished();
    let (token, secret) = world.token(site(&world), Profile::Garage, 1);
    let older = world.state.clone();
    world
        .run(enrol_command(token, secret.clone(), 1, None))
        .unwrap();
    let context = Context {
        now_ms: world.now_ms,
        random: bytes32(1),
        request: None,
    };
    assert!(
        older
            .apply(&enrol_command(token, secret, 2, None), &context)
            .is_ok(),
        "the older state has the use still"
    );
    assert_eq!(world.state.token(token).unwrap().uses_left, 0);
}
