//! Machines that become nodes: the shell of the agent before there is one. Answers get lost, and are asked for again with the
//! same keys.

use malha_core::{Answer, Command};
use malha_proto::{Netmap, RefusalCode, ToNode};

use super::Fleet;
use super::agenda::{BoxId, Happening};
use super::controller::{Accepted, Verdict};
use super::failure::Broken;
use super::machine::Identity;
use super::network::Certificate;
use super::session::refusal;

impl Fleet {
    /// Asks, unless there is no need any more.
    pub(super) fn ask_to_enrol(&mut self, id: BoxId, attempt: u64) {
        let machine = &mut self.machines[id.0];
        if machine.attempt != attempt || !machine.is_enrolling() {
            return;
        }
        machine.attempt += 1;
        let attempt = machine.attempt;
        let delay_ms = machine.uplink.delay_ms(&mut self.dice) * 4;
        self.agenda.plan(
            self.now + delay_ms,
            Happening::EnrolArrives {
                machine: id,
                attempt,
            },
        );
        let again_at = self.now + ANSWER_PATIENCE_MS + self.dice.below(ANSWER_PATIENCE_MS);
        self.agenda.plan(
            again_at,
            Happening::Enrol {
                machine: id,
                attempt,
            },
        );
    }

    /// The question is at the controller, if it came through.
    pub(super) fn enrolment_arrives(&mut self, id: BoxId, attempt: u64) -> Result<(), Broken> {
        let machine = &mut self.machines[id.0];
        let Some(ticket) = machine
            .ticket
            .clone()
            .filter(|_| !machine.uplink.cut && !machine.off)
        else {
            return Ok(());
        };
        let keys = machine.disk.keys_for(ticket.token, &mut self.dice);
        let delay_ms = machine.uplink.delay_ms(&mut self.dice);
        let command = Command::Enrol {
            token: ticket.token,
            secret: ticket.secret,
            wg_key: keys.wireguard,
            tls_key: keys.tls,
            name: None,
            facts: machine.facts.clone(),
        };
        let answer = self.submit(&command)?;
        if self.dice.percent(LOST_ANSWERS_PERCENT) {
            self.note(format_args!("{} enrolment answer lost", self.called(id)));
            return Ok(());
        }
        let netmap = match &answer {
            Verdict::Accepted(Accepted {
                answer: Answer::Enrolled { node, .. },
                ..
            }) => self.controller.committed().netmap(*node),
            _ => None,
        };
        let at = self.now + delay_ms;
        let (answer, netmap) = (Box::new(answer), netmap.map(Box::new));
        self.agenda.plan(
            at,
            Happening::EnrolAnswer {
                machine: id,
                attempt,
                answer,
                netmap,
            },
        );
        Ok(())
    }

    /// The answer is at the machine, if the machine still waits for it.
    pub(super) fn enrolment_is_answered(
        &mut self,
        id: BoxId,
        attempt: u64,
        answer: Verdict,
        netmap: Option<Box<Netmap>>,
    ) -> Result<(), Broken> {
        let machine = &mut self.machines[id.0];
        if machine.attempt != attempt || !machine.is_enrolling() || machine.uplink.cut {
            return Ok(());
        }
        match answer {
            Verdict::Accepted(accepted) => {
                let Answer::Enrolled { node, lease, again } = accepted.answer else {
                    return Err(Broken::new(format!(
                        "an enrolment answered {:?}",
                        accepted.answer
                    )));
                };
                let Some((_, keys)) = machine.disk.enrolling.take() else {
                    return Err(Broken::new("an enrolment without keys".to_owned()));
                };
                machine.disk.renewing = None;
                machine.disk.identity = Some(Identity {
                    controllers: vec![CONTROLLER.to_owned()],
                    ended: None,
                    keys,
                    certificate: Certificate {
                        node,
                        key: keys.tls,
                    },
                    lease,
                    netmap: netmap.map(|map| *map),
                    pairs: None,
                });
                self.summary.enrolled += 1;
                self.summary.enrolled_again += u64::from(again);
                self.start_agent(id)
            }
            Verdict::Rejected(rejection) => {
                let ToNode::Refused { code, .. } = refusal(&rejection) else {
                    return Ok(());
                };
                self.note(format_args!(
                    "{} enrolment refused: {rejection}",
                    self.called(id)
                ));
                if code.is_final() {
                    return self.refuse_enrolment(id, code);
                }
                self.pool_exhausted |= code == RefusalCode::PoolExhausted;
                Ok(())
            }
            Verdict::Dead => Ok(()),
        }
    }

    fn refuse_enrolment(&mut self, id: BoxId, code: RefusalCode) -> Result<(), Broken> {
        let machine = &mut self.machines[id.0];
        machine.refused = Some(code);
        self.summary.refused += 1;
        let token = machine.ticket.as_ref().map(|ticket| ticket.token);
        if token.is_some_and(|token| self.ledger.must_admit(token)) {
            return Err(Broken::new(format!(
                "{} has a good token of its own and was refused for good: {code:?}",
                self.called(id)
            )));
        }
        Ok(())
    }
}

/// The one controller's name; simulated wires all lead to it.
pub(super) const CONTROLLER: &str = "hub.malha.example:443";
const ANSWER_PATIENCE_MS: u64 = 2_000;
const LOST_ANSWERS_PERCENT: u64 = 15;
