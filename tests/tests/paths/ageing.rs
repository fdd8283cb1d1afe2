//! Sessions that grow old while something runs through them. WireGuard replaces one after two minutes and lets none live longer
//! than three, and whoever downloads meanwhile may not notice.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use malha_tests::lab::{Access, Lab, Mapping, Namespace, PATIENCE, eventually, story};

use crate::download::{Download, Sender, TARGET};
use crate::meeting::{CALLED, CALLERS, Meeting, Member, STREAM_PORT, Way, Ways};

/// One machine that reads, and those that send to it and to the hub: one directly, one through the relay, and one that only TCP
/// reaches.
struct Crowd {
    caller: Member,
    senders: Vec<Member>,
}

/// What goes by one session, and how old the session was when that began.
struct Course {
    name: String,
    download: Download,
    age: Duration,
}

#[test]
fn sessions_are_replaced_under_downloads_that_never_stand() {
    story("sessions grow old", |lab| {
        let crowd = Crowd::gather(lab)?;
        let sending = crowd.senders.iter().map(|it| Sender::start(it.namespace()));
        let _sending = sending.collect::<Result<Vec<_>>>()?;
        let begun = Instant::now();
        let mut courses = Vec::new();
        for sender in &crowd.senders {
            courses.push(Course::start(&crowd.caller, sender)?);
            courses.push(Course::start_from_hub(&lab.hub.namespace, sender)?);
        }
        // From here on nobody is in a hurry.
        lab.gives_its_turn();
        let youngest = courses.iter().map(|it| it.age).min().unwrap_or_default();
        eventually("the first sessions are over", SESSION_LIMIT * 2, || {
            let age = youngest + begun.elapsed();
            ensure!(age > SESSION_LIMIT, "the youngest is {age:?} old");
            Ok(())
        })?;
        crowd.have_young_sessions()?;
        for Course { name, download, .. } in courses {
            let gap = download.longest_gap();
            println!("{name}: stood for {:.1} s at most", gap.as_secs_f64());
            ensure!(gap < STANDS, "{name}: nothing came for {gap:?}");
            download.finish()?;
        }
        Ok(())
    });
}

impl Crowd {
    fn gather(lab: &Lab) -> Result<Self> {
        let meeting = Meeting::new(lab)?;
        let caller = meeting.enrol_one(CALLERS, Access::Home(Mapping::Preserving), 0)?;
        let access = [
            Access::Home(Mapping::Restricted),
            Access::Home(Mapping::Symmetric),
            Access::UdpBlocked,
        ];
        let senders = meeting.enrol(CALLED, &access, 1)?;
        meeting.open(&senders)?;
        let crowd = Self { caller, senders };
        for sender in &crowd.senders {
            meeting.offer(sender, "fluxo", STREAM_PORT, TARGET)?;
        }
        let ways = [Way::Direct, Way::Relay, Way::Relay];
        for (sender, way) in crowd.senders.iter().zip(ways) {
            eventually("the page is read", PATIENCE, || crowd.caller.reads(sender))?;
            let what = format!("{} is reached by {way:?}", sender.path);
            eventually(&what, PATIENCE, || crowd.caller.goes_to(sender, way))?;
        }
        Ok(crowd)
    }

    /// An error unless both ends of every session have shaken hands lately.
    fn have_young_sessions(&self) -> Result<()> {
        let caller = Ways::of(&self.caller)?;
        for sender in &self.senders {
            let at_sender = Ways::of(sender)?.session_ages(&self.caller);
            for age in [caller.session_ages(sender), at_sender]
                .into_iter()
                .flatten()
            {
                let young = age.is_some_and(|age| age < REPLACED_BY);
                ensure!(young, "{}: the session is {age:?} old", sender.path);
            }
        }
        Ok(())
    }
}

impl Course {
    fn start(caller: &Member, sender: &Member) -> Result<Self> {
        let name = format!("{} to {}", sender.path, caller.path);
        let [age, _] = Ways::of(caller)?.session_ages(sender);
        Self::run(name, caller.namespace(), sender, age)
    }

    fn start_from_hub(hub: &Namespace, sender: &Member) -> Result<Self> {
        let name = format!("{} to the hub", sender.path);
        let [_, age] = Ways::of(sender)?.session_ages(sender);
        Self::run(name, hub, sender, age)
    }

    fn run(
        name: String,
        reader: &Namespace,
        sender: &Member,
        age: Option<Duration>,
    ) -> Result<Self> {
        let from = (sender.overlay, STREAM_PORT).into();
        let download = eventually(&name, PATIENCE, || Download::start(reader, from))?;
        Ok(Self {
            name,
            download,
            age: age.unwrap_or_default(),
        })
    }
}

/// REJECT_AFTER_TIME (WireGuard's paper §6.1)
const SESSION_LIMIT: Duration = Duration::from_secs(180);
/// REKEY_AFTER_TIME, and three attempts (§6.2).
const REPLACED_BY: Duration = Duration::from_secs(135);
/// No block is so late, even while other stories use the machine; a session that nobody replaces brings nothing for longer.
const STANDS: Duration = Duration::from_secs(5);
