//! What became of the tunnel's interface: what others did to it, and what it can't have. It only says it; the tunnel mends.

use malha_tunnel::InterfaceState;
use serde::{Deserialize, Serialize};

use crate::text::{self, Lang};

/// Nothing for an engine that has no interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterfaceStatus {
    /// How often somebody changed it and it was set again.
    pub mended: u64,
    /// Why it is not as it is to be.
    pub trouble: Option<String>,
    /// Why it has no IPv6 address, if it has none.
    pub ipv4_only: Option<String>,
}

impl InterfaceStatus {
    pub(super) fn new(state: &InterfaceState) -> Self {
        Self {
            mended: state.mended,
            trouble: state.trouble.clone(),
            ipv4_only: state.ipv4_only.clone(),
        }
    }

    /// Neither where there is nothing to say.
    pub(super) fn lines(&self, lang: Lang) -> Vec<String> {
        let mended = match (&self.trouble, self.mended) {
            (Some(why), _) => Some(text::status_interface_trouble(lang, why)),
            (None, 0) => None,
            (None, times) => Some(text::status_interface_mended(lang, times)),
        };
        let ipv4_only = self.ipv4_only.as_ref();
        let ipv4_only = ipv4_only.map(|why| text::status_ipv4_only(lang, why));
        mended.into_iter().chain(ipv4_only).collect()
    }
}
