//! A CLI command's way to the API: which controller, which key, and how its answers are shown. It never takes a key from
//! the command line, where every user of the machine could read it.

use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{Applied, Page};
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::text::{self, Lang, Word};
use crate::client::Client;
use crate::config::{Config, DEFAULT_API};
use crate::folder::admin_key_file;

/// Which controller, and with which key.
#[derive(Clone, Debug, Args)]
pub(super) struct Connection {
    /// The controller's API
    #[arg(long, global = true, env = "MALHA_API", value_name = "URL", default_value_t = format!("http://{DEFAULT_API}"))]
    api: String,
    /// File with the API key; else the variable MALHA_API_KEY; else admin.key in the data folder
    #[arg(long, global = true, env = "MALHA_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// PEM file with the authority of the API's certificate, for https
    #[arg(long, global = true, env = "MALHA_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// After a change: wait until the online nodes that it touches run with it
    #[arg(long, global = true, env = "MALHA_WAIT")]
    wait: bool,
}

/// Something that the API shows, as a row of a table and as details.
pub(super) trait Row: DeserializeOwned {
    const COLUMNS: &'static [Word];
    fn cells(&self, screen: &Screen) -> Vec<String>;
    /// More lines than a row has place for.
    fn details(&self, _screen: &Screen) -> Vec<(Word, String)> {
        Vec::new()
    }
    /// What its reader should not overlook.
    fn warning(&self, _screen: &Screen) -> Option<String> {
        None
    }
}

/// An open way to the API.
pub(super) struct Session {
    client: Client,
    pub(super) screen: Screen,
    wait: bool,
}

