//! Two pairs of eyes, as operators meet them: what one proposes another approves, exactly as it was seen, and nobody finds a
//! way around it.
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod world;

use malha_core::policy::{Author, Policy, ProposedChange};
use malha_core::{Answer, BalancerSettings, Command, Rejection, Role, Scope};
use malha_proto::{Exposure, Fingerprint, Port, Profile, Protocol};
use world::two::{INSIDE, Stage, nodes_of, operator};
use world::{World, label};

const DAY_MS: u64 = 86_400_000;

fn refused(answer: Result<Answer, Rejection>, with: &str) {
    let said = answer.unwrap_err().to_string();
    assert!(said.contains(with), "{said}");
}

#[test]
fn what_one_proposes_another_approves_and_then_it_is_in_force() {
    let mut stage = Stage::new();
    let proposal = stage.propose(INSIDE, stage.ana);
    assert!(!stage.is_open() && stage.world.state.policy().is_none());
    refused(
        stage.approve(proposal, stage.ana),
        "another one approves it",
    );
    let answer = stage.approve(proposal, stage.bruno).unwrap();
    assert_eq!(answer, Answer::Policy { version: 2 });
    assert!(stage.is_open());
    let version = stage.world.state.policy_version(2).unwrap();
    let names = (version.author.as_str(), version.approver.as_deref());
    assert_eq!(names, ("operator:ana", Some("operator:bruno")));
    assert_eq!(stage.world.state.proposals().len(), 0);
}

#[test]
fn a_change_that_does_not_concern_the_organization_waits_for_nobody() {
    let mut stage = Stage::new();
    let text = INSIDE.replace("fazenda", "acme");
    let answer = stage.apply(&text, Author::Controller, None).unwrap();
    assert_eq!(answer, Answer::Policy { version: 2 });
}

#[test]
fn an_author_does_not_approve_through_a_key_either_and_a_key_of_nobody_is_nobody() {
    let mut stage = Stage::new();
    let of_ana = stage.key("ana-ci", Some(stage.ana), Scope::Write);
    let of_bruno = stage.key("bruno-ci", Some(stage.bruno), Scope::Write);
    let nobodys = stage.key("cli", None, Scope::Admin);
    refused(
        stage.apply(INSIDE, nobodys, None),
        "this API key is nobody's",
    );
    let proposal = stage.propose(INSIDE, of_ana);
    refused(
        stage.approve(proposal, stage.ana),
        "another one approves it",
    );
    refused(stage.approve(proposal, of_ana), "another one approves it");
    refused(stage.approve(proposal, nobodys), "this API key is nobody's");
    refused(
        stage.approve(proposal, Author::Controller),
        "both must be known",
    );
    stage.approve(proposal, of_bruno).unwrap();
}

#[test]
fn who_approves_has_the_role_and_was_there_when_it_was_proposed() {
    let mut stage = Stage::new();
    let auditor = operator(&mut stage.world, "rita", Role::Technician);
    let proposal = stage.propose(INSIDE, stage.ana);
    refused(
        stage.approve(proposal, auditor),
        "may not change the policy",
    );
    stage.world.now_ms += 1;
    let sudden = operator(&mut stage.world, "novo", Role::Owner);
    refused(stage.approve(proposal, sudden), "was added after");
}

#[test]
fn a_proposal_that_would_change_something_else_by_now_is_refused() {
    let mut stage = Stage::new();
    let proposal = stage.propose(INSIDE, stage.ana);
    let site = stage.world.state.sites_of(stage.fazenda).next().unwrap().id;
    stage.world.enrol(site, Profile::Garage, 90);
    refused(stage.approve(proposal, stage.bruno), "is not what was seen");
    let state = &stage.world.state;
    let it = state.proposal(proposal).unwrap();
    let (_, current) = state
        .proposed_difference(it, stage.world.now_ms)
        .unwrap()
        .unwrap();
    assert!(!current);
    let blind = Command::ApprovePolicy {
        proposal,
        difference: Fingerprint([1; 32]),
        author: stage.bruno,
    };
    assert!(stage.world.run(blind).is_err());
}

