//! Becoming a node: one question over the first connection that comes up, asked again as long as the answer may change. It
//! never sends the token's secret to anything but the pinned authority's controller.

use std::time::Duration;

use malha_proto::{
    EnrolReply, EnrolRequest, EnrolToken, Label, MachineFacts, RefusalCode, ToController, ToNode,
};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::agent::{LinkError, LinkFault, QUIC_HEAD_START_MS, Transport, with_proven};
use crate::control::{Credentials, Wire, dial};
use crate::state::{Keys, StateError};

/// How long an enrolment is tried anew before it is given up; an answer that comes by then may take longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_secs(2);

/// One way to one controller that did not work.
#[derive(Clone, Debug)]
pub struct FailedWay {
    pub controller: String,
    pub transport: Transport,
    pub error: LinkError,
}

#[derive(Debug, Error)]
pub enum EnrolError {
    /// The last round of all ways.
    #[error("no controller could be reached")]
    Unreachable(Vec<FailedWay>),
    #[error("refused ({code:?}): {text}")]
    Refused { code: RefusalCode, text: String },
    #[error("the controller's answer is not usable: {0}")]
    Answer(String),
    #[error(transparent)]
    State(#[from] StateError),
}

impl EnrolError {
    /// The fault that all ways together mean: a wrong answer says more than silence.
    #[must_use]
    pub fn fault(&self) -> Option<LinkFault> {
        let Self::Unreachable(ways) = self else {
            return None;
        };
        let has = |fault| ways.iter().any(|way| way.error.fault == fault);
        [LinkFault::WrongController, LinkFault::Clock]
            .into_iter()
            .find(|fault| has(*fault))
            .or(Some(LinkFault::Unreachable))
    }
}

/// Enrols with keys that are on disk, so that a lost answer can be asked for again. The controllers of the reply are those to believe.
pub async fn enrol(
    token: &EnrolToken,
    keys: &Keys,
    name: Option<Label>,
    facts: MachineFacts,
) -> Result<EnrolReply, EnrolError> {
    let question = question(token, keys, name, facts)?;
    let credentials = Credentials {
        authority: token.authority,
        authority_certificate: None,
        node: None,
    };
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        let error = match round(token, &question, &credentials).await {
            Ok((mut reply, controller)) => {
                check(&reply, token, keys)?;
                reply.controllers = with_proven(reply.controllers, controller).unwrap_or_default();
                return Ok(*reply);
            }
            Err(error) => error,
        };
        let may_change = match &error {
            EnrolError::Unreachable(_) => {
                !matches!(error.fault(), Some(LinkFault::WrongController))
            }
            EnrolError::Refused { code, .. } => !code.is_final(),
            EnrolError::Answer(_) | EnrolError::State(_) => false,
        };
        if !may_change || Instant::now() + PAUSE >= give_up_at {
            return Err(error);
        }
        tracing::info!(%error, "enrolment is tried again");
        sleep(PAUSE).await;
    }
}

fn question(
    token: &EnrolToken,
    keys: &Keys,
    name: Option<Label>,
    facts: MachineFacts,
) -> Result<ToController, EnrolError> {
    let public = keys.public()?;
    let wg_key = public
        .wg_key
        .ok_or_else(|| StateError::Key("no WireGuard key was made".into()))?;
    Ok(ToController::Enrol(Box::new(EnrolRequest {
        token: token.id,
        secret: token.secret.clone(),
        wg_key,
        csr: public.csr,
        name,
        facts,
    })))
}

/// Each controller once, until one answers; gives that one, too.
async fn round<'a>(
    token: &'a EnrolToken,
    question: &ToController,
    credentials: &Credentials,
) -> Result<(Box<EnrolReply>, &'a str), EnrolError> {
    let mut failed = Vec::new();
    for controller in &token.controllers {
        let Some((wire, transport)) = reach(controller, credentials, &mut failed).await else {
            continue;
        };
        let error = match wire.ask(question).await {
            Ok(ToNode::Enrolled(reply)) => return Ok((reply, controller)),
            Ok(ToNode::Refused { code, text }) => {
                return Err(EnrolError::Refused { code, text });
            }
            Ok(_) => LinkError::new(LinkFault::Protocol, "not an answer to an enrolment"),
            Err(error) => error,
        };
        let controller = controller.clone();
        failed.push(FailedWay {
            controller,
            transport,
            error,
        });
    }
    Err(EnrolError::Unreachable(failed))
}

/// QUIC, then TCP beside it when QUIC fails or stays silent.
async fn reach(
    controller: &str,
    credentials: &Credentials,
    failed: &mut Vec<FailedWay>,
) -> Option<(Wire, Transport)> {
    let mut note = |transport, error| {
        failed.push(FailedWay {
            controller: controller.to_owned(),
            transport,
            error,
        });
    };
    let quic = dial(controller, Transport::Quic, credentials);
    tokio::pin!(quic);
    let mut quic_over = false;
    tokio::select! {
        wire = &mut quic => match wire {
            Ok(wire) => return Some((wire, Transport::Quic)),
            Err(error) => {
                quic_over = true;
                note(Transport::Quic, error);
            }
        },
        () = sleep(Duration::from_millis(QUIC_HEAD_START_MS)) => {}
    }
    let tcp = dial(controller, Transport::Tcp, credentials);
    tokio::pin!(tcp);
    let mut tcp_over = false;
    while !(quic_over && tcp_over) {
        tokio::select! {
            wire = &mut quic, if !quic_over => match wire {
                Ok(wire) => return Some((wire, Transport::Quic)),
                Err(error) => {
                    quic_over = true;
                    note(Transport::Quic, error);
                }
            },
            wire = &mut tcp, if !tcp_over => match wire {
                Ok(wire) => return Some((wire, Transport::Tcp)),
                Err(error) => {
                    tcp_over = true;
                    note(Transport::Tcp, error);
                }
            },
        }
    }
    None
}

/// The authority is the pinned one, the certificate is of our key, and the map is ours.
fn check(reply: &EnrolReply, token: &EnrolToken, keys: &Keys) -> Result<(), EnrolError> {
    if reply.authority_fingerprint() != token.authority {
        let why = "its authority is not the one in the token";
        return Err(EnrolError::Answer(why.into()));
    }
    if reply.netmap.me.id != reply.node {
        return Err(EnrolError::Answer("its netmap is of another node".into()));
    }
    keys.check_certificate(&reply.certificate)
        .map_err(|error| EnrolError::Answer(error.to_string()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::machine;
    use crate::state::StateFolder;
    use crate::testbed::{Lifetime, Network, TestAuthority, TestController};

    #[tokio::test]
    async fn the_controller_that_answered_stays_behind_those_that_it_names() {
        let authority = TestAuthority::new();
        let mut controller = TestController::start(&authority, Lifetime::Now, Network::Open).await;
        let token = authority.token(controller.port);
        let state = TempDir::new().unwrap();
        let folder = StateFolder::open(state.path()).unwrap();
        let keys = folder.keys_for_enrolment(&token).unwrap();
        let asked =
            tokio::spawn(async move { enrol(&token, &keys, None, machine::facts(None)).await });
        let mut session = controller.session().await;
        let ToController::Enrol(request) = session.hear().await else {
            panic!("not an enrolment");
        };
        let mut reply = authority.reply(&request);
        reply.controllers = vec!["three.example:443".into()];
        session.say(ToNode::Enrolled(Box::new(reply))).await;
        let believed = asked.await.unwrap().unwrap().controllers;
        assert_eq!(believed, ["three.example:443".into(), controller.address()]);
        controller.stop().await;
    }
}
