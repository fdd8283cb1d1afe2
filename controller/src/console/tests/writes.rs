//! Organizations, sites, tokens and nodes: what their forms write, what they refuse, and who has applied it.

use malha_core::{Answer, Command};
use malha_proto::EnrolToken;
use malha_web::Console;
use malha_web::model::{
    Exposure, Keep, NewOrganization, NewSite, NewToken, NodeState, Profile, RefusalKind, TokenState,
};

use super::rig::{AUTHORITY, CONTROLLER, Rig, SITE, at, owner, parsed, refusal, shown};

fn organization(name: &str) -> NewOrganization {
    NewOrganization {
        name: name.to_owned(),
    }
}

fn site(organization: &str, name: &str) -> NewSite {
    NewSite {
        organization: organization.to_owned(),
        name: name.to_owned(),
    }
}

fn token(site: &str, uses: u32, lifetime_s: u64) -> NewToken {
    NewToken {
        site: site.to_owned(),
        profile: Profile::SecurityServer,
        lifetime_s,
        uses,
    }
}

#[tokio::test]
async fn organizations_and_sites_are_created_and_listed_by_name() {
    let rig = Rig::new().await;
    rig.console
        .create_organization(&owner(), organization("agencia"))
        .await
        .unwrap();
    let outcome = rig
        .console
        .create_site(&owner(), site("agencia", "producao"))
        .await
        .unwrap();
    assert_eq!(outcome.revision, rig.revision().0);
    let organizations = rig.console.organizations(&owner()).await.unwrap();
    let names: Vec<_> = organizations
        .rows
        .iter()
        .map(|row| (row.name.as_str(), row.sites, row.nodes))
        .collect();
    assert_eq!(names, [("agencia", 1, 0), ("prefeitura", 1, 0)]);
    let sites = rig.console.sites(&owner()).await.unwrap();
    let names: Vec<_> = sites
        .rows
        .iter()
        .map(|row| (row.organization.as_str(), row.name.as_str()))
        .collect();
    assert_eq!(
        names,
        [("agencia", "producao"), ("prefeitura", "garagem-01")]
    );
}

#[tokio::test]
async fn hostile_names_are_refused_at_their_field_and_nothing_is_stored() {
    let rig = Rig::new().await;
    let before = rig.revision();
    let long = "a".repeat(65_536);
    for name in [
        "",
        "Garagem",
        "ção",
        "раураl",
        "a\u{202e}b",
        "a\nb",
        "..",
        "-a",
        "a b",
        "<script>",
        long.as_str(),
    ] {
        let refused = rig
            .console
            .create_organization(&owner(), organization(name))
            .await;
        assert_eq!(
            refusal(refused),
            at("name", RefusalKind::Invalid),
            "{name:?}"
        );
        let refused = rig
            .console
            .create_site(&owner(), site("prefeitura", name))
            .await;
        assert_eq!(
            refusal(refused),
            at("name", RefusalKind::Invalid),
            "{name:?}"
        );
        let refused = rig.console.create_site(&owner(), site(name, "a")).await;
        assert_eq!(
            refusal(refused),
            at("organization", RefusalKind::NotFound),
            "{name:?}"
        );
        let refused = rig
            .console
            .create_token(&owner(), token(name, 1, 3_600))
            .await;
        assert_eq!(
            refusal(refused),
            at("site", RefusalKind::NotFound),
            "{name:?}"
        );
    }
    assert_eq!(rig.revision(), before);
}

#[tokio::test]
async fn a_name_that_is_taken_is_a_conflict_at_its_field() {
    let rig = Rig::new().await;
    let refused = rig
        .console
        .create_organization(&owner(), organization("prefeitura"))
        .await;
    assert_eq!(refusal(refused), at("name", RefusalKind::Conflict));
    let refused = rig
        .console
        .create_site(&owner(), site("prefeitura", "garagem-01"))
        .await;
    assert_eq!(refusal(refused), at("name", RefusalKind::Conflict));
}

#[tokio::test]
async fn a_token_shows_its_secret_once_and_it_leads_a_machine_here() {
    let rig = Rig::new().await;
    let issued = rig
        .console
        .create_token(&owner(), token(SITE, 2, 3_600))
        .await
        .unwrap();
    let enrol: EnrolToken = issued.secret.reveal().parse().unwrap();
    assert_eq!(
        (enrol.authority, enrol.controllers),
        (AUTHORITY, vec![CONTROLLER.to_owned()])
    );
    let tokens = rig.console.tokens(&owner()).await.unwrap();
    let row = &tokens.rows[0];
    assert_eq!(
        (row.id.as_str(), row.uses_left, row.uses_total),
        (issued.id.as_str(), 2, 2)
    );
    assert_eq!(
        (row.state, row.profile),
        (TokenState::Active, Profile::SecurityServer)
    );
    assert_eq!(row.expires_at, issued.expires_at);
    let secret = issued.secret.reveal();
    assert!(!format!("{tokens:?} {issued:?}").contains(secret));
}

