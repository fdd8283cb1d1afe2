//! `malha org add … --profile xroad`: an agency in one command. What it made is printed once, tokens above all.

use std::net::IpAddr;

use clap::Args;
use clap::builder::PossibleValuesParser;
use malha_core::declaration::Stage;
use serde_json::json;

use crate::api::{Agency, AgencyName};
use crate::cli::exit::Failure;
use crate::cli::screen::Screen;
use crate::cli::session::{Session, parse};
use crate::cli::span::Span;
use crate::cli::text::{self, Word};
use crate::cli::tokens::plain;

/// An agency with security servers.
#[derive(Clone, Debug, Args)]
pub(super) struct AgencyArgs {
    /// With sites, tokens, names, grants and DNS records for these servers
    #[arg(long, env = "MALHA_PROFILE", value_parser = PossibleValuesParser::new(["xroad"]), requires = "production")]
    pub(super) profile: Option<String>,
    /// Security servers in production
    #[arg(
        long,
        env = "MALHA_PRODUCTION",
        value_name = "COUNT",
        requires = "profile"
    )]
    production: Option<u8>,
    /// Security servers for development (homologation)
    #[arg(
        long,
        env = "MALHA_DEVELOPMENT",
        value_name = "COUNT",
        requires = "profile"
    )]
    development: Option<u8>,
    /// Balancers in front of production; one if absent and there is more than one server
    #[arg(
        long,
        env = "MALHA_BALANCERS",
        value_name = "COUNT",
        requires = "profile"
    )]
    balancers: Option<u8>,
    /// A zone of this controller in which to make its names
    #[arg(long, env = "MALHA_ZONE", requires = "profile")]
    zone: Option<String>,
    /// Of its production name; may be repeated
    #[arg(
        long,
        env = "MALHA_PUBLIC_ADDRESS",
        value_name = "ADDRESS",
        value_delimiter = ',',
        requires = "profile"
    )]
    public_address: Vec<IpAddr>,
    /// Of its development name; may be repeated
    #[arg(
        long,
        env = "MALHA_DEVELOPMENT_ADDRESS",
        value_name = "ADDRESS",
        value_delimiter = ',',
        requires = "profile"
    )]
    development_address: Vec<IpAddr>,
    /// The release of X-Road that its servers run, like 7.3; the newest if absent
    #[arg(
        long,
        env = "MALHA_XROAD",
        value_name = "RELEASE",
        requires = "profile"
    )]
    xroad: Option<String>,
    /// How long the tokens are good: 30m, 12h, 7d
    #[arg(long, env = "MALHA_TTL", default_value = "1d")]
    ttl: Span,
    /// Make nothing and print what would be made
    #[arg(long, env = "MALHA_DRY_RUN", requires = "profile")]
    dry_run: bool,
}

pub(super) async fn add(
    session: &Session,
    name: &str,
    display_name: &str,
    args: &AgencyArgs,
) -> Result<(), Failure> {
    let body = json!({
        "name": name,
        "profile": args.profile,
        "display_name": display_name,
        "production": args.production.unwrap_or_default(),
        "development": args.development.unwrap_or_default(),
        "balancers": args.balancers,
        "xroad": args.xroad,
        "zone": args.zone,
        "public_addresses": args.public_address,
        "development_addresses": args.development_address,
        "ttl_s": args.ttl.seconds(),
    });
    let path = format!("/agencies?dry_run={}", args.dry_run);
    let value = session.client().create(&path, &body).await?;
    if session.screen.json {
        session.screen.json(&value);
        return Ok(());
    }
    show(&session.screen, &parse(value)?);
    Ok(())
}

/// Machines with their tokens on standard output, what is to be done on standard error.
fn show(screen: &Screen, agency: &Agency) {
    let lang = screen.lang;
    screen.note(&match agency.revision {
        Some(revision) => {
            let sites = agency.sites.join(", ");
            text::agency_made(lang, &agency.organization, sites, revision)
        }
        None => screen.word(Word::DryRun),
    });
    for machine in &agency.machines {
        let profile = plain(&machine.profile);
        screen.line(&format!("{} ({profile})", machine.node));
        if !machine.services.is_empty() {
            let ports: Vec<String> = machine.services.iter().map(u16::to_string).collect();
            screen.line(&format!(
                "  {}",
                text::agency_services(lang, ports.join(", "))
            ));
        }
        if let Some(token) = &machine.token {
            screen.line(&format!("  malha-node up {token}"));
        }
    }
    for node in &agency.adopted {
        screen.line(&text::agency_adopted(lang, node));
    }
    for name in &agency.names {
        screen.line(&name_line(screen, name));
    }
    if let Some(policy) = &agency.policy {
        match (agency.revision, policy.version) {
            (None, _) => policy.text.lines().for_each(|line| screen.line(line)),
            (Some(_), Some(version)) => screen.note(&text::agency_policy(lang, version)),
            (Some(_), None) => {
                if let Some(proposal) = policy.proposal {
                    screen.note(&text::agency_proposal(lang, proposal));
                }
            }
        }
    }
    if agency.machines.iter().any(|it| !it.services.is_empty()) {
        screen.note(Word::AgencyListen.text(lang));
    }
    if !agency.unplaced.is_empty() {
        screen.note(Word::AgencyUnplaced.text(lang));
    }
    for node in &agency.unplaced {
        let tags = [Stage::Production, Stage::Development].map(|stage| stage.tag());
        let [production, development] = tags.map(|tag| tag.to_string());
        screen.line(&text::agency_tag(lang, node, production, development));
    }
    if let Some(note) = &agency.note {
        screen.note(note);
    }
}

fn name_line(screen: &Screen, name: &AgencyName) -> String {
    let lang = screen.lang;
    let addresses: Vec<String> = name.addresses.iter().map(IpAddr::to_string).collect();
    let addresses = addresses.join(", ");
    match (name.is_kept_here, addresses.is_empty()) {
        (true, _) => text::agency_name(lang, &name.name, addresses),
        (false, false) => text::agency_name_elsewhere(lang, &name.name, addresses),
        (false, true) => text::agency_name_missing(lang, &name.name),
    }
}
