//! Signing in and out. Every attempt that was judged has its line in the audit log; an attempt that was put off has none,
//! so that guessing can't fill it.

use std::sync::Arc;
use std::time::Duration;

use malha_core::AuditName;
use malha_store::audit::AuditOutcome;
use malha_web::model::{ChangeNotice, Topic};
use malha_web::{LoginAttempt, LoginRefused, SessionToken, Viewer};
use tokio::time::timeout;

use crate::accounts::LoginError;
use crate::audit;
use crate::clock::now_ms;
use crate::console::{ControllerConsole, permission};
use crate::coordinator::Actor;

/// Checks the password off the event loop and opens a session.
pub(super) async fn login(
    console: &ControllerConsole,
    attempt: LoginAttempt,
) -> Result<SessionToken, LoginRefused> {
    let busy = LoginRefused {
        retry_after_s: BUSY_RETRY_S,
    };
    let Ok(Ok(_permit)) = timeout(CHECK_PATIENCE, console.password_checks.acquire()).await else {
        return Err(busy);
    };
    let (state, sessions) = (console.state(), Arc::clone(&console.sessions));
    let LoginAttempt {
        user,
        password,
        source,
        ..
    } = attempt;
    // A name that is nobody's may be a password that was typed in the wrong field.
    let known = state
        .operator_by_name(&user)
        .map_or(UNKNOWN_USER, |operator| operator.name.as_str());
    let actor = Actor {
        name: actor_name(known),
        source: Some(source),
    };
    let checked = {
        let state = Arc::clone(&state);
        tokio::task::spawn_blocking(move || {
            sessions.login(&state, &user, password.reveal(), source, now_ms())
        })
        .await
    };
    match checked {
        Ok(Ok(cookie)) => {
            note(
                console,
                &actor,
                AuditName::OperatorLogin,
                AuditOutcome::Accepted,
            )
            .await;
            Ok(SessionToken::from(cookie))
        }
        Ok(Err(LoginError::Wrong)) => {
            note(
                console,
                &actor,
                AuditName::OperatorLogin,
                AuditOutcome::Refused,
            )
            .await;
            Err(LoginRefused { retry_after_s: 0 })
        }
        Ok(Err(LoginError::TooMany(retry_after_s))) => Err(LoginRefused {
            retry_after_s: retry_after_s.max(1),
        }),
        Err(ended) => {
            tracing::error!(%ended, "a password check did not end");
            Err(busy)
        }
    }
}

/// The operator of an open session.
pub(super) fn viewer(console: &ControllerConsole, token: &SessionToken) -> Option<Viewer> {
    let state = console.state();
    let (session, operator) = console.sessions.find(&state, token.reveal(), now_ms())?;
    Some(Viewer {
        user: operator.name.as_str().into(),
        role: permission::role(operator.role),
        csrf: session.csrf.into(),
    })
}

/// Ends a session; an unknown one is none.
pub(super) async fn logout(console: &ControllerConsole, token: &SessionToken) {
    let viewer = viewer(console, token);
    console.sessions.logout(token.reveal());
    if let Some(viewer) = viewer {
        note(
            console,
            &actor(&viewer),
            AuditName::OperatorLogout,
            AuditOutcome::Accepted,
        )
        .await;
    }
}

/// The viewer as the audit log names it.
pub(super) fn actor(viewer: &Viewer) -> Actor {
    Actor {
        name: actor_name(viewer.user.as_str()),
        source: None,
    }
}

fn actor_name(user: &str) -> String {
    format!("{OPERATOR_PREFIX}{user}")
}

/// A controller that can't write its log still lets its operators in: they are who can mend it.
async fn note(
    console: &ControllerConsole,
    actor: &Actor,
    action: AuditName,
    outcome: AuditOutcome,
) {
    let line = audit::line(actor, action, TARGET.to_owned(), outcome, now_ms());
    if let Err(error) = console.handle.note(line).await {
        tracing::error!(%error, action = action.as_str(), "the audit log has no line of it");
        return;
    }
    // With no page open nobody has to hear of it.
    let _ = console
        .notices
        .send(ChangeNotice::Changed(Topic::Activity.into()));
}

/// What an operator's name in the audit log starts with.
pub(super) const OPERATOR_PREFIX: &str = "operator:";
/// No operator can have this name.
const UNKNOWN_USER: &str = "?";
const TARGET: &str = "dashboard";

pub(super) const PASSWORD_CHECKS_AT_ONCE: usize = 4;
/// How long an attempt waits for the ones before it.
const CHECK_PATIENCE: Duration = Duration::from_secs(2);
const BUSY_RETRY_S: u64 = 1;
