//! The frame around every page: head, navigation, the live region, what the last write left to say,
//! and the forms below. The pages themselves are the modules beneath; each draws its live part and
//! its forms.

pub(crate) mod activity;
mod aftermath;
mod badge;
pub(crate) mod balancers;
pub(crate) mod compliance;
pub(crate) mod error;
mod fields;
mod hops;
pub(crate) mod login;
mod moment;
pub(crate) mod node;
pub(crate) mod nodes;
pub(crate) mod organization;
pub(crate) mod overview;
pub(crate) mod policy;
pub(crate) mod profiles;
pub(crate) mod services;
mod shell;
pub(crate) mod sites;
mod terminal;
pub(crate) mod tokens;
pub(crate) mod zone;
pub(crate) mod zones;

use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, Render, html};

use crate::console::Role;
use crate::model::Unreadable;
use crate::page::aftermath::Aftermath;
use crate::text::Text;
use crate::view::{View, pulse};
use crate::visit::Visit;

/// A whole page: its title, its live part, and what stands above (`aftermath`) and below (`forms`)
/// it.
async fn whole(
    visit: &Visit,
    view: &View,
    title: impl Render,
    aftermath: &Aftermath,
    forms: Markup,
) -> Response {
    let (live, pulse) = match (view.draw(visit).await, pulse(visit).await) {
        (Ok(live), Ok(pulse)) => (live, pulse),
        (Err(unreadable), _) | (_, Err(unreadable)) => {
            return error::unreadable(visit.language, unreadable);
        }
    };
    let title = title.render();
    let content = html! {
        div.page-head {
            h1 { (title) }
            div.pulse {
                span #live-badge.badge.quiet role="status"
                    data-on=(visit.say(Text::LiveOn)) data-off=(visit.say(Text::LiveOff))
                    data-waiting=(visit.say(Text::LiveWaiting)) {
                        noscript { (visit.say(Text::LiveNeedsScript)) }
                    }
                span #pulse.pulse-figures { (pulse) }
            }
        }
        (aftermath.draw(visit))
        div #live { (live) }
        div #stream hx-sse:connect=(view.live_address()) hx-swap="none" hx-trigger="load, every 20s" {}
        @if view.is_open_to(visit.viewer.role) {
            (forms)
        } @else {
            p.note { (visit.say(read_only(visit.viewer.role))) }
        }
    };
    (
        aftermath.status(),
        Html(shell::signed_in(visit, view.section(), &title, content).into_string()),
    )
        .into_response()
}

/// A whole page whose forms offer what the console has to choose from.
async fn with_forms(
    visit: &Visit,
    view: &View,
    title: Text,
    aftermath: &Aftermath,
    forms: Result<Markup, Unreadable>,
) -> Response {
    match forms {
        Ok(forms) => whole(visit, view, visit.say(title), aftermath, forms).await,
        Err(unreadable) => error::unreadable(visit.language, unreadable),
    }
}

/// Why there is nothing to change on a page.
fn read_only(role: Role) -> Text {
    match role {
        Role::SiteTechnician => Text::ReadOnlyTechnician,
        Role::Auditor | Role::Operator | Role::Owner => Text::ReadOnlyNote,
    }
}

/// "Showing 500 of 12,000.", where a listing was cut.
fn cut_note(visit: &Visit, shown: usize, total: usize) -> Markup {
    html! {
        @if shown < total {
            p.note { (visit.language.fill(Text::ShowingSome, &[&shown, &total])) }
        }
    }
}

/// What to do when there is nothing to show.
fn empty(title: &str, text: &str, next_step: Markup) -> Markup {
    html! {
        div.empty {
            p.empty-title { (title) }
            p { (text) }
            (next_step)
        }
    }
}

/// A command to run, with its copy button.
fn command(visit: &Visit, id: &str, line: impl Render) -> Markup {
    html! {
        div.command {
            code id=(id) { (line) }
            (copy_button(visit, id, Text::Copy))
        }
    }
}

/// A button that copies the text of another element; it shows itself only where scripts run.
fn copy_button(visit: &Visit, of: &str, words: Text) -> Markup {
    html! {
        button.button.small type="button" hidden data-copy=(of) data-copied=(visit.say(Text::Copied))
            data-failed=(visit.say(Text::CopyFailed)) { (visit.say(words)) }
    }
}
