//! The backup of the whole store, and of what checks found, as one download. It holds no key in clear: authorities are sealed with
//! the master key, which is not in it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tokio_util::io::ReaderStream;

use crate::api::Api;
use crate::api::caller::{Admin, Caller};
use crate::api::problem::{Kind, Problem};
use crate::checks::HistoryCopy;
use crate::clock::now_ms;
use crate::refusals::Refusal;

/// Download a backup
///
/// One moment of the store, while it goes on, and what checks found with its evidence. The last bytes are a checksum: a download that was cut is refused by
/// `malha backup verify` and `malha restore`.
#[utoipa::path(get, path = "/backup", tag = "backup",
    responses((status = 200, description = "The backup file", body = Vec<u8>, content_type = "application/octet-stream")),
    security(("api_key" = ["admin"])))]
pub(super) async fn download(
    _caller: Caller<Admin>,
    Shared(api): Shared<Arc<Api>>,
) -> Result<Response, Problem> {
    let place = api.backups.clone().try_acquire_owned();
    let place =
        place.map_err(|_| Problem::of(Kind::Unavailable, &Refusal::BackupRuns).after_s(5))?;
    let (read, mut write) = tokio::io::duplex(BUFFER_BYTES);
    let store = api.context.store.clone();
    let mut files = HistoryCopy::new(api.context.checks.history().clone());
    tokio::spawn(async move {
        let _place = place;
        // Without its last bytes the file is no backup: a reader that goes away, one that stalls, or an error ends it early.
        let backup = malha_store::backup(&*store, now_ms(), &mut files, &mut write);
        match tokio::time::timeout(DEADLINE, backup).await {
            Ok(Ok(summary)) => {
                let (keys, files) = (summary.keys, summary.files);
                tracing::info!(keys, files, revision = %summary.header.revision, "backup taken");
            }
            Ok(Err(error)) => tracing::warn!(%error, "backup not finished"),
            Err(_) => tracing::warn!("backup not finished: its reader is too slow"),
        }
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut write).await;
    });
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment; filename=\"malha.backup\""),
        ),
    ];
    Ok((
        headers,
        Body::from_stream(ReaderStream::with_capacity(read, BUFFER_BYTES)),
    )
        .into_response())
}

/// A backup holds a snapshot, and the store grows while it is held.
pub(super) const MAX_BACKUPS: usize = 2;
const DEADLINE: Duration = Duration::from_secs(15 * 60);
const BUFFER_BYTES: usize = 64 * 1024;
