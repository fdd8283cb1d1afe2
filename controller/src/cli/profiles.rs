//! `malha profile …`: the ports that each role has, how they differ from what agencies declare, and edits of them.

use std::path::PathBuf;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use http::Method;
use malha_core::limits::MAX_PROFILE_BYTES;
use malha_core::profile::{DifferenceKind, Direction, Network};
use malha_proto::Port;
use serde_json::{Value, json};

use crate::api::{Page, Profile, ProfileDifference, ProfilePort};
use crate::cli::exit::Failure;
use crate::cli::screen::Screen;
use crate::cli::session::{Row, Session, parse};
use crate::cli::text::{self, Word};
use crate::cli::text_file;
use crate::cli::tokens::{PROFILES, plain};
use crate::client::part;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum ProfileCommand {
    /// List profiles
    List,
    /// Show the ports of a profile
    Show {
        #[arg(value_name = "PROFILE", value_parser = PossibleValuesParser::new(PROFILES))]
        name: String,
        /// As text, which `set` takes
        #[arg(long, env = "MALHA_TEXT")]
        text: bool,
        /// How it differs from the ports that agencies are asked for
        #[arg(long, env = "MALHA_DIFFERENCE_TO_SEED", conflicts_with = "text")]
        difference: bool,
        /// The release of X-Road to compare for, like 7.3; the newest if absent
        #[arg(
            long,
            env = "MALHA_XROAD",
            value_name = "RELEASE",
            requires = "difference"
        )]
        xroad: Option<String>,
        /// Compare with the ports that this organization declared
        #[arg(long, env = "MALHA_ORG", requires = "difference")]
        org: Option<String>,
    },
    /// Put a text in the place of the profile that it names
    Set {
        /// TOML; `-` reads standard input
        file: PathBuf,
    },
    /// Bring the shipped profile back
    Reset {
        #[arg(value_name = "PROFILE", value_parser = PossibleValuesParser::new(PROFILES))]
        name: String,
    },
}

impl ProfileCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |name: &str| format!("/profiles/{}", part(name));
        match self {
            Self::List => session.list::<Profile>("/profiles", &[]).await,
            Self::Show {
                name,
                difference: true,
                xroad,
                org,
                ..
            } => {
                let given = [("xroad", xroad), ("organization", org)].into_iter();
                let query =
                    given.filter_map(|(name, value)| Some(format!("{name}={}", part(&value?))));
                let query: Vec<String> = query.collect();
                let path = format!("{}/difference?{}", at(&name), query.join("&"));
                show_difference(session, &path).await
            }
            Self::Show { name, text, .. } => {
                let value = session.client().read(&at(&name)).await?;
                show(&session.screen, value, text)
            }
            Self::Set { file } => {
                let body = json!({ "text": text_file::read(&file, MAX_PROFILE_BYTES)? });
                written(session, Method::PUT, "/profiles", Some(&body)).await
            }
            Self::Reset { name } => written(session, Method::DELETE, &at(&name), None).await,
        }
    }
}

async fn written(
    session: &Session,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(), Failure> {
    let value = session.send(method, path, body).await?;
    show(&session.screen, value.clone(), false)?;
    if !session.screen.json {
        let screen = &session.screen;
        screen.note(&text::written(screen.lang, &value["revision"]));
        session.applied(&value)?;
    }
    Ok(())
}

fn show(screen: &Screen, value: Value, as_text: bool) -> Result<(), Failure> {
    if screen.json {
        screen.json(&value);
        return Ok(());
    }
    let profile: Profile = parse(value)?;
    if as_text {
        for line in profile.text.unwrap_or_default().lines() {
            screen.line(line);
        }
        return Ok(());
    }
    let rows: Vec<_> = profile.ports.iter().map(|it| cells(it, screen)).collect();
    screen.table(PORT_COLUMNS, &rows);
    if let Some(edited_ms) = profile.edited_ms {
        let name = plain(&profile.profile);
        let since = screen.moment(edited_ms);
        screen.note(&text::profile_edited(screen.lang, name, since));
    }
    Ok(())
}

async fn show_difference(session: &Session, path: &str) -> Result<(), Failure> {
    let value = session.client().read(path).await?;
    let screen = &session.screen;
    if screen.json {
        screen.json(&value);
        return Ok(());
    }
    let page: Page<ProfileDifference> = parse(value)?;
    let rows: Vec<Vec<String>> = page
        .items
        .iter()
        .map(|it| {
            let entry = it.entry.as_ref();
            vec![
                it.port.to_string(),
                screen.word(direction(it.direction)),
                screen.word(kind(it.kind)),
                networks(&it.declared, screen),
                entry.map(|it| plain(&it.exposure)).unwrap_or_default(),
                entry.map(|it| it.name.to_string()).unwrap_or_default(),
            ]
        })
        .collect();
    screen.table(DIFFERENCE_COLUMNS, &rows);
    Ok(())
}

impl Row for Profile {
    const COLUMNS: &'static [Word] = &[Word::Profile, Word::Inbound, Word::Outbound, Word::Edited];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        let towards = |direction| {
            let entries = self.ports.iter().filter(|it| it.direction == direction);
            let mut ports: Vec<Port> = entries.flat_map(|it| it.ports.clone()).collect();
            ports.sort_unstable();
            numbers(&ports)
        };
        vec![
            plain(&self.profile),
            towards(Direction::In),
            towards(Direction::Out),
            self.edited_ms
                .map(|at_ms| screen.moment(at_ms))
                .unwrap_or_default(),
        ]
    }
}

fn cells(it: &ProfilePort, screen: &Screen) -> Vec<String> {
    let who: Vec<String> = it.who.iter().map(plain).collect();
    let guard = it.direction == Direction::In && !it.guard;
    let mut exposure = plain(&it.exposure);
    if guard {
        exposure = format!("{exposure} ({})", screen.word(Word::LeftOpen));
    }
    let releases = match (it.since, it.before) {
        (Some(since), _) => format!(">= {since}"),
        (None, Some(before)) => format!("< {before}"),
        (None, None) => String::new(),
    };
    vec![
        it.name.to_string(),
        plain(&it.protocol),
        numbers(&it.ports),
        screen.word(direction(it.direction)),
        who.join(", "),
        exposure,
        plain(&it.probe),
        releases,
    ]
}

fn numbers(ports: &[Port]) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    ports.join(", ")
}

fn networks(networks: &[Network], screen: &Screen) -> String {
    let words: Vec<String> = networks
        .iter()
        .map(|network| {
            screen.word(match network {
                Network::Internal => Word::NetworkInternal,
                Network::External => Word::NetworkExternal,
            })
        })
        .collect();
    words.join(", ")
}

fn direction(direction: Direction) -> Word {
    match direction {
        Direction::In => Word::Inbound,
        Direction::Out => Word::Outbound,
    }
}

fn kind(kind: DifferenceKind) -> Word {
    match kind {
        DifferenceKind::TooOpen => Word::TooOpen,
        DifferenceKind::NotInProfile => Word::NotInProfile,
        DifferenceKind::NotDeclared => Word::NotDeclared,
    }
}

const PORT_COLUMNS: &[Word] = &[
    Word::Name,
    Word::Protocol,
    Word::Port,
    Word::Direction,
    Word::Partner,
    Word::Exposure,
    Word::Probe,
    Word::XRoad,
];
const DIFFERENCE_COLUMNS: &[Word] = &[
    Word::Port,
    Word::Direction,
    Word::Finding,
    Word::Declared,
    Word::Exposure,
    Word::Name,
];
