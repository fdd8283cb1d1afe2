//! The tail of the audit log.

use axum::response::Response;
use maud::{Markup, html};

use super::aftermath::Aftermath;
use super::{command, cut_note, empty, moment, terminal, whole};
use crate::model::{Action, ActivityRow, ROWS_MAX, Unreadable};
use crate::text::Text;
use crate::view::View;
use crate::visit::Visit;

/// `GET /activity`.
pub(crate) async fn show(visit: Visit) -> Response {
    whole(
        &visit,
        &View::Activity,
        visit.say(Text::NavActivity),
        &Aftermath::Nothing,
        html! {},
    )
    .await
}

pub(crate) async fn draw(visit: &Visit) -> Result<Markup, Unreadable> {
    let activity = visit.console().activity(&visit.viewer).await?;
    Ok(html! {
        (table(visit, &activity.rows, ROWS_MAX))
        (cut_note(visit, activity.rows.len().min(ROWS_MAX), activity.total))
    })
}

/// The newest `limit` lines.
pub(super) fn table(visit: &Visit, rows: &[ActivityRow], limit: usize) -> Markup {
    html! {
        @if rows.is_empty() {
            @let verify = command(visit, "verify-command", terminal::VERIFY_AUDIT);
            (empty(visit.say(Text::NoActivity), visit.say(Text::NoActivityWords), verify))
        } @else {
            table.cards {
                thead { tr {
                    th scope="col" { (visit.say(Text::When)) }
                    th scope="col" { (visit.say(Text::Who)) }
                    th scope="col" { (visit.say(Text::What)) }
                    th scope="col" { (visit.say(Text::Subject)) }
                    th.number scope="col" { (visit.say(Text::Revision)) }
                } }
                tbody { @for row in rows.iter().take(limit) { tr id=(format!("activity-{}", row.sequence)) {
                    td data-label=(visit.say(Text::When)) { (moment::relative(visit, row.at)) }
                    td.wrap data-label=(visit.say(Text::Who)) { (row.actor) }
                    td data-label=(visit.say(Text::What)) { (words(visit, &row.action)) }
                    td.wrap data-label=(visit.say(Text::Subject)) {
                        @if row.subject.is_empty() { "–" } @else { (row.subject) }
                    }
                    td.number data-label=(visit.say(Text::Revision)) {
                        @match row.revision { Some(revision) => (revision), None => "–" }
                    }
                } } }
            }
        }
    }
}

fn words(visit: &Visit, action: &Action) -> Markup {
    let text = match action {
        Action::SignedIn => Text::DidSignIn,
        Action::SignInFailed => Text::DidFailSignIn,
        Action::SignedOut => Text::DidSignOut,
        Action::OrganizationCreated => Text::DidCreateOrganization,
        Action::SiteCreated => Text::DidCreateSite,
        Action::TokenCreated => Text::DidCreateToken,
        Action::TokenRevoked => Text::DidRevokeToken,
        Action::NodeEnrolled => Text::DidEnrol,
        Action::NodeReplaced => Text::DidReplaceNode,
        Action::NodeRemoved => Text::DidRemoveNode,
        Action::NodeQuarantined => Text::DidQuarantine,
        Action::QuarantineResolved => Text::DidResolveQuarantine,
        Action::MachineTurnedAway => Text::DidTurnAway,
        Action::ServiceAdded => Text::DidAddService,
        Action::ServiceRemoved => Text::DidRemoveService,
        Action::RouteAdded => Text::DidAddRoute,
        Action::RouteRemoved => Text::DidRemoveRoute,
        Action::RecordSetPut => Text::DidPutRecordSet,
        Action::RecordSetDeleted => Text::DidDeleteRecordSet,
        Action::ControllersSet => Text::DidSetControllers,
        Action::EdgeAddressesSet => Text::DidSetEdgeAddresses,
        Action::OrganizationRemoved => Text::DidRemoveOrganization,
        Action::SiteRemoved => Text::DidRemoveSite,
        Action::HubAdopted => Text::DidAdoptHub,
        Action::NodeRenamed => Text::DidRenameNode,
        Action::EndpointsSet => Text::DidSetEndpoints,
        Action::NodeRenewed => Text::DidRenew,
        Action::GrantAdded => Text::DidAddGrant,
        Action::GrantRemoved => Text::DidRemoveGrant,
        Action::PolicyApplied => Text::DidApplyPolicy,
        Action::PolicyConfirmed => Text::DidConfirmPolicy,
        Action::PolicyReturned => Text::DidReturnPolicy,
        Action::PolicyProposed => Text::DidProposePolicy,
        Action::PolicyApproved => Text::DidApprovePolicy,
        Action::PolicyRejected => Text::DidRejectPolicy,
        Action::PolicyExpired => Text::DidExpirePolicy,
        Action::PolicyAlone => Text::DidApplyPolicyAlone,
        Action::SecondApproverSet => Text::DidSetSecondApprover,
        Action::TagsSet => Text::DidSetTags,
        Action::ZoneAdded => Text::DidAddZone,
        Action::ZoneRemoved => Text::DidRemoveZone,
        Action::OperatorAdded => Text::DidAddOperator,
        Action::PasswordSet => Text::DidSetPassword,
        Action::OperatorRemoved => Text::DidRemoveOperator,
        Action::ApiKeyAdded => Text::DidAddApiKey,
        Action::ApiKeyRemoved => Text::DidRemoveApiKey,
        Action::BalancerAdded => Text::DidAddBalancer,
        Action::BalancerSet => Text::DidSetBalancer,
        Action::BalancerRemoved => Text::DidRemoveBalancer,
        Action::ServerModeSet => Text::DidSetServerMode,
        Action::CheckAsked => Text::DidAskForCheck,
        Action::CheckKept => Text::DidKeepCheck,
        Action::DeclarationPut => Text::DidPutDeclaration,
        Action::DeclarationRemoved => Text::DidRemoveDeclaration,
        Action::ProfileSet => Text::DidSetProfile,
        Action::ProfileReset => Text::DidResetProfile,
        Action::SiteReleaseSet => Text::DidSetSiteRelease,
        Action::KeysRotated => Text::DidRotateKeys,
        Action::LinesUncommitted => Text::DidMarkUncommitted,
        Action::Other(name) => return html! { code { (name) } },
    };
    html! { (visit.say(text)) }
}
