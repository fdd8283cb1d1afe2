//! Who calls: the API key of a request, the scope that a handler asks for as a type, and the name of the request for
//! repetition. A handler without a [`Caller`] argument is open to nobody but the document and the status line.

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, request::Parts};
use malha_core::policy::Author;
use malha_core::{Scope, State};
use malha_proto::{ApiKeyId, Fingerprint, OperatorId};
use sha2::{Digest, Sha256};

use crate::accounts;
use crate::api::Api;
use crate::api::problem::{Kind, Problem};
use crate::clock::now_ms;
use crate::coordinator::Actor;
use crate::refusals::{self, Refusal};

/// What a handler needs its caller to be allowed.
pub(super) trait Permission: Send + Sync {
    const SCOPE: Scope;
}

macro_rules! permissions {
    ($($name:ident = $scope:ident;)*) => {$(
        pub(super) struct $name;

        impl Permission for $name {
            const SCOPE: Scope = Scope::$scope;
        }
    )*};
}

permissions! {
    Read = Read;
    Enrol = Enrol;
    Write = Write;
    Dns = Dns;
    Admin = Admin;
}

/// A caller whose key has the scope of `P`.
pub(super) struct Caller<P> {
    pub(super) actor: Actor,
    key: ApiKeyId,
    /// What `Idempotency-Key` said.
    idempotency_key: Option<String>,
    permission: PhantomData<P>,
}

impl<P> Caller<P> {
    /// Whose key it shows, if it is anybody's.
    pub(super) fn operator(&self, state: &State) -> Option<OperatorId> {
        state.api_key(self.key)?.operator
    }

    /// Who it is where two persons must agree.
    pub(super) fn author(&self) -> Author {
        Author::Key(self.key)
    }

    /// Names this creation for repetition: the same key of another caller is another name.
    pub(super) fn request(&self) -> Option<Fingerprint> {
        let text = self.idempotency_key.as_ref()?;
        let digest = Sha256::new()
            .chain_update(self.key.to_string())
            .chain_update([0])
            .chain_update(text)
            .finalize();
        Some(Fingerprint(digest.into()))
    }
}

impl<P: Permission> FromRequestParts<Arc<Api>> for Caller<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let state = api.context.handle.state();
        let now_ms = now_ms();
        let key = bearer(&parts.headers).and_then(|text| accounts::api_key(&state, text, now_ms));
        let key = key.ok_or_else(unauthenticated)?;
        api.keys.take(&key.id, now_ms).map_err(|wait_ms| {
            Problem::of(Kind::TooMany, &Refusal::KeyTooFast).after_s(wait_ms.div_ceil(1_000))
        })?;
        if !key.scopes.iter().any(|scope| includes(*scope, P::SCOPE)) {
            let words = refusals::another_scope(scope_text(P::SCOPE));
            return Err(Problem::said(Kind::Forbidden, &words));
        }
        let actor = Actor {
            name: format!("key:{}", key.name),
            source: Some(source(parts)),
        };
        Ok(Self {
            actor,
            key: key.id,
            idempotency_key: idempotency_key(&parts.headers)?,
            permission: PhantomData,
        })
    }
}

/// Whether a key with scope `held` may do what asks for `needed`: every scope may read, `write` may also enrol and edit
/// DNS, `admin` may do all.
pub(super) fn includes(held: Scope, needed: Scope) -> bool {
    match held {
        Scope::Admin => true,
        Scope::Write => needed != Scope::Admin,
        Scope::Read | Scope::Enrol | Scope::Dns => needed == held || needed == Scope::Read,
    }
}

pub(super) fn scope_text(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Enrol => "enrol",
        Scope::Write => "write",
        Scope::Dns => "dns",
        Scope::Admin => "admin",
    }
}

/// Where a request comes from; the unspecified address when the listener did not say.
pub(super) fn source(parts: &Parts) -> IpAddr {
    let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| {
        address.ip()
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    let (scheme, text) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(text.trim())
}

/// One answer for a missing, an unknown, a removed and an expired key.
fn unauthenticated() -> Problem {
    Problem::said(Kind::Unauthenticated, &refusals::no_key())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|text| {
        (1..=MAX_IDEMPOTENCY_KEY_CHARS).contains(&text.len())
            && text.bytes().all(|b| (0x21..=0x7e).contains(&b))
    });
    let text = text.ok_or_else(|| {
        let most = MAX_IDEMPOTENCY_KEY_CHARS;
        Problem::of(Kind::Syntax, &Refusal::IdempotencyKey { most }).at(IDEMPOTENCY_KEY)
    })?;
    Ok(Some(text.to_owned()))
}

pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";
const MAX_IDEMPOTENCY_KEY_CHARS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_include_what_the_documentation_says() {
        use Scope::{Admin, Dns, Enrol, Read, Write};
        let all = [Read, Enrol, Write, Dns, Admin];
        let included = |held| {
            all.into_iter()
                .filter(|needed| includes(held, *needed))
                .collect::<Vec<_>>()
        };
        assert_eq!(included(Read), [Read]);
        assert_eq!(included(Enrol), [Read, Enrol]);
        assert_eq!(included(Dns), [Read, Dns]);
        assert_eq!(included(Write), [Read, Enrol, Write, Dns]);
        assert_eq!(included(Admin), all);
    }

    #[test]
    fn two_authorizations_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Bearer a".parse().unwrap());
        assert_eq!(bearer(&headers), Some("a"));
        headers.append(AUTHORIZATION, "Bearer b".parse().unwrap());
        assert_eq!(bearer(&headers), None);
    }

    #[test]
    fn an_idempotency_key_is_short_and_visible() {
        for (text, right) in [
            ("a-1", true),
            ("", false),
            ("a b", false),
            (&*"x".repeat(129), false),
            ("\t", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, text.parse().unwrap());
            assert_eq!(idempotency_key(&headers).is_ok(), right, "{text:?}");
        }
    }
}
