//! `malha org …` and `malha site …`.

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use http::Method;
use serde_json::json;

use crate::api::{Organization, Site};
use crate::cli::agencies::{self, AgencyArgs};
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::session::{Row, Session};
use crate::cli::text::{self, Word};
use crate::client::part;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum OrganizationCommand {
    /// Create an organization; with --profile xroad an agency with all that its servers need
    Add {
        /// One DNS label, like `sefaz`; of an agency `HOST.NAME`, as its DNS names begin, like `xvia.sedec`
        name: String,
        /// Its name for people
        #[arg(
            long,
            env = "MALHA_DISPLAY_NAME",
            default_value = "",
            hide_default_value = true
        )]
        display_name: String,
        #[command(flatten)]
        agency: Box<AgencyArgs>,
    },
    /// List organizations
    List,
    /// Show an organization
    Show {
        /// Name or id
        organization: String,
    },
    /// Remove an organization without sites
    Remove {
        /// Name or id
        organization: String,
    },
    /// Change what an organization asks for
    Set {
        /// Name or id
        organization: String,
        /// Whether a change of the policy that concerns its nodes needs the approval of another operator. `off` needs it too
        #[arg(long, env = "MALHA_SECOND_APPROVER", value_parser = PossibleValuesParser::new(["on", "off"]))]
        second_approver: String,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum SiteCommand {
    /// Create a site
    Add {
        /// `ORG/SITE`
        site: String,
        /// Its name for people
        #[arg(
            long,
            env = "MALHA_DISPLAY_NAME",
            default_value = "",
            hide_default_value = true
        )]
        display_name: String,
    },
    /// List sites
    List {
        /// Only those of this organization
        #[arg(long, env = "MALHA_ORG", value_name = "ORG")]
        org: Option<String>,
    },
    /// Show a site
    Show {
        /// `ORG/SITE` or id
        site: String,
    },
    /// Say which release of X-Road the servers of a site run; none: the newest
    Xroad {
        /// `ORG/SITE` or id
        site: String,
        /// Like 7.3: before 7.4 information systems come on 80 and 443 instead of 8080 and 8443
        release: Option<String>,
    },
    /// Remove a site without nodes
    Remove {
        /// `ORG/SITE` or id
        site: String,
    },
}

impl OrganizationCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |organization: &str| format!("/organizations/{}", part(organization));
        match self {
            Self::Add {
                name,
                display_name,
                agency,
            } if agency.profile.is_some() => {
                agencies::add(session, &name, &display_name, &agency).await
            }
            Self::Add {
                name, display_name, ..
            } => {
                let body = json!({ "name": name, "display_name": display_name });
                session
                    .write::<Organization>(Method::POST, "/organizations", &body)
                    .await
            }
            Self::List => session.list::<Organization>("/organizations", &[]).await,
            Self::Show { organization } => session.show::<Organization>(&at(&organization)).await,
            Self::Remove { organization } => session.remove(&at(&organization)).await,
            Self::Set {
                organization,
                second_approver,
            } => {
                let path = format!("{}/second-approver", at(&organization));
                let body = json!({ "on": second_approver == "on" });
                session
                    .write::<Organization>(Method::PUT, &path, &body)
                    .await
            }
        }
    }
}

impl SiteCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |site: &str| format!("/sites/{}", part(site));
        match self {
            Self::Add { site, display_name } => {
                let (organization, name) = site.split_once('/').ok_or_else(|| {
                    Failure::new(Exit::Usage, Word::WriteSite.text(session.screen.lang))
                })?;
                let body = json!({ "organization": organization, "name": name, "display_name": display_name });
                session.write::<Site>(Method::POST, "/sites", &body).await
            }
            Self::List { org } => {
                session
                    .list::<Site>("/sites", &[("organization", org.as_deref())])
                    .await
            }
            Self::Show { site } => session.show::<Site>(&at(&site)).await,
            Self::Xroad { site, release } => {
                let body = json!({ "xroad": release });
                session
                    .write::<Site>(Method::PUT, &format!("{}/xroad", at(&site)), &body)
                    .await
            }
            Self::Remove { site } => session.remove(&at(&site)).await,
        }
    }
}

impl Row for Organization {
    const COLUMNS: &'static [Word] = &[
        Word::Name,
        Word::Title,
        Word::Sites,
        Word::Created,
        Word::Id,
    ];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        vec![
            self.name.to_string(),
            self.display_name.clone(),
            self.sites.to_string(),
            screen.moment(self.created_ms),
            self.id.to_string(),
        ]
    }

    fn details(&self, screen: &Screen) -> Vec<(Word, String)> {
        let asks = match self.second_approver {
            true => screen.word(Word::Yes),
            false => screen.word(Word::No),
        };
        let mut details = vec![(Word::SecondApprover, asks)];
        if let Some(number) = self.proposed {
            details.push((Word::Waiting, text::proposed(screen.lang, number)));
        }
        details
    }
}

impl Row for Site {
    const COLUMNS: &'static [Word] = &[
        Word::Site,
        Word::Title,
        Word::Nodes,
        Word::Created,
        Word::Id,
    ];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        vec![
            self.path.clone(),
            self.display_name.clone(),
            self.nodes.to_string(),
            screen.moment(self.created_ms),
            self.id.to_string(),
        ]
    }

    fn details(&self, _screen: &Screen) -> Vec<(Word, String)> {
        let release = self.xroad.map(|release| release.to_string());
        vec![(Word::XRoad, release.unwrap_or_default())]
    }
}
