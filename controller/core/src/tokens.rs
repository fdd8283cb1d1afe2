//! Enrolment tokens: made with a fresh secret of which only the hash stays, limited in time and number, revocable.

use malha_proto::{Fingerprint, NodeId, Profile, Secret32, SiteId, TokenId};

use crate::agency::NodePlan;
use crate::apply::{check_limit, found};
use crate::command::{Answer, Rejection};
use crate::draft::Draft;
use crate::limits::{MAX_TOKEN_TTL_S, MAX_TOKEN_USES, MAX_TOKENS, MIN_TOKEN_TTL_S};
use crate::model::Token;
use crate::nodes::refuse_hub;
use crate::noun::{Noun, Plenty};
use crate::reason::Reason;
use crate::state::seconds;

pub(crate) fn create(
    draft: &mut Draft,
    site: SiteId,
    profile: Profile,
    uses: u32,
    ttl_s: u64,
) -> Result<Answer, Rejection> {
    found(draft.state.site(site), Noun::Site, site)?;
    if !(1..=MAX_TOKEN_USES).contains(&uses) {
        return Err(Rejection::Invalid {
            field: "uses",
            reason: Reason::TokenUses { given: uses },
        });
    }
    let secret = Secret32(draft.context.random);
    let id = issue(draft, Template::of(site, profile, uses), ttl_s, &secret)?;
    Ok(Answer::Token { id, secret })
}

/// For one machine, of which it is known what it is to be.
pub(crate) fn create_with_plan(
    draft: &mut Draft,
    site: SiteId,
    profile: Profile,
    ttl_s: u64,
    secret: &Secret32,
    plan: NodePlan,
) -> Result<TokenId, Rejection> {
    let template = Template {
        plan: Some(Box::new(plan)),
        ..Template::of(site, profile, 1)
    };
    issue(draft, template, ttl_s, secret)
}

/// For the machine that takes this node's place. Older such tokens of the node are revoked: one replacement at a time.
pub(crate) fn create_for_replacement(
    draft: &mut Draft,
    id: NodeId,
    ttl_s: u64,
) -> Result<Answer, Rejection> {
    let node = found(draft.state.node(id), Noun::Node, id)?;
    refuse_hub(node)?;
    let (site, profile) = (node.site, node.profile);
    revoke_replacing(draft, id);
    let template = Template {
        replaces: Some(id),
        ..Template::of(site, profile, 1)
    };
    let secret = Secret32(draft.context.random);
    let id = issue(draft, template, ttl_s, &secret)?;
    Ok(Answer::Token { id, secret })
}

pub(crate) fn revoke(draft: &mut Draft, id: TokenId) -> Result<Answer, Rejection> {
    let token = found(draft.state.token(id), Noun::Token, id)?;
    let revoked = Token {
        revoked: true,
        ..token.clone()
    };
    draft.put(revoked);
    Ok(Answer::Done)
}

/// Revokes every token that would give this node's place away.
pub(crate) fn revoke_replacing(draft: &mut Draft, node: NodeId) {
    let ids: Vec<TokenId> =
        seconds(&draft.state.index.tokens_by_replaced, node, TokenId(0)).collect();
    let tokens: Vec<Token> = ids
        .iter()
        .filter_map(|id| draft.state.token(*id))
        .cloned()
        .collect();
    for token in tokens {
        draft.put(Token {
            revoked: true,
            ..token
        });
    }
}

/// What a token is for.
struct Template {
    site: SiteId,
    profile: Profile,
    uses: u32,
    replaces: Option<NodeId>,
    plan: Option<Box<NodePlan>>,
}

impl Template {
    fn of(site: SiteId, profile: Profile, uses: u32) -> Self {
        Self {
            site,
            profile,
            uses,
            replaces: None,
            plan: None,
        }
    }
}

fn issue(
    draft: &mut Draft,
    template: Template,
    ttl_s: u64,
    secret: &Secret32,
) -> Result<TokenId, Rejection> {
    if !(MIN_TOKEN_TTL_S..=MAX_TOKEN_TTL_S).contains(&ttl_s) {
        return Err(Rejection::Invalid {
            field: "ttl_s",
            reason: Reason::TokenLifetime { given_s: ttl_s },
        });
    }
    check_limit(Plenty::Tokens, draft.state.tokens.len(), MAX_TOKENS)?;
    let id = TokenId(draft.next_id());
    let created_ms = draft.now_ms();
    draft.put(Token {
        id,
        site: template.site,
        profile: template.profile,
        secret_hash: Fingerprint(secret.hash()),
        created_ms,
        expires_ms: created_ms.saturating_add(ttl_s * 1_000),
        uses_left: template.uses,
        revoked: false,
        replaces: template.replaces,
        plan: template.plan,
    });
    Ok(id)
}
