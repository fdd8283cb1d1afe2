//! Compliance on the dashboard: who has declared, what a run found, who may ask for one.

use malha_core::Command;
use malha_proto::Profile;
use malha_web::model::{Action, CheckStanding, RefusalKind, Unreadable};
use malha_web::{ComplianceConsole, Console, Role};
use tokio_util::sync::CancellationToken;

use super::rig::{Rig, owner, viewer};

const DECLARATION: &str =
    "version = 1\n[production]\nsite = \"garagem-01\"\naddresses = [\"203.0.113.10\"]\n";

async fn declare(rig: &Rig) {
    let organization = rig.state().organization_by_name("prefeitura").unwrap().id;
    rig.does(Command::Declare {
        organization,
        text: DECLARATION.to_owned(),
        author: "operator:ana".to_owned(),
    })
    .await;
}

#[tokio::test]
async fn a_check_is_asked_for_run_and_shown_with_its_evidence() {
    let rig = Rig::new().await;
    let console = &rig.console;
    assert!(console.compliance(&owner()).await.unwrap().rows.is_empty());
    declare(&rig).await;
    let rows = console.compliance(&owner()).await.unwrap().rows;
    assert!(rows[0].is_declared && rows[0].newest.is_none());
    console.start_check(&owner(), "prefeitura").await.unwrap();
    let waiting = console.compliance(&owner()).await.unwrap().rows.remove(0);
    assert_eq!(waiting.standing, CheckStanding::Waiting);

    let stop = CancellationToken::new();
    let checks = rig.checks.clone();
    let mut changes = checks.changes();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { checks.run(stop).await }
    });
    let detail = loop {
        let detail = console
            .compliance_of(&owner(), "prefeitura", None)
            .await
            .unwrap();
        if detail.run.is_some() && detail.standing == CheckStanding::Idle {
            break detail;
        }
        changes.changed().await.unwrap();
    };
    stop.cancel();
    running.await.unwrap();
    let newest = console.activity(&owner()).await.unwrap().rows.remove(0);
    assert_eq!(newest.action, Action::CheckKept);
    let run = detail.run.unwrap();
    assert_eq!((run.findings, detail.findings.total), (0, 0));
    assert_eq!(run.could_not_test, detail.untested.total);
    assert!(run.could_not_test > 0 && run.no_outside.is_some());
    assert_eq!(run.by.unwrap().as_str(), "operator:ana");
    let number = detail.runs.rows[0].number;
    let file = console
        .evidence(&owner(), "prefeitura", number)
        .await
        .unwrap();
    assert_eq!(file.name, format!("prefeitura-{number}.jsonl"));
    assert!(file.bytes.starts_with(b"{"));
    let other = console.compliance_of(&owner(), "prefeitura", Some(7)).await;
    assert_eq!(other.err(), Some(Unreadable::NotFound));
}

#[tokio::test]
async fn what_was_declared_edited_and_asked_for_stands_in_the_activity_in_words() {
    let rig = Rig::new().await;
    declare(&rig).await;
    let console = &rig.console;
    console.start_check(&owner(), "prefeitura").await.unwrap();
    let organization = rig.state().organization_by_name("prefeitura").unwrap().id;
    let text = rig.state().profile_text(Profile::Garage).to_owned();
    rig.does(Command::SetProfile { text }).await;
    let profile = Profile::Garage;
    rig.does(Command::ResetProfile { profile }).await;
    rig.does(Command::WithdrawDeclaration { organization })
        .await;
    let rows = console.activity(&owner()).await.unwrap().rows;
    let done: Vec<&Action> = rows.iter().take(5).map(|row| &row.action).collect();
    let wanted = [
        &Action::DeclarationRemoved,
        &Action::ProfileReset,
        &Action::ProfileSet,
        &Action::CheckAsked,
        &Action::DeclarationPut,
    ];
    assert_eq!(done, wanted);
}

#[tokio::test]
async fn a_check_is_refused_to_who_may_not_change_and_where_nothing_is_declared() {
    let rig = Rig::new().await;
    for role in [Role::Auditor, Role::SiteTechnician] {
        let refused = rig.console.start_check(&viewer(role), "prefeitura").await;
        assert_eq!(refused.unwrap_err().kind, RefusalKind::Forbidden);
    }
    let undeclared = rig
        .console
        .start_check(&owner(), "prefeitura")
        .await
        .unwrap_err();
    assert_eq!(undeclared.kind, RefusalKind::Conflict);
    assert!(undeclared.text.pt.contains("malha check declare"));
    let nobody = rig
        .console
        .start_check(&owner(), "nobody")
        .await
        .unwrap_err();
    assert_eq!(nobody.kind, RefusalKind::NotFound);
}
