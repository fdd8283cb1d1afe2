//! Finding a controller: one transport first, the other when it stays silent, one controller after the other. It never decides
//! when to try again.

use std::collections::VecDeque;
use std::sync::Arc;

use malha_proto::MAX_TOKEN_ADDRESSES;

use super::jitter::{Jitter, Refusals};
use super::{Action, LinkError, LinkFault, LinkId, Millis, Transport};

/// QUIC's start before TCP joins the race, milliseconds.
pub const QUIC_HEAD_START_MS: Millis = 3_000;

/// TCP's start before QUIC joins the race, milliseconds: TCP, a proxy's answer and TLS take more round trips than QUIC, which
/// would win again.
pub const TCP_HEAD_START_MS: Millis = 6_000;

/// After this long an attempt is over even if a transport still tries, milliseconds.
pub const DIAL_TIMEOUT_MS: Millis = 12_000;

/// Where a proxy has said no, none is asked for at least so long, milliseconds, and for longer after each further no: by TCP for any
/// controller, since it may be the credentials.
pub const PROXY_REFUSED_PAUSE_MS: Millis = 30_000;

/// At most one attempt at a time, of at most one link per transport.
#[derive(Debug)]
pub(super) struct Dial {
    controllers: Vec<Arc<str>>,
    at: usize,
    next_link: u64,
    attempt: Option<Attempt>,
    /// What either transport failed of the last time, the newer one last; nothing since a link came up.
    failures: Vec<(Transport, LinkError)>,
    proxy_refusal: Option<ProxyRefusal>,
    refusals: Refusals,
}

/// A proxy has said no.
#[derive(Debug)]
struct ProxyRefusal {
    controller: Arc<str>,
    /// When it may be asked again.
    until: Millis,
}

#[derive(Debug)]
struct Attempt {
    controller: Arc<str>,
    quic: Option<LinkId>,
    tcp: Option<LinkId>,
    /// Which transport joins, and when; None once it did, or when none shall.
    joins: Option<(Transport, Millis)>,
    give_up_at: Millis,
}

/// Which transports an attempt may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Race {
    /// QUIC, then TCP after the head start.
    QuicFirst,
    /// Both at once: QUIC was blocked a moment ago.
    Both,
    /// TCP, then QUIC after the head start: QUIC comes up and falls silent.
    TcpFirst,
    /// QUIC alone: a session over TCP stands, or a proxy has said no.
    QuicOnly,
}

/// What a failed link means for the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The link was none of this attempt.
    Stale,
    /// The other transport still tries.
    Goes,
    /// Nothing is left to wait for.
    Over,
}

impl Dial {
    pub(super) fn new(controllers: &[String]) -> Self {
        Self {
            controllers: controllers
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
            at: 0,
            next_link: 1,
            attempt: None,
            failures: Vec::new(),
            proxy_refusal: None,
            refusals: Refusals::default(),
        }
    }

    /// Whose turn it is.
    pub(super) fn controller(&self) -> Option<&Arc<str>> {
        self.controllers.get(self.at)
    }

    /// Takes another list. The present controller keeps its turn if it is on it.
    pub(super) fn set_controllers(&mut self, controllers: &[String]) {
        let present = self.controller().cloned();
        self.controllers = controllers
            .iter()
            .map(|name| name.as_str().into())
            .collect();
        self.at = present
            .and_then(|name| self.controllers.iter().position(|other| *other == name))
            .unwrap_or(0);
    }

    /// In another network there may be another proxy, or none; and one that said no before a session stood may know better.
    pub(super) fn forget_refusals(&mut self) {
        self.proxy_refusal = None;
        self.refusals.forget();
    }

    pub(super) fn is_dialing(&self) -> bool {
        self.attempt.is_some()
    }

    pub(super) fn start(&mut self, race: Race, now: Millis, actions: &mut VecDeque<Action>) {
        let race = match &self.proxy_refusal {
            Some(refusal) if now < refusal.until => Race::QuicOnly,
            Some(refusal) => {
                // It may let through to another one; but one that has been reached since keeps its turn.
                let is_its_turn = self.controller() == Some(&refusal.controller);
                if is_its_turn && !self.failures.is_empty() {
                    self.rotate();
                }
                self.proxy_refusal = None;
                race
            }
            None => race,
        };
        let Some(controller) = self.controller().cloned() else {
            return;
        };
        self.attempt = Some(Attempt {
            controller,
            quic: None,
            tcp: None,
            joins: match race {
                Race::QuicFirst => Some((Transport::Tcp, now + QUIC_HEAD_START_MS)),
                Race::TcpFirst => Some((Transport::Quic, now + TCP_HEAD_START_MS)),
                Race::Both | Race::QuicOnly => None,
            },
            give_up_at: now + DIAL_TIMEOUT_MS,
        });
        if race != Race::TcpFirst {
            self.join(Transport::Quic, actions);
        }
        if matches!(race, Race::Both | Race::TcpFirst) {
            self.join(Transport::Tcp, actions);
        }
    }

