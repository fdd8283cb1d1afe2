//! The ports of each role, and where they differ from what agencies are asked for. Words like `peers` or `tunnel` are those of a
//! profile's text.

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
    pub who: Vec<String>,
    pub exposure: String,
    pub probe: String,
    /// `>= 7.4` or `< 7.4`; empty for every release of X-Road.
    pub releases: String,
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
    /// What the profile says; empty where it has no such port.
    pub exposure: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortDifferenceKind {
    TooOpen,
    NotInProfile,
    NotDeclared,
}
