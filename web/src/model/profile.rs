//! The ports of each role, and where they differ from what agencies are asked for. Words like
//! `peers` or `tunnel` are those of a profile's text.

use time::OffsetDateTime;

use super::Profile;
use crate::untrusted::Untrusted;

/// A role and its ports.
#[derive(Clone, Debug)]
pub struct ProfileDetail {
    pub profile: Profile,
    /// When an operator put a text in the place of the shipped one.
    pub edited: Option<OffsetDateTime>,
    pub ports: Vec<ProfilePortRow>,
    /// Against the requirement's list; empty for roles of which it does not speak.
    pub differences: Vec<PortDifferenceRow>,
}

/// Ports of a role that serve one purpose.
#[derive(Clone, Debug)]
pub struct ProfilePortRow {
    pub name: Untrusted,
    /// `tcp` or `udp`.
    pub protocol: String,
    pub ports: Vec<u16>,
    pub is_inbound: bool,
    pub who: Vec<Party>,
    pub exposure: PortExposure,
    pub probe: PortProbe,
    /// The first release of X-Road that has it, like `7.4`; every one if absent.
    pub since: Option<String>,
    /// The first one that no longer has it.
    pub before: Option<String>,
}

macro_rules! words {
    ($(#[$meaning:meta])* $type:ident { $($name:ident $word:literal)* }) => {
        $(#[$meaning])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($name,)*
        }

        impl $type {
            /// As the text of a profile writes it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

words! {
    /// Who is on the other side of a port.
    Party {
        Peers "peers"
        Central "central"
        InformationSystems "information-systems"
        Operators "operators"
        Balancer "balancer"
        Cluster "cluster"
        TrustServices "trust-services"
        Anyone "anyone"
        Nobody "nobody"
    }
}

words! {
    /// Where a port may answer.
    PortExposure {
        Tunnel "tunnel"
        Public "public"
        Loopback "loopback"
        Never "never"
    }
}

words! {
    /// How it is found out whether a port does its work.
    PortProbe {
        Tcp "tcp"
        TlsClientCertificate "tls-client-certificate"
        Http "http"
        Https "https"
        Health "health"
        None "none"
    }
}

/// A port of which the requirement and the profile do not say the same.
#[derive(Clone, Debug)]
pub struct PortDifferenceRow {
    pub kind: PortDifferenceKind,
    pub port: u16,
    pub is_inbound: bool,
    /// Asked for on the agency's own network.
    pub on_internal: bool,
    /// Asked for from beyond it.
    pub on_external: bool,
    /// What the profile says; None where it has no such port.
    pub exposure: Option<PortExposure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortDifferenceKind {
    TooOpen,
    NotInProfile,
    NotDeclared,
}
