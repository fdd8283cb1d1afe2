#![forbid(unsafe_code)]
//! `bench_dataplane`: the benchmark of the data plane; `tests/bench/dataplane` builds what it needs. Started by itself on one
//! of the benchmark's machines, it takes a part there.

use anyhow::Result;
use malha_tests::bench::dataplane::{Plan, clean_up, dataplane, take_part};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(played) = take_part(&words) {
        return played;
    }
    let plan = Plan::parse(words)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.spawn(async {
        let asked = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let waits = asked.map(|kind| {
            tokio::spawn(async move {
                if let Ok(mut asked) = signal(kind) {
                    asked.recv().await;
                }
            })
        });
        futures_util::future::select_all(waits).await.0.ok();
        clean_up();
        std::process::exit(INTERRUPTED);
    });
    // What is started dies with the thread that started it, so this is the main one.
    let sheet = dataplane(&plan)?;
    println!(
        "{}",
        if plan.json {
            sheet.json()?
        } else {
            sheet.table()
        }
    );
    Ok(())
}

/// As a shell reports SIGINT.
const INTERRUPTED: i32 = 130;
