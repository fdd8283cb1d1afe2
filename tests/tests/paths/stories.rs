//! What happens to machines that talk when the path between them dies, and when it comes back.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use malha_tests::lab::{Access, Connected, Lab, Mapping, PATIENCE, eventually, story};

use crate::download::{Download, Sender, TARGET};
use crate::meeting::{CALLED, CALLERS, Meeting, Member, STREAM_PORT, Way, Ways};

/// Two machines that have met directly, and a download between them.
struct Talk {
    caller: Member,
    called: Member,
    download: Download,
    _sender: Sender,
}

impl Talk {
    fn begin(lab: &Lab) -> Result<Self> {
        let meeting = Meeting::new(lab)?;
        let caller = meeting.enrol_one(CALLERS, Access::Home(Mapping::Preserving), 0)?;
        let called = meeting.enrol_one(CALLED, Access::Home(Mapping::Restricted), 1)?;
        meeting.open(std::slice::from_ref(&called))?;
        meeting.offer(&called, "fluxo", STREAM_PORT, TARGET)?;
        eventually("the page is read", PATIENCE, || caller.reads(&called))?;
        eventually("they meet directly", PATIENCE, || {
            caller.goes_to(&called, Way::Direct)
        })?;
        // A path that dies before that is replaced only when the controller is heard again.
        eventually("the relay is theirs, too", PATIENCE, || {
            caller.shares_key_with(&called)?;
            called.shares_key_with(&caller)
        })?;
        let sender = Sender::start(called.namespace())?;
        let from = (called.overlay, STREAM_PORT).into();
        let download = eventually("the download begins", PATIENCE, || {
            Download::start(caller.namespace(), from)
        })?;
        Ok(Self {
            caller,
            called,
            download,
            _sender: sender,
        })
    }

    /// Waits until the download goes on after something was cut, and prints for how long it stood.
    fn recovers(&self, what: &str) -> Result<()> {
        let usable = self.first_connection(what)?;
        eventually(
            &format!("the download goes on after: {what}"),
            PATIENCE,
            || self.download.runs(PAUSE),
        )?;
        let gap = self.download.longest_gap();
        println!(
            "{what}: a new connection after {:.1} s (target {TARGET_S} s), the download stood for {:.1} s",
            usable.as_secs_f64(),
            gap.as_secs_f64()
        );
        ensure!(gap > PAUSE, "{what}: the download never stood");
        ensure!(
            usable < USABLE_WITHIN,
            "{what}: no new connection for {usable:?}"
        );
        ensure!(gap < STANDS_FOR, "{what}: nothing came for {gap:?}");
        Ok(())
    }

    /// How long it takes from now until a new connection brings the page. One is tried every moment, since a connection whose
    /// first packet was lost waits for a second before it sends another.
    fn first_connection(&self, what: &str) -> Result<Duration> {
        let start = Instant::now();
        std::thread::scope(|scope| {
            let (told, read) = mpsc::channel();
            while start.elapsed() < PATIENCE {
                let told = told.clone();
                scope.spawn(move || {
                    if self.caller.reads(&self.called).is_ok() {
                        // Only the first is waited for.
                        let _ = told.send(start.elapsed());
                    }
                });
                if let Ok(usable) = read.recv_timeout(TRY_INTERVAL) {
                    return Ok(usable);
                }
            }
            bail!("{what}: no new connection for {:?}", start.elapsed())
        })
    }

