//! One node's session from hello to end: sends what changed for it, takes its reports, renews its keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use malha_core::{Answer, Command, NodeSync};
use malha_pki::request_key;
use malha_proto::{
    FarewellReason, Fingerprint, Hello, Lease, NodeId, ProbeOutcome, ProbeResult, Revision,
    SESSION_TIMEOUT_MS, ToController, ToNode, Welcome, WgKey,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::clock::now_ms;
use crate::coordinator::Actor;
use crate::pairs::PairSession;
use crate::session::enrolment::{enrol, refusal, sign};
use crate::session::last_words::{busy, cloned, malformed, removed, revoked, superseded};
use crate::session::limits::{HEAVY, LIGHT, Pace};
use crate::session::registry::{Order, Seat, SessionSummary};
use crate::session::{
    Channel, ChannelError, PeerCertificate, ProbeRequest, SessionContext, turned_away,
};

/// Serves one stream until it ends.
pub(super) async fn serve(context: Arc<SessionContext>, mut channel: Channel) {
    let first = match timeout(FIRST_MESSAGE_TIMEOUT, channel.receive()).await {
        Ok(Ok(first)) => first,
        Ok(Err(error)) => {
            return tracing::debug!(%error, remote = %channel.remote(), "no first message");
        }
        Err(_) => return tracing::debug!(remote = %channel.remote(), "silent connection closed"),
    };
    match (first, channel.certificate) {
        (ToController::Enrol(request), _) => enrol(&context, channel, *request).await,
        (ToController::Reflect, _) => {
            let reflection = ToNode::Reflection {
                seen_as: channel.remote(),
                unix_ms: now_ms(),
            };
            channel.finish(&reflection).await;
        }
        (ToController::Hello(hello), Some(certificate)) => {
            if let Some(session) = Session::open(context, channel, certificate, *hello).await {
                session.run().await;
            }
        }
        (ToController::Hello(_), None) => {
            channel
                .finish(&malformed(
                    "a session needs the node's certificate; enrol first",
                ))
                .await;
        }
        _ => {
            channel
                .finish(&malformed("a session opens with Enrol, Hello or Reflect"))
                .await
        }
    }
}

struct Session {
    context: Arc<SessionContext>,
    channel: Channel,
    node: NodeId,
    /// Of its certificate.
    tls_key: Fingerprint,
    instance: u64,
    /// The lease offered to this session.
    lease: Lease,
    seat: Seat,
    sync: NodeSync,
    pace: Pace,
    /// None for a node that knows nothing of pairs.
    pairs: Option<PairSession>,
    /// The order to look at ports that the node has.
    probing: Option<(u64, oneshot::Sender<ProbeResult>)>,
}

/// What the session's loop waits for.
enum Input {
    Message(Result<ToController, ChannelError>),
    /// Something changed that may be of interest.
    Bell,
    Order,
    Probe(ProbeRequest),
    Silence,
    Stop,
}

/// Why the session's loop ended.
enum End {
    /// The node said goodbye.
    Farewell(FarewellReason),
    /// The transport ended or went silent.
    Lost(ChannelError),
    Silent,
    /// We end it with this last message.
    Close(Box<ToNode>),
}

impl Session {
    async fn open(
        context: Arc<SessionContext>,
        mut channel: Channel,
        certificate: PeerCertificate,
        hello: Hello,
    ) -> Option<Self> {
        let node = certificate.node;
        if let Err(wait_ms) = context.limits.openings.take(&certificate.key, now_ms()) {
            tracing::debug!(%node, "asks for too many sessions");
            channel.finish(&busy(wait_ms)).await;
            return None;
        }
        let granted = grant(&context, channel.remote(), &certificate, &hello).await;
        let (lease, rekey) = match granted {
            Ok(granted) => granted,
            Err(last) => {
                channel.finish(&last).await;
                return None;
            }
        };
        let state = context.handle.state();
        let (sync, first) = NodeSync::open(
            node,
            hello.applied,
            hello.digest,
            &state,
            &context.handle.history(),
        );
        let welcome = ToNode::Welcome(Box::new(Welcome {
            lease: lease.clone(),
            revision: state.revision(),
            seen_as: Some(channel.remote()),
            controllers: state.settings().controllers.clone(),
            rekey: rekey.then_some(true),
        }));
        let sent = channel.send(&welcome).await;
        let sent = match (sent, first) {
            (Ok(()), Some(first)) => channel.send(&first).await,
            (sent, _) => sent,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, %node, "session ended before its first map");
            return None;
        }
        // A map may take minutes to be read: whoever took this box's place meanwhile keeps it.
        if let Some(last) = revoked(&context.handle.state(), node, &certificate.key) {
            channel.finish(&last).await;
            return None;
        }
        let summary = SessionSummary {
            instance: hello.instance,
            tls_key: certificate.key,
            transport: channel.transport,
            remote: channel.remote(),
            since_ms: now_ms(),
            facts: hello.facts,
            version: hello.version,
            applied: sync.applied_revision(),
        };
        let pairs = context.pairs.open(node, hello.version).await;
        let seat = context.registry.sit(node, summary);
        context.live.session_opened(node, now_ms());
        Some(Self {
            context,
            channel,
            node,
            tls_key: certificate.key,
            instance: hello.instance,
            lease,
            seat,
            sync,
            pace: Pace::new(),
            pairs,
            probing: None,
        })
    }

    async fn run(mut self) {
        let end = self.talk().await;
        let (farewell, last) = match end {
            End::Farewell(reason) => (Some(reason), None),
            End::Lost(error) => {
                tracing::debug!(%error, node = %self.node, "session lost");
                (None, None)
            }
            End::Silent => (None, None),
            End::Close(last) => (None, Some(last)),
        };
        if let Some(pairs) = self.pairs {
            self.context.pairs.close(self.node, pairs);
        }
        if self.context.registry.leave(&self.seat) {
            self.context
                .live
                .session_closed(self.node, farewell, now_ms());
        }
        if let Some(last) = last {
            self.channel.finish(&last).await;
        }
    }

    async fn talk(&mut self) -> End {
        let mut silent_at = Instant::now() + SESSION_TIMEOUT;
        loop {
            let input = tokio::select! {
                message = next(&self.pace, &mut self.channel) => Input::Message(message),
                () = self.seat.bell.notified() => Input::Bell,
                _ = self.seat.order.changed() => Input::Order,
                Some(request) = self.seat.probes.recv() => Input::Probe(request),
                () = tokio::time::sleep_until(silent_at) => Input::Silence,
                () = self.context.stop.cancelled() => Input::Stop,
            };
            let since = Instant::now();
            if let Input::Message(Ok(_)) = input {
                silent_at = since + SESSION_TIMEOUT;
                self.seat.heard();
            }
            if let Err(end) = self.follow(input).await {
                return end;
            }
            // While a long map waited for its reader, nobody listened to what the node said.
            silent_at += since.elapsed();
        }
    }

    async fn follow(&mut self, input: Input) -> Result<(), End> {
        match input {
            Input::Message(Ok(message)) => self.take(message).await,
            Input::Message(Err(error)) => Err(End::Lost(error)),
            Input::Bell => self.advance().await,
            Input::Order => Err(self.ordered()),
            Input::Probe(request) => self.probe(request).await,
            Input::Silence => Err(End::Silent),
            Input::Stop => Err(End::Close(Box::new(ToNode::Farewell {
                reason: FarewellReason::Restart,
            }))),
        }
    }

    async fn take(&mut self, message: ToController) -> Result<(), End> {
        self.pace.took(match &message {
            ToController::LeaseSaved | ToController::NeedSnapshot | ToController::Renew { .. } => {
                HEAVY
            }
            // What we send sets the pace of what acknowledges it.
            ToController::Applied { revision } if self.sync.awaits(*revision) => Duration::ZERO,
            _ => LIGHT,
        });
        match message {
            ToController::LeaseSaved => {
                let command = Command::ConfirmLease {
                    node: self.node,
                    instance: self.instance,
                    lease: self.lease.clone(),
                };
                self.submit(command).await.map(|_| ())
            }
            ToController::Applied { revision } => self.applied(revision).await,
            ToController::Report(report) => {
                self.context
                    .registry
                    .moved(&self.seat, self.channel.remote());
                if let Some(listen) = report.listen.as_ref().filter(|_| self.pairs.is_some()) {
                    self.context.pairs.listens(self.node, listen);
                }
                self.context.live.report(self.node, &report, now_ms());
                self.send(&ToNode::Heartbeat).await?;
                self.sync.reported();
                self.advance().await
            }
            ToController::NeedSnapshot => {
                self.sync.need_snapshot();
                self.advance().await
            }
            ToController::Renew { csr, wg_key } => self.renew(&csr, wg_key).await,
            ToController::Farewell { reason } => Err(End::Farewell(reason)),
            ToController::ProbeResult(result) => {
                self.probed(*result);
                Ok(())
            }
            ToController::Enrol(_) | ToController::Hello(_) | ToController::Reflect => {
                Err(End::Close(Box::new(malformed("a session opens only once"))))
            }
        }
    }

    async fn applied(&mut self, revision: Revision) -> Result<(), End> {
        self.sync.applied(revision);
        self.context
            .registry
            .applied(&self.seat, self.sync.applied_revision());
        self.advance().await
    }

    /// Sends what the node does not know yet, if anything.
    async fn advance(&mut self) -> Result<(), End> {
        // Taken before the look at whose node this is: a box may read its map as slowly as it likes, and what came meanwhile would be for
        // the one that took its place.
        let news = self
            .pairs
            .map(|pairs| self.context.pairs.news(self.node, pairs));
        let state = self.context.handle.state();
        // What is ordered between the answer to the hello and the seat finds nobody; the bell that rings for the seat does.
        if let Some(last) = revoked(&state, self.node, &self.tls_key) {
            return Err(End::Close(Box::new(last)));
        }
        let known = self.sync.applied_revision();
        let next = self.sync.advance(&state, &self.context.handle.history());
        let applied = self.sync.applied_revision();
        if applied > known {
            // What cancelled itself has nothing to send, and nobody to acknowledge it.
            self.context.registry.applied(&self.seat, applied);
        }
        if let Some(message) = next {
            self.send(&message).await?;
        }
        for news in news.into_iter().flatten() {
            self.send(&ToNode::Pairs(Box::new(news))).await?;
        }
        Ok(())
    }

    async fn renew(&mut self, csr: &[u8], wg_key: Option<WgKey>) -> Result<(), End> {
        if let Err(wait_ms) = self.context.limits.renewals.take(&self.node, now_ms()) {
            // The session is in order all the same: the node asks again in its time.
            tracing::debug!(node = %self.node, wait_ms, "renews too often: left out");
            return Ok(());
        }
        let tls_key = request_key(csr)
            .map_err(|error| End::Close(Box::new(malformed(&error.to_string()))))?;
        let command = Command::RenewNode {
            node: self.node,
            instance: self.instance,
            tls_key,
            wg_key,
        };
        self.submit(command).await?;
        let certificate = sign(&self.context, &self.context.handle.state(), self.node, csr);
        let certificate = certificate.map_err(|text| End::Close(Box::new(malformed(&text))))?;
        self.send(&ToNode::Renewed { certificate }).await
    }

    /// One order at a time; whoever gave the one before may have gone.
    async fn probe(&mut self, request: ProbeRequest) -> Result<(), End> {
        let ProbeRequest { order, reply } = request;
        let waits = |(_, reply): &(u64, oneshot::Sender<_>)| !reply.is_closed();
        if self.probing.as_ref().is_some_and(waits) {
            let _ = reply.send(ProbeResult {
                number: order.number,
                outcome: ProbeOutcome::Busy,
                names: Vec::new(),
            });
            return Ok(());
        }
        self.probing = Some((order.number, reply));
        self.send(&ToNode::Probe(Box::new(order))).await
    }

    /// Answers to orders that nobody waits for are nobody's.
    fn probed(&mut self, result: ProbeResult) {
        let asked = self.probing.take_if(|(number, _)| *number == result.number);
        if let Some((_, reply)) = asked {
            let _ = reply.send(result);
        }
    }

    async fn submit(&mut self, command: Command) -> Result<Answer, End> {
        let actor = Actor::node(self.node, self.channel.remote().ip());
        let accepted = self.context.handle.submit(command, actor, None).await;
        accepted
            .map(|accepted| accepted.answer)
            .map_err(|error| End::Close(Box::new(refusal(&error))))
    }

    /// A slow reader may take minutes, but not if the session must end meanwhile.
    async fn send(&mut self, message: &ToNode) -> Result<(), End> {
        let (state, seat) = (&self.context.handle, &mut self.seat);
        let mut rung = false;
        let must_end = async {
            loop {
                tokio::select! {
                    () = seat.bell.notified() => rung = true,
                    _ = seat.order.changed() => return,
                }
                if revoked(&state.state(), self.node, &self.tls_key).is_some() {
                    return;
                }
            }
        };
        let sent = tokio::select! {
            biased;
            sent = self.channel.send(message) => sent,
            () = must_end => Err(ChannelError::Revoked),
        };
        if rung {
            seat.bell.notify_one();
        }
        sent.map_err(End::Lost)
    }

    fn ordered(&self) -> End {
        End::Close(Box::new(match *self.seat.order.borrow() {
            Order::Cloned => cloned(),
            Order::Removed => removed(),
            Order::Superseded | Order::Continue => superseded(),
        }))
    }
}

