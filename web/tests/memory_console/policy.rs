//! Policies of the memory console: a text may be saved as it was reviewed; one with the word `refused` may not, and one with
//! the word `dois` takes a second operator.

use async_trait::async_trait;
use malha_web::model::*;
use malha_web::{Bilingual, PolicyConsole, Viewer};
use time::OffsetDateTime;

use super::MemoryConsole;
use super::rules::no_such;

#[async_trait]
impl PolicyConsole for MemoryConsole {
    async fn policy(&self, _: &Viewer) -> Result<PolicyDetail, Unreadable> {
        detail(self)
    }

    async fn review_policy(&self, _: &Viewer, text: &str) -> Result<PolicyReview, Refused> {
        review(text)
    }

    async fn apply_policy(&self, _: &Viewer, new: NewPolicy) -> Result<PolicyWritten, Refused> {
        apply(self, new)
    }

    async fn confirm_policy(&self, _: &Viewer, _: u64) -> Result<Outcome, Refused> {
        Err(no_such("policy that waits"))
    }

    async fn roll_back_policy(&self, _: &Viewer, version: u64) -> Result<PolicyWritten, Refused> {
        roll_back(self, version)
    }

    async fn decide_proposal(
        &self,
        _: &Viewer,
        number: u64,
        decision: Decision,
    ) -> Result<Outcome, Refused> {
        decide(self, number, decision)
    }
}

fn detail(console: &MemoryConsole) -> Result<PolicyDetail, Unreadable> {
    let (policies, proposed, pending) = {
        let world = console.world.lock().unwrap();
        (
            world.policies.clone(),
            world.proposed.clone(),
            world.pending.clone(),
        )
    };
    let proposal = |(number, (text, own)): (usize, &(String, bool))| PolicyProposal {
        number: number as u64,
        change: ProposedChange::Text(text.clone()),
        author: "operator:<bia>".into(),
        proposed_at: OffsetDateTime::UNIX_EPOCH,
        expires_at: OffsetDateTime::UNIX_EPOCH,
        organizations: vec!["acme".into()],
        hash: hash(text),
        gaining: 2,
        losing: 0,
        rows: vec![change()].into(),
        later: Vec::new().into(),
        outdated: false,
        may_approve: !own,
    };
    let row = |(at, _): (usize, &String)| PolicyVersionRow {
        version: at as u64 + 1,
        author: "operator:ana".into(),
        approver: None,
        emergency: None,
        applied_at: OffsetDateTime::UNIX_EPOCH,
        returned_to: None,
        gaining: 2,
        losing: 0,
    };
    let versions: Vec<PolicyVersionRow> = policies.iter().enumerate().rev().map(row).collect();
    Ok(PolicyDetail {
        version: policies.len() as u64,
        text: policies
            .last()
            .cloned()
            .unwrap_or_else(|| "version = 1\n".to_owned()),
        pending,
        proposals: proposed.iter().enumerate().map(proposal).collect(),
        changes_at: None,
        versions: versions.into(),
    })
}

fn change() -> PolicyChange {
    let side = |name: &str| PolicySide {
        names: vec![name.into()],
        count: 3,
    };
    PolicyChange {
        from: side("acme/centro/ss-1"),
        to: side("acme/centro/<ss-2>"),
        pairs: 2,
        gained: vec!["tcp 5500".to_owned()],
        lost: Vec::new(),
    }
}

fn review(text: &str) -> Result<PolicyReview, Refused> {
    let second_approver = text.contains("dois").then(|| "acme".into());
    Ok(PolicyReview {
        hash: hash(text),
        gaining: 2,
        losing: 0,
        rows: vec![change()].into(),
        later: vec![PolicyLater {
            name: "<plantao>".into(),
            line: 7,
            change: PolicyLaterChange::Opens(Some(OffsetDateTime::UNIX_EPOCH)),
        }]
        .into(),
        refusal: text.contains("refused").then(|| Bilingual {
            pt: "um teste falha".to_owned(),
            en: "a test fails".to_owned(),
        }),
        second_approver: second_approver.into_iter().collect(),
        unresolved: Vec::new(),
    })
}

fn apply(console: &MemoryConsole, new: NewPolicy) -> Result<PolicyWritten, Refused> {
    if new.hash != hash(&new.text) {
        return Err(no_such("review of this text"));
    }
    let proposed = new.text.contains("dois") && new.emergency.is_none();
    let action = match proposed {
        true => Action::PolicyProposed,
        false => Action::PolicyApplied,
    };
    let outcome = console.write(Topic::Activity, action, "1", |world| {
        match proposed {
            true => world.proposed.push((new.text, true)),
            false => world.policies.push(new.text),
        }
        Ok(())
    })?;
    Ok(PolicyWritten { outcome, proposed })
}

fn roll_back(console: &MemoryConsole, version: u64) -> Result<PolicyWritten, Refused> {
    let outcome = console.write(Topic::Activity, Action::PolicyReturned, "1", |world| {
        let text = world.policies.get(version as usize - 1).cloned();
        world.policies.push(text.ok_or_else(|| no_such("version"))?);
        Ok(())
    })?;
    Ok(PolicyWritten {
        outcome,
        proposed: false,
    })
}

fn decide(console: &MemoryConsole, number: u64, decision: Decision) -> Result<Outcome, Refused> {
    let action = match decision {
        Decision::Approve { .. } => Action::PolicyApproved,
        Decision::Reject => Action::PolicyRejected,
    };
    console.write(Topic::Activity, action, "1", |world| {
        let number = number as usize;
        let known = world.proposed.get(number).cloned();
        let (text, own) = known.ok_or_else(|| no_such("proposal"))?;
        if let Decision::Approve { hash: seen } = decision {
            if own || seen != hash(&text) {
                return Err(no_such("proposal of another"));
            }
            world.policies.push(text);
        }
        world.proposed.remove(number);
        Ok(())
    })
}

fn hash(text: &str) -> String {
    format!("{:016x}", text.len())
}
