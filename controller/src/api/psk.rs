//! Preshared keys of the tunnels: how to have new ones made. It never shows a key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::body::Body;
use crate::api::caller::{Admin, Caller};
use crate::api::problem::{Kind, Problem};
use crate::pairs::RotationError;
use crate::refusals::Refusal;

/// A wish for new keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotatePsk {
    /// For the audit log; at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// New keys began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PskRotation {
    /// The number of the new keys' epoch; `tunnel.psk.epoch` of each node becomes it.
    pub epoch: u64,
}

/// Make new preshared keys for every tunnel
///
/// Keys are new each day by themselves; this is for a day on which one may have become known. Nodes that are connected get
/// theirs within seconds, the others when they come. No connection breaks.
#[utoipa::path(post, path = "/psk/rotate", tag = "psk", request_body = RotatePsk,
    responses((status = 200, body = PskRotation)), security(("api_key" = ["admin"])))]
pub(super) async fn rotate(
    caller: Caller<Admin>,
    Shared(api): Shared<Arc<Api>>,
    Body(RotatePsk { reason }): Body<RotatePsk>,
) -> Result<Json<PskRotation>, Problem> {
    let chars = reason.as_deref().map_or(0, |text| text.chars().count());
    if chars > MAX_REASON_CHARS {
        let refusal = Refusal::ReasonLong {
            most: MAX_REASON_CHARS,
            given: chars,
        };
        return Err(Problem::invalid("reason", &refusal));
    }
    let epoch = api.context.pairs.rotate(&caller.actor, reason).await?;
    Ok(Json(PskRotation { epoch }))
}

impl From<RotationError> for Problem {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Store(error) => error.into(),
            RotationError::Secret(error) => {
                let problem = error.to_string();
                Self::of(Kind::Unavailable, &Refusal::NewKeys { problem })
            }
        }
    }
}

const MAX_REASON_CHARS: usize = 200;
