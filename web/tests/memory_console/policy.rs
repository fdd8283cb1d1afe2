//! Policies of the memory console: a text may be saved as it was reviewed; one with the word `refused` may not.

use malha_web::model::*;
use time::OffsetDateTime;

use super::MemoryConsole;
use super::rules::no_such;

pub(crate) fn detail(console: &MemoryConsole) -> Result<PolicyDetail, Unreadable> {
    let policies = console.world.lock().unwrap().policies.clone();
    let row = |(at, _): (usize, &String)| PolicyVersionRow {
        version: at as u64 + 1,
        author: "operator:ana".into(),
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
        pending: None,
        changes_at: None,
        versions: versions.into(),
    })
}

pub(crate) fn review(text: &str) -> Result<PolicyReview, Refused> {
    let side = |name: &str| PolicySide {
        names: vec![name.into()],
        count: 3,
    };
    Ok(PolicyReview {
        hash: hash(text),
        gaining: 2,
        losing: 0,
        rows: vec![PolicyChange {
            from: side("acme/centro/ss-1"),
            to: side("acme/centro/<ss-2>"),
            pairs: 2,
            gained: vec!["tcp 5500".to_owned()],
            lost: Vec::new(),
        }]
        .into(),
        refusal: text.contains("refused").then(|| "a test fails".into()),
        unresolved: Vec::new(),
    })
}

pub(crate) fn apply(console: &MemoryConsole, new: NewPolicy) -> Result<Outcome, Refused> {
    if new.hash != hash(&new.text) {
        return Err(no_such("review of this text"));
    }
    console.write(Topic::Activity, Action::PolicyApplied, "1", |world| {
        world.policies.push(new.text);
        Ok(())
    })
}

pub(crate) fn roll_back(console: &MemoryConsole, version: u64) -> Result<Outcome, Refused> {
    console.write(Topic::Activity, Action::PolicyReturned, "1", |world| {
        let text = world.policies.get(version as usize - 1).cloned();
        world.policies.push(text.ok_or_else(|| no_such("version"))?);
        Ok(())
    })
}

fn hash(text: &str) -> String {
    format!("{:016x}", text.len())
}
