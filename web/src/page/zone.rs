//! One zone: its record sets, written by operators or following from routes and nodes.

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::{Aftermath, Attempt, What, done};
use super::badge::{Tone, badge};
use super::fields::{Choice, Confirmed, Field, FormView, confirmed};
use super::{cut_note, empty, error, whole};
use crate::address;
use crate::form::{Fields, Submission, wrong};
use crate::model::{
    NewRecordSet, ROWS_MAX, RecordSetKey, RecordSetRow, RecordSource, Refused, Unreadable,
    ZoneDetail,
};
use crate::text::Text;
use crate::view::View;
use crate::visit::Visit;

/// `GET /dns/{zone}`.
pub(crate) async fn show(
    visit: Visit,
    Path(zone): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    page(&visit, &zone, Aftermath::of_query(query)).await
}

/// `POST /dns/{zone}/record`.
pub(crate) async fn put(Path(zone): Path<String>, submission: Submission) -> Response {
    let Submission { visit, fields } = submission;
    let outcome = match new_record_set(&zone, &fields) {
        Ok(new) => visit.console().put_record_set(&visit.viewer, new).await,
        Err(refused) => Err(refused),
    };
    match outcome {
        Ok(outcome) => done(&zone_address(&zone), What::RecordSetPut, &outcome),
        Err(refused) => {
            page(
                &visit,
                &zone,
                Aftermath::Form(Attempt {
                    form: FORM,
                    fields,
                    refused,
                }),
            )
            .await
        }
    }
}

/// `POST /dns/{zone}/delete`.
pub(crate) async fn delete(Path(zone): Path<String>, submission: Submission) -> Response {
    let Submission { visit, fields } = submission;
    match visit
        .console()
        .delete_record_set(&visit.viewer, key(&zone, &fields))
        .await
    {
        Ok(outcome) => done(&zone_address(&zone), What::RecordSetDeleted, &outcome),
        Err(refused) => page(&visit, &zone, Aftermath::Refused(refused)).await,
    }
}

fn new_record_set(zone: &str, fields: &Fields) -> Result<NewRecordSet, Refused> {
    fields.required("name")?;
    fields.required("record_type")?;
    let values: Vec<String> = fields
        .exact("values")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if values.is_empty() {
        return Err(wrong("values", Text::WrongMissing));
    }
    // The range fits, so nothing is cut.
    let ttl_s = u32::try_from(fields.number("ttl_s", 0..=TTL_MAX_S)?).unwrap_or(u32::MAX);
    Ok(NewRecordSet {
        key: key(zone, fields),
        ttl_s,
        values,
    })
}

fn key(zone: &str, fields: &Fields) -> RecordSetKey {
    RecordSetKey {
        zone: zone.to_owned(),
        name: fields.text("name").to_owned(),
        record_type: fields.text("record_type").to_owned(),
    }
}

async fn page(visit: &Visit, name: &str, aftermath: Aftermath) -> Response {
    match visit.console().zone(&visit.viewer, name).await {
        Ok(zone) => {
            let form = form(visit, &zone, &aftermath);
            whole(
                visit,
                &View::Zone(name.to_owned()),
                &zone.name,
                &aftermath,
                form,
            )
            .await
        }
        Err(unreadable) => error::unreadable(visit.language, unreadable),
    }
}

