//! `malha operator …` and `malha key …`. A password comes from standard input or is made here and printed once; it is never
//! an argument.

use std::io::BufRead;
use std::path::PathBuf;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::accounts::random_password;
use crate::api::{ApiKey, CreatedApiKey, Operator, Password};
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::session::{Row, Session, parse};
use crate::cli::span::Span;
use crate::cli::text::{self, Word};
use crate::cli::tokens::plain;
use crate::client::part;
use crate::clock::now_ms;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum OperatorCommand {
    /// Add an operator and print a first password
    Add {
        /// One DNS label, like `ana`
        name: String,
        /// What they may do
        #[arg(long, env = "MALHA_ROLE", value_parser = PossibleValuesParser::new(["auditor", "technician", "operator", "owner"]))]
        role: String,
        /// Read the password from standard input instead of making one
        #[arg(long, env = "MALHA_PASSWORD_STDIN")]
        password_stdin: bool,
    },
    /// List operators
    List,
    /// Show an operator
    Show {
        /// Name or id
        operator: String,
    },
    /// Give an operator another password and print it
    Password {
        /// Name or id
        operator: String,
        /// Read the password from standard input instead of making one
        #[arg(long, env = "MALHA_PASSWORD_STDIN")]
        password_stdin: bool,
    },
    /// Remove an operator
    Remove {
        /// Name or id
        operator: String,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Create an API key and print it
    Add {
        /// One DNS label; it names the caller in the audit log
        name: String,
        /// What it may do: read, enrol, write, dns, admin; several times for several
        #[arg(
            long = "scope",
            env = "MALHA_SCOPES",
            required = true,
            value_delimiter = ','
        )]
        scopes: Vec<String>,
        /// How long it is good: 12h, 90d; for ever if absent
        #[arg(long, env = "MALHA_TTL")]
        ttl: Option<Span>,
        /// Whose key it is: what is done with it, this operator did. That of the key in use if absent
        #[arg(long, env = "MALHA_OPERATOR")]
        operator: Option<String>,
    },
    /// Make a new admin.key for the CLI on this machine, in a stopped controller's folder; the former one is refused
    Recover {
        /// The configuration file [default: malha.toml here, else /etc/malha/malha.toml]
        #[arg(long, env = "MALHA_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// List API keys
    List,
    /// Show an API key, without its text
    Show {
        /// Name or id
        key: String,
    },
    /// Remove an API key; it is refused from then on
    Remove {
        /// Name or id
        key: String,
    },
}

#[derive(Serialize)]
struct NewOperatorBody<'a> {
    name: &'a str,
    role: &'a str,
    password: &'a Password,
}

#[derive(Serialize)]
struct NewPasswordBody<'a> {
    password: &'a Password,
}

impl OperatorCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |operator: &str| format!("/operators/{}", part(operator));
        match self {
            Self::Add {
                name,
                role,
                password_stdin,
            } => {
                let (password, made) = password(password_stdin)?;
                let body = NewOperatorBody {
                    name: &name,
                    role: &role,
                    password: &password,
                };
                let value = session.create("/operators", &body).await?;
                print_operator(session, value, made)
            }
            Self::List => session.list::<Operator>("/operators", &[]).await,
            Self::Show { operator } => session.show::<Operator>(&at(&operator)).await,
            Self::Password {
                operator,
                password_stdin,
            } => {
                let (password, made) = password(password_stdin)?;
                let body = NewPasswordBody {
                    password: &password,
                };
                let path = format!("{}/password", at(&operator));
                let value = session.send(Method::PUT, &path, Some(&body)).await?;
                print_operator(session, value, made)
            }
            Self::Remove { operator } => session.remove(&at(&operator)).await,
        }
    }
}

impl KeyCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let at = |key: &str| format!("/api-keys/{}", part(key));
        match self {
            Self::Add {
                name,
                scopes,
                ttl,
                operator,
            } => {
                let expires_ms =
                    ttl.map(|ttl| now_ms().saturating_add(ttl.seconds().saturating_mul(1_000)));
                let body = json!({
                    "name": name, "scopes": scopes, "expires_ms": expires_ms, "operator": operator,
                });
                let value = session.create("/api-keys", &body).await?;
                if session.screen.json {
                    session.screen.json(&value);
                    return Ok(());
                }
                let created: CreatedApiKey = parse(value)?;
                session.screen.note(&text::key_made(
                    session.screen.lang,
                    created.about.id,
                    &created.about.name,
                ));
                for line in created.key.iter().chain(&created.note) {
                    session.screen.line(line);
                }
                Ok(())
            }
            // Done without a controller, before there is a session.
            Self::Recover { .. } => Ok(()),
            Self::List => session.list::<ApiKey>("/api-keys", &[]).await,
            Self::Show { key } => session.show::<ApiKey>(&at(&key)).await,
            Self::Remove { key } => session.remove(&at(&key)).await,
        }
    }
}

/// The password to set, and its text if it was made here and must be shown.
fn password(from_stdin: bool) -> Result<(Password, Option<String>), Failure> {
    if !from_stdin {
        let made =
            random_password().map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        return Ok((Password::new(made.clone()), Some(made)));
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::new(Exit::Internal, format!("standard input: {error}")))?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(Failure::new(
            Exit::Refused,
            "no password came from standard input",
        ));
    }
    Ok((Password::new(password), None))
}

fn print_operator(
    session: &Session,
    mut value: Value,
    made: Option<String>,
) -> Result<(), Failure> {
    let screen = &session.screen;
    if screen.json {
        if let (Some(password), Some(fields)) = (made, value.as_object_mut()) {
            fields.insert("password".to_owned(), Value::String(password));
        }
        screen.json(&value);
        return Ok(());
    }
    let operator: Operator = parse(value.clone())?;
    screen.note(&text::written(screen.lang, &value["revision"]));
    if let Some(password) = made {
        screen.note(&text::password_made(screen.lang, &operator.name));
        screen.line(&password);
    }
    Ok(())
}

impl Row for Operator {
    const COLUMNS: &'static [Word] = &[Word::Name, Word::Role, Word::Created, Word::Id];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        vec![
            self.name.to_string(),
            plain(&self.role),
            screen.moment(self.created_ms),
            self.id.to_string(),
        ]
    }
}

impl Row for ApiKey {
    const COLUMNS: &'static [Word] = &[
        Word::Name,
        Word::Scopes,
        Word::Operator,
        Word::Created,
        Word::Expires,
        Word::Id,
    ];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        let scopes: Vec<String> = self.scopes.iter().map(plain).collect();
        let expires = self
            .expires_ms
            .map_or_else(|| screen.word(Word::Never), |at_ms| screen.moment(at_ms));
        vec![
            self.name.to_string(),
            scopes.join(", "),
            self.operator.clone().unwrap_or_default(),
            screen.moment(self.created_ms),
            expires,
            self.id.to_string(),
        ]
    }
}
