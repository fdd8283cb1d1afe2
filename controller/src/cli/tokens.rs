//! `malha token …`. The token alone goes to standard output, so that it can go into a file.

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use http::Method;
use serde_json::{Value, json};

use crate::api::{CreatedToken, Token, TokenState};
use crate::cli::exit::Failure;
use crate::cli::screen::Screen;
use crate::cli::session::{Row, Session, parse};
use crate::cli::span::Span;
use crate::cli::text::{self, Word};
use crate::client::part;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Create an enrolment token and print it
    Add {
        /// `ORG/SITE` or id
        site: String,
        /// The role of the machines that enrol with it
        #[arg(long, env = "MALHA_PROFILE", value_parser = PossibleValuesParser::new(PROFILES))]
        profile: String,
        /// How many machines may enrol with it
        #[arg(long, env = "MALHA_USES", default_value_t = 1)]
        uses: u32,
        /// How long it is good: 30m, 12h, 7d
        #[arg(long, env = "MALHA_TTL", default_value = "1d")]
        ttl: Span,
    },
    /// List tokens
    List {
        /// Only those of this site
        #[arg(long, env = "MALHA_SITE")]
        site: Option<String>,
    },
    /// Show a token, without its text
    Show { token: String },
    /// Revoke a token; nodes that enrolled with it stay
    #[command(visible_alias = "remove")]
    Revoke { token: String },
}

impl TokenCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |token: &str| format!("/tokens/{}", part(token));
        match self {
            Self::Add {
                site,
                profile,
                uses,
                ttl,
            } => {
                let body = json!({ "site": site, "profile": profile, "uses": uses, "ttl_s": ttl.seconds() });
                let value = session.create("/tokens", &body).await?;
                print_created(session, value)
            }
            Self::List { site } => {
                session
                    .list::<Token>("/tokens", &[("site", site.as_deref())])
                    .await
            }
            Self::Show { token } => session.show::<Token>(&at(&token)).await,
            Self::Revoke { token } => {
                let value = session
                    .send(Method::DELETE, &at(&token), None::<&()>)
                    .await?;
                if session.screen.json {
                    session.screen.json(&value);
                    return Ok(());
                }
                let token: Token = parse(value.clone())?;
                session
                    .screen
                    .details(Token::COLUMNS, &token.cells(&session.screen));
                session
                    .screen
                    .note(&text::written(session.screen.lang, &value["revision"]));
                session.applied(&value)
            }
        }
    }
}

/// The token on standard output, what it is for on standard error.
pub(super) fn print_created(session: &Session, value: Value) -> Result<(), Failure> {
    let screen = &session.screen;
    if screen.json {
        screen.json(&value);
        return Ok(());
    }
    let created: CreatedToken = parse(value)?;
    let about = &created.about;
    screen.note(&text::token_made(
        screen.lang,
        about.id,
        &about.site,
        screen.moment(about.expires_ms),
    ));
    if let Some(node) = &about.replaces {
        screen.note(&text::replaces_note(screen.lang, node));
    }
    if let Some(token) = &created.token {
        screen.line(token);
    }
    if let Some(note) = &created.note {
        screen.note(note);
    }
    Ok(())
}

impl Row for Token {
    const COLUMNS: &'static [Word] = &[
        Word::Id,
        Word::Site,
        Word::Profile,
        Word::State,
        Word::Uses,
        Word::Expires,
        Word::Replaces,
    ];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        let state = match self.state {
            TokenState::Active => Word::Active,
            TokenState::Used => Word::Used,
            TokenState::Expired => Word::Expired,
            TokenState::Revoked => Word::Revoked,
        };
        vec![
            self.id.to_string(),
            self.site.clone(),
            plain(&self.profile),
            screen.word(state),
            self.uses_left.to_string(),
            screen.moment(self.expires_ms),
            self.replaces.clone().unwrap_or_default(),
        ]
    }
}

/// The text form of a plain enumeration.
pub(super) fn plain(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

pub(super) const PROFILES: [&str; 5] = ["garage", "security-server", "balancer", "central", "edge"];
