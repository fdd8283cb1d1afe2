//! The access log names what was asked and who failed, never what a query string holds.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Level;

use crate::origin::Origin;
use crate::rig::Plan;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Collects what is logged on this thread, where a test's edge runs.
fn collect(level: Level, memory: &Memory) -> tracing::subscriber::DefaultGuard {
    let memory = memory.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(move || memory.clone())
        .finish();
    tracing::subscriber::set_default(subscriber)
}

#[tokio::test]
async fn a_request_is_logged_at_debug_without_its_query() {
    let memory = Memory::default();
    let _guard = collect(Level::DEBUG, &memory);
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    rig.get("/page?token=hunter2").await;
    rig.reroute(vec![]);
    rig.get("/gone?token=hunter2").await;
    let log = memory.text();
    let served = log.lines().find(|line| line.contains("path=\"/page\""));
    assert!(served.unwrap().contains("status=200"), "{log}");
    let failed = log.lines().find(|line| line.contains("path=\"/gone\""));
    assert!(failed.unwrap().contains("hop=\"client\""), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn names_and_addresses_stay_out_of_the_log_above_debug() {
    let memory = Memory::default();
    let _guard = collect(Level::INFO, &memory);
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    rig.get("/page").await;
    assert_eq!(memory.text(), "");
}
