//! Tells open pages what changed: commits, verdicts on nodes, and acknowledgements become notices by topic. Many changes in
//! a moment become one notice; none is lost.

use std::sync::Arc;
use std::time::Duration;

use malha_core::Affected;
use malha_web::model::{ChangeNotice, Topic, Topics};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::console::ControllerConsole;

/// Runs until `stop`, then closes every page's stream.
pub(super) async fn run(console: &Arc<ControllerConsole>, stop: CancellationToken) {
    let mut committed = console.handle.committed();
    let mut verdicts = console.live.changes();
    let mut progress = console.registry.progress();
    let mut balanced = console.live.balancing.changes();
    let mut checks = console.checks.changes();
    let mut stale = Topics::default();
    let mut due: Option<Instant> = None;
    loop {
        let changed = tokio::select! {
            change = committed.recv() => match change {
                Ok(change) => {
                    console.owe(&change);
                    topics(&change.affected)
                }
                Err(RecvError::Lagged(_)) => {
                    console.owe_absent();
                    Topics::ALL
                }
                Err(RecvError::Closed) => break,
            },
            Ok(()) = verdicts.changed() => Topic::Nodes | Topic::Services | Topic::Routes,
            Ok(()) = balanced.changed() => Topic::Balancers.into(),
            Ok(()) = progress.changed() => Topic::Nodes | Topic::Convergence,
            Ok(()) = checks.changed() => Topic::Checks.into(),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                due = None;
                // What balancers carry changes all the time, and says nothing of the nodes.
                if stale != Topics::from(Topic::Balancers) {
                    console.forget_census();
                    console.strike_off();
                }
                // With no page open nobody has to hear of it.
                let _ = console.notices.send(ChangeNotice::Changed(std::mem::take(&mut stale)));
                continue;
            }
            () = stop.cancelled() => break,
        };
        if changed != Topics::default() {
            stale = stale | changed;
            due = due.or_else(|| Some(Instant::now() + GATHERING));
        }
    }
    let _ = console.notices.send(ChangeNotice::Closing);
}

fn topics(affected: &Affected) -> Topics {
    if !affected.is_any() {
        return Topics::default();
    }
    affected
        .topics
        .iter()
        .fold(Topic::Activity | Topic::Convergence, |topics, changed| {
            topics | shown_by(*changed)
        })
}

/// The pages' topics that show a kind of entity.
fn shown_by(changed: malha_core::Topic) -> Topics {
    match changed {
        malha_core::Topic::Settings => Topics::ALL,
        malha_core::Topic::Organizations
        | malha_core::Topic::Sites
        | malha_core::Topic::Profiles => Topic::Sites | Topic::Nodes,
        malha_core::Topic::Tokens => Topic::Tokens.into(),
        malha_core::Topic::Nodes => Topic::Nodes | Topic::Sites | Topic::Services,
        malha_core::Topic::Services => Topic::Services | Topic::Nodes | Topic::Routes,
        malha_core::Topic::Routes => Topic::Routes.into(),
        malha_core::Topic::Declarations => Topic::Checks.into(),
        malha_core::Topic::Zones => Topic::Dns.into(),
        malha_core::Topic::Balancers => Topic::Balancers.into(),
        malha_core::Topic::Leases
        | malha_core::Topic::Addresses
        | malha_core::Topic::Grants
        | malha_core::Topic::Operators
        | malha_core::Topic::ApiKeys
        | malha_core::Topic::Requests => Topics::default(),
    }
}

/// Changes within this time of the first become one notice.
const GATHERING: Duration = Duration::from_millis(100);
