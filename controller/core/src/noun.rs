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
    /// Routes, and balancers of other nodes, that lead to the services of this one.
    Leading(Vec<Leading>),
}

/// What leads to a node that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leading {
    /// A route or a balancer.
    pub what: Noun,
    /// The host and path of a route, `org/site/node/balancer`.
    pub name: String,
    /// It leads to no other node, and would go too.
    pub alone: bool,
}

impl Leading {
    /// Most that a sentence names; the rest is counted.
    pub const MAX_NAMED: usize = 20;

    /// How to take services out of such a thing.
    #[must_use]
    pub fn commands(leading: &[Self]) -> String {
        let known = [
            (Noun::Route, "`malha route remove`"),
            (Noun::Balancer, "`malha balancer set --backend`"),
        ];
        let said = known
            .iter()
            .filter(|(noun, _)| leading.iter().any(|it| it.what == *noun));
        said.map(|(_, command)| *command)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thing(noun, name) => write!(f, "{noun} {name}"),
            Self::LastOwner => {
                f.write_str("the overlay, as its last owner; add another owner first")
            }
            Self::Leading(leading) => {
                let commands = Leading::commands(leading);
                write!(
                    f,
                    "take its services out of what leads to it ({commands}), or remove it all the same with `--detach` \
                     (`?detach=true`):"
                )?;
                for (at, it) in leading.iter().take(Leading::MAX_NAMED).enumerate() {
                    let comma = if at > 0 { "," } else { "" };
                    let alone = if it.alone {
                        " (no other server; it would go too)"
                    } else {
                        ""
                    };
                    write!(f, "{comma} {} {}{alone}", it.what, it.name)?;
                }
                match leading.len().saturating_sub(Leading::MAX_NAMED) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
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