#[test]
fn a_proposal_expires_and_there_are_only_so_many() {
    let mut stage = Stage::new();
    let first = stage.propose(INSIDE, stage.ana);
    refused(stage.apply(INSIDE, stage.bruno, None), "proposes the same");
    for n in 1..16 {
        stage.propose(
            &INSIDE.replace("5500", &format!("{}", 6_000 + n)),
            stage.ana,
        );
    }
    let answer = stage.apply(&INSIDE.replace("5500", "7000"), stage.ana, None);
    refused(answer, "at most 16 proposals");
    let until_ms = stage.world.state.proposal(first).unwrap().expires_ms;
    assert_eq!(until_ms, stage.world.now_ms + 7 * DAY_MS);
    assert_eq!(stage.world.state.policy_wakes_ms(), Some(until_ms));
    stage.world.now_ms = until_ms;
    refused(stage.approve(first, stage.bruno), "has expired");
    let mut gone = 0;
    while stage.world.state.policy_wakes_ms().is_some() {
        let answer = stage.world.run(Command::Sweep).unwrap().answer;
        assert!(matches!(answer, Answer::ProposalExpired { .. }));
        gone += 1;
    }
    assert_eq!((gone, stage.world.state.proposals().len()), (16, 0));
}

#[test]
fn hours_that_open_later_wait_for_the_second_operator_too() {
    let mut stage = Stage::new();
    let later = "ports = [\"5500\"]\nschedule = { days = [\"sun\"], from = \"03:00\", to = \"04:00\", zone = \"UTC\" }";
    let text = INSIDE.replace("ports = [\"5500\"]", later);
    let text = text.replace("\"allow\"", "\"deny\"");
    let policy = Policy::parse(&text).unwrap();
    let now_ms = stage.world.now_ms;
    let seen = stage.world.state.policy_difference(&policy, &text, now_ms);
    assert_eq!(seen.unwrap().gaining, 0, "nothing opens today");
    let proposal = stage.propose(&text, stage.ana);
    stage.approve(proposal, stage.bruno).unwrap();
    let wider = text.replace("04:00", "05:00");
    assert!(matches!(
        stage.apply(&wider, stage.ana, None).unwrap(),
        Answer::Proposed { .. }
    ));
    let renamed = text.replace("\"a\"", "\"outro-nome\"");
    let answer = stage.apply(&renamed, stage.ana, None).unwrap();
    assert_eq!(answer, Answer::Policy { version: 3 }, "it says the same");
}

#[test]
fn the_clock_of_a_confirmation_starts_with_the_approval() {
    let mut stage = Stage::new();
    let answer = stage.apply(INSIDE, stage.ana, Some(60_000)).unwrap();
    let Answer::Proposed { proposal } = answer else {
        panic!("{answer:?}")
    };
    stage.world.now_ms += DAY_MS;
    stage.approve(proposal, stage.bruno).unwrap();
    let pending = stage.world.state.policy().unwrap().pending.clone().unwrap();
    assert_eq!(pending.deadline_ms, stage.world.now_ms + 60_000);
    stage.world.now_ms += 60_000;
    let swept = stage.world.run(Command::Sweep).unwrap().answer;
    assert_eq!(
        swept,
        Answer::Policy { version: 3 },
        "it was part of what was approved"
    );
    assert!(!stage.is_open());
}

#[test]
fn a_rollback_is_approved_too_but_not_the_one_that_would_come_anyway() {
    let mut stage = Stage::new();
    let proposal = stage.propose(INSIDE, stage.ana);
    stage.approve(proposal, stage.bruno).unwrap();
    let Ok(Answer::Proposed { proposal }) = stage.roll_back(1, stage.bruno) else {
        panic!("a rollback that closes waits")
    };
    let change = &stage.world.state.proposal(proposal).unwrap().change;
    assert!(matches!(change, ProposedChange::Return { to: 1, .. }));
    refused(
        stage.approve(proposal, stage.bruno),
        "another one approves it",
    );
    let answer = stage.approve(proposal, stage.ana).unwrap();
    assert_eq!(answer, Answer::Policy { version: 3 });
    assert!(!stage.is_open());
    let Answer::Proposed { proposal } = stage.apply(INSIDE, stage.ana, Some(60_000)).unwrap()
    else {
        panic!("it waits")
    };
    stage.approve(proposal, stage.bruno).unwrap();
    let answer = stage.roll_back(3, stage.ana).unwrap();
    assert_eq!(answer, Answer::Policy { version: 5 });
}