#[tokio::test]
async fn a_token_outside_the_limits_is_refused_at_the_field() {
    let rig = Rig::new().await;
    let before = rig.revision();
    for uses in [0, 10_001] {
        let refused = rig
            .console
            .create_token(&owner(), token(SITE, uses, 3_600))
            .await;
        assert_eq!(refusal(refused), at("uses", RefusalKind::Invalid));
    }
    for lifetime_s in [0, 59, u64::MAX] {
        let refused = rig
            .console
            .create_token(&owner(), token(SITE, 1, lifetime_s))
            .await;
        assert_eq!(refusal(refused), at("lifetime_s", RefusalKind::Invalid));
    }
    assert_eq!(rig.revision(), before);
}

#[tokio::test]
async fn a_controller_without_an_address_makes_no_useless_tokens() {
    let rig = Rig::bare().await;
    rig.console
        .create_organization(&owner(), organization("prefeitura"))
        .await
        .unwrap();
    rig.console
        .create_site(&owner(), site("prefeitura", "garagem-01"))
        .await
        .unwrap();
    let refused = rig
        .console
        .create_token(&owner(), token(SITE, 1, 3_600))
        .await;
    assert_eq!(refusal(refused), (None, RefusalKind::Conflict));
    assert_eq!(rig.console.tokens(&owner()).await.unwrap().total, 0);
}

#[tokio::test]
async fn a_revoked_token_says_so_and_an_unknown_one_is_not_found() {
    let rig = Rig::new().await;
    let issued = rig
        .console
        .create_token(&owner(), token(SITE, 1, 3_600))
        .await
        .unwrap();
    rig.console
        .revoke_token(&owner(), &issued.id)
        .await
        .unwrap();
    assert_eq!(
        rig.console.tokens(&owner()).await.unwrap().rows[0].state,
        TokenState::Revoked
    );
    for unknown in ["t999", "n1", "", "t1'--"] {
        let refused = rig.console.revoke_token(&owner(), &unknown.into()).await;
        assert_eq!(
            refusal(refused),
            (None, RefusalKind::NotFound),
            "{unknown:?}"
        );
    }
}

#[tokio::test]
async fn a_used_token_says_how_many_have_used_it() {
    let rig = Rig::new().await;
    rig.enrolled("servidor").await;
    let row = &rig.console.tokens(&owner()).await.unwrap().rows[0];
    assert_eq!(
        (row.state, row.uses_left, row.uses_total),
        (TokenState::Used, 0, 1)
    );
}

#[tokio::test]
async fn a_replacement_token_names_the_node_whose_place_it_gives() {
    let rig = Rig::new().await;
    let machine = rig.enrolled("servidor").await;
    rig.console
        .replace_node(&owner(), &shown(machine.id))
        .await
        .unwrap();
    let row = &rig.console.tokens(&owner()).await.unwrap().rows[0];
    assert_eq!(
        row.replaces.as_ref().map(|node| node.as_str()),
        Some("prefeitura/garagem-01/servidor")
    );
}

#[tokio::test]
async fn the_hub_is_neither_replaced_nor_removed() {
    let rig = Rig::new().await;
    let hub = shown(rig.hub().await);
    assert_eq!(
        refusal(rig.console.replace_node(&owner(), &hub).await),
        (None, RefusalKind::Conflict)
    );
    assert_eq!(
        refusal(rig.console.remove_node(&owner(), &hub, &[]).await),
        (None, RefusalKind::Conflict)
    );
}

#[tokio::test]
async fn a_removed_node_is_gone_and_a_second_removal_finds_none() {
    let rig = Rig::new().await;
    let machine = rig.online("servidor").await;
    rig.console
        .remove_node(&owner(), &shown(machine.id), &[])
        .await
        .unwrap();
    assert!(
        rig.console
            .node(&owner(), &shown(machine.id))
            .await
            .is_err()
    );
    let refused = rig
        .console
        .remove_node(&owner(), &shown(machine.id), &[])
        .await;
    assert_eq!(refusal(refused), (None, RefusalKind::NotFound));
}

#[tokio::test]
async fn a_node_goes_with_the_routes_that_were_seen_and_with_no_others() {
    let rig = Rig::new().await;
    let machine = rig.online("servidor").await;
    let service = rig
        .service(machine.id, "painel", 80, Exposure::Public)
        .await;
    rig.does(Command::AddRoute {
        host: parsed("painel.example.org"),
        path: "/".to_owned(),
        services: [service].into(),
    })
    .await;
    let (console, id) = (&rig.console, shown(machine.id));
    let leading = console.node(&owner(), &id).await.unwrap().leading;
    assert_eq!(leading[0].name.as_str(), "painel.example.org/");
    assert!(leading[0].alone);
    let unseen = console.remove_node(&owner(), &id, &[]).await.unwrap_err();
    assert!(
        unseen.text.pt.contains("painel.example.org/"),
        "{}",
        unseen.text.pt
    );
    let seen = ["painel.example.org/".to_owned()];
    console.remove_node(&owner(), &id, &seen).await.unwrap();
    assert_eq!(rig.state().routes().len(), 0);
}

