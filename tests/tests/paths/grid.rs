//! Every kind of access with every other kind, and with the hub: each pair must carry a TCP connection, and directly wherever the
//! theory of NAT allows it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use malha_tests::lab::{Access, Lab, eventually, eventually_each, story};

use crate::meeting::{CALLED, CALLERS, Meeting, Member, Way, Ways};

/// What was seen of one pair. Times count from the moment at which the operator's command for the grant has ended.
#[derive(Clone, Copy, Default)]
struct Seen {
    connected: Option<Duration>,
    direct: Option<Duration>,
    way: Option<Way>,
}

/// By position in [`Access::ALL`] of caller and called.
type Table = BTreeMap<(usize, usize), Seen>;

#[test]
fn every_kind_of_access_reaches_every_other() {
    story("NAT grid", |lab| {
        let meeting = Meeting::new(lab)?;
        let start = Instant::now();
        let callers = meeting.enrol(CALLERS, &Access::ALL, 0)?;
        let called = meeting.enrol(CALLED, &Access::ALL, 20)?;
        println!(
            "{} machines online after {:.1} s",
            callers.len() + called.len(),
            start.elapsed().as_secs_f64()
        );
        meeting.open(&called)?;
        let granted = Instant::now();
        let table = Mutex::new(Table::new());
        std::thread::scope(|scope| {
            for (from, caller) in callers.iter().enumerate() {
                for (to, called) in called.iter().enumerate().skip(from) {
                    let table = &table;
                    scope.spawn(move || connects(table, (from, to), caller, called, granted));
                }
                let table = &table;
                let called = &called;
                scope.spawn(move || watches(table, from, caller, called, granted));
            }
        });
        let table = table.into_inner().unwrap_or_default();
        let hub = reached_from_hub(lab, &called)?;
        print!("{}", printed(&table, &hub));
        judged(&table, &hub)
    });
}

/// Opens connections until one is answered.
fn connects(
    table: &Mutex<Table>,
    pair: (usize, usize),
    caller: &Member,
    called: &Member,
    granted: Instant,
) {
    let left = CONNECTED_WITHIN.saturating_sub(granted.elapsed());
    // Nothing announces that a connection would succeed now, so one is tried; so many pairs at once are no reason to hurry.
    let read = eventually_each(LOOK_AGAIN, "the page", left, || caller.reads(called));
    if read.is_ok() {
        note(table, pair, |seen| seen.connected = Some(granted.elapsed()));
    }
}

/// Takes down by which way the caller reaches each peer, until all are where they should be.
fn watches(
    table: &Mutex<Table>,
    from: usize,
    caller: &Member,
    called: &[Member],
    granted: Instant,
) {
    let left = DIRECT_WITHIN.saturating_sub(granted.elapsed());
    // An agent's status is a look at one moment, which nothing announces; and one that does not answer yet is asked again.
    // What is missing in the end stands in the table, which is judged later.
    let _ = eventually_each(LOOK_AGAIN, "the way to each peer", left, || {
        let ways = Ways::of(caller)?;
        let mut settled = true;
        for (to, called) in called.iter().enumerate().skip(from) {
            let way = ways.to(called).unwrap_or_default();
            let should = caller.connected.access().meets(called.connected.access());
            settled &= way.is_some() && (!should || way == Some(Way::Direct));
            note(table, (from, to), |seen| {
                seen.way = way;
                if way == Some(Way::Direct) {
                    seen.direct.get_or_insert(granted.elapsed());
                }
            });
        }
        ensure!(settled, "not all are where they should be");
        Ok(())
    });
}

fn note(table: &Mutex<Table>, pair: (usize, usize), write: impl FnOnce(&mut Seen)) {
    let mut table = table
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    write(table.entry(pair).or_default());
}

/// Whether the hub's prober has a connection to each page, and by which way.
fn reached_from_hub(lab: &Lab, called: &[Member]) -> Result<Vec<(bool, Option<Way>)>> {
    let mut reached = Vec::new();
    for member in called {
        let up = eventually("the hub reaches the page", CONNECTED_WITHIN, || {
            let node = lab.hub.node(&member.path)?;
            let health = &node["services"][0]["health"]["state"];
            ensure!(health == "up", "health: {}", node["services"]);
            Ok(())
        });
        reached.push((up.is_ok(), member.way_to_hub().unwrap_or_default()));
    }
    Ok(reached)
}

fn printed(table: &Table, hub: &[(bool, Option<Way>)]) -> String {
    let mut text = String::new();
    let seconds =
        |time: Option<Duration>| time.map_or("-".into(), |it| format!("{:.1}", it.as_secs_f64()));
    let way = |way: Option<Way>| way.map_or("?".into(), |it| format!("{it:?}").to_lowercase());
    let _ = writeln!(
        text,
        "{:16} {:16} {:8} {:>10} {:>10}",
        "from", "to", "path", "connect s", "direct s"
    );
    for ((from, to), seen) in table {
        let (from, to) = (Access::ALL[*from], Access::ALL[*to]);
        let missed = if from.meets(to) && seen.direct.is_none() {
            "  should be direct"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "{from:16} {to:16} {:8} {:>10} {:>10}{missed}",
            way(seen.way),
            seconds(seen.connected),
            seconds(seen.direct),
        );
    }
    for (to, (up, by)) in Access::ALL.iter().zip(hub) {
        let state = if *up { "up" } else { "unreached" };
        let _ = writeln!(text, "{:16} {to:16} {:8} {state:>10}", "hub", way(*by));
    }
    text
}

fn judged(table: &Table, hub: &[(bool, Option<Way>)]) -> Result<()> {
    let mut wrong = Vec::new();
    for ((from, to), seen) in table {
        let (from, to) = (Access::ALL[*from], Access::ALL[*to]);
        if seen.connected.is_none() {
            wrong.push(format!("{from} never reached {to}"));
        }
        if from.meets(to) && seen.direct.is_none() {
            wrong.push(format!("{from} and {to} never met directly"));
        }
    }
    for (to, (up, by)) in Access::ALL.iter().zip(hub) {
        if !up {
            wrong.push(format!("the hub never reached {to}"));
        } else if to.passes_udp() != (*by == Some(Way::Direct)) {
            wrong.push(format!("the hub reached {to} by {by:?}"));
        }
    }
    let pairs = Access::ALL.len() * (Access::ALL.len() + 1) / 2;
    ensure!(
        table.len() == pairs,
        "{} of {pairs} pairs were tried",
        table.len()
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

const CONNECTED_WITHIN: Duration = Duration::from_secs(60);
const DIRECT_WITHIN: Duration = Duration::from_secs(75);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