#[test]
fn an_owner_acts_alone_in_an_emergency_and_it_goes_again_unless_another_confirms() {
    let mut stage = Stage::new();
    refused(
        stage.alone(INSIDE, stage.bruno, "incêndio"),
        "only an owner",
    );
    refused(stage.alone(INSIDE, stage.ana, " "), "say why");
    let narrow = stage.key("ana-ci", Some(stage.ana), Scope::Write);
    refused(stage.alone(INSIDE, narrow, "incêndio"), "only an owner");
    let other = INSIDE.replace("fazenda", "acme");
    refused(
        stage.alone(&other, stage.ana, "incêndio"),
        "leave the emergency out",
    );
    stage.alone(INSIDE, stage.ana, "incêndio").unwrap();
    assert!(stage.is_open());
    let version = stage.world.state.policy_version(2).unwrap();
    assert_eq!(version.emergency.as_deref(), Some("incêndio"));
    refused(stage.confirm(2, stage.ana), "another one confirms it");
    stage.world.now_ms += DAY_MS - 1;
    stage.world.run(Command::Sweep).unwrap();
    assert!(stage.is_open());
    stage.world.now_ms += 1;
    stage.world.run(Command::Sweep).unwrap();
    assert!(!stage.is_open(), "nobody confirmed it");
    stage.alone(INSIDE, stage.ana, "incêndio").unwrap();
    stage.confirm(4, stage.bruno).unwrap();
    let version = stage.world.state.policy_version(4).unwrap();
    assert_eq!(version.approver.as_deref(), Some("operator:bruno"));
}

#[test]
fn to_ask_no_longer_takes_the_second_operator_too() {
    let mut stage = Stage::new();
    let Answer::Proposed { proposal } = stage.ask(false, stage.ana).unwrap() else {
        panic!("it waits")
    };
    refused(
        stage.approve(proposal, stage.ana),
        "another one approves it",
    );
    assert!(
        stage
            .world
            .state
            .organization(stage.fazenda)
            .unwrap()
            .second_approver
    );
    stage.approve(proposal, stage.bruno).unwrap();
    assert!(
        !stage
            .world
            .state
            .organization(stage.fazenda)
            .unwrap()
            .second_approver
    );
    let answer = stage.apply(INSIDE, stage.ana, None).unwrap();
    assert_eq!(answer, Answer::Policy { version: 2 });
}

#[test]
fn one_operator_alone_can_not_ask_for_two() {
    let mut world = World::furnished();
    let ana = operator(&mut world, "ana", Role::Owner);
    operator(&mut world, "rita", Role::Auditor);
    let command = Command::SetSecondApprover {
        organization: world.state.organizations().next().unwrap().id,
        on: true,
        author: ana,
    };
    refused(world.run(command).map(|it| it.answer), "there is one");
}

#[test]
fn neither_a_grant_that_stands_alone_nor_a_balancer_is_a_way_around() {
    let mut stage = Stage::new();
    let nodes = nodes_of(&stage.world.state, stage.fazenda);
    let grant = Command::AddGrant {
        from: malha_core::Selector::Node(nodes[0]),
        to: malha_core::Selector::Node(nodes[1]),
        allow: malha_proto::Allow {
            protocol: Protocol::Tcp,
            from_port: 22,
            to_port: 22,
        },
    };
    refused(
        stage.world.run(grant).map(|it| it.answer),
        "asks for a second approver",
    );
    let site = stage.world.state.sites().next().unwrap().id;
    let balancer = stage.world.enrol(site, Profile::Balancer, 91);
    let service = stage
        .world
        .service(nodes[1], "dados", 5_500, Exposure::Tunnel);
    let add = Command::AddBalancer {
        node: balancer,
        name: label("bal"),
        port: Port::new(5_500).unwrap(),
        exposure: Exposure::Tunnel,
        backends: [service].into(),
        settings: BalancerSettings::default(),
    };
    let answer = stage.world.run(add.clone()).map(|it| it.answer);
    refused(answer, "would open tcp 5500 on fazenda/");
    let text = INSIDE.replace("from = [\"org:fazenda\"]", "from = [\"org:acme\"]");
    let text = text.replace("from = \"org:fazenda\"", "from = \"org:acme\"");
    let proposal = stage.propose(&text, stage.ana);
    stage.approve(proposal, stage.bruno).unwrap();
    stage.world.run(add).unwrap();
}
