//! Kills a committing process at random times, many times over, and looks at what it left: nothing acknowledged may be
//! missing, and nothing may be half there.
//!
//! The test starts itself as the child that will be killed. Several clients in the child move money between accounts; each
//! transfer, in one batch, changes two balances, the client's counter and a log entry, and is printed once acknowledged.
//! The child also appends to an audit log. `MALHA_KILL_SEED` repeats a run.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "store/dice.rs"]
mod dice;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use dice::Dice;
use malha_store::audit::{self, AuditLog, AuditOutcome, AuditRecord};
use malha_store::{
    Batch, CommitOutcome, Event, Key, Prefix, Schema, Store, StoreRevision, Value, WatchItem,
};
use tokio::runtime::Runtime;

fn main() {
    match std::env::var_os(CHILD_FOLDER) {
        Some(dir) => child(Path::new(&dir)),
        None => parent(),
    }
}

fn parent() {
    let seed = std::env::var("MALHA_KILL_SEED").map_or_else(
        |_| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.unwrap().subsec_nanos().into()
        },
        |seed| seed.parse().unwrap(),
    );
    println!("{KILLS} kills, MALHA_KILL_SEED={seed}");
    let began = Instant::now();
    let runtime = Runtime::new().unwrap();
    let mut dice = Dice::seeded(seed);
    let mut commits = 0;
    for _ in 0..KILLS / KILLS_PER_FOLDER {
        let dir = tempfile::tempdir().unwrap();
        let mut known = Acknowledged::default();
        for _ in 0..KILLS_PER_FOLDER {
            let before = known.total();
            known.add(&run_and_kill(dir.path(), &mut dice));
            commits += known.total() - before;
            runtime.block_on(inspect(dir.path(), &known));
        }
    }
    assert!(commits > KILLS, "only {commits} commits were acknowledged");
    println!(
        "{commits} acknowledged commits survived, in {:.1} s",
        began.elapsed().as_secs_f32()
    );
}

/// What the killed children were told is durable.
#[derive(Debug, Default)]
struct Acknowledged {
    /// Transfers per client.
    transfers: BTreeMap<u64, u64>,
    revision: u64,
    audit_lines: u64,
}

impl Acknowledged {
    fn add(&mut self, printed: &str) {
        // A kill may cut the last line short.
        let complete = printed.rsplit_once('\n').map_or("", |(lines, _)| lines);
        for line in complete.lines() {
            let (kind, rest) = line.split_once(' ').unwrap();
            let mut numbers = rest.split(' ').map(|number| number.parse().unwrap());
            let mut next = || -> u64 { numbers.next().unwrap() };
            if kind == "audit" {
                self.audit_lines = self.audit_lines.max(next());
            } else {
                let (client, count, revision) = (next(), next(), next());
                self.transfers.insert(client, count);
                self.revision = self.revision.max(revision);
            }
        }
    }

    fn total(&self) -> u64 {
        self.transfers.values().sum()
    }
}

/// Lets a child work for a random while, kills it, and gives what it printed.
fn run_and_kill(dir: &Path, dice: &mut Dice) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHILD_FOLDER, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (first_line, first_seen) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut printed = String::new();
        output.read_line(&mut printed).unwrap();
        first_line.send(()).ok();
        output.read_to_string(&mut printed).unwrap();
        printed
    });
    if dice.below(4) == 0 {
        // While it starts, opens and recovers.
        let moment = Duration::from_micros(dice.below(30_000));
        first_seen.recv_timeout(moment).ok();
    } else {
        // While it commits.
        first_seen.recv_timeout(STARTED_WITHIN).unwrap();
        thread::sleep(Duration::from_micros(dice.below(40_000)));
    }
    kill(&mut child);
    reader.join().unwrap()
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "the child ended by itself: {status}");
}

async fn inspect(dir: &Path, known: &Acknowledged) {
    inspect_audit(&dir.join("audit"), known);
    let dir = dir.join("store");
    if !dir.join("store.redb").exists() {
        assert_eq!(known.total(), 0, "the store is gone");
        return;
    }
    let store = malha_store::open(&dir, &Schema::first()).unwrap();
    let revision = store.revision().await.unwrap();
    assert!(revision.0 >= known.revision, "{known:?} at {revision}");
    let state = read_state(&*store).await;
    if state.is_empty() {
        assert_eq!(known.total(), 0);
    } else {
        inspect_transfers(&state, known);
    }
    assert_eq!(replay(&*store).await, state, "the change log differs");
    store.close().await.unwrap();
}

fn inspect_transfers(state: &BTreeMap<String, String>, known: &Acknowledged) {
    let number = |key: &str| -> i64 { state.get(key).map_or(0, |text| text.parse().unwrap()) };
    let mut balances = [OPENING_BALANCE; ACCOUNTS as usize];
    for client in 0..CLIENTS {
        let count = number(&format!("counter/{client}")) as u64;
        let told = known.transfers.get(&client).copied().unwrap_or(0);
        // Each client waits for its answer, so at most one transfer was on its way per kill.
        assert!(
            count >= told,
            "client {client}: {count} of {told} transfers"
        );
        for transfer in 1..=count {
            let entry = &state[&log_key(client, transfer)];
            let fields: Vec<i64> = entry
                .split(' ')
                .map(|field| field.parse().unwrap())
                .collect();
            balances[fields[0] as usize] -= fields[2];
            balances[fields[1] as usize] += fields[2];
        }
        assert!(!state.contains_key(&log_key(client, count + 1)));
    }
    for (account, balance) in balances.iter().enumerate() {
        let stored = number(&format!("account/{account}"));
        assert_eq!(stored, *balance, "account {account}");
    }
    let counters: i64 = (0..CLIENTS)
        .map(|client| number(&format!("counter/{client}")))
        .sum();
    let logged = state.keys().filter(|key| key.starts_with("log/")).count();
    assert_eq!(logged as i64, counters);
}

