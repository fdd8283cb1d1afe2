//! A machine becomes a node: request, command, certificate, reply. A lost reply is repeated to the same keys.

use std::net::IpAddr;
use std::sync::Arc;

use malha_core::{Answer, Command, Rejection, State};
use malha_pki::{NodeIdentity, Validity, request_key};
use malha_proto::{EnrolReply, EnrolRequest, NodeId, RefusalCode, ToNode};
use time::{Duration, OffsetDateTime};

use crate::clock::now_ms;
use crate::coordinator::{Actor, SubmitError};
use crate::session::{Channel, SessionContext};

/// Answers one enrolment and ends the stream.
pub(super) async fn enrol(context: &Arc<SessionContext>, channel: Channel, request: EnrolRequest) {
    let source = channel.remote().ip();
    let answer = match context.limits.enrolments.take(&source, now_ms()) {
        Ok(()) => answer(context, source, request).await,
        Err(_) => refused(
            RefusalCode::Busy,
            "too many enrolments from this address; try again in a few seconds",
        ),
    };
    if let ToNode::Refused { code, text } = &answer {
        tracing::info!(?code, %text, "enrolment refused");
        tracing::debug!(%source, "refused enrolment came from");
    }
    channel.finish(&answer).await;
}

async fn answer(context: &Arc<SessionContext>, source: IpAddr, request: EnrolRequest) -> ToNode {
    let tls_key = match request_key(&request.csr) {
        Ok(key) => key,
        Err(error) => return refused(RefusalCode::Malformed, &error.to_string()),
    };
    let token = request.token;
    let command = Command::Enrol {
        token,
        secret: request.secret,
        wg_key: request.wg_key,
        tls_key,
        name: request.name,
        facts: request.facts,
    };
    let actor = Actor {
        name: format!("token:{token}"),
        source: Some(source),
    };
    let accepted = match context.handle.submit(command, actor, None).await {
        Ok(accepted) => accepted,
        Err(error) => return refusal(&error),
    };
    let Answer::Enrolled { node, lease, .. } = accepted.answer else {
        return refused(
            RefusalCode::Unavailable,
            "the controller gave no lease; try again",
        );
    };
    let state = context.handle.state();
    match (
        sign(context, &state, node, &request.csr),
        state.netmap(node),
    ) {
        (Ok(certificate), Some(netmap)) => ToNode::Enrolled(Box::new(EnrolReply {
            node,
            certificate,
            authority: context.authority.certificate_der().to_vec(),
            lease,
            netmap,
            controllers: state.settings().controllers.clone(),
        })),
        (Err(text), _) => refused(RefusalCode::Malformed, &text),
        (_, None) => refused(
            RefusalCode::NodeRemoved,
            "this node was removed while it enrolled",
        ),
    }
}

/// A certificate for the key of a request, in the name that the state gives the node.
pub(super) fn sign(
    context: &SessionContext,
    state: &State,
    node: NodeId,
    csr: &[u8],
) -> Result<Vec<u8>, String> {
    let identity = identity(state, node).ok_or_else(|| "this node was removed".to_owned())?;
    let validity = Validity::starting(
        OffsetDateTime::now_utc(),
        Duration::days(NODE_CERTIFICATE_DAYS),
    );
    let certificate =
        validity.and_then(|validity| context.authority.sign_node_csr(csr, &identity, validity));
    certificate
        .map(|certificate| certificate.der.to_vec())
        .map_err(|error| error.to_string())
}

fn identity(state: &State, id: NodeId) -> Option<NodeIdentity> {
    let node = state.node(id)?;
    let site = state.site(node.site)?;
    let organization = state.organization(site.organization)?;
    Some(NodeIdentity {
        node: id,
        organization: organization.name.clone(),
        site: site.name.clone(),
        name: node.name.clone(),
    })
}

/// What a node hears of a command that did not go through.
pub(super) fn refusal(error: &SubmitError) -> ToNode {
    match error {
        SubmitError::Rejected(Rejection::Refused { code, text }) => refused(*code, text),
        SubmitError::Rejected(other) => refused(RefusalCode::Malformed, &other.to_string()),
        SubmitError::Unavailable(_) | SubmitError::Closed => refused(
            RefusalCode::Unavailable,
            "the controller can't write its state now; try again",
        ),
    }
}

fn refused(code: RefusalCode, text: &str) -> ToNode {
    ToNode::Refused {
        code,
        text: text.chars().take(MAX_REFUSAL_CHARS).collect(),
    }
}

/// Renewed at two thirds of it; a node that was away for longer needs `malha node replace`.
const NODE_CERTIFICATE_DAYS: i64 = 180;
const MAX_REFUSAL_CHARS: usize = 500;
