//! Enrolment tokens: made, shown once, revoked.

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::{Aftermath, Attempt, What, done};
use super::fields::{Choice, Confirmed, Field, FormView, confirmed};
use super::{badge, command, cut_note, empty, moment, nodes, terminal, with_forms};
use crate::address;
use crate::form::{Submission, wrong};
use crate::model::{
    IssuedToken, Listing, NewToken, Profile, ROWS_MAX, Refused, SiteRow, TokenId, TokenRow,
    TokenState, Unreadable,
};
use crate::text::Text;
use crate::view::View;
use crate::visit::Visit;

/// `GET /tokens`.
pub(crate) async fn show(visit: Visit, Query(query): Query<Vec<(String, String)>>) -> Response {
    page(&visit, Aftermath::of_query(query)).await
}

/// `POST /tokens`. The answer itself holds the secret: a redirect would have to keep it somewhere.
pub(crate) async fn create(submission: Submission) -> Response {
    let issued = issue(&submission).await;
    let Submission { visit, fields } = submission;
    let aftermath = match issued {
        Ok(issued) => Aftermath::Issued(issued),
        Err(refused) => Aftermath::Form(Attempt {
            form: FORM,
            fields,
            refused,
        }),
    };
    page(&visit, aftermath).await
}

/// `POST /tokens/{id}/revoke`.
pub(crate) async fn revoke(Path(id): Path<String>, submission: Submission) -> Response {
    let visit = &submission.visit;
    match visit
        .console()
        .revoke_token(&visit.viewer, &TokenId::from(id))
        .await
    {
        Ok(outcome) => done("/tokens", What::TokenRevoked, &outcome),
        Err(refused) => page(visit, Aftermath::Refused(refused)).await,
    }
}

async fn issue(submission: &Submission) -> Result<IssuedToken, Refused> {
    let fields = &submission.fields;
    let new = NewToken {
        site: fields.required("site")?,
        profile: Profile::parse(fields.text("profile"))
            .ok_or_else(|| wrong("profile", Text::WrongProfile))?,
        lifetime_s: fields.number("lifetime_s", LIFETIME_MIN_S..=LIFETIME_MAX_S)?,
        // The range fits, so nothing is cut.
        uses: u32::try_from(fields.number("uses", 1..=USES_MAX)?).unwrap_or(u32::MAX),
    };
    submission
        .visit
        .console()
        .create_token(&submission.visit.viewer, new)
        .await
}

async fn page(visit: &Visit, aftermath: Aftermath) -> Response {
    let (view, title) = (View::Tokens, Text::NavTokens);
    let forms = form(visit, &aftermath).await;
    with_forms(visit, &view, title, &aftermath, forms).await
}

pub(crate) async fn draw(visit: &Visit) -> Result<Markup, Unreadable> {
    let tokens = visit.console().tokens(&visit.viewer).await?;
    Ok(html! {
        @if tokens.rows.is_empty() {
            (empty(visit.say(Text::NoTokens), visit.say(Text::NoTokensWords), html! {
                p.muted { (visit.say(Text::OrFromTerminal)) }
                (command(visit, "token-add-command", terminal::ADD_TOKEN))
            }))
        } @else { (table(visit, &tokens)) }
    })
}

fn table(visit: &Visit, tokens: &Listing<TokenRow>) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th scope="col" { (visit.say(Text::Site)) }
                th scope="col" { (visit.say(Text::State)) }
                th scope="col" { (visit.say(Text::Profile)) }
                th scope="col" { (visit.say(Text::UsesLeft)) }
                th scope="col" { (visit.say(Text::Expires)) }
                th scope="col" { (visit.say(Text::Created)) }
                th scope="col" { span.unseen { (visit.say(Text::Actions)) } }
            } }
            tbody { @for token in tokens.rows.iter().take(ROWS_MAX) { (row(visit, token)) } }
        }
        (cut_note(visit, tokens.rows.len().min(ROWS_MAX), tokens.total))
    }
}

