//! What a rejection speaks of: a thing by its kind, or what there may be only so many of. A closed list, so that every
//! language has a word for each.

use std::fmt;

macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($name:ident $text:literal)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $type {
            #[default]
            $($name,)*
        }

        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// In English.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

named! {
    /// A thing by its kind.
    Noun {
        ApiKey "API key"
        Balancer "balancer"
        Declaration "declaration of organization"
        EditedProfile "edited profile"
        Grant "grant"
        Node "node"
        NodeWithAddress "node with the overlay address"
        Operator "operator"
        Organization "organization"
        Policy "policy"
        PolicyVersion "policy version"
        Proposal "proposal"
        RecordSet "record set"
        Route "route"
        Run "run"
        Service "service"
        SessionOfNode "session of node"
        Site "site"
        Token "token"
        Zone "zone"
    }
}

named! {
    /// What there may be only so many of.
    Plenty {
        ApiKeys "API keys"
        AddressesOfName "addresses of one name"
        BalancersOnNode "balancers on one node"
        Controllers "controllers"
        EdgeAddresses "edge addresses"
        Endpoints "endpoints"
        Grants "grants"
        GroupPairs "pairs of groups of alike nodes in one comparison of policies"
        NameServers "name servers"
        Nodes "nodes"
        Operators "operators"
        Organizations "organizations"
        Proposals "proposals"
        RecordsAtOnce "records changed by one command"
        Routes "routes"
        ServicesBehindBalancer "services behind one balancer"
        ServicesOfRoute "services of one route"
        ServicesOnNode "services on one node"
        Sites "sites"
        SourcesOfBalancer "source prefixes of one balancer"
        TagsOnNode "tags on one node"
        Tokens "tokens"
        Zones "zones"
    }
}

/// What still uses a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    Thing(Noun, String),
    /// Without this operator nobody could add another owner.
    LastOwner,
    /// Balancers of other nodes, before the services of this one.
    Balancers(Vec<BalancerBefore>),
}

/// A balancer before a node that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancerBefore {
    /// `org/site/node/balancer`
    pub path: String,
    /// It has no server beside those of the node.
    pub alone: bool,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thing(noun, name) => write!(f, "{noun} {name}"),
            Self::LastOwner => {
                f.write_str("the overlay, as its last owner; add another owner first")
            }
            Self::Balancers(balancers) => {
                f.write_str(
                    "take its services out of the balancers before it (`malha balancer set --backend`), \
                     or remove it all the same with `--detach` (`?detach=true`):",
                )?;
                for (at, it) in balancers.iter().enumerate() {
                    let comma = if at > 0 { "," } else { "" };
                    let alone = if it.alone {
                        " (no other server; it would go too)"
                    } else {
                        ""
                    };
                    write!(f, "{comma} {}{alone}", it.path)?;
                }
                Ok(())
            }
        }
    }
}

impl Noun {
    /// Where there is one of this name already, or what is to be done about it.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Self::Balancer | Self::Service => " on this node",
            Self::Node => " on this site",
            Self::Site => " in this organization",
            Self::Grant => " and says the same",
            Self::Proposal => " and proposes the same",
            Self::RecordSet => ": remove it, or add the agency without the zone",
            _ => "",
        }
    }
}
