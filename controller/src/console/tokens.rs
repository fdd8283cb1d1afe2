//! Enrolment tokens: listed without their secrets, made with the one look at it, revoked.

use std::collections::BTreeMap;

use malha_core::{Answer, Command, Noun, State, Token};
use malha_proto::EnrolToken;
use malha_web::Viewer;
use malha_web::model::{
    IssuedToken, Listing, NewToken, NodeId, Outcome, Profile, ROWS_MAX, Refused, TokenId, TokenRow,
    TokenState,
};

use crate::clock::now_ms;
use crate::console::moment::at;
use crate::console::permission::{Permission, permit};
use crate::console::refusal::{Form, impossible, missing};
use crate::console::{ControllerConsole, nodes, text};
use crate::paths;

/// Tokens, the newest first.
pub(super) fn list(state: &State) -> Listing<TokenRow> {
    let tokens: Vec<&Token> = state.tokens().collect();
    let mut enrolled: BTreeMap<malha_proto::TokenId, u32> = BTreeMap::new();
    for token in state.nodes().filter_map(|node| node.token) {
        *enrolled.entry(token).or_default() += 1;
    }
    let now_ms = now_ms();
    let row = |token: &&Token| {
        row(
            state,
            token,
            enrolled.get(&token.id).copied().unwrap_or_default(),
            now_ms,
        )
    };
    Listing {
        total: tokens.len(),
        rows: tokens.iter().rev().take(ROWS_MAX).map(row).collect(),
    }
}

/// Whether a token still lets a machine in.
pub(super) fn token_state(token: &Token, now_ms: u64) -> TokenState {
    match token {
        Token { revoked: true, .. } => TokenState::Revoked,
        Token { uses_left: 0, .. } => TokenState::Used,
        Token { expires_ms, .. } if *expires_ms <= now_ms => TokenState::Expired,
        _ => TokenState::Active,
    }
}

pub(super) async fn create(
    console: &ControllerConsole,
    viewer: &Viewer,
    new: NewToken,
) -> Result<IssuedToken, Refused> {
    permit(viewer, Permission::Enrol)?;
    let state = console.state();
    let site = state
        .site_by_path(&new.site)
        .ok_or_else(|| missing(Some("site"), Noun::Site, &new.site))?;
    let profile = nodes::core_profile(new.profile);
    let command = Command::CreateToken {
        site: site.id,
        profile,
        uses: new.uses,
        ttl_s: new.lifetime_s,
    };
    issue(console, viewer, Form::TOKEN, command).await
}

/// A token for the machine that takes this node's place.
pub(super) async fn create_for_replacement(
    console: &ControllerConsole,
    viewer: &Viewer,
    id: &NodeId,
) -> Result<IssuedToken, Refused> {
    permit(viewer, Permission::Enrol)?;
    let node = nodes::find(&console.state(), id)?;
    issue(
        console,
        viewer,
        Form::BUTTON,
        Command::ReplaceNode {
            id: node,
            ttl_s: REPLACEMENT_TTL_S,
        },
    )
    .await
}

pub(super) async fn revoke(
    console: &ControllerConsole,
    viewer: &Viewer,
    id: &TokenId,
) -> Result<Outcome, Refused> {
    permit(viewer, Permission::Enrol)?;
    let id = id
        .as_str()
        .parse()
        .map_err(|_| missing(None, Noun::Token, id.as_str()))?;
    console
        .write(viewer, Form::BUTTON, Command::RevokeToken { id })
        .await
}

async fn issue(
    console: &ControllerConsole,
    viewer: &Viewer,
    form: Form,
    command: Command,
) -> Result<IssuedToken, Refused> {
    let controllers = console.state().settings().controllers.clone();
    if controllers.is_empty() {
        return Err(impossible(text::no_controller_address()));
    }
    let accepted = console.submit(viewer, form, command).await?;
    let Answer::Token { id, secret } = accepted.answer else {
        return Err(impossible(text::strange_answer()));
    };
    let expires_ms = console
        .state()
        .token(id)
        .map_or_else(now_ms, |token| token.expires_ms);
    let token = EnrolToken {
        id,
        secret,
        authority: console.authority,
        controllers,
    };
    Ok(IssuedToken {
        id: id.to_string().into(),
        secret: token.expose().into(),
        expires_at: at(expires_ms),
        revision: accepted.revision.0,
    })
}

fn row(state: &State, token: &Token, enrolled: u32, now_ms: u64) -> TokenRow {
    let (organization, site) = paths::names_of_site(state, token.site);
    TokenRow {
        id: token.id.to_string().into(),
        organization: organization.into(),
        site: site.into(),
        profile: profile(token.profile),
        replaces: token.replaces.map(|node| paths::node(state, node).into()),
        created_at: at(token.created_ms),
        expires_at: at(token.expires_ms),
        uses_left: token.uses_left,
        // The state counts down; those that enrolled and are still there say from where.
        uses_total: token.uses_left.saturating_add(enrolled),
        state: token_state(token, now_ms),
    }
}

/// A stored profile as the dashboard knows it.
pub(super) fn profile(profile: malha_proto::Profile) -> Profile {
    match profile {
        malha_proto::Profile::Garage => Profile::Garage,
        malha_proto::Profile::SecurityServer => Profile::SecurityServer,
        malha_proto::Profile::Balancer => Profile::Balancer,
        malha_proto::Profile::Central => Profile::Central,
        malha_proto::Profile::Edge => Profile::Edge,
    }
}

/// A replacement is for the machine that the technician has at hand: a day.
const REPLACEMENT_TTL_S: u64 = 86_400;
