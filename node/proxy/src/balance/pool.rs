//! Which backend a new connection gets: the backends of one balancer, their health, modes and open connections, as a
//! state with `now` as an argument. It opens no connection and asks no backend.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::health::{Condition, Finding, Health};
use super::open::{Ending, Open, Watch};
use super::spec::{Algorithm, Backend, Check, Limits, Mode, Spec};

/// The backends of one balancer.
#[derive(Debug)]
pub struct Pool {
    algorithm: Algorithm,
    check: Check,
    slow_start: Duration,
    limits: Limits,
    members: Vec<Member>,
    /// Moves on with every choice, so that equals take turns.
    turn: usize,
    /// Of the next connection.
    number: u64,
    /// When connections must be looked at for silence.
    next_look: Instant,
    /// How every connection must end, those to come too.
    closed: Option<Ending>,
}

#[derive(Debug)]
struct Member {
    backend: Backend,
    health: Health,
    /// Since when it gets a growing share; None: the whole.
    ramp_from: Option<Instant>,
    /// Those open now, those being opened included, by their numbers.
    open: BTreeMap<u64, Seat>,
    total: u64,
    failed: u64,
    /// When its maintenance has waited for its connections long enough; None: it is in no maintenance, or has no connection of before it any more.
    cut_at: Option<Instant>,
}

/// One open connection.
#[derive(Debug)]
struct Seat {
    open: Arc<Open>,
    watch: Watch,
    source: IpAddr,
}

/// What a connection must know of its backend.
#[derive(Clone, Debug)]
pub struct Choice {
    pub backend: u64,
    pub address: SocketAddr,
    pub(super) open: Arc<Open>,
    number: u64,
}

/// One backend as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendStatus {
    pub id: u64,
    pub address: SocketAddr,
    pub mode: Mode,
    pub condition: Condition,
    /// How long it has been in this condition.
    pub since: Duration,
    /// Its share of new connections, in thousandths.
    pub weight: u32,
    /// Open now, those being opened included.
    pub connections: usize,
    /// Connections ever given to it, and those of them that could not be opened.
    pub total: u64,
    pub failed: u64,
}

impl Pool {
    pub fn new(spec: &Spec, now: Instant) -> Self {
        let members = spec.backends.iter();
        Self {
            algorithm: spec.algorithm,
            check: spec.check.clone(),
            slow_start: spec.slow_start,
            limits: spec.limits,
            members: members.map(|backend| Member::new(backend, now)).collect(),
            turn: 0,
            number: 0,
            next_look: now,
            closed: None,
        }
    }

    /// Takes another spec. A backend that stays at its address keeps its health and connections; those of one that goes
    /// are reset.
    pub fn change(&mut self, spec: &Spec, now: Instant) {
        let same_probe = self.check.probe == spec.check.probe;
        let mut old = std::mem::take(&mut self.members);
        for backend in &spec.backends {
            let place = |it: &Member| (it.backend.id, it.backend.address);
            let at = (old.iter()).position(|it| place(it) == (backend.id, backend.address));
            self.members.push(match at {
                Some(at) => old.swap_remove(at).changed(backend, same_probe, now),
                None => Member::new(backend, now),
            });
        }
        old.iter().for_each(|gone| gone.tell_all(Ending::Reset));
        self.algorithm = spec.algorithm;
        self.check = spec.check.clone();
        self.slow_start = spec.slow_start;
        self.limits = spec.limits;
        self.next_look = now;
    }

    /// The backend for a connection from here, which is counted as its own from now on: of those that it has `tried` least often.
    /// None: no backend may have it.
    pub fn choose(&mut self, source: IpAddr, tried: &[u64], now: Instant) -> Option<Choice> {
        let rank = |it: &Member| {
            let times = tried.iter().filter(|id| **id == it.backend.id).count();
            it.rank().map(|rank| (times, rank))
        };
        let best = self.members.iter().filter_map(rank).min()?;
        let eligible: Vec<usize> = (0..self.members.len())
            .filter(|at| rank(&self.members[*at]) == Some(best))
            .collect();
        let at = match self.algorithm {
            Algorithm::LeastConnections => self.least_connections(&eligible, now),
            Algorithm::SourceAffinity => self.nearest(&eligible, source, now),
        }?;
        self.turn = at + 1;
        let (member, number) = (&mut self.members[at], self.number);
        let open = Arc::new(Open::default());
        if let Some(ending) = self.closed {
            open.tell(ending);
        }
        self.number += 1;
        member.total += 1;
        let seat = Seat {
            open: Arc::clone(&open),
            watch: Watch::new(now),
            source,
        };
        member.open.insert(number, seat);
        Some(Choice {
            backend: member.backend.id,
            address: member.backend.address,
            open,
            number,
        })
    }

