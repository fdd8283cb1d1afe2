//! Alone nobody changes what takes two: against a reading of both texts, word by word and hour by hour.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use std::collections::BTreeSet;

use malha_core::policy::Policy;
use malha_core::{Answer, Question, State};
use malha_proto::{NodeId, OrganizationId, Protocol};
use world::policy_text::{PORTS, policy_text};
use world::two::{Stage, nodes_of};

/// What a text lets `from` open, at whatever hour, read from it word by word.
fn said(policy: &Policy, state: &State, ends: (NodeId, NodeId), now_ms: u64) -> Vec<bool> {
    let asked = PORTS
        .iter()
        .flat_map(|port| [(Protocol::Tcp, *port), (Protocol::Udp, *port)]);
    let asked = asked.chain([(Protocol::Icmp, 0)]);
    let allows = asked.map(|(protocol, port)| {
        let question = Question {
            from: ends.0,
            to: ends.1,
            protocol,
            port,
        };
        policy.allows(state, &question, now_ms)
    });
    allows.collect()
}

/// A naive reading: does any pair with a node of the organization get or lose anything in the week to come?
fn concerns(
    state: &State,
    before: &Policy,
    after: &Policy,
    it: OrganizationId,
    now_ms: u64,
) -> bool {
    let inside: BTreeSet<NodeId> = nodes_of(state, it).into_iter().collect();
    // The worlds' policies change at their boundaries around the start, and in nights of the week.
    let soon = [0, 10_000, 60_000, 120_000];
    let nights = (0..8 * 6).map(|n| n * 4 * 3_600_000);
    let times: Vec<u64> = soon
        .into_iter()
        .chain(nights)
        .map(|ms| now_ms + ms)
        .collect();
    let all: Vec<NodeId> = state.nodes().map(|it| it.id).collect();
    inside.iter().any(|id| {
        all.iter().any(|other| {
            [(*id, *other), (*other, *id)].into_iter().any(|ends| {
                let mut times = times.iter();
                times.any(|at| said(before, state, ends, *at) != said(after, state, ends, *at))
            })
        })
    })
}

/// A policy of one grant more, or one less, than before.
fn next_text(state: &State, grants: &mut Vec<String>, seed: u64) -> String {
    let drawn = policy_text(state, seed);
    let (drawn, tests) = drawn.split_at(drawn.find("[[test]]").unwrap());
    let new = drawn.split("[[grant]]\n").nth(1);
    match new.filter(|_| grants.len() < 3 || seed.is_multiple_of(2)) {
        Some(grant) => {
            let body = grant.lines().filter(|line| !line.starts_with("name"));
            grants.push(body.collect::<Vec<_>>().join("\n"));
        }
        None if grants.is_empty() => {}
        None => drop(grants.remove(seed as usize % grants.len())),
    }
    let named = grants.iter().enumerate();
    let named = named.map(|(n, grant)| format!("[[grant]]\nname = \"g{n}\"\n{grant}\n"));
    format!("version = 1\n{}{tests}", named.collect::<String>())
}

/// Whatever one operator applies alone, the organization's nodes neither gain nor lose anything by it, now or later.
#[test]
fn alone_nobody_changes_what_concerns_the_organization() {
    let (mut alone, mut together) = (0, 0);
    for world in 0..6_u64 {
        let mut stage = Stage::new();
        let mut grants = Vec::new();
        for seed in world * 100..world * 100 + 8 {
            let text = next_text(&stage.world.state, &mut grants, seed);
            let before = Policy::parse(&stage.world.state.policy_text()).unwrap();
            let after = Policy::parse(&text).unwrap();
            let now_ms = stage.world.now_ms;
            match stage.apply(&text, stage.ana, None) {
                Ok(Answer::Policy { .. }) => {
                    let state = &stage.world.state;
                    let concerned = concerns(state, &before, &after, stage.fazenda, now_ms);
                    assert!(!concerned, "{text}");
                    alone += 1;
                }
                Ok(Answer::Proposed { proposal }) => {
                    stage.approve(proposal, stage.bruno).unwrap();
                    together += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(
        alone > 6 && together > 6,
        "{alone} alone, {together} together"
    );
}
