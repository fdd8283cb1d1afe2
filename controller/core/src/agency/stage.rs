//! What the two stages of an agency's servers are called everywhere: site, tag, DNS name. Servers of one stage speak with servers of
//! the same stage only.

use malha_proto::Label;

use crate::declaration::Stage;
use crate::tags::Tag;

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