fn row(visit: &Visit, token: &TokenRow) -> Markup {
    let id = address::encode(token.id.as_str());
    html! {
        tr id=(format!("token-{id}")) {
            td.lead data-label=(visit.say(Text::Site)) {
                strong { (token.organization) "/" (token.site) }
                @if let Some(replaces) = &token.replaces {
                    @let (before, after) = visit.say(Text::Replaces).split_once("{}").unwrap_or_default();
                    span.muted { (before) (replaces) (after) }
                }
                span.muted.mono { (crate::untrusted::Visible(token.id.as_str())) }
            }
            td data-label=(visit.say(Text::State)) { (badge::token_state(visit, token.state)) }
            td data-label=(visit.say(Text::Profile)) { (visit.say(nodes::profile_text(token.profile))) }
            td data-label=(visit.say(Text::UsesLeft)) {
                (visit.language.fill(Text::UsesOf, &[&token.uses_left, &token.uses_total]))
            }
            td data-label=(visit.say(Text::Expires)) { (moment::relative(visit, token.expires_at)) }
            td data-label=(visit.say(Text::Created)) { (moment::relative(visit, token.created_at)) }
            td.row-actions {
                @if token.state == TokenState::Active && visit.may_enrol() {
                    (confirmed(visit, &Confirmed {
                        id: &format!("revoke-{id}"),
                        ask: Text::Revoke,
                        hint: Text::ConfirmHint,
                        yes: Text::RevokeButton,
                        action: &format!("/tokens/{id}/revoke"),
                        hidden: &[],
                    }))
                }
            }
        }
    }
}

async fn form(visit: &Visit, aftermath: &Aftermath) -> Result<Markup, Unreadable> {
    let sites = visit.console().sites(&visit.viewer).await?;
    let tokens = visit.console().tokens(&visit.viewer).await?;
    let form = FormView::new(visit, FORM, aftermath.attempt(FORM));
    if sites.total == 0 {
        return Ok(html! {
            p.note {
                (visit.say(Text::NeedSiteFirst)) " "
                a href="/sites" { (visit.say(Text::NavSites)) }
            }
        });
    }
    let profiles: Vec<Choice> = Profile::ALL
        .into_iter()
        .map(|profile| {
            (
                profile.as_str().to_owned(),
                html! { (visit.say(nodes::profile_text(profile))) },
            )
        })
        .collect();
    let lifetimes: Vec<Choice> = LIFETIMES
        .into_iter()
        .map(|(seconds, text)| (seconds.to_string(), html! { (visit.say(text)) }))
        .collect();
    let field = |name, label, hint| Field {
        name,
        label,
        hint,
        example: "1",
    };
    Ok(form.panel(
        Text::NewToken,
        "/tokens",
        Text::CreateButton,
        tokens.rows.is_empty(),
        html! {
            (site_field(&form, &sites))
            (form.select(field("profile", Text::Profile, None), &profiles, true))
            (form.select(field("lifetime_s", Text::Lifetime, None), &lifetimes, true))
            (form.number(field("uses", Text::Uses, Some(Text::UsesHint)), 1, USES_MAX))
        },
    ))
}

/// A list to choose from while it is short, a text to type when it is not.
fn site_field(form: &FormView<'_>, sites: &Listing<SiteRow>) -> Markup {
    let field = Field {
        name: "site",
        label: Text::SiteOfToken,
        hint: None,
        example: "prefeitura/garagem-01",
    };
    if sites.total > CHOICES_MAX {
        return form.text(field);
    }
    let choices: Vec<Choice> = sites
        .rows
        .iter()
        .map(|site| {
            let value = format!("{}/{}", site.organization.as_str(), site.name.as_str());
            (value, html! { (site.organization) "/" (site.name) })
        })
        .collect();
    form.select(field, &choices, false)
}

const FORM: &str = "token";

/// Sites that a list still serves better than typing.
const CHOICES_MAX: usize = 200;

const LIFETIMES: [(u64, Text); 4] = [
    (DAY_S, Text::LifetimeDay),
    (3_600, Text::LifetimeHour),
    (7 * DAY_S, Text::LifetimeWeek),
    (LIFETIME_MAX_S, Text::LifetimeMonth),
];
const DAY_S: u64 = 86_400;
const LIFETIME_MIN_S: u64 = 60;
const LIFETIME_MAX_S: u64 = 30 * DAY_S;
const USES_MAX: u64 = 10_000;
