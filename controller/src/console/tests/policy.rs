//! The policy page's reads and writes over a real coordinator.

use malha_core::Command;
use malha_core::policy::Author;
use malha_web::model::{Decision, NewPolicy, ProposedChange, RefusalKind};
use malha_web::{PolicyConsole, Viewer};

use super::rig::{Rig, owner, refusal};

const EMPTY: &str = "version = 1\n";

#[tokio::test]
async fn a_text_is_saved_with_the_hash_of_its_review_and_stands_in_the_history() {
    let rig = Rig::new().await;
    rig.operator("ana", malha_core::Role::Owner).await;
    let before = rig.console.policy(&owner()).await.unwrap();
    assert_eq!((before.version, before.text.as_str()), (0, EMPTY));
    let text = format!("{EMPTY}# nothing but a word\n");
    let review = rig.console.review_policy(&owner(), &text).await.unwrap();
    assert!(review.refusal.is_none() && (review.gaining, review.losing) == (0, 0));
    let new = |hash: &str| NewPolicy {
        text: text.clone(),
        hash: hash.to_owned(),
        confirm_within_s: Some(60),
        emergency: None,
    };
    let blind = refusal(rig.console.apply_policy(&owner(), new("")).await);
    assert_eq!(blind.1, RefusalKind::Invalid);
    rig.console
        .apply_policy(&owner(), new(&review.hash))
        .await
        .unwrap();
    let pending = rig.console.policy(&owner()).await.unwrap();
    assert_eq!(pending.pending.map(|it| it.former), Some(1));
    assert!(pending.proposals.is_empty());
    assert_eq!(pending.versions.rows[0].author.as_str(), "operator:ana");
    rig.console.confirm_policy(&owner(), 2).await.unwrap();
    rig.console.roll_back_policy(&owner(), 1).await.unwrap();
    let back = rig.console.policy(&owner()).await.unwrap();
    assert_eq!((back.version, back.text.as_str()), (3, EMPTY));
    assert_eq!(back.versions.rows[0].returned_to, Some(1));
}

#[tokio::test]
async fn a_mistake_is_refused_beside_its_line_in_both_languages() {
    let rig = Rig::new().await;
    let text = "version = 1\ngrants = 1\n";
    let refused = rig.console.review_policy(&owner(), text).await.unwrap_err();
    assert_eq!(refused.field.as_deref(), Some("text"));
    assert!(refused.text.pt.starts_with("Linha 2") && refused.text.en.starts_with("Line 2"));
}

/// Everything of this organization takes two operators.
async fn asking(rig: &Rig) -> Viewer {
    rig.operator("ana", malha_core::Role::Owner).await;
    rig.operator("bruno", malha_core::Role::Operator).await;
    let organization = rig.state().organizations().next().unwrap().id;
    rig.does(Command::SetSecondApprover {
        organization,
        on: true,
        author: Author::Controller,
    })
    .await;
    Viewer {
        user: "bruno".into(),
        role: malha_web::Role::Operator,
        csrf: "csrf".into(),
    }
}

async fn new(rig: &Rig, viewer: &Viewer) -> NewPolicy {
    let organization = rig.state().organizations().next().unwrap().name.clone();
    let text = format!(
        "version = 1\n[[grant]]\nname = \"a\"\nfrom = [\"org:{organization}\"]\nto = [\"profile:central\"]\n\
         protocol = \"icmp\"\n[[test]]\nfrom = \"profile:central\"\nto = \"profile:garage\"\nprotocol = \"icmp\"\n\
         expect = \"deny\"\n"
    );
    let review = rig.console.review_policy(viewer, &text).await.unwrap();
    assert_eq!(review.second_approver.len(), 1, "{:?}", review.refusal);
    NewPolicy {
        text,
        hash: review.hash,
        confirm_within_s: None,
        emergency: None,
    }
}

#[tokio::test]
async fn a_proposal_has_its_button_for_another_operator_only_and_is_approved_as_it_was_seen() {
    let rig = Rig::new().await;
    let (ana, bruno) = (owner(), asking(&rig).await);
    let new = new(&rig, &ana).await;
    let written = rig.console.apply_policy(&ana, new).await.unwrap();
    assert!(written.proposed && rig.state().policy().is_none());
    let own = rig.console.policy(&ana).await.unwrap().proposals.remove(0);
    assert!(!own.may_approve && !own.outdated);
    assert_eq!(own.author.as_str(), "operator:ana");
    assert!(matches!(own.change, ProposedChange::Text(_)));
    let (number, hash) = (own.number, own.hash);
    let approve = |hash: &str| Decision::Approve {
        hash: hash.to_owned(),
    };
    let refused = rig
        .console
        .decide_proposal(&ana, number, approve(&hash))
        .await
        .unwrap_err();
    assert!(
        refused.text.pt.contains("outro operador aprova"),
        "{}",
        refused.text.pt
    );
    let other = "0".repeat(64);
    let blind = rig
        .console
        .decide_proposal(&bruno, number, approve(&other))
        .await;
    assert_eq!(refusal(blind).1, RefusalKind::Invalid);
    let theirs = rig
        .console
        .policy(&bruno)
        .await
        .unwrap()
        .proposals
        .remove(0);
    assert!(theirs.may_approve);
    rig.console
        .decide_proposal(&bruno, number, approve(&hash))
        .await
        .unwrap();
    let detail = rig.console.policy(&ana).await.unwrap();
    assert_eq!((detail.version, detail.proposals.len()), (2, 0));
    let approver = detail.versions.rows[0].approver.as_ref();
    assert_eq!(approver.map(|it| it.as_str()), Some("operator:bruno"));
}

#[tokio::test]
async fn a_proposal_is_rejected_and_an_emergency_is_confirmed_by_the_other() {
    let rig = Rig::new().await;
    let (ana, bruno) = (owner(), asking(&rig).await);
    let new = new(&rig, &ana).await;
    rig.console.apply_policy(&ana, new.clone()).await.unwrap();
    let number = rig.state().proposals().next().unwrap().number;
    rig.console
        .decide_proposal(&bruno, number, Decision::Reject)
        .await
        .unwrap();
    assert_eq!(rig.state().proposals().len(), 0);
    let alone = NewPolicy {
        emergency: Some("invasão".to_owned()),
        ..new
    };
    let refused = rig.console.apply_policy(&bruno, alone.clone()).await;
    assert!(
        refused
            .unwrap_err()
            .text
            .pt
            .contains("Só um proprietário age sozinho")
    );
    let written = rig.console.apply_policy(&ana, alone).await.unwrap();
    assert!(!written.proposed);
    let pending = rig.console.policy(&ana).await.unwrap().pending.unwrap();
    assert_eq!(pending.emergency.unwrap().as_str(), "invasão");
    assert!(rig.console.confirm_policy(&ana, 2).await.is_err());
    rig.console.confirm_policy(&bruno, 2).await.unwrap();
}
