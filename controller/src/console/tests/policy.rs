//! The policy page's reads and writes over a real coordinator.

use malha_web::Console;
use malha_web::model::{NewPolicy, RefusalKind};

use super::rig::{Rig, owner, refusal};

const EMPTY: &str = "version = 1\n";

#[tokio::test]
async fn a_text_is_saved_with_the_hash_of_its_review_and_stands_in_the_history() {
    let rig = Rig::new().await;
    let before = rig.console.policy(&owner()).await.unwrap();
    assert_eq!((before.version, before.text.as_str()), (0, EMPTY));
    let text = format!("{EMPTY}# nothing but a word\n");
    let review = rig.console.review_policy(&owner(), &text).await.unwrap();
    assert!(review.refusal.is_none() && (review.gaining, review.losing) == (0, 0));
    let new = |hash: &str| NewPolicy {
        text: text.clone(),
        hash: hash.to_owned(),
        confirm_within_s: Some(60),
    };
    let blind = refusal(rig.console.apply_policy(&owner(), new("")).await);
    assert_eq!(blind.1, RefusalKind::Invalid);
    rig.console
        .apply_policy(&owner(), new(&review.hash))
        .await
        .unwrap();
    let pending = rig.console.policy(&owner()).await.unwrap();
    assert_eq!(pending.pending.map(|it| it.former), Some(1));
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
