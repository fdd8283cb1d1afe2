//! People and programs at the door: passwords, dashboard sessions and API keys. It never keeps or shows a secret: passwords
//! are argon2id hashes, session and key secrets are SHA-256 hashes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use malha_core::{ApiKey, Operator, State};
use malha_proto::{Fingerprint, OperatorId, Secret32};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::rate::RateLimit;

/// Why a password can't be used.
#[derive(Debug, Error)]
pub enum PasswordError {
    #[error("the password must have {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters")]
    Length,
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// Why a login was refused. It does not say whether the name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LoginError {
    #[error("wrong name or password")]
    Wrong,
    #[error("too many attempts, try again in {0} s")]
    TooMany(u64),
}

/// An open dashboard session.
#[derive(Clone, Debug)]
pub struct Session {
    pub operator: OperatorId,
    /// Proves that a form came from our own page.
    pub csrf: String,
    expires_ms: u64,
    seen_ms: u64,
}

/// Dashboard sessions, in memory: a restart logs everybody out.
pub struct Sessions {
    /// Keyed by the hash of the cookie. Locked for a map access only.
    open: Mutex<BTreeMap<[u8; 32], Session>>,
    by_source: RateLimit<IpAddr>,
    by_name: RateLimit<String>,
    /// Verified against when the name is unknown, so that time does not tell.
    decoy: String,
}

impl Sessions {
    /// No sessions yet.
    pub fn new() -> Result<Self, PasswordError> {
        Ok(Self {
            open: Mutex::new(BTreeMap::new()),
            by_source: RateLimit::new(LOGIN_BURST, LOGIN_INTERVAL_MS),
            by_name: RateLimit::new(LOGIN_BURST, LOGIN_INTERVAL_MS),
            decoy: hash_password(&random_text()?)?,
        })
    }

    /// Checks name and password; Ok holds the cookie's secret. Takes about 50 ms of one core: run it off the event loop.
    pub fn login(
        &self,
        state: &State,
        name: &str,
        password: &str,
        source: IpAddr,
        now_ms: u64,
    ) -> Result<String, LoginError> {
        let name: String = name.chars().take(MAX_PASSWORD_CHARS).collect();
        let limited = self
            .by_source
            .take(&source, now_ms)
            .and_then(|()| self.by_name.take(&name, now_ms));
        limited.map_err(|wait_ms| LoginError::TooMany(wait_ms.div_ceil(1_000)))?;
        let operator = state.operator_by_name(&name);
        let hash = operator.map_or(self.decoy.as_str(), |operator| {
            operator.password_hash.as_str()
        });
        let right =
            password.chars().count() <= MAX_PASSWORD_CHARS && verify_password(hash, password);
        match operator {
            Some(operator) if right => self
                .start(operator, now_ms)
                .map_err(|_| LoginError::TooMany(1)),
            _ => Err(LoginError::Wrong),
        }
    }

    /// The session of a cookie, if it is open and its operator still exists. Prolongs it.
    #[must_use]
    pub fn find<'a>(
        &self,
        state: &'a State,
        cookie: &str,
        now_ms: u64,
    ) -> Option<(Session, &'a Operator)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get_mut(&hash(cookie))?;
        if now_ms >= session.expires_ms || now_ms >= session.seen_ms + SESSION_IDLE_MS {
            open.remove(&hash(cookie));
            return None;
        }
        session.seen_ms = now_ms;
        let session = session.clone();
        state
            .operator(session.operator)
            .map(|operator| (session, operator))
    }

    /// Ends a session; an unknown one is none.
    pub fn logout(&self, cookie: &str) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&hash(cookie));
    }

    fn start(&self, operator: &Operator, now_ms: u64) -> Result<String, PasswordError> {
        let cookie = random_text()?;
        let session = Session {
            operator: operator.id,
            csrf: random_text()?,
            expires_ms: now_ms + SESSION_MS,
            seen_ms: now_ms,
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| {
            now_ms < session.expires_ms && now_ms < session.seen_ms + SESSION_IDLE_MS
        });
        if open.len() >= MAX_SESSIONS
            && let Some(oldest) = open
                .iter()
                .min_by_key(|(_, session)| session.seen_ms)
                .map(|(key, _)| *key)
        {
            open.remove(&oldest);
        }
        open.insert(hash(&cookie), session);
        Ok(cookie)
    }
}

/// The argon2id hash of a password, as a PHC string.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    if !(MIN_PASSWORD_CHARS..=MAX_PASSWORD_CHARS).contains(&password.chars().count()) {
        return Err(PasswordError::Length);
    }
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| PasswordError::Hash(error.to_string()))
}

/// A first password for a person: 100 random bits, easy to type.
pub fn random_password() -> Result<String, PasswordError> {
    let mut random = [0; 15];
    getrandom::fill(&mut random).map_err(|error| PasswordError::Hash(error.to_string()))?;
    let text = BASE32_NOPAD.encode(&random).to_ascii_lowercase();
    let groups: Vec<&str> = (0..4)
        .filter_map(|group| text.get(group * 5..group * 5 + 5))
        .collect();
    Ok(groups.join("-"))
}

/// The text of an API key.
#[must_use]
pub fn api_key_text(secret: &Secret32) -> String {
    format!("{API_KEY_PREFIX}{}", BASE64URL_NOPAD.encode(&secret.0))
}

/// The API key with this text, if it exists and has not expired.
#[must_use]
pub fn api_key<'a>(state: &'a State, text: &str, now_ms: u64) -> Option<&'a ApiKey> {
    let bytes = BASE64URL_NOPAD
        .decode(text.strip_prefix(API_KEY_PREFIX)?.as_bytes())
        .ok()?;
    let secret = Secret32(bytes.try_into().ok()?);
    let key = state.api_key_by_hash(&Fingerprint(secret.hash()))?;
    key.expires_ms
        .is_none_or(|expires_ms| now_ms < expires_ms)
        .then_some(key)
}

fn verify_password(hash: &str, password: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        return false;
    };
    Argon2::default()
        .verify_password(password.as_bytes(), &hash)
        .is_ok()
}

fn random_text() -> Result<String, PasswordError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| PasswordError::Hash(error.to_string()))?;
    Ok(BASE64URL_NOPAD.encode(&random))
}

fn hash(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie.as_bytes()).into()
}

const API_KEY_PREFIX: &str = "malha_key_";
pub(crate) const MIN_PASSWORD_CHARS: usize = 12;
pub(crate) const MAX_PASSWORD_CHARS: usize = 256;
/// A session ends after this, however busy.
const SESSION_MS: u64 = 12 * 60 * 60 * 1_000;
/// A session ends after this without a request.
const SESSION_IDLE_MS: u64 = 60 * 60 * 1_000;
const MAX_SESSIONS: usize = 10_000;
/// Ten attempts at once, then one each 6 s, per source and per name.
const LOGIN_BURST: u64 = 10;
const LOGIN_INTERVAL_MS: u64 = 6_000;
