//! The zones that are served here.

use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::Aftermath;
use super::{command, cut_note, empty, terminal, whole};
use crate::address;
use crate::model::{ROWS_MAX, Unreadable};
use crate::text::Text;
use crate::view::View;
use crate::visit::Visit;

/// `GET /dns`.
pub(crate) async fn show(visit: Visit) -> Response {
    whole(
        &visit,
        &View::Zones,
        visit.say(Text::NavDns),
        &Aftermath::Nothing,
        html! {},
    )
    .await
}

pub(crate) async fn draw(visit: &Visit) -> Result<Markup, Unreadable> {
    let zones = visit.console().zones(&visit.viewer).await?;
    Ok(html! {
        @if zones.rows.is_empty() {
            @let add = command(visit, "zone-command", terminal::ADD_ZONE);
            (empty(visit.say(Text::NoZones), visit.say(Text::NoZonesWords), add))
        } @else {
            table.cards {
                thead { tr {
                    th scope="col" { (visit.say(Text::Zone)) }
                    th.number scope="col" { (visit.say(Text::RecordSets)) }
                    th.number scope="col" { (visit.say(Text::Serial)) }
                } }
                tbody { @for zone in zones.rows.iter().take(ROWS_MAX) { tr {
                    td.lead data-label=(visit.say(Text::Zone)) {
                        a href=(format!("/dns/{}", address::encode(zone.name.as_str()))) {
                            strong { (zone.name) }
                        }
                    }
                    td.number data-label=(visit.say(Text::RecordSets)) { (zone.record_sets) }
                    td.number data-label=(visit.say(Text::Serial)) { (zone.serial) }
                } } }
            }
            (cut_note(visit, zones.rows.len().min(ROWS_MAX), zones.total))
        }
    })
}