impl Session {
    pub(super) fn open(connection: &Connection, screen: Screen) -> Result<Self, Failure> {
        let key = key(connection.key_file.as_deref())?;
        let mut client = Client::new(&connection.api, &key, connection.ca.as_deref())?;
        // What programs read stays in one language.
        if screen.lang == Lang::Pt && !screen.json {
            client = client.speaking(PORTUGUESE);
        }
        Ok(Self {
            client,
            screen,
            wait: connection.wait,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Every page of a list, as one.
    pub(super) async fn list<T: Row>(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
    ) -> Result<(), Failure> {
        let mut items: Vec<Value> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.page(path, query, after.as_deref()).await?;
            items.extend(page.items);
            after = page.next;
            if after.is_none() || items.len() >= MAX_LISTED {
                break;
            }
        }
        if after.is_some() {
            self.screen
                .note(&text::list_cut(self.screen.lang, items.len()));
        }
        if self.screen.json {
            self.screen.json(&json!(Page { items, next: after }));
            return Ok(());
        }
        let rows = items
            .into_iter()
            .map(|item| Ok(parse::<T>(item)?.cells(&self.screen)));
        self.screen
            .table(T::COLUMNS, &rows.collect::<Result<Vec<_>, Failure>>()?);
        Ok(())
    }

    /// One page of a list, the first or the one after another.
    pub(super) async fn page(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        after: Option<&str>,
    ) -> Result<Page<Value>, Failure> {
        let given = query
            .iter()
            .filter_map(|(name, value)| Some((*name, (*value)?)));
        let mut pairs: Vec<(&str, &str)> = given.collect();
        pairs.push(("limit", PAGE));
        pairs.extend(after.map(|after| ("after", after)));
        let path = format!("{path}{}", query_text(&pairs));
        parse(self.client.read(&path).await?)
    }

    /// One thing.
    pub(super) async fn show<T: Row>(&self, path: &str) -> Result<(), Failure> {
        let value = self.client.read(path).await?;
        self.shown::<T>(value)
    }

    /// A change whose answer is the thing as it is then.
    pub(super) async fn write<T: Row>(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(), Failure> {
        let value = match method {
            Method::POST => self.create(path, body).await?,
            method => self.send(method, path, Some(body)).await?,
        };
        if self.screen.json {
            self.screen.json(&value);
            return Ok(());
        }
        self.shown::<T>(value.clone())?;
        self.screen
            .note(&text::written(self.screen.lang, &value["revision"]));
        self.applied(&value)
    }

    /// A removal.
    pub(super) async fn remove(&self, path: &str) -> Result<(), Failure> {
        let value = self.send(Method::DELETE, path, None::<&()>).await?;
        if self.screen.json {
            self.screen.json(&value);
            return Ok(());
        }
        let what = value["removed"].as_str().unwrap_or_default();
        self.screen
            .note(&text::removed(self.screen.lang, what, &value["revision"]));
        self.applied(&value)
    }

    /// A change, its answer for the caller to show.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Value, Failure> {
        Ok(self.client.send(method, &self.waiting(path), body).await?)
    }

    /// A creation, its answer for the caller to show; it happens once, also over a connection that breaks.
    pub(super) async fn create(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        Ok(self.client.create(&self.waiting(path), body).await?)
    }

    fn waiting(&self, path: &str) -> String {
        match (self.wait, path.contains('?')) {
            (true, false) => format!("{path}?{WAIT}"),
            (true, true) => format!("{path}&{WAIT}"),
            (false, _) => path.to_owned(),
        }
    }

    /// What `--wait` found.
    pub(super) fn applied(&self, value: &Value) -> Result<(), Failure> {
        let Some(applied) = value.get("applied") else {
            return Ok(());
        };
        let Applied {
            nodes,
            of,
            elapsed_ms,
            laggards,
            offline,
        } = parse(applied.clone())?;
        let lang = self.screen.lang;
        self.screen
            .note(&text::applied(lang, nodes, of, elapsed_ms));
        if !laggards.is_empty() {
            self.screen.note(&text::lagging(lang, laggards.join(", ")));
        }
        if !offline.is_empty() {
            self.screen.note(&text::offline(lang, offline.join(", ")));
        }
        Ok(())
    }

    fn shown<T: Row>(&self, value: Value) -> Result<(), Failure> {
        if self.screen.json {
            self.screen.json(&value);
            return Ok(());
        }
        let it: T = parse(value)?;
        let (mut words, mut cells) = (T::COLUMNS.to_vec(), it.cells(&self.screen));
        for (word, cell) in it.details(&self.screen) {
            words.push(word);
            cells.push(cell);
        }
        self.screen.details(&words, &cells);
        if let Some(warning) = it.warning(&self.screen) {
            self.screen.note(&warning);
        }
        Ok(())
    }
}

/// The data folder that local commands mean: given, or of the configuration file, or the usual one.
pub(super) fn data_folder(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let config = usual_config();
    match config.exists() {
        true => Ok(Config::read(&config)?.data),
        false => Ok(PathBuf::from(USUAL_DATA)),
    }
}

/// The configuration of this folder, else that of the machine.
pub(super) fn usual_config() -> PathBuf {
    let [here, of_machine] = USUAL_CONFIGS.map(Path::new);
    let usual = if here.exists() { here } else { of_machine };
    usual.to_owned()
}

/// Reads an answer as what it should be.
pub(super) fn parse<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| {
        Failure::new(
            Exit::Unreachable,
            format!("the answer is not what this malha expects: {error}; are both of one version?"),
        )
    })
}

fn key(file: Option<&Path>) -> Result<String, Failure> {
    if let Some(file) = file {
        return read_key(file);
    }
    if let Some(key) = std::env::var("MALHA_API_KEY")
        .ok()
        .filter(|key| !key.is_empty())
    {
        return Ok(key);
    }
    let data = std::env::var_os("MALHA_DATA").map(PathBuf::from);
    let file = admin_key_file(&data_folder(data.as_deref())?);
    read_key(&file)
}

fn read_key(file: &Path) -> Result<String, Failure> {
    let key = std::fs::read_to_string(file).map_err(|error| {
        let mut failure = Failure::file(file, &error);
        failure.exit = Exit::NotAllowed;
        failure
    })?;
    Ok(key.trim().to_owned())
}

fn query_text(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", crate::client::part(value)))
        .collect();
    format!("?{}", pairs.join("&"))
}

/// Where `malha init` and packages put the configuration.
const USUAL_CONFIGS: [&str; 2] = ["malha.toml", "/etc/malha/malha.toml"];
pub(super) const USUAL_DATA: &str = "/var/lib/malha";
const PAGE: &str = "1000";
/// More than fits any terminal; programs read pages.
const MAX_LISTED: usize = 100_000;
const PORTUGUESE: &str = "pt-BR";
const WAIT: &str = "wait=applied&timeout_ms=30000";
