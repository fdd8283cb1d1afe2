//! A hello of another process than the one that has the node's seat. The controller waits for a sign of life, as the real one
//! does: what a dead process's kernel still sends is none.

use malha_node::agent::Millis;
use malha_proto::{HEARTBEAT_INTERVAL_MS, Hello};

use super::Fleet;
use super::agenda::Happening;
use super::failure::Broken;
use super::network::WireId;

/// A hello that waits. A rival that is heard and then gone was not alive: those were its last words.
#[derive(Debug)]
pub(super) struct Challenge {
    hello: Hello,
    rival: WireId,
    rival_heard: bool,
    since: Millis,
    over_at: Millis,
}

impl Fleet {
    /// Opens the session at once, unless another process has the node's seat.
    pub(super) fn challenge(&mut self, wire: WireId, hello: Hello) -> Result<(), Broken> {
        let since = self.now;
        let Some(certificate) = self.network.wire(wire).map(|wire| wire.certificate) else {
            return Ok(());
        };
        let Some(sessions) = self.sessions() else {
            return Ok(());
        };
        let rival = sessions
            .seated(certificate.node)
            .filter(|(_, session)| session.instance != hello.instance);
        let Some((rival, _)) = rival else {
            return self.open_session(wire, hello, false);
        };
        let challenge = Challenge {
            hello,
            rival,
            rival_heard: false,
            since,
            over_at: since + PATIENCE_MS,
        };
        sessions.challenging.insert(wire, challenge);
        self.agenda
            .plan(since + PATIENCE_MS, Happening::ChallengeOver { wire });
        Ok(())
    }

    /// A frame came from this session; who waits for a sign of life now only waits whether it stays.
    pub(super) fn rival_is_heard(&mut self, rival: WireId) {
        let now = self.now;
        let Some(sessions) = self.sessions() else {
            return;
        };
        let counts = |it: &Challenge| {
            it.rival == rival && !it.rival_heard && now >= it.since + LATE_BYTES_PAUSE_MS
        };
        let over_at = now + LATE_BYTES_PAUSE_MS;
        let mut newcomers = Vec::new();
        for (wire, challenge) in &mut sessions.challenging {
            if counts(challenge) {
                challenge.rival_heard = true;
                challenge.over_at = over_at;
                newcomers.push(*wire);
            }
        }
        for wire in newcomers {
            self.agenda.plan(over_at, Happening::ChallengeOver { wire });
        }
    }

    /// Who waits for a sign of life of this session need not wait any more: it is gone.
    pub(super) fn rival_is_gone(&mut self, rival: WireId) -> Result<(), Broken> {
        let Some(sessions) = self.sessions() else {
            return Ok(());
        };
        let waiting = sessions
            .challenging
            .iter()
            .filter(|(_, it)| it.rival == rival);
        let waiting: Vec<WireId> = waiting.map(|(wire, _)| *wire).collect();
        for wire in waiting {
            let challenge = self
                .sessions()
                .and_then(|sessions| sessions.challenging.remove(&wire));
            if let Some(challenge) = challenge {
                self.open_session(wire, challenge.hello, false)?;
            }
        }
        Ok(())
    }

    pub(super) fn challenge_is_over(&mut self, wire: WireId) -> Result<(), Broken> {
        let now = self.now;
        let Some(sessions) = self.sessions() else {
            return Ok(());
        };
        let is_over = sessions
            .challenging
            .get(&wire)
            .is_some_and(|it| it.over_at <= now);
        match sessions.challenging.remove(&wire) {
            Some(challenge) if is_over => {
                self.open_session(wire, challenge.hello, challenge.rival_heard)
            }
            Some(challenge) => {
                sessions.challenging.insert(wire, challenge);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// A living node reports within one heartbeat.
const PATIENCE_MS: Millis = HEARTBEAT_INTERVAL_MS * 3 / 2;
/// Last words may be on their way for so long, and their end comes so close behind them.
const LATE_BYTES_PAUSE_MS: Millis = 500;