    /// A connection that [`Pool::choose`] counted has ended.
    pub fn ended(&mut self, choice: &Choice) {
        // One that was reset because its backend left belongs to no member of now.
        if let Some(member) = self.member(choice.backend, choice.address) {
            member.open.remove(&choice.number);
        }
    }

    /// The backend did not take a connection.
    pub fn connect_failed(&mut self, choice: &Choice, now: Instant) {
        let check = self.check.clone();
        if let Some(member) = self.member(choice.backend, choice.address) {
            member.failed += 1;
            member.health.connect_failed(&check, now);
        }
    }

    /// Believes this of a backend until its first check.
    pub fn assume(&mut self, backend: u64, condition: Condition, now: Instant) {
        let check = &self.check;
        let members = self.members.iter_mut();
        for member in members.filter(|it| it.backend.id == backend) {
            member.health.assume(condition, check, now);
        }
    }

    /// When a backend must be checked or a maintenance has waited long enough; None while neither will be.
    pub fn next_due(&self) -> Option<Instant> {
        let checks = self.members.iter().filter_map(Member::next_check);
        checks
            .chain(self.members.iter().filter_map(|it| it.cut_at))
            .min()
    }

    /// Resets what is left open on backends whose maintenance has waited for it.
    pub fn cut_overdue(&mut self, now: Instant) {
        for member in &mut self.members {
            if member.cut_at.is_some_and(|at| at <= now) {
                member.cut_at = None;
                member.tell_all(Ending::Reset);
            }
        }
    }

    /// Where the backends are.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.members.iter().map(|it| it.backend.address)
    }

    /// Resets all connections to an address, for the way there has ended.
    pub(super) fn cut(&self, address: SocketAddr) {
        let at = |it: &&Member| it.backend.address == address;
        (self.members.iter().filter(at)).for_each(|it| it.tell_all(Ending::Reset));
    }

    /// Resets all connections from an address, for it has left its peer.
    pub(super) fn cut_source(&self, source: IpAddr) {
        let seats = self.members.iter().flat_map(|it| it.open.values());
        (seats.filter(|it| it.source == source)).for_each(|it| it.open.tell(Ending::Reset));
    }

    /// When [`Pool::look`] must come next.
    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Resets the connections in which nothing has moved for too long.
    pub(super) fn look(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        let limits = self.limits;
        self.next_look = now + limits.idle.min(limits.half_open) / LOOKS_PER_LIMIT;
        for seat in (self.members.iter_mut()).flat_map(|it| it.open.values_mut()) {
            if seat.watch.is_over(&seat.open, &limits, now) {
                seat.open.tell(Ending::Reset);
            }
        }
    }

    /// Has all connections end so, and those that were accepted but have no backend yet.
    pub(super) fn close(&mut self, ending: Ending) {
        self.closed = Some(ending);
        self.members.iter().for_each(|it| it.tell_all(ending));
    }

    /// The backends that must be checked now; each is under way until [`Pool::checked`] is told of it.
    pub fn begin_checks(&mut self, now: Instant) -> Vec<(u64, SocketAddr)> {
        let mut begun = Vec::new();
        for member in &mut self.members {
            if member.next_check().is_some_and(|due| due <= now) {
                member.health.check_began();
                begun.push((member.backend.id, member.backend.address));
            }
        }
        begun
    }

    pub(crate) fn has(&self, backend: u64, address: SocketAddr) -> bool {
        let is_it =
            |member: &Member| member.backend.id == backend && member.backend.address == address;
        self.members.iter().any(is_it)
    }

    pub(crate) fn checked(
        &mut self,
        backend: u64,
        address: SocketAddr,
        finding: Finding,
        now: Instant,
    ) {
        let check = self.check.clone();
        let Some(member) = self.member(backend, address) else {
            return;
        };
        let before = member.health.condition();
        member.health.checked(finding, &check, now);
        let after = member.health.condition();
        // One that was unproven has not been away: it would only be held back at the balancer's own start.
        let came_back = matches!(before, Condition::Down | Condition::Recovering);
        if came_back && after == Condition::Up {
            member.ramp_from = Some(now);
        }
        if before != after {
            tracing::info!(backend, %address, ?before, ?after, "a backend changed its condition");
        }
    }

    pub fn check(&self) -> &Check {
        &self.check
    }

    pub fn status(&self, now: Instant) -> Vec<BackendStatus> {
        let members = self.members.iter();
        let status = |it: &Member| BackendStatus {
            id: it.backend.id,
            address: it.backend.address,
            mode: it.backend.mode,
            condition: it.health.condition(),
            since: now.duration_since(it.health.since()),
            weight: it.weight(self.slow_start, now),
            connections: it.open.len(),
            total: it.total,
            failed: it.failed,
        };
        members.map(status).collect()
    }

    fn least_connections(&self, eligible: &[usize], now: Instant) -> Option<usize> {
        let count = self.members.len();
        let load = |at: usize| {
            let member = &self.members[at];
            let weight = u64::from(member.weight(self.slow_start, now));
            (member.open.len() as u64 + 1, weight)
        };
        // Fractions are compared by multiplying crosswise, which rounds nothing.
        let by_load = |one: &usize, other: &usize| -> Ordering {
            let ((a, wa), (b, wb)) = (load(*one), load(*other));
            let turn = |at: usize| (at + count - self.turn % count) % count;
            (a * wb).cmp(&(b * wa)).then(turn(*one).cmp(&turn(*other)))
        };
        eligible.iter().copied().min_by(by_load)
    }

    /// The backend with the highest hash, unless it is still starting slowly and this source is not yet in its share.
    fn nearest(&self, eligible: &[usize], source: IpAddr, now: Instant) -> Option<usize> {
        let score = |at: &usize| affinity(source, self.members[*at].backend.id);
        let in_share = |at: &&usize| {
            let share = score(at) % u64::from(WHOLE);
            share < u64::from(self.members[**at].weight(self.slow_start, now))
        };
        let within = eligible.iter().filter(in_share).max_by_key(|at| score(at));
        within
            .or_else(|| eligible.iter().max_by_key(|at| score(at)))
            .copied()
    }

    fn member(&mut self, backend: u64, address: SocketAddr) -> Option<&mut Member> {
        let mut members = self.members.iter_mut();
        members.find(|it| (it.backend.id, it.backend.address) == (backend, address))
    }
}