    /// The controller and the transport of a link that came up, if it is one of this attempt; the other one is closed and the
    /// attempt is over.
    pub(super) fn connected(
        &mut self,
        link: LinkId,
        actions: &mut VecDeque<Action>,
    ) -> Option<(Arc<str>, Transport)> {
        let attempt = self.attempt.take_if(|it| it.has(link))?;
        let (transport, other) = match attempt.quic == Some(link) {
            true => (Transport::Quic, attempt.tcp),
            false => (Transport::Tcp, attempt.quic),
        };
        actions.extend(other.map(|link| Action::Close { link }));
        self.failures.clear();
        if transport == Transport::Tcp {
            self.forget_refusals();
        }
        Some((attempt.controller, transport))
    }

    pub(super) fn failed(
        &mut self,
        link: LinkId,
        error: LinkError,
        now: Millis,
        jitter: &mut Jitter,
        actions: &mut VecDeque<Action>,
    ) -> Failure {
        let Some(attempt) = &mut self.attempt else {
            return Failure::Stale;
        };
        let transport = if attempt.quic == Some(link) {
            attempt.quic = None;
            Transport::Quic
        } else if attempt.tcp == Some(link) {
            attempt.tcp = None;
            Transport::Tcp
        } else {
            return Failure::Stale;
        };
        if error.fault == LinkFault::ProxyRefused {
            let pause_ms = self.refusals.pause_ms(PROXY_REFUSED_PAUSE_MS, jitter);
            self.proxy_refusal = Some(ProxyRefusal {
                controller: attempt.controller.clone(),
                until: now + pause_ms,
            });
        }
        let joins = attempt.joins.take();
        let goes = attempt.quic.is_some() || attempt.tcp.is_some();
        self.note(transport, error);
        if let Some((transport, _)) = joins {
            self.join(transport, actions);
            return Failure::Goes;
        }
        if goes {
            return Failure::Goes;
        }
        self.attempt = None;
        Failure::Over
    }

    /// Why no link comes up: a proxy's no, else the newest failure of either transport, but one that somebody answered with before
    /// silence. Behind a proxy QUIC is silent or has no names, and is tried alone while the proxy is left in peace.
    pub(super) fn error(&self) -> Option<&LinkError> {
        let newest_first = || self.failures.iter().rev().map(|(_, error)| error);
        let refused = newest_first().find(|error| error.fault == LinkFault::ProxyRefused);
        let told = newest_first().find(|error| error.fault != LinkFault::Unreachable);
        refused.or(told).or_else(|| newest_first().next())
    }

    fn note(&mut self, transport: Transport, error: LinkError) {
        self.failures.retain(|(of, _)| *of != transport);
        self.failures.push((transport, error));
    }

    /// Lets the other transport join when its time has come. True when the attempt took too long and is over.
    pub(super) fn on_timer(&mut self, now: Millis, actions: &mut VecDeque<Action>) -> bool {
        let Some(attempt) = &mut self.attempt else {
            return false;
        };
        if now >= attempt.give_up_at {
            let quic = attempt.quic.map(|_| Transport::Quic);
            let tcp = attempt.tcp.map(|_| Transport::Tcp);
            for transport in quic.into_iter().chain(tcp) {
                let late = "no transport came up in time";
                self.note(transport, LinkError::new(LinkFault::Unreachable, late));
            }
            self.cancel(actions);
            return true;
        }
        if let Some((transport, _)) = attempt.joins.take_if(|(_, at)| now >= *at) {
            self.join(transport, actions);
        }
        false
    }

    /// Gives the next controller its turn.
    pub(super) fn rotate(&mut self) {
        self.at = (self.at + 1) % self.controllers.len().max(1);
    }

    /// Ends the attempt, if there is one.
    pub(super) fn cancel(&mut self, actions: &mut VecDeque<Action>) {
        if let Some(attempt) = self.attempt.take() {
            let links = attempt.quic.into_iter().chain(attempt.tcp);
            actions.extend(links.map(|link| Action::Close { link }));
        }
    }

    pub(super) fn timeout(&self) -> Option<Millis> {
        let attempt = self.attempt.as_ref()?;
        let joins_at = attempt.joins.map_or(Millis::MAX, |(_, at)| at);
        Some(attempt.give_up_at.min(joins_at))
    }

    fn join(&mut self, transport: Transport, actions: &mut VecDeque<Action>) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let link = LinkId(self.next_link);
        self.next_link += 1;
        match transport {
            Transport::Quic => attempt.quic = Some(link),
            Transport::Tcp => attempt.tcp = Some(link),
        }
        actions.push_back(Action::Connect {
            link,
            controller: attempt.controller.clone(),
            transport,
        });
    }
}

/// The list that a controller told, ready to be believed: what it names may be wrong, or not there yet, so the address by which that
/// controller was reached stays as the last one where it is none of them. None for a list that is empty or too long.
pub(crate) fn with_proven(mut told: Vec<String>, proven: &str) -> Option<Vec<String>> {
    let is_usable = (1..=MAX_TOKEN_ADDRESSES).contains(&told.len());
    if !told.iter().any(|it| it == proven) {
        told.push(proven.to_owned());
    }
    is_usable.then_some(told)
}

impl Attempt {
    fn has(&self, link: LinkId) -> bool {
        self.quic == Some(link) || self.tcp == Some(link)
    }
}
