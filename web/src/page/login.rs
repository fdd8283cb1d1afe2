//! The login page. It keeps the user's name after a refusal and nothing else.

use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use maud::html;

use super::badge::Tone;
use super::{moment, shell};
use crate::address;
use crate::console::LoginRefused;
use crate::language::Language;
use crate::text::Text;

/// The page, blank or after a refusal; `next` is where a successful login leads.
pub(crate) fn page(
    language: Language,
    user: &str,
    next: &str,
    refused: Option<LoginRefused>,
) -> Response {
    let say = |text| language.say(text);
    let problem = refused.map(|refused| match refused.retry_after_s {
        0 => say(Text::SignInRefused).to_owned(),
        wait_s => language.fill(Text::SignInWait, &[&moment::duration(wait_s)]),
    });
    let content = html! {
        h1 { (say(Text::SignInTitle)) }
        form.stack.panel method="post" action="/login" {
            @if let Some(problem) = &problem {
                div.notice.bad role="alert" { (Tone::Bad.icon()) p #login-problem { (problem) } }
            }
            input type="hidden" name="next" value=(next);
            div.field {
                label for="login-user" { (say(Text::User)) }
                input #login-user type="text" name="user" value=(user) required autocomplete="username"
                    autocapitalize="none" spellcheck="false" autofocus[user.is_empty()];
            }
            div.field {
                label for="login-password" { (say(Text::Password)) }
                input #login-password type="password" name="password" required autocomplete="current-password"
                    aria-describedby=[problem.as_ref().map(|_| "login-problem")] autofocus[!user.is_empty()];
            }
            div.field {
                label for="login-totp" { (say(Text::TotpCode)) }
                input #login-totp type="text" name="totp" inputmode="numeric" autocomplete="one-time-code"
                    maxlength="16" aria-describedby="login-totp-hint";
                p #login-totp-hint.hint { (say(Text::TotpHint)) }
            }
            div { button.button.primary.wide type="submit" { (say(Text::SignInButton)) } }
        }
        p.muted { (say(Text::FirstPasswordHint)) }
    };
    let back = if next == "/" {
        "/login".to_owned()
    } else {
        format!("/login?next={}", address::encode(next))
    };
    let status = if refused.is_some() {
        StatusCode::UNAUTHORIZED
    } else {
        StatusCode::OK
    };
    (
        status,
        Html(shell::stranger(language, say(Text::SignInTitle), &back, content).into_string()),
    )
        .into_response()
}
