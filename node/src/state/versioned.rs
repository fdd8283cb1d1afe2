//! Files for people to look into: JSON that says its version. One of another version is neither read nor called damaged.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{StateError, atomic};

/// What these files say in `version`.
pub(super) const VERSION: u32 = 1;

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// None when there is no such file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let Some(bytes) = atomic::read(path)? else {
        return Ok(None);
    };
    let damaged = |error| StateError::damaged(path, error);
    let Version { version } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if version != VERSION {
        let path = path.to_owned();
        return Err(StateError::Newer { path, version });
    }
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

pub(super) fn to_json(value: &impl Serialize) -> String {
    match serde_json::to_string_pretty(value) {
        Ok(text) => text + "\n",
        Err(infallible) => unreachable!("plain values always serialize: {infallible}"),
    }
}
