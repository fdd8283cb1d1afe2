//! `malha zone …` and `malha record …`.

use clap::Subcommand;
use http::Method;
use serde_json::json;

use crate::api::{RecordSet, Zone};
use crate::cli::exit::Failure;
use crate::cli::screen::Screen;
use crate::cli::session::{Row, Session};
use crate::cli::text::Word;
use crate::cli::tokens::plain;
use crate::client::part;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum ZoneCommand {
    /// Add a public zone
    Add {
        /// Like example.org
        zone: String,
        /// A host name; several times for several; those inside the zone get addresses by themselves [default: ns1.ZONE]
        #[arg(
            long = "name-server",
            env = "MALHA_NAME_SERVERS",
            value_name = "HOST",
            value_delimiter = ','
        )]
        name_servers: Vec<String>,
        /// The mailbox of the person in charge, its `@` written as a dot [default: hostmaster.ZONE]
        #[arg(long, env = "MALHA_CONTACT", value_name = "MAILBOX")]
        contact: Option<String>,
    },
    /// List zones
    List,
    /// Show a zone
    Show { zone: String },
    /// Remove a zone with its record sets
    Remove { zone: String },
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum RecordCommand {
    /// Put all records of a name and type in place of what was there
    #[command(visible_alias = "add")]
    Put {
        zone: String,
        /// Relative to the zone; `@` for the zone itself
        name: String,
        /// A, AAAA, CNAME, TXT, MX, SRV, CAA, PTR or NS
        #[arg(value_name = "TYPE")]
        rtype: String,
        /// As in zone files, one argument per record: 192.0.2.1, '10 mail.example.org.', '"text"'
        #[arg(required = true)]
        data: Vec<String>,
        /// Seconds that a resolver may remember it
        #[arg(long, env = "MALHA_TTL", default_value_t = malha_zone::DEFAULT_TTL_S)]
        ttl: u32,
    },
    /// List the record sets of a zone
    List { zone: String },
    /// Show a record set
    Show {
        zone: String,
        name: String,
        #[arg(value_name = "TYPE")]
        rtype: String,
    },
    /// Remove a record set
    Remove {
        zone: String,
        name: String,
        #[arg(value_name = "TYPE")]
        rtype: String,
    },
}

impl ZoneCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |zone: &str| format!("/zones/{}", part(zone));
        match self {
            Self::Add {
                zone,
                name_servers,
                contact,
            } => {
                let name_servers = if name_servers.is_empty() {
                    vec![format!("ns1.{zone}")]
                } else {
                    name_servers
                };
                let contact = contact.unwrap_or_else(|| format!("hostmaster.{zone}"));
                let body =
                    json!({ "origin": zone, "name_servers": name_servers, "contact": contact });
                session.write::<Zone>(Method::POST, "/zones", &body).await
            }
            Self::List => session.list::<Zone>("/zones", &[]).await,
            Self::Show { zone } => session.show::<Zone>(&at(&zone)).await,
            Self::Remove { zone } => session.remove(&at(&zone)).await,
        }
    }
}

impl RecordCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |zone: &str, name: &str, rtype: &str| {
            format!(
                "/zones/{}/records/{}/{}",
                part(zone),
                part(name),
                part(rtype)
            )
        };
        match self {
            Self::Put {
                zone,
                name,
                rtype,
                data,
                ttl,
            } => {
                let body = json!({ "ttl_s": ttl, "data": data });
                session
                    .write::<RecordSet>(Method::PUT, &at(&zone, &name, &rtype), &body)
                    .await
            }
            Self::List { zone } => {
                session
                    .list::<RecordSet>(&format!("/zones/{}/records", part(&zone)), &[])
                    .await
            }
            Self::Show { zone, name, rtype } => {
                session.show::<RecordSet>(&at(&zone, &name, &rtype)).await
            }
            Self::Remove { zone, name, rtype } => session.remove(&at(&zone, &name, &rtype)).await,
        }
    }
}

impl Row for Zone {
    const COLUMNS: &'static [Word] = &[
        Word::Zone,
        Word::Serial,
        Word::RecordSets,
        Word::NameServers,
        Word::Contact,
    ];

    fn cells(&self, _screen: &Screen) -> Vec<String> {
        vec![
            self.origin.to_string(),
            self.serial.to_string(),
            self.record_sets.to_string(),
            self.name_servers.join(", "),
            self.contact.clone(),
        ]
    }
}

impl Row for RecordSet {
    const COLUMNS: &'static [Word] = &[Word::Name, Word::Type, Word::Ttl, Word::Data, Word::Source];

    fn cells(&self, _screen: &Screen) -> Vec<String> {
        vec![
            self.name.to_string(),
            self.rtype.to_string(),
            self.ttl_s.to_string(),
            self.data.join(", "),
            plain(&self.source),
        ]
    }
}
