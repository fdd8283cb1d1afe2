//! Stories of a whole fleet on a virtual clock: the committed seeds, so that a run depends on nothing but the code.
//!
//! `MALHA_FRESH_SEEDS=20` adds as many that nobody has told yet; `MALHA_SEED=7` tells only that story; `MALHA_FLEET_STEPS=20000` makes each story that long.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use malha_tests::fleet::{Failure, Plan, Summary, run};

#[test]
fn every_story_keeps_the_promises() {
    let seeds = seeds();
    let plan = plan();
    let (next, told, failures) = (
        AtomicUsize::new(0),
        Mutex::new(Vec::new()),
        Mutex::new(Vec::new()),
    );
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(seeds.len()) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match tell(*seed, &plan) {
                        Ok(summary) => told.lock().unwrap().push(summary),
                        Err(failure) => failures.lock().unwrap().push(failure),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    for failure in &failures {
        eprintln!("{failure}\n");
    }
    let broken: Vec<u64> = failures.iter().map(|failure| failure.seed).collect();
    assert!(
        broken.is_empty(),
        "seeds {broken:?} broke a promise; see above"
    );
    assert_rich(&told.into_inner().unwrap());
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let plan = Plan {
        machines: 12,
        storms: 1,
        steps: 60,
    };
    assert_eq!(tell(5, &plan).unwrap(), tell(5, &plan).unwrap());
}

/// A panic of the product is a failure of its seed too.
fn tell(seed: u64, plan: &Plan) -> Result<Summary, Failure> {
    let told = std::panic::catch_unwind(|| run(seed, plan));
    let told = told.unwrap_or_else(|_| {
        Err(Failure {
            seed,
            at_ms: 0,
            what: "it panicked".to_owned(),
            last: Vec::new(),
        })
    });
    if let Ok(summary) = &told {
        eprintln!("seed {seed}: {summary:?}");
    }
    told
}

fn seeds() -> Vec<u64> {
    if let Ok(seed) = std::env::var("MALHA_SEED") {
        return vec![seed.parse().expect("MALHA_SEED is a number")];
    }
    let committed = include_str!("../fleet-seeds.txt").lines();
    let committed = committed.filter(|line| !line.starts_with('#'));
    let words = committed.filter_map(|line| line.split_whitespace().next());
    let mut seeds: Vec<u64> = words
        .map(|word| word.parse().expect("a seed is a number"))
        .collect();
    let count = std::env::var("MALHA_FRESH_SEEDS").ok();
    let count = count.map_or(0, |count| {
        count.parse().expect("MALHA_FRESH_SEEDS is a number")
    });
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    let fresh = u64::from(since.subsec_nanos()) + since.as_secs() * 1_000_000;
    seeds.extend((0..count).map(|at: u64| fresh + at));
    seeds
}

fn plan() -> Plan {
    let steps = std::env::var("MALHA_FLEET_STEPS").ok();
    let steps = steps.map(|steps| steps.parse::<u32>().expect("MALHA_FLEET_STEPS is a number"));
    Plan {
        machines: 50,
        storms: steps.map_or(STORMS, |steps| steps.div_ceil(STEPS).max(1)),
        steps: STEPS,
    }
}

/// All stories together went through everything that they are told for.
fn assert_rich(told: &[Summary]) {
    if std::env::var_os("MALHA_SEED").is_some() {
        return;
    }
    type Part = (&'static str, fn(&Summary) -> u64);
    let parts: [Part; 15] = [
        ("enrolments", |it| it.enrolled),
        ("repeated enrolments", |it| it.enrolled_again),
        ("refused machines", |it| it.refused),
        ("changes", |it| it.changes),
        ("sessions resumed with nothing to send", |it| {
            it.resumed_with_nothing
        }),
        ("sessions resumed with a delta", |it| it.resumed_with_delta),
        ("snapshots", |it| it.snapshots),
        ("acknowledgements", |it| it.acknowledged),
        ("renewals", |it| it.renewals),
        ("replacements", |it| it.replacements),
        ("quarantines", |it| it.quarantines),
        ("resolutions", |it| it.resolutions),
        ("crashes", |it| it.crashes),
        ("controller deaths", |it| it.controller_deaths),
        ("flows that outlived a controller", |it| it.lasting_flows),
    ];
    for (what, count) in parts {
        let total: u64 = told.iter().map(count).sum();
        assert!(total > 0, "no story had {what}");
    }
}

const THREADS: usize = 2;
const STORMS: u32 = 5;
const STEPS: u32 = 60;
