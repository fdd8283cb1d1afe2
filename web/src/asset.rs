//! The static files, compiled in and served under addresses that carry their hash, so that browsers
//! may keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sha2::{Digest, Sha256};

/// A file of the dashboard.
pub(crate) struct Asset {
    /// `name-HASH.extension`, the last segment of its address.
    file: String,
    media_type: &'static str,
    body: &'static [u8],
}

impl Asset {
    fn new(stem: &str, extension: &str, media_type: &'static str, body: &'static [u8]) -> Self {
        let hash: String = Sha256::digest(body)
            .iter()
            .take(HASH_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            file: format!("{stem}-{hash}.{extension}"),
            media_type,
            body,
        }
    }

    /// Where pages find it.
    pub(crate) fn href(&self) -> String {
        format!("/assets/{}", self.file)
    }
}

/// `GET /assets/{file}`.
pub(crate) async fn serve(Path(file): Path<String>) -> Response {
    match ALL.iter().find(|asset| asset.file == file) {
        Some(asset) => (
            [(CONTENT_TYPE, asset.media_type), (CACHE_CONTROL, IMMUTABLE)],
            asset.body,
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(crate) fn stylesheet() -> &'static Asset {
    &ALL[0]
}

/// htmx with its extension for server-sent events.
pub(crate) fn htmx() -> &'static Asset {
    &ALL[1]
}

/// Our own script: local times, copy buttons, the live badge.
pub(crate) fn script() -> &'static Asset {
    &ALL[2]
}

pub(crate) fn icon() -> &'static Asset {
    &ALL[3]
}

static ALL: LazyLock<[Asset; 4]> = LazyLock::new(|| {
    [
        Asset::new(
            "malha",
            "css",
            "text/css; charset=utf-8",
            include_bytes!("../assets/malha.css"),
        ),
        Asset::new(
            "htmx",
            "js",
            "text/javascript; charset=utf-8",
            include_bytes!("../assets/htmx.js"),
        ),
        Asset::new(
            "malha",
            "js",
            "text/javascript; charset=utf-8",
            include_bytes!("../assets/malha.js"),
        ),
        Asset::new(
            "malha",
            "svg",
            "image/svg+xml",
            include_bytes!("../assets/malha.svg"),
        ),
    ]
});

const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Bytes of SHA-256 in an address: enough that two releases never share one.
const HASH_BYTES: usize = 8;
