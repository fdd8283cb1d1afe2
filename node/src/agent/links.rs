//! How the agent takes the links that come up, fail, fall silent and break: when to dial again, and which one is the session's.

use std::net::SocketAddr;

use super::dial::{Failure, Race};
use super::session::{Greeting, Session};
use super::{
    Action, Agent, HELD_RETRY_MS, LinkError, LinkFault, LinkId, Millis, QUIC_RETRY_LONGEST_MS,
    QUIC_RETRY_MS, Transport,
};

impl Agent {
    pub(super) fn on_connected(&mut self, link: LinkId, remote: Option<SocketAddr>) {
        let Some((controller, transport)) = self.dial.connected(link, &mut self.actions) else {
            return;
        };
        if self.session.is_none() {
            self.control_since = self.now;
        }
        let greeting = Greeting::new(link, (controller, transport), remote, self.now);
        self.greeting = Some(greeting);
        let hello = self.hello();
        self.send(link, hello);
    }

    pub(super) fn on_lost(&mut self, link: LinkId, error: LinkError) {
        let greeting = self.greeting.take_if(|g| g.link == link);
        let session = self.session.take_if(|s| s.link == link);
        if greeting.is_some() || session.is_some() {
            self.learn_from(greeting, session);
            self.note_failure(Some(error));
            self.control_since = self.now;
            return self.dial_again();
        }
        let (now, jitter) = (self.now, &mut self.jitter);
        let failure = (self.dial).failed(link, error, now, jitter, &mut self.actions);
        if failure != Failure::Stale {
            self.note_failure(self.dial.error().cloned());
        }
        if failure == Failure::Over {
            self.dial_over();
        }
    }

    /// Why there is no session; where one stands, nothing is missing that an attempt to move it could have brought.
    pub(super) fn note_failure(&mut self, error: Option<LinkError>) {
        if self.session.is_none() {
            self.last_error = error;
        }
    }

    /// A link that ended in silence says something of its transport or of its controller.
    fn learn_from(&mut self, greeting: Option<Greeting>, session: Option<Session>) {
        let unanswered = greeting.filter(|g| g.hearing.is_quiet(self.now));
        let unstable = session.filter(|s| s.hearing.is_quiet(self.now) && !s.has_stood());
        if unanswered.is_some() && self.session.is_none() {
            self.dial.rotate();
        }
        let transport = unanswered.map(|g| g.transport);
        if transport.or(unstable.map(|s| s.transport)) == Some(Transport::Quic) {
            self.quic_silences = self.quic_silences.saturating_add(1);
        }
    }

    pub(super) fn race(&self) -> Race {
        match (&self.session, self.quic_silences, self.tcp_was_needed) {
            (Some(_), _, _) => Race::QuicOnly,
            (None, 1.., _) => Race::TcpFirst,
            (None, 0, true) => Race::Both,
            (None, 0, false) => Race::QuicFirst,
        }
    }

    /// How long a session over TCP waits before it tries QUIC.
    pub(super) fn quic_retry_ms(&self) -> Millis {
        let doublings = self.quic_silences.saturating_sub(1);
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        let pause_ms = QUIC_RETRY_MS.saturating_mul(factor);
        pause_ms.min(QUIC_RETRY_LONGEST_MS)
    }

    /// An attempt brought nothing.
    pub(super) fn dial_over(&mut self) {
        if self.session.is_some() {
            self.dial_at = Some(self.now + self.quic_retry_ms());
        } else if self.greeting.is_none() {
            self.dial.rotate();
            self.dial_at = Some(self.now + self.backoff.pause_ms(&mut self.jitter));
        }
    }

    /// A connection that stood is gone.
    fn dial_again(&mut self) {
        if self.session.is_some() {
            self.dial_at = Some(self.now + self.quic_retry_ms());
        } else if self.greeting.is_none() {
            self.dial.cancel(&mut self.actions);
            let pause_ms = match self.held {
                true => HELD_RETRY_MS / 2 + self.jitter.up_to(HELD_RETRY_MS / 2),
                false => self.backoff.pause_ms(&mut self.jitter),
            };
            self.dial_at = Some(self.now + pause_ms);
        }
    }

    pub(super) fn time_out_links(&mut self) {
        let now = self.now;
        let greeting = self.greeting.as_ref();
        let greeting = greeting.filter(|g| now >= g.timeout()).map(|g| g.link);
        let session = self.session.as_ref();
        let session = session
            .filter(|s| now >= s.hearing.silent_at())
            .map(|s| s.link);
        for link in greeting.into_iter().chain(session) {
            self.close(
                link,
                LinkError::new(LinkFault::Silent, "the controller fell silent"),
            );
        }
    }

    /// Ends a link from this side.
    pub(super) fn close(&mut self, link: LinkId, error: LinkError) {
        self.actions.push_back(Action::Close { link });
        self.on_lost(link, error);
    }
}
