//! A console that keeps its whole world in memory: what one page writes, the next one reads, and
//! open pages are told. It stands in for the controller in tests and in the preview, and enforces
//! just enough rules to refuse.
#![allow(dead_code)] // Each test crate uses a part of it.
#![allow(clippy::unwrap_used)] // A panic fails the test that caused it.

mod balancers;
pub(crate) mod compliance;
mod console;
mod organizations;
mod policy;
mod profiles;
mod rules;
mod sample;
mod zones;

use std::sync::Mutex;
use std::time::Duration;

use malha_web::model::*;
use malha_web::{Role, Untrusted};

use rules::no_such;
use time::OffsetDateTime;
use tokio::sync::broadcast;

pub(crate) const USER: &str = "ana";
pub(crate) const PASSWORD: &str = "correct horse";

/// The console and the levers by which a test moves its world.
pub(crate) struct MemoryConsole {
    world: Mutex<World>,
    changes: broadcast::Sender<ChangeNotice>,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) revision: u64,
    pub(crate) role: Option<Role>,
    pub(crate) any_session: bool,
    pub(crate) sessions: Vec<String>,
    pub(crate) failed_logins: u32,
    pub(crate) organizations: Vec<String>,
    pub(crate) sites: Vec<(String, String)>,
    pub(crate) nodes: Vec<NodeDetail>,
    pub(crate) tokens: Vec<TokenRow>,
    pub(crate) services: Vec<ServiceRow>,
    pub(crate) routes: Vec<RouteRow>,
    pub(crate) zones: Vec<ZoneDetail>,
    pub(crate) balancers: Vec<BalancerRow>,
    pub(crate) activity: Vec<ActivityRow>,
    /// Texts that were put in force, the newest last.
    pub(crate) policies: Vec<String>,
    /// Texts that wait for a second operator, and whether the one who is signed in wrote them.
    pub(crate) proposed: Vec<(String, bool)>,
    /// What the newest text waits for.
    pub(crate) pending: Option<PendingPolicy>,
    pub(crate) approver: SecondApprover,
    /// What an operator called a port of a profile.
    pub(crate) port_name: Option<Untrusted>,
    /// Whether organizations were checked.
    pub(crate) checked: bool,
    pub(crate) standing: CheckStanding,
    pub(crate) lagging: Vec<Untrusted>,
    pub(crate) unavailable: bool,
    issued: u32,
}

impl MemoryConsole {
    /// A network in which nothing exists yet.
    pub(crate) fn empty() -> Self {
        Self {
            world: Mutex::new(World::default()),
            changes: broadcast::channel(16).0,
        }
    }

    /// A small network with something of everything, broken hops and a clone among it.
    pub(crate) fn sample() -> Self {
        let console = Self::empty();
        sample::fill(&mut console.world.lock().unwrap());
        console
    }

    /// Looks into the world.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.world.lock().unwrap())
    }

    /// Changes the world from outside and tells open pages.
    pub(crate) fn change(&self, topics: impl Into<Topics>, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
        let _ = self.changes.send(ChangeNotice::Changed(topics.into()));
    }

    /// Tells open pages that the process ends.
    pub(crate) fn close(&self) {
        let _ = self.changes.send(ChangeNotice::Closing);
    }

    /// How many live streams listen.
    pub(crate) fn listeners(&self) -> usize {
        self.changes.receiver_count()
    }

    fn read<T>(&self, look: impl FnOnce(&World) -> T) -> Result<T, Unreadable> {
        self.peek(|world| {
            if world.unavailable {
                Err(Unreadable::Unavailable)
            } else {
                Ok(look(world))
            }
        })
    }

    /// Commits one write: the change or its refusal, the audit line, the notice.
    fn write(
        &self,
        topic: Topic,
        action: Action,
        subject: &str,
        change: impl FnOnce(&mut World) -> Result<(), Refused>,
    ) -> Result<Outcome, Refused> {
        let mut world = self.world.lock().unwrap();
        change(&mut world)?;
        world.revision += 1;
        let row = ActivityRow {
            sequence: world.revision,
            at: OffsetDateTime::now_utc(),
            actor: USER.into(),
            action,
            subject: subject.into(),
            revision: Some(world.revision),
        };
        world.activity.insert(0, row);
        let outcome = Outcome {
            revision: world.revision,
            convergence: world.convergence(),
        };
        drop(world);
        let _ = self.changes.send(ChangeNotice::Changed(
            topic | Topic::Activity | Topic::Convergence,
        ));
        Ok(outcome)
    }

    fn issue(&self, new: NewToken, replaces: Option<Untrusted>) -> Result<IssuedToken, Refused> {
        let now = OffsetDateTime::now_utc();
        let expires_at = now + Duration::from_secs(new.lifetime_s);
        let mut issued = 0;
        let outcome = self.write(Topic::Tokens, Action::TokenCreated, &new.site, |world| {
            let (organization, site) = new.site.split_once('/').ok_or_else(|| no_such("site"))?;
            if !world
                .sites
                .iter()
                .any(|(o, s)| o == organization && s == site)
            {
                return Err(no_such("site"));
            }
            world.issued += 1;
            issued = world.issued;
            let row = TokenRow {
                id: format!("t{issued}").into(),
                organization: organization.into(),
                site: site.into(),
                profile: new.profile,
                replaces,
                created_at: now,
                expires_at,
                uses_left: new.uses,
                uses_total: new.uses,
                state: TokenState::Active,
            };
            world.tokens.insert(0, row);
            Ok(())
        })?;
        Ok(IssuedToken {
            id: format!("t{issued}").into(),
            secret: format!("mlh1_secret-number-{issued}_x7Qm2fZk9LwD4sVb8NcR1tHy6Jp3GeUa").into(),
            expires_at,
            revision: outcome.revision,
        })
    }
}

impl World {
    fn convergence(&self) -> Convergence {
        let of = self
            .nodes
            .iter()
            .filter(|node| node.row.state == NodeState::Active)
            .count() as u32;
        Convergence {
            applied: of.saturating_sub(self.lagging.len() as u32),
            of,
            lagging: self.lagging.clone(),
        }
    }

    fn node_mut(&mut self, id: &NodeId) -> Result<&mut NodeDetail, Refused> {
        self.nodes
            .iter_mut()
            .find(|node| node.row.id == *id)
            .ok_or_else(|| no_such("node"))
    }
}
