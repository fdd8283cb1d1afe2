//! What the write before this page left to say: it was done, it was refused, or here is the secret
//! it made.

use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::badge::Tone;
use super::{copy_button, moment, terminal};
use crate::form::Fields;
use crate::language::Bilingual;
use crate::model::{IssuedToken, Outcome, RefusalKind, Refused};
use crate::text::Text;
use crate::visit::Visit;

/// The state of a page between two writes.
pub(super) enum Aftermath {
    /// The page was just opened.
    Nothing,
    Done(Done),
    /// A form was refused; it is shown again with its input.
    Form(Attempt),
    /// A write without input was refused.
    Refused(Refused),
    /// A token was made; this is the only time its secret is shown.
    Issued(IssuedToken),
}

/// A form as it was sent, and why it was not accepted.
pub(super) struct Attempt {
    /// Which form of the page.
    pub(super) form: &'static str,
    pub(super) fields: Fields,
    pub(super) refused: Refused,
}

impl Aftermath {
    /// What the address of a page says was done; see [`done`].
    pub(super) fn of_query(query: Vec<(String, String)>) -> Aftermath {
        Done::of_query(&Fields::from(query)).map_or(Aftermath::Nothing, Aftermath::Done)
    }

    /// The refused attempt at this form, if it was this one.
    pub(super) fn attempt(&self, form: &str) -> Option<&Attempt> {
        match self {
            Aftermath::Form(attempt) if attempt.form == form => Some(attempt),
            _ => None,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Aftermath::Nothing | Aftermath::Done(_) => StatusCode::OK,
            Aftermath::Issued(_) => StatusCode::CREATED,
            Aftermath::Form(Attempt { refused, .. }) | Aftermath::Refused(refused) => {
                match refused.kind {
                    RefusalKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
                    RefusalKind::Forbidden => StatusCode::FORBIDDEN,
                    RefusalKind::NotFound => StatusCode::NOT_FOUND,
                    RefusalKind::Conflict => StatusCode::CONFLICT,
                    RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                }
            }
        }
    }

    pub(super) fn draw(&self, visit: &Visit) -> Markup {
        match self {
            Aftermath::Nothing => html! {},
            Aftermath::Done(done) => html! {
                div.notice.good role="status" {
                    (Tone::Good.icon())
                    p { strong { (visit.say(done.what.text())) } " "
                        (visit.language.fill(Text::DoneRevision, &[&done.revision, &done.applied, &done.of])) }
                }
            },
            Aftermath::Form(_) => html! {
                div.notice.bad role="alert" { (Tone::Bad.icon()) p { (visit.say(Text::CheckForm)) } }
            },
            Aftermath::Refused(refused) => html! {
                div.notice.bad role="alert" {
                    (Tone::Bad.icon())
                    p { strong { (visit.say(Text::NotSaved)) } " " (refusal(visit, &refused.text)) }
                }
            },
            Aftermath::Issued(issued) => secret_panel(visit, issued),
        }
    }
}

/// A refusal's words; they may quote input, so they are shown as foreign text.
pub(super) fn refusal<'a>(visit: &Visit, text: &'a Bilingual) -> crate::untrusted::Visible<'a> {
    crate::untrusted::Visible(text.in_language(visit.language))
}

/// After a write: back to a page, which says that it was done. Only numbers and a known word travel
/// in the address.
pub(super) fn done(path: &str, what: What, outcome: &Outcome) -> Response {
    let (applied, of) = (outcome.convergence.applied, outcome.convergence.of);
    let query = format!(
        "done={}&revision={}&applied={applied}&of={of}",
        what.as_str(),
        outcome.revision
    );
    Redirect::to(&format!("{path}?{query}")).into_response()
}

/// A write that was done, as told in the address.
pub(super) struct Done {
    what: What,
    revision: u64,
    applied: u32,
    of: u32,
}

impl Done {
    fn of_query(query: &Fields) -> Option<Done> {
        Some(Done {
            what: What::parse(query.exact("done"))?,
            revision: query.exact("revision").parse().ok()?,
            applied: query.exact("applied").parse().ok()?,
            of: query.exact("of").parse().ok()?,
        })
    }
}

/// What was done, as a word in an address and as a sentence.
macro_rules! what {
    ($($key:ident $word:literal $text:ident;)*) => {
        #[derive(Clone, Copy, Debug)]
        pub(super) enum What {
            $($key,)*
        }

        impl What {
            fn as_str(self) -> &'static str {
                match self { $(What::$key => $word,)* }
            }

            fn parse(word: &str) -> Option<What> {
                match word { $($word => Some(What::$key),)* _ => None }
            }

            fn text(self) -> Text {
                match self { $(What::$key => Text::$text,)* }
            }
        }
    };
}

what! {
    OrganizationCreated "organization-created" DoneOrganizationCreated;
    SiteCreated "site-created" DoneSiteCreated;
    TokenRevoked "token-revoked" DoneTokenRevoked;
    NodeRemoved "node-removed" DoneNodeRemoved;
    QuarantineResolved "quarantine-resolved" DoneQuarantineResolved;
    ServiceAdded "service-added" DoneServiceAdded;
    ServiceRemoved "service-removed" DoneServiceRemoved;
    RouteAdded "route-added" DoneRouteAdded;
    RouteRemoved "route-removed" DoneRouteRemoved;
    RecordSetPut "record-set-put" DoneRecordSetPut;
    PolicyApplied "policy-applied" DonePolicyApplied;
    PolicyProposed "policy-proposed" DonePolicyProposed;
    PolicyApproved "policy-approved" DonePolicyApproved;
    PolicyRejected "policy-rejected" DonePolicyRejected;
    PolicyConfirmed "policy-confirmed" DonePolicyConfirmed;
    PolicyReturned "policy-returned" DonePolicyReturned;
    RecordSetDeleted "record-set-deleted" DoneRecordSetDeleted;
    ServerModeSet "server-mode-set" DoneServerModeSet;
    ApproverOn "approver-on" DoneApproverOn;
    ApproverProposed "approver-proposed" DoneApproverProposed;
}

fn secret_panel(visit: &Visit, issued: &IssuedToken) -> Markup {
    html! {
        section.panel.secret aria-labelledby="issued-title" {
            h2 #issued-title { (Tone::Good.icon()) (visit.say(Text::TokenIssued)) }
            p { strong { (visit.say(Text::TokenOnce)) } }
            p { (visit.say(Text::TokenRun)) }
            div.command.secret-value {
                code #token-command { (terminal::UP) " " span #token-secret { (issued.secret.reveal()) } }
                div.command-buttons {
                    (copy_button(visit, "token-command", Text::CopyCommand))
                    (copy_button(visit, "token-secret", Text::CopyToken))
                }
            }
            p.muted { (visit.say(Text::Expires)) " " (moment::relative(visit, issued.expires_at)) }
        }
    }
}