pub(crate) async fn draw(visit: &Visit, name: &str) -> Result<Markup, Unreadable> {
    let zone = visit.console().zone(&visit.viewer, name).await?;
    let sets = &zone.record_sets;
    Ok(html! {
        p.subtitle {
            (visit.say(Text::Serial)) " " strong { (zone.serial) } " · " a href="/dns" { (visit.say(Text::Zones)) }
        }
        @if sets.rows.is_empty() {
            (empty(visit.say(Text::NoRecordSets), visit.say(Text::NoRecordSetsWords), html! {}))
        } @else {
            table.cards {
                thead { tr {
                    th scope="col" { (visit.say(Text::RecordName)) }
                    th scope="col" { (visit.say(Text::RecordType)) }
                    th.number scope="col" { (visit.say(Text::TtlShort)) }
                    th scope="col" { (visit.say(Text::Values)) }
                    th scope="col" { (visit.say(Text::KeptBy)) }
                    th scope="col" { span.unseen { (visit.say(Text::Actions)) } }
                } }
                tbody { @for set in sets.rows.iter().take(ROWS_MAX) { (row(visit, name, set)) } }
            }
            (cut_note(visit, sets.rows.len().min(ROWS_MAX), sets.total))
        }
    })
}

fn row(visit: &Visit, zone: &str, set: &RecordSetRow) -> Markup {
    let id = address::encode(&format!(
        "{} {}",
        set.name.as_str(),
        set.record_type.as_str()
    ));
    let hidden = [
        ("name", set.name.as_str()),
        ("record_type", set.record_type.as_str()),
    ];
    html! {
        tr id=(format!("record-{id}")) {
            td.lead data-label=(visit.say(Text::RecordName)) { strong.mono { (set.name) } }
            td data-label=(visit.say(Text::RecordType)) { span.mono { (set.record_type) } }
            td.number data-label=(visit.say(Text::TtlShort)) { (set.ttl_s) " s" }
            td.wrap.stacked data-label=(visit.say(Text::Values)) {
                @for value in &set.values { span.mono { (value) } }
            }
            td data-label=(visit.say(Text::KeptBy)) {
                @match set.source {
                    RecordSource::Operator => (visit.say(Text::KeptByOperator)),
                    RecordSource::Automatic => span title=(visit.say(Text::AutomaticHint)) {
                        (badge(Tone::Quiet, visit.say(Text::AutomaticRecord)))
                    },
                }
            }
            td.row-actions {
                @if set.source == RecordSource::Operator && visit.may_change() {
                    (confirmed(visit, &Confirmed {
                        id: &format!("delete-{id}"),
                        ask: Text::Delete,
                        hint: Text::ConfirmHint,
                        yes: Text::DeleteYes,
                        action: &format!("{}/delete", zone_address(zone)),
                        hidden: &hidden,
                    }))
                }
            }
        }
    }
}

fn form(visit: &Visit, zone: &ZoneDetail, aftermath: &Aftermath) -> Markup {
    let form = FormView::new(visit, FORM, aftermath.attempt(FORM));
    let types: Vec<Choice> = RECORD_TYPES
        .into_iter()
        .map(|name| (name.to_owned(), html! { (name) }))
        .collect();
    let field = |name, label, hint, example| Field {
        name,
        label,
        hint,
        example,
    };
    let action = format!("{}/record", zone_address(zone.name.as_str()));
    form.panel(
        Text::NewRecordSet,
        &action,
        Text::SaveButton,
        zone.record_sets.rows.is_empty(),
        html! {
            p.hint { (visit.say(Text::PutHint)) }
            (form.text(field("name", Text::RecordName, Some(Text::RecordNameHint), "@")))
            (form.select(field("record_type", Text::RecordType, None, ""), &types, true))
            (form.number(field("ttl_s", Text::Ttl, None, "300"), 0, TTL_MAX_S))
            (form.lines(field("values", Text::Values, Some(Text::ValuesHint), "203.0.113.10")))
        },
    )
}

fn zone_address(zone: &str) -> String {
    format!("/dns/{}", address::encode(zone))
}

const FORM: &str = "record";

/// The types that the form offers; NS and SOA of the zone itself are kept by the server.
const RECORD_TYPES: [&str; 9] = ["A", "AAAA", "CNAME", "TXT", "MX", "SRV", "CAA", "PTR", "NS"];

/// One week; RFC 8767 §4 advises resolvers to cap there.
const TTL_MAX_S: u64 = 604_800;
