//! `malha policy pending|approve|reject`: a change that another operator proposed is shown as it would be now, and approved
//! only as that.

use std::process::ExitCode;

use http::Method;
use serde_json::json;

use super::{agree, show, write};
use crate::api::{PolicyProposal, PolicyProposalKind};
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::session::{Row, Session, parse};
use crate::cli::text::{self, Word};
use crate::client::part;

pub(super) fn at(proposal: &str) -> String {
    format!("/policy/proposals/{}", part(proposal))
}

pub(super) async fn approve(
    session: &Session,
    named: &str,
    difference: Option<String>,
    yes: bool,
) -> Result<ExitCode, Failure> {
    let proposal: PolicyProposal = parse(session.client().read(&at(named)).await?)?;
    let hash = match difference {
        Some(hash) => hash,
        None => {
            if !session.screen.json {
                shown(&proposal, &session.screen);
            }
            if proposal.outdated {
                let refusal = text::policy_outdated(session.screen.lang, proposal.number);
                return Err(Failure::new(Exit::Refused, refusal));
            }
            agree(session, yes)?;
            proposal.hash.to_string()
        }
    };
    let path = format!("{}/approve", at(named));
    let body = json!({ "difference": hash });
    if proposal.kind != PolicyProposalKind::OneApprover {
        return write(session, Method::POST, &path, &body).await;
    }
    let value = session.send(Method::POST, &path, Some(&body)).await?;
    let screen = &session.screen;
    match screen.json {
        true => screen.json(&value),
        false => screen.note(&text::written(screen.lang, &value["revision"])),
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(proposal: &PolicyProposal, screen: &Screen) {
    screen.line(&format!("{}: {}", proposal.author, kind(proposal, screen)));
    if let Some(difference) = &proposal.difference {
        show::difference(difference, screen);
    }
}

fn kind(it: &PolicyProposal, screen: &Screen) -> String {
    match (it.kind, it.returns_to) {
        (PolicyProposalKind::Return, Some(to)) => text::policy_returned(screen.lang, to),
        (PolicyProposalKind::OneApprover, _) => {
            text::one_approver(screen.lang, it.organizations.join(", "))
        }
        _ => screen.word(Word::NewText),
    }
}

impl Row for PolicyProposal {
    const COLUMNS: &'static [Word] = &[
        Word::Number,
        Word::When,
        Word::Actor,
        Word::Origin,
        Word::Gaining,
        Word::Losing,
        Word::Organizations,
        Word::Expires,
        Word::Hash,
    ];

    fn cells(&self, screen: &Screen) -> Vec<String> {
        let hash: String = self
            .hash
            .to_string()
            .chars()
            .take(SHOWN_HASH_CHARS)
            .collect();
        vec![
            self.number.to_string(),
            screen.moment(self.proposed_ms),
            self.author.clone(),
            kind(self, screen),
            self.gaining.to_string(),
            self.losing.to_string(),
            self.organizations.join(", "),
            screen.moment(self.expires_ms),
            hash,
        ]
    }
}

/// As much of a hash as names a proposal.
const SHOWN_HASH_CHARS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::Lang;

    #[test]
    fn a_proposal_says_what_it_is_for_in_each_language() {
        let mut proposal: PolicyProposal = parse(json!({
            "number": 31, "kind": "one-approver", "hash": "ab".repeat(32), "author": "operator:ana",
            "proposed_ms": 0, "expires_ms": 604_800_000, "organizations": ["sefaz"], "gaining": 0, "losing": 0,
        }))
        .unwrap();
        let screen = |lang| Screen { json: false, lang };
        assert_eq!(
            kind(&proposal, &screen(Lang::En)),
            "sefaz asks for no second approver any longer"
        );
        (proposal.kind, proposal.returns_to) = (PolicyProposalKind::Return, Some(3));
        assert_eq!(kind(&proposal, &screen(Lang::Pt)), "volta à versão 3");
        assert_eq!(proposal.cells(&screen(Lang::En))[8], "abababababab");
    }
}