    /// Waits until the peer is reached in this way again.
    fn returns_to(&self, way: Way, since: Instant) -> Result<()> {
        eventually(&format!("back on {way:?}"), BACK_WITHIN, || {
            self.caller.goes_to(&self.called, way)
        })?;
        println!(
            "back on {way:?} after {:.1} s",
            since.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

#[test]
fn when_the_direct_path_dies_the_relay_takes_over_and_gives_it_back() {
    story("direct path dies", |lab| {
        let talk = Talk::begin(lab)?;
        let router = &talk.caller.connected.routers[0];
        router.block_udp_with(talk.called.connected.outer_address())?;
        talk.recovers("direct path cut")?;
        // The status is as old as the agent's last look at its peers.
        eventually("the relay is taken", PATIENCE, || {
            talk.caller.goes_to(&talk.called, Way::Relay)
        })?;
        talk.caller.reads(&talk.called)?;

        router.unblock()?;
        talk.returns_to(Way::Direct, Instant::now())?;
        talk.caller.reads(&talk.called)?;
        talk.download.finish()
    });
}

#[test]
fn when_udp_is_blocked_a_running_node_goes_on_over_tcp_and_returns() {
    story("UDP blocked at a running node", |lab| {
        let talk = Talk::begin(lab)?;
        let router = &talk.caller.connected.routers[0];
        router.block_udp()?;
        talk.recovers("UDP blocked")?;
        talk.caller.reads(&talk.called)?;
        // The status is as old as the agent's last look at its peers.
        let over = |wanted: Way| {
            let way = talk.caller.way_to_hub()?;
            ensure!(way == Some(wanted), "the hub is reached by {way:?}");
            Ok(())
        };
        eventually("the hub is reached over TCP", PATIENCE, || {
            over(Way::Carrier)
        })?;

        router.unblock()?;
        let unblocked = Instant::now();
        eventually("the hub is reached over UDP", BACK_WITHIN, || {
            over(Way::Direct)
        })?;
        println!(
            "the hub over UDP again after {:.1} s",
            unblocked.elapsed().as_secs_f64()
        );
        talk.returns_to(Way::Direct, unblocked)?;
        talk.caller.reads(&talk.called)?;
        talk.download.finish()
    });
}

/// TCP itself would try for a quarter of an hour.
#[test]
fn a_node_on_tcp_goes_on_when_its_connections_vanish_without_a_word() {
    story("TCP connections forgotten", |lab| {
        let meeting = Meeting::new(lab)?;
        let caller = meeting.enrol_one(CALLERS, Access::UdpBlocked, 0)?;
        let called = meeting.enrol_one(CALLED, Access::Home(Mapping::Restricted), 1)?;
        meeting.open(std::slice::from_ref(&called))?;
        eventually("the page is read", PATIENCE, || caller.reads(&called))?;
        caller.connected.routers[0].forget_connections()?;
        let start = Instant::now();
        eventually("the page is read again", USABLE_WITHIN, || {
            caller.reads(&called)
        })?;
        println!(
            "TCP connections forgotten: a new connection after {:.1} s (target {TARGET_S} s)",
            start.elapsed().as_secs_f64()
        );
        Ok(())
    });
}

/// Their router gives each flow another port, so nobody outside can know where to find them: they must have told each other.
#[test]
fn two_machines_of_one_site_meet_by_the_addresses_of_their_own_networks() {
    story("one site", |lab| {
        let meeting = Meeting::new(lab)?;
        let home = lab.connected(Access::Home(Mapping::Symmetric), 0)?;
        let beside = lab.connected_beside(&home, 1)?;
        let caller = meeting.admit(CALLERS, vec![home])?.remove(0);
        let called = meeting.admit(CALLED, vec![beside])?.remove(0);
        meeting.open(std::slice::from_ref(&called))?;
        eventually("the page is read", PATIENCE, || caller.reads(&called))?;
        eventually("they meet directly", PATIENCE, || {
            caller.goes_to(&called, Way::Direct)?;
            let ways = Ways::of(&caller)?;
            let endpoint = ways.endpoint_of(&called).unwrap_or_default();
            ensure!(
                endpoint.starts_with(Connected::LAN_ADDRESS_BESIDE),
                "the other is at {endpoint}"
            );
            Ok(())
        })?;
        caller.reads(&called)
    });
}

/// No block of a running download is so late, even on a busy machine.
const PAUSE: Duration = Duration::from_millis(1500);
const TRY_INTERVAL: Duration = Duration::from_millis(250);
/// What an operator may expect; printed beside what was measured.
const TARGET_S: u64 = 5;
/// What a busy test machine must keep.
const USABLE_WITHIN: Duration = Duration::from_secs(15);
/// A sender's TCP repeats after ever longer pauses, and so may notice a new path only after twice the time that finding it took.
const STANDS_FOR: Duration = Duration::from_secs(30);
const BACK_WITHIN: Duration = Duration::from_secs(60);
