//! Processes that are stopped and resumed, machines that sleep, and clocks that jump. The tunnel under test runs in a process of
//! its own here, since the time of this one is needed to judge it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use malha_tunnel::Engine;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::ground::{Ground, peer, this_program};
use crate::nodes::LIMIT;
use crate::raw::{DATA, INITIATION, Raw, SILENCE};

/// A running tunnel that knows peer 2 and dials it.
struct Subject {
    process: Child,
    orders: ChildStdin,
    underlay: SocketAddr,
    clock: PathBuf,
}

/// Which clocks of the process jump.
enum Deceived {
    /// Its machine sleeps: all of them.
    All,
    /// Somebody sets the time.
    TimeOfDay,
}

pub(crate) async fn a_stopped_process_goes_on_where_it_was(ground: Ground) {
    if let Some(reason) = outside_processes(&ground) {
        println!("{reason}");
        return;
    }
    let (mut subject, mut raw) = start(&ground, None).await;
    raw.pings().await;
    subject.stop();
    let mut wanted = Vec::new();
    for _ in 0..50 {
        let (request, number) = raw.request();
        let datagram = raw.seal(&request);
        raw.send(&datagram).await;
        wanted.push(number);
    }
    assert_eq!(
        raw.hears(Duration::from_secs(3)).await,
        None,
        "it was not stopped"
    );
    subject.signal(Signal::SIGCONT);
    assert_eq!(raw.replies().await, wanted);
    subject.order("refresh");
    raw.is_called().await;
    raw.pings().await;
}

/// REKEY_AFTER_TIME and REJECT_AFTER_TIME (paper §6.1)
pub(crate) async fn after_a_long_sleep_the_peer_is_called_anew(ground: Ground) {
    if let Some(reason) = cannot_deceive(&ground) {
        println!("{reason}");
        return;
    }
    let (subject, mut raw) = start(&ground, Some(Deceived::All)).await;
    raw.pings().await;
    subject.set_clock("+121s");
    // The old session still carries, and a new one is asked for. An engine may note times in steps of 250 ms, so it takes
    // traffic for longer than that to show that the session is in use.
    let called = async {
        loop {
            let (request, _) = raw.request();
            let datagram = raw.seal(&request);
            raw.send(&datagram).await;
            while let Some(heard) = raw.hears(SILENCE).await {
                if heard[0] == INITIATION {
                    return;
                }
            }
        }
    };
    let called = tokio::time::timeout(LIMIT, called).await;
    called.expect("no new session was asked for");
    // The call may have overtaken answers.
    raw.replies().await;
    raw.pings().await;

    subject.set_clock("+200s");
    raw.message(INITIATION).await;
    let (request, _) = raw.request();
    let datagram = raw.seal(&request);
    raw.send(&datagram).await;
    let heard = raw.hears(SILENCE).await;
    assert!(
        heard.is_none_or(|it| it[0] != DATA),
        "a session outlived three minutes"
    );

    subject.set_clock("+8h");
    raw.is_called().await;
    raw.pings().await;
}

/// A peer refuses initiations whose time does not grow; our own must grow whatever the clock does.
pub(crate) async fn a_clock_set_back_costs_no_session(ground: Ground) {
    if let Some(reason) = cannot_deceive(&ground) {
        println!("{reason}");
        return;
    }
    let (mut subject, mut raw) = start(&ground, Some(Deceived::TimeOfDay)).await;
    raw.pings().await;
    let before = raw.identity.last_stamp();
    for offset in ["-1d", "+2d", "-400d"] {
        subject.set_clock(offset);
        raw.pings().await;
        let last = raw.identity.last_stamp();
        subject.order("refresh");
        raw.is_called().await;
        assert!(raw.identity.last_stamp() > last, "after {offset}");
        raw.pings().await;
    }
    assert!(raw.identity.last_stamp() > before);
}

/// A machine whose clock has no battery starts years back. A peer that knows it from before refuses its initiations until the time
/// in them is a later one again.
pub(crate) async fn a_clock_set_right_after_the_start_opens_the_way(ground: Ground) {
    if let Some(reason) = cannot_deceive(&ground) {
        println!("{reason}");
        return;
    }
    let (subject, mut raw) = begin(&ground, Some(Deceived::TimeOfDay), "-400d").await;
    let known = stamp(SystemTime::now());
    let refused = raw.message(INITIATION).await;
    assert!(raw.stamp_of(&refused) < known);
    subject.set_clock("+0");
    let accepted = async {
        loop {
            let initiation = raw.message(INITIATION).await;
            if raw.stamp_of(&initiation) >= known {
                return initiation;
            }
        }
    };
    let accepted = tokio::time::timeout(LIMIT, accepted).await;
    let accepted = accepted.expect("all initiations bear a time of the past");
    raw.answers(&accepted).await;
    raw.is_confirmed().await;
    raw.pings().await;
}