impl Member {
    fn new(backend: &Backend, now: Instant) -> Self {
        Self {
            backend: backend.clone(),
            health: Health::new(now),
            ramp_from: None,
            open: BTreeMap::new(),
            total: 0,
            failed: 0,
            cut_at: None,
        }
    }

    fn changed(mut self, backend: &Backend, same_probe: bool, now: Instant) -> Self {
        let was = std::mem::replace(&mut self.backend.mode, backend.mode);
        if backend.mode != Mode::Maintenance {
            self.cut_at = None;
        } else if was != Mode::Maintenance {
            self.cut_at = Some(now + MAINTENANCE_GRACE);
        }
        // What was known before a maintenance, or by another probe, is known no more.
        if was == Mode::Maintenance && backend.mode != Mode::Maintenance {
            self.health = Health::new(now);
            self.ramp_from = Some(now);
        } else if !same_probe {
            self.health = Health::new(now);
        }
        self
    }

    fn tell_all(&self, ending: Ending) {
        self.open.values().for_each(|it| it.open.tell(ending));
    }

    /// Backends of a lower rank go first; None may have no connection.
    fn rank(&self) -> Option<u8> {
        if self.backend.mode != Mode::Serve {
            return None;
        }
        match self.health.condition() {
            Condition::Up => Some(0),
            Condition::Suspect => Some(1),
            Condition::Unproven | Condition::Recovering => Some(2),
            Condition::Down => None,
        }
    }

    fn next_check(&self) -> Option<Instant> {
        let checked = self.backend.mode != Mode::Maintenance;
        self.health.next_check().filter(|_| checked)
    }

    /// The share of new connections, in thousandths.
    fn weight(&self, slow_start: Duration, now: Instant) -> u32 {
        let Some(from) = self.ramp_from else {
            return WHOLE;
        };
        let elapsed_ms = now.duration_since(from).as_millis();
        let grown = elapsed_ms * u128::from(WHOLE) / slow_start.as_millis().max(1);
        u32::try_from(grown).map_or(WHOLE, |grown| grown.clamp(LEAST, WHOLE))
    }
}

/// The same in every process and version, so that a restart moves no source.
fn affinity(source: IpAddr, backend: u64) -> u64 {
    let mut hash = Sha256::new();
    match source.to_canonical() {
        IpAddr::V4(address) => hash.update(address.octets()),
        IpAddr::V6(address) => hash.update(address.octets()),
    }
    hash.update(backend.to_be_bytes());
    let digest = hash.finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// How long a maintenance waits for the connections that are open; X-Road's own limit for a message is a minute.
pub const MAINTENANCE_GRACE: Duration = Duration::from_secs(60);
/// A silent connection is reset at most a quarter later than its limit says.
const LOOKS_PER_LIMIT: u32 = 8;
/// The weight of a backend that has its whole share.
const WHOLE: u32 = 1_000;
/// The weight at the beginning of a slow start.
const LEAST: u32 = 100;

#[cfg(test)]
mod tests;