/// The next message, in its time. Cancel-safe.
async fn next(pace: &Pace, channel: &mut Channel) -> Result<ToController, ChannelError> {
    pace.ready().await;
    channel.receive().await
}

/// The next lease, and whether the node must make new keys first; or the last message of a session that is not opened.
async fn grant(
    context: &SessionContext,
    remote: SocketAddr,
    certificate: &PeerCertificate,
    hello: &Hello,
) -> Result<(Lease, bool), ToNode> {
    let node = certificate.node;
    let live = context
        .registry
        .challenge(node, hello.instance, CHALLENGE_PATIENCE)
        .await;
    let command = Command::OpenSession {
        node,
        tls_key: certificate.key,
        lease: hello.lease.clone(),
        instance: hello.instance,
        facts: hello.facts.clone(),
        source: Some(remote),
        live,
    };
    let actor = Actor::node(node, remote.ip());
    let answer = context.handle.submit(command, actor, None).await;
    match answer.map(|accepted| accepted.answer) {
        Ok(Answer::Session { lease, rekey }) => Ok((lease, rekey)),
        Ok(_) => {
            context.registry.order(node, Order::Cloned);
            Err(cloned())
        }
        Err(error) => {
            let who = (node, &hello.facts, remote);
            turned_away::note(&context.handle, &context.limits.turned_away, who, &error).await;
            Err(refusal(&error))
        }
    }
}

const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
const SESSION_TIMEOUT: Duration = Duration::from_millis(SESSION_TIMEOUT_MS);
/// A living node reports within one heartbeat; half of another for the way.
const CHALLENGE_PATIENCE: Duration =
    Duration::from_millis(malha_proto::HEARTBEAT_INTERVAL_MS * 3 / 2);

#[cfg(test)]
mod tests;