#[tokio::test]
async fn a_copied_identity_is_shown_with_both_machines_and_resolved_once() {
    let rig = Rig::new().await;
    let machine = rig.online("servidor").await;
    let mut copy = rig.enrolled("outro").await;
    (copy.id, copy.tls_key) = (machine.id, machine.tls_key);
    assert!(matches!(rig.hello(&copy, 77).await, Answer::Cloned { .. }));
    let detail = rig
        .console
        .node(&owner(), &shown(machine.id))
        .await
        .unwrap();
    assert_eq!(
        (detail.row.state, &detail.row.hops.broken),
        (NodeState::Quarantined, &None)
    );
    let quarantine = detail.quarantine.unwrap();
    assert_eq!(
        (
            quarantine.this.host_name.as_str(),
            quarantine.other.host_name.as_str()
        ),
        ("servidor", "outro")
    );
    assert_ne!(quarantine.this.fingerprint, quarantine.other.fingerprint);

    rig.console
        .resolve_quarantine(&owner(), &shown(machine.id), Keep::Other)
        .await
        .unwrap();
    let detail = rig
        .console
        .node(&owner(), &shown(machine.id))
        .await
        .unwrap();
    assert_eq!(
        (detail.row.state, detail.quarantine.is_none()),
        (NodeState::Pending, true)
    );
    let again = rig
        .console
        .resolve_quarantine(&owner(), &shown(machine.id), Keep::This)
        .await;
    assert_eq!(refusal(again), (None, RefusalKind::Conflict));
}

#[tokio::test]
async fn a_write_says_that_the_node_it_concerns_has_applied_it() {
    let rig = Rig::new().await;
    let machine = rig.online("servidor").await;
    let new = super::rig::new_service(machine.id, "web", 80, malha_web::model::Exposure::Tunnel);
    let outcome = rig.console.add_service(&owner(), new).await.unwrap();
    assert_eq!(
        (outcome.convergence.applied, outcome.convergence.of),
        (1, 1)
    );
    assert!(outcome.convergence.lagging.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_write_names_the_node_that_does_not_apply_it_in_time_and_does_not_wait_longer() {
    let rig = Rig::new().await;
    let machine = rig.silent("servidor").await;
    let new = super::rig::new_service(machine.id, "web", 80, malha_web::model::Exposure::Tunnel);
    let started = tokio::time::Instant::now();
    let outcome = rig.console.add_service(&owner(), new).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 1);
    assert_eq!(
        (outcome.convergence.applied, outcome.convergence.of),
        (0, 1)
    );
    assert_eq!(
        outcome.convergence.lagging,
        ["prefeitura/garagem-01/servidor".into()]
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_does_not_wait_for_a_node_that_is_away_but_counts_it() {
    let rig = Rig::new().await;
    let machine = rig.enrolled("servidor").await;
    let new = super::rig::new_service(machine.id, "web", 80, malha_web::model::Exposure::Tunnel);
    let started = tokio::time::Instant::now();
    let outcome = rig.console.add_service(&owner(), new).await.unwrap();
    assert!(started.elapsed().is_zero());
    assert_eq!(
        (outcome.convergence.applied, outcome.convergence.of),
        (0, 1)
    );
}

#[tokio::test]
async fn a_write_that_concerns_no_node_is_applied_by_all_of_none() {
    let rig = Rig::new().await;
    let outcome = rig
        .console
        .create_organization(&owner(), organization("agencia"))
        .await
        .unwrap();
    assert_eq!(
        (outcome.convergence.applied, outcome.convergence.of),
        (0, 0)
    );
}

#[tokio::test]
async fn a_store_that_takes_nothing_is_unavailable_and_nothing_has_changed() {
    let rig = Rig::new().await;
    let before = rig.revision();
    rig.store.close().await.unwrap();
    let refused = rig
        .console
        .create_organization(&owner(), organization("agencia"))
        .await;
    assert_eq!(refusal(refused), (None, RefusalKind::Unavailable));
    assert_eq!(rig.revision(), before);
}

#[tokio::test]
async fn each_write_stands_in_the_activity_under_the_operators_name() {
    let rig = Rig::new().await;
    rig.console
        .create_organization(&owner(), organization("agencia"))
        .await
        .unwrap();
    let newest = rig.console.activity(&owner()).await.unwrap().rows.remove(0);
    assert_eq!(
        (newest.actor.as_str(), newest.subject.as_str()),
        ("ana", "agencia")
    );
    assert_eq!(newest.action, malha_web::model::Action::OrganizationCreated);
    assert_eq!(newest.revision, Some(rig.revision().0));
    let id = rig.state().organization_by_name("agencia").unwrap().id;
    rig.does(Command::RemoveOrganization { id }).await;
    let rows = rig.console.activity(&owner()).await.unwrap().rows;
    assert_eq!(rows[1].subject.as_str(), format!("agencia ({id})"));
}
