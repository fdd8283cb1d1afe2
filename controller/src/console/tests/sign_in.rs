//! Signing in and out, what the audit log keeps of it, and how guessing is slowed down.

use std::net::IpAddr;

use malha_core::{Command, Role as CoreRole};
use malha_web::model::Action;
use malha_web::{Console, LoginAttempt, LoginRefused, Role, SessionToken};

use super::rig::{PASSWORD, Rig, owner, parsed};

fn attempt(user: &str, password: &str) -> LoginAttempt {
    LoginAttempt {
        user: user.to_owned(),
        password: password.into(),
        totp: None,
        source: IpAddr::from([203, 0, 113, 5]),
    }
}

#[tokio::test]
async fn an_operator_signs_in_with_its_role_and_a_secret_of_the_session() {
    let rig = Rig::new().await;
    rig.operator("bia", CoreRole::Technician).await;
    let one = rig.console.login(attempt("bia", PASSWORD)).await.unwrap();
    let two = rig.console.login(attempt("bia", PASSWORD)).await.unwrap();
    let viewer = rig.console.session(&one).await.unwrap();
    assert_eq!(
        (viewer.user.as_str(), viewer.role),
        ("bia", Role::SiteTechnician)
    );
    assert_ne!(
        viewer.csrf.reveal(),
        rig.console.session(&two).await.unwrap().csrf.reveal()
    );
    assert!(
        rig.console
            .session(&SessionToken::from("guessed"))
            .await
            .is_none()
    );
}

#[tokio::test]
async fn a_session_ends_with_the_sign_out_and_with_its_operator() {
    let rig = Rig::new().await;
    rig.operator("bia", CoreRole::Owner).await;
    rig.operator("caio", CoreRole::Auditor).await;
    let bia = rig.console.login(attempt("bia", PASSWORD)).await.unwrap();
    let caio = rig.console.login(attempt("caio", PASSWORD)).await.unwrap();
    rig.console.logout(&bia).await;
    assert!(rig.console.session(&bia).await.is_none());
    let id = rig.state().operator_by_name("caio").unwrap().id;
    rig.does(Command::RemoveOperator { id }).await;
    assert!(rig.console.session(&caio).await.is_none());
}

#[tokio::test]
async fn every_judged_attempt_stands_in_the_audit_log_without_what_strangers_typed() {
    let rig = Rig::new().await;
    rig.operator("bia", CoreRole::Owner).await;
    let wrong = LoginRefused { retry_after_s: 0 };
    assert_eq!(
        rig.console.login(attempt("bia", "not this one")).await,
        Err(wrong)
    );
    assert_eq!(
        rig.console
            .login(attempt("s3cret typed as a name", "x"))
            .await,
        Err(wrong)
    );
    let token = rig.console.login(attempt("bia", PASSWORD)).await.unwrap();
    rig.console.logout(&token).await;
    rig.console.logout(&token).await;
    let activity = rig.console.activity(&owner()).await.unwrap();
    let newest: Vec<_> = activity
        .rows
        .iter()
        .take(4)
        .map(|row| (row.actor.as_str(), row.action.clone()))
        .collect();
    let expected = [
        ("bia", Action::SignedOut),
        ("bia", Action::SignedIn),
        ("?", Action::SignInFailed),
        ("bia", Action::SignInFailed),
    ];
    assert_eq!(newest, expected);
    assert_eq!(activity.rows[1].subject.as_str(), "203.0.113.5");
    assert!(!format!("{activity:?}").contains("s3cret"));
}

#[tokio::test]
async fn guessing_is_slowed_down_even_for_the_right_password() {
    let rig = Rig::new().await;
    rig.operator("bia", CoreRole::Owner).await;
    let mut judged = 0;
    let refused = loop {
        match rig.console.login(attempt("bia", "not this one")).await {
            Err(LoginRefused { retry_after_s: 0 }) if judged < 100 => judged += 1,
            other => break other,
        }
    };
    assert!(
        matches!(refused, Err(LoginRefused { retry_after_s: 1.. })),
        "{judged} guesses passed"
    );
    assert!(rig.console.login(attempt("bia", PASSWORD)).await.is_err());
    let lines = rig.handle.audit_tail(500).await.unwrap();
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.record.action == "operator.login")
            .count(),
        judged
    );
}

#[tokio::test]
async fn a_changed_role_counts_at_once() {
    let rig = Rig::new().await;
    rig.operator("bia", CoreRole::Auditor).await;
    let token = rig.console.login(attempt("bia", PASSWORD)).await.unwrap();
    let id = rig.state().operator_by_name("bia").unwrap().id;
    rig.does(Command::RemoveOperator { id }).await;
    rig.operator("bia", CoreRole::Owner).await;
    assert!(
        rig.console.session(&token).await.is_none(),
        "the name is the same, the operator is another"
    );
    assert_eq!(
        rig.state()
            .operator_by_name("bia")
            .map(|operator| operator.name.clone()),
        Some(parsed("bia"))
    );
}