/// Starts the process and answers its call.
async fn start(ground: &Ground, deceived: Option<Deceived>) -> (Subject, Raw) {
    let (subject, mut raw) = begin(ground, deceived, "+0").await;
    raw.is_called().await;
    (subject, raw)
}

/// Starts the process, whose clocks are off by this much.
async fn begin(ground: &Ground, deceived: Option<Deceived>, offset: &str) -> (Subject, Raw) {
    // The peer must be there before the process that dials it, and learns its address afterwards.
    let mut raw = Raw::at(2, ([127, 0, 0, 1], 1).into()).await;
    let subject = Subject::start(ground, raw.endpoint(), deceived, offset);
    raw.subject = subject.underlay;
    (subject, raw)
}

/// This time as it stands in an initiation (TAI64N).
fn stamp(time: SystemTime) -> [u8; 12] {
    let since = time.duration_since(UNIX_EPOCH).unwrap();
    let mut stamp = [0; 12];
    stamp[..8].copy_from_slice(&((1 << 62) + 37 + since.as_secs()).to_be_bytes());
    stamp[8..].copy_from_slice(&since.subsec_nanos().to_be_bytes());
    stamp
}

impl Subject {
    fn start(ground: &Ground, dials: SocketAddr, deceived: Option<Deceived>, offset: &str) -> Self {
        let clock = std::env::temp_dir().join(format!("malha-clock-{}", dials.port()));
        fs::write(&clock, format!("{offset}\n")).unwrap();
        let mut command = this_program();
        command
            .args(["subject_of_another_process", "--exact", "--nocapture"])
            .env(
                ASKED,
                format!("{} {} {dials}", ground.engine, ground.shards),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(deceived) = deceived {
            command
                .env("LD_PRELOAD", library().unwrap_or_default())
                .env("FAKETIME_TIMESTAMP_FILE", &clock)
                .env("FAKETIME_NO_CACHE", "1");
            if matches!(deceived, Deceived::TimeOfDay) {
                command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            }
        }
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let said = lines.map_while(Result::ok).find_map(|line| {
            let (_, underlay) = line.split_once(READY)?;
            underlay.parse().ok()
        });
        Self {
            orders: process.stdin.take().unwrap(),
            underlay: said.expect("the process never became ready"),
            process,
            clock,
        }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// Returns when every thread of it stands still.
    fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let stopped = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(stopped, WaitStatus::Stopped(self.pid(), Signal::SIGSTOP));
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id() as i32)
    }

    /// The process reads the file whenever it asks for the time, so it must never be there half written.
    fn set_clock(&self, offset: &str) {
        let fresh = self.clock.with_extension("next");
        fs::write(&fresh, format!("{offset}\n")).unwrap();
        fs::rename(fresh, &self.clock).unwrap();
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.clock);
    }
}

/// The other side of [`Subject`].
pub(crate) fn serve_if_asked() {
    let Ok(asked) = std::env::var(ASKED) else {
        return;
    };
    let (engine, asked) = asked.split_once(' ').unwrap();
    let (shards, dials) = asked.split_once(' ').unwrap();
    let engine = [Engine::Netstack, Engine::Userspace]
        .into_iter()
        .find(|it| it.to_string() == engine)
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let ground = Ground::new(engine, shards.parse().unwrap());
        let subject = ground.subject().await;
        println!("{READY}{}", subject.underlay().await[0]);
        let mut config = peer(2, vec![dials.parse().unwrap()]);
        config.keepalive_s = Some(25);
        subject.tunnel.set_peer(config).await.unwrap();
        let (heard, mut orders) = tokio::sync::mpsc::channel(1);
        std::thread::spawn(move || {
            for _refresh in std::io::stdin().lock().lines().map_while(Result::ok) {
                heard.blocking_send(()).unwrap();
            }
        });
        while orders.recv().await.is_some() {
            subject.tunnel.refresh().await;
        }
    });
}

/// Why the clocks of the tunnel under test can't be changed, if so.
fn cannot_deceive(ground: &Ground) -> Option<String> {
    let no_library = || "skipped: libfaketime is missing; install the package faketime".to_owned();
    outside_processes(ground).or_else(|| library().is_none().then(no_library))
}

/// Why the tunnel under test can't be stopped, if so.
fn outside_processes(ground: &Ground) -> Option<String> {
    let outside = ground.engine == Engine::Kernel;
    outside
        .then(|| "not played: the kernel's tunnel is no process that could be stopped".to_owned())
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    let mut files = folders
        .flatten()
        .map(|folder| folder.path().join(Path::new(LIBRARY)));
    files.find(|file| file.exists())
}

const ASKED: &str = "MALHA_CONFORMANCE_SUBJECT";
const READY: &str = "ready at ";
/// Below `/usr/lib/ARCHITECTURE`.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
