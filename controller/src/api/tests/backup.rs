//! The backup: whole, and readable by a few at a time.

use axum::http::Method;
use serde_json::json;

use super::rig::Rig;

#[tokio::test]
async fn the_backup_is_whole_and_holds_the_state() {
    let rig = Rig::furnished().await;
    let reply = rig.call(Method::GET, "/backup", None).await;
    assert_eq!(reply.headers["content-type"], "application/octet-stream");
    let store = malha_store::restore_to_memory(
        &mut std::io::Cursor::new(reply.bytes),
        &crate::folder::schema(),
    )
    .unwrap();
    assert_eq!(
        store.health().await.keys,
        rig.context.store.health().await.keys
    );
}

#[tokio::test]
async fn a_reader_that_goes_away_gives_its_place_back() {
    let rig = Rig::furnished().await;
    for name in 0..400 {
        // Long enough that a backup does not fit the pipe between store and reader.
        let display_name = "x".repeat(200);
        rig.post(
            "/organizations",
            json!({"name": format!("o-{name}"), "display_name": display_name}),
        )
        .await;
    }
    let full = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        for _ in 0..4 {
            while rig.begin_and_drop("/api/v1/backup").await == 503 {
                tokio::task::yield_now().await;
            }
        }
    });
    full.await.unwrap();
}
