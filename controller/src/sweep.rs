//! When the coordinator is asked to forget what is past and to look at the policy's clock. It decides nothing.

use std::time::Duration;

use malha_core::Command;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::coordinator::{Actor, Handle};

/// Housekeeping each hour, and what a policy's schedules and deadlines ask for, when they do.
pub(crate) async fn sweep(handle: Handle, stop: CancellationToken) {
    let mut states = handle.watch();
    let mut housekeeping = Instant::now() + SWEEP_INTERVAL;
    // A sweep that could not be written leaves the policy's time in the past: the next try must not come at once.
    let mut not_before = Instant::now();
    loop {
        let wakes_ms = states.borrow_and_update().policy_wakes_ms();
        let due = match wakes_ms.map(|at_ms| at_ms.saturating_sub(now_ms())) {
            Some(wait_ms) if wait_ms < SWEEP_INTERVAL_MS => {
                housekeeping.min(not_before.max(Instant::now() + Duration::from_millis(wait_ms)))
            }
            _ => housekeeping,
        };
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            changed = states.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = stop.cancelled() => return,
        }
        if let Err(error) = handle
            .submit(Command::Sweep, Actor::controller(), None)
            .await
        {
            tracing::warn!(%error, "sweep");
        }
        housekeeping = Instant::now() + SWEEP_INTERVAL;
        not_before = Instant::now() + SWEEP_PAUSE;
    }
}

const SWEEP_INTERVAL_MS: u64 = 60 * 60 * 1_000;
const SWEEP_INTERVAL: Duration = Duration::from_millis(SWEEP_INTERVAL_MS);
const SWEEP_PAUSE: Duration = Duration::from_millis(100);
