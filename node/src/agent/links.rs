//! How the agent takes the links that come up, fail, fall silent and break: when to dial again, and which one is the session's.

use super::dial::Failure;
use super::session::Greeting;
use super::{Action, Agent, HELD_RETRY_MS, LinkError, LinkFault, LinkId, QUIC_RETRY_MS};

impl Agent {
    pub(super) fn on_connected(&mut self, link: LinkId) {
        let Some(transport) = self.dial.connected(link, &mut self.actions) else {
            return;
        };
        if self.session.is_none() {
            self.control_since = self.now;
        }
        self.greeting = Some(Greeting::new(link, transport, self.now));
        let hello = self.hello();
        self.send(link, hello);
    }

    pub(super) fn on_lost(&mut self, link: LinkId, error: LinkError) {
        if self.greeting.take_if(|g| g.link == link).is_some()
            || self.session.take_if(|s| s.link == link).is_some()
        {
            self.last_error = Some(error);
            self.control_since = self.now;
            return self.dial_again();
        }
        match self.dial.failed(link, &mut self.actions) {
            Failure::Stale => {}
            Failure::Goes => self.last_error = Some(error),
            Failure::Over => {
                self.last_error = Some(error);
                self.dial_over();
            }
        }
    }

    /// An attempt brought nothing.
    pub(super) fn dial_over(&mut self) {
        if self.session.is_some() {
            self.dial_at = Some(self.now + QUIC_RETRY_MS);
        } else if self.greeting.is_none() {
            self.dial.rotate();
            self.dial_at = Some(self.now + self.backoff.pause_ms(&mut self.jitter));
        }
    }

    /// A connection that stood is gone.
    fn dial_again(&mut self) {
        if self.session.is_some() {
            self.dial_at = Some(self.now + QUIC_RETRY_MS);
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
