//! Who this node is and whom it trusts: `identity.json`. It holds nothing secret.

use std::path::Path;

use data_encoding::BASE64;
use malha_proto::{EnrolReply, EnrolToken, Fingerprint, NodeId, TokenId};
use serde::{Deserialize, Serialize};

use super::StateError;
use super::versioned::{self, VERSION};

/// A node's identity on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    version: u32,
    pub node: NodeId,
    /// The token that this node enrolled with.
    pub token: TokenId,
    pub authority: Fingerprint,
    /// DER.
    #[serde(with = "der_text")]
    pub authority_certificate: Vec<u8>,
    /// `host:port`: those that a controller named, and behind them the one by which a session stood last where it is none of them.
    pub controllers: Vec<String>,
    /// Why this identity can't be used any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// What the controller did to this identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    Removed,
    Replaced,
}

impl Identity {
    pub(super) fn of(token: &EnrolToken, reply: &EnrolReply) -> Self {
        let controllers = match reply.controllers.is_empty() {
            false => reply.controllers.clone(),
            true => token.controllers.clone(),
        };
        Self {
            version: VERSION,
            node: reply.node,
            token: token.id,
            authority: token.authority,
            authority_certificate: reply.authority.clone(),
            controllers,
            ended: None,
        }
    }

    pub(super) fn read(path: &Path) -> Result<Option<Self>, StateError> {
        let Some(identity) = versioned::read::<Self>(path)? else {
            return Ok(None);
        };
        if Fingerprint::of(&identity.authority_certificate) != identity.authority {
            let why = "the authority's certificate is not the pinned one";
            return Err(StateError::damaged(path, why));
        }
        if identity.controllers.is_empty() {
            return Err(StateError::damaged(path, "it names no controller"));
        }
        Ok(Some(identity))
    }

    pub(super) fn to_json(&self) -> String {
        versioned::to_json(self)
    }
}

mod der_text {
    use super::BASE64;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(der: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64.encode(der))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(d)?;
        BASE64
            .decode(text.as_bytes())
            .map_err(serde::de::Error::custom)
    }
}