fn inspect_audit(dir: &Path, known: &Acknowledged) {
    if known.audit_lines == 0 {
        return;
    }
    let head = AuditLog::open(dir).unwrap().head();
    assert!(head.sequence >= known.audit_lines, "{known:?} at {head:?}");
    assert_eq!(audit::verify(dir, Some(head)).unwrap().unfinished_bytes, 0);
}

async fn read_state(store: &dyn Store) -> BTreeMap<String, String> {
    let snapshot = store.snapshot().await.unwrap();
    let mut state = BTreeMap::new();
    let mut after: Option<Key> = None;
    loop {
        let page = snapshot
            .range(&Prefix::all(), after.as_ref(), 1000)
            .await
            .unwrap();
        for item in &page.items {
            state.insert(item.key.to_string(), text(&item.entry.value));
        }
        if !page.more {
            assert_eq!(state.len() as u64, snapshot.keys());
            return state;
        }
        after = page.items.last().map(|item| item.key.clone());
    }
}

/// The state that all logged changes lead to.
async fn replay(store: &dyn Store) -> BTreeMap<String, String> {
    let last = store.revision().await.unwrap();
    let mut watch = store
        .watch(&Prefix::all(), StoreRevision::ZERO)
        .await
        .unwrap();
    let mut state = BTreeMap::new();
    let mut at = StoreRevision::ZERO;
    while at < last {
        let WatchItem::Events(transaction) = watch.next().await.unwrap() else {
            panic!("compacted");
        };
        at = transaction.revision;
        for event in transaction.events {
            match event {
                Event::Put { key, entry } => state.insert(key.to_string(), text(&entry.value)),
                Event::Deleted { key } => state.remove(key.as_str()),
            };
        }
    }
    state
}

fn child(dir: &Path) {
    let audit_dir = dir.join("audit");
    let auditor = thread::spawn(move || append_audit_lines(&audit_dir));
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let store = malha_store::open_or_create(&dir.join("store"), &Schema::first()).unwrap();
        open_accounts(&*store).await;
        let output = Arc::new(Mutex::new(std::io::stdout()));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                tokio::spawn(transfer_for_ever(
                    Arc::clone(&store),
                    client,
                    Arc::clone(&output),
                ))
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
    auditor.join().unwrap();
}

async fn open_accounts(store: &dyn Store) {
    let mut batch = Batch::new().absent(key("account/0"));
    for account in 0..ACCOUNTS {
        batch = batch.put(
            key(&format!("account/{account}")),
            value(&OPENING_BALANCE.to_string()),
        );
    }
    // A conflict says that an earlier child has done it.
    let _ = store.commit(batch).await.unwrap();
}

async fn transfer_for_ever(
    store: Arc<dyn Store>,
    client: u64,
    output: Arc<Mutex<std::io::Stdout>>,
) {
    let counter = key(&format!("counter/{client}"));
    let mut count: u64 = match store.get(&counter).await.unwrap() {
        Some(entry) => text(&entry.value).parse().unwrap(),
        None => 0,
    };
    let mut dice = Dice::seeded(client + count * CLIENTS + u64::from(std::process::id()));
    loop {
        let from = dice.below(ACCOUNTS);
        let to = (from + 1 + dice.below(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = dice.below(100) as i64;
        let mut batch = Batch::new()
            .put(counter.clone(), value(&(count + 1).to_string()))
            .put(
                key(&log_key(client, count + 1)),
                value(&format!("{from} {to} {amount}")),
            );
        for (account, change) in [(from, -amount), (to, amount)] {
            let account = key(&format!("account/{account}"));
            let entry = store.get(&account).await.unwrap().unwrap();
            let balance: i64 = text(&entry.value).parse().unwrap();
            batch = batch
                .modified(account.clone(), entry.modified)
                .put(account, value(&(balance + change).to_string()));
        }
        if let CommitOutcome::Committed { revision } = store.commit(batch).await.unwrap() {
            count += 1;
            let mut output = output.lock().unwrap();
            writeln!(output, "transfer {client} {count} {revision}").unwrap();
        }
    }
}

fn append_audit_lines(dir: &Path) {
    let mut log = AuditLog::open(dir).unwrap();
    loop {
        let record = AuditRecord {
            at_ms: 0,
            actor: "operator:ana".to_owned(),
            source: "loopback".to_owned(),
            action: "transfer".to_owned(),
            target: "account".to_owned(),
            outcome: AuditOutcome::Accepted,
            revision: None,
            detail: BTreeMap::new(),
        };
        let head = log.append_all(&[record.clone(), record]).unwrap();
        println!("audit {}", head.sequence);
    }
}

fn log_key(client: u64, transfer: u64) -> String {
    format!("log/{client}/{transfer:08}")
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn value(text: &str) -> Value {
    Value::new(text.as_bytes()).unwrap()
}

fn text(value: &Value) -> String {
    String::from_utf8(value.as_bytes().to_vec()).unwrap()
}

const CHILD_FOLDER: &str = "MALHA_KILL_CHILD_FOLDER";
const KILLS: u64 = 200;
/// A new folder now and then keeps the change log complete and the replay short.
const KILLS_PER_FOLDER: u64 = 20;
const CLIENTS: u64 = 4;
const ACCOUNTS: u64 = 16;
const OPENING_BALANCE: i64 = 1_000_000;
const STARTED_WITHIN: Duration = Duration::from_secs(60);
