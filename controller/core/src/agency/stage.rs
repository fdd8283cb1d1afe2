//! The two stages of an agency's servers, and what each is called everywhere: its site, its tag, its DNS name.

use malha_proto::Label;
use serde::{Deserialize, Serialize};

use crate::tags::Tag;

/// Servers of one stage speak with servers of the same stage only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Production,
    /// Where changes are tried: homologation.
    Development,
}

impl Stage {
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Production => Self::Development,
            Self::Development => Self::Production,
        }
    }

    /// As sites are named.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Production => "producao",
            Self::Development => "desenvolvimento",
        }
    }

    #[must_use]
    pub fn site_name(self) -> Label {
        fixed(self.name())
    }

    /// The tag of its servers and balancers, in every agency.
    #[must_use]
    pub fn tag(self) -> Tag {
        fixed(&format!("xroad-{}", self.name()))
    }

    /// What stands after the host's name, as the requirement writes it.
    #[must_use]
    pub fn host_suffix(self) -> &'static str {
        match self {
            Self::Production => "",
            Self::Development => "-dev",
        }
    }
}

fn fixed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|error| unreachable!("{text:?}: {error}"))
}
