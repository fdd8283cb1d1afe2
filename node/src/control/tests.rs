//! Stories of the transports against a real controller on the loopback.

use std::time::Duration;

use malha_proto::{FarewellReason, ToController, ToNode};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::*;
use crate::agent::{Event, LinkId};
use crate::testbed::{Lifetime, Network, TEST_LIMIT, TestAuthority, TestController};

const FAREWELL: ToController = ToController::Farewell {
    reason: FarewellReason::Stopped,
};

fn stranger(authority: &TestAuthority) -> Credentials {
    Credentials {
        authority: authority.fingerprint(),
        authority_certificate: None,
        node: None,
    }
}

fn node(authority: &TestAuthority) -> Credentials {
    authority.node_credentials()
}

async fn fault(controller: &TestController, transport: Transport, who: &Credentials) -> LinkFault {
    let dialed = dial(&controller.address(), transport, who).await;
    dialed.err().expect("it must be refused").fault
}

#[tokio::test]
async fn both_transports_carry_a_question_and_its_answer() {
    let authority = TestAuthority::new();
    let mut controller = TestController::start(&authority, Lifetime::Now, Network::Open).await;
    for transport in [Transport::Quic, Transport::Tcp] {
        let wire = dial(&controller.address(), transport, &stranger(&authority)).await;
        let wire = wire.unwrap();
        let remote = wire.remote().map(|remote| remote.to_string());
        assert_eq!(remote, Some(controller.address()));
        let asked = tokio::spawn(async move { wire.ask(&FAREWELL).await });
        let mut session = controller.session().await;
        assert_eq!(session.transport, transport);
        assert!(session.node_certificate.is_none());
        assert_eq!(session.hear().await, FAREWELL);
        session.say(ToNode::Heartbeat).await;
        assert_eq!(asked.await.unwrap(), Ok(ToNode::Heartbeat));
    }
    controller.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_longer_than_a_session_may_be_silent() {
    let authority = TestAuthority::new();
    let mut controller = TestController::start(&authority, Lifetime::Now, Network::Open).await;
    let wire = dial(
        &controller.address(),
        Transport::Quic,
        &stranger(&authority),
    )
    .await;
    let asked = tokio::spawn(async move { wire.unwrap().ask(&FAREWELL).await });
    let mut session = controller.session().await;
    assert_eq!(session.hear().await, FAREWELL);
    // More than either side lets a connection be idle.
    sleep(Duration::from_secs(12)).await;
    session.say(ToNode::Heartbeat).await;
    assert_eq!(asked.await.unwrap(), Ok(ToNode::Heartbeat));
    controller.stop().await;
}

#[tokio::test]
async fn an_enrolled_node_shows_its_certificate() {
    let authority = TestAuthority::new();
    let mut controller = TestController::start(&authority, Lifetime::Now, Network::Open).await;
    let who = node(&authority);
    for transport in [Transport::Quic, Transport::Tcp] {
        let wire = dial(&controller.address(), transport, &who).await.unwrap();
        let (_reader, mut writer) = wire.split();
        writer.send(&FAREWELL).await.unwrap();
        let session = controller.session().await;
        let shown = session.node_certificate.as_ref();
        assert_eq!(shown, who.node.as_ref().map(|node| &node.certificate));
    }
    controller.stop().await;
}

#[tokio::test]
async fn a_controller_of_another_authority_is_told_apart_from_silence() {
    let authority = TestAuthority::new();
    let controller = TestController::start(&authority, Lifetime::Now, Network::Open).await;
    let other = TestAuthority::new();
    for who in [stranger(&other), node(&other)] {
        for transport in [Transport::Quic, Transport::Tcp] {
            let fault = fault(&controller, transport, &who).await;
            assert_eq!(fault, LinkFault::WrongController, "{transport}");
        }
    }
    let address = controller.address();
    controller.stop().await;
    let dialed = dial(&address, Transport::Tcp, &stranger(&authority)).await;
    assert_eq!(dialed.err().unwrap().fault, LinkFault::Unreachable);
}

#[tokio::test]
async fn a_certificate_outside_its_time_is_a_matter_of_clocks() {
    let authority = TestAuthority::new();
    for lifetime in [Lifetime::Over, Lifetime::NotYet] {
        let controller = TestController::start(&authority, lifetime, Network::Open).await;
        for transport in [Transport::Quic, Transport::Tcp] {
            let fault = fault(&controller, transport, &stranger(&authority)).await;
            assert_eq!(fault, LinkFault::Clock, "{transport}");
        }
        controller.stop().await;
    }
}

#[tokio::test]
async fn a_node_certificate_of_another_authority_ends_the_link() {
    let authority = TestAuthority::new();
    let controller = TestController::start(&authority, Lifetime::Now, Network::Open).await;
    let foreign = node(&TestAuthority::new());
    let who = Credentials {
        node: foreign.node,
        ..stranger(&authority)
    };
    for transport in [Transport::Quic, Transport::Tcp] {
        // TLS 1.3 lets the client finish first: the refusal may come with the first answer.
        let error = match dial(&controller.address(), transport, &who).await {
            Ok(wire) => wire.ask(&FAREWELL).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(
            matches!(error.fault, LinkFault::Tls | LinkFault::Closed),
            "{error:?}"
        );
    }
    controller.stop().await;
}

/// The last event of a link whose node's certificate is outside its time.
async fn told_of(lifetime: Lifetime, transport: Transport) -> LinkError {
    let authority = TestAuthority::new();
    let controller = TestController::start(&authority, Lifetime::Now, Network::Open).await;
    let who = Arc::new(authority.node_credentials_of(lifetime));
    let (events, mut told) = mpsc::channel(16);
    let (_outgoing, queue) = mpsc::channel(16);
    let address = controller.address().as_str().into();
    tokio::spawn(run_link(LinkId(1), address, transport, who, queue, events));
    let error = loop {
        match timeout(TEST_LIMIT, told.recv()).await.unwrap() {
            Some(Event::Lost { error, .. }) => break error,
            Some(_) => {}
            None => panic!("it must be refused"),
        }
    };
    controller.stop().await;
    error
}

#[tokio::test]
async fn a_node_certificate_outside_its_time_is_said_to_be_so() {
    for (lifetime, words) in [
        (Lifetime::NotYet, "this node's certificate begins"),
        (Lifetime::Over, "this node's certificate ended"),
    ] {
        for transport in [Transport::Quic, Transport::Tcp] {
            let error = told_of(lifetime, transport).await;
            assert_eq!(error.fault, LinkFault::Clock, "{error}");
            assert!(error.detail.contains(words), "{error}");
        }
    }
}

#[test]
fn by_how_much_a_node_certificate_is_outside_its_time_is_said() {
    let validity = Validity {
        not_before_s: 1_000_000,
        not_after_s: 2_000_000,
    };
    let said = |now_s| untimely(validity, now_s).unwrap_or_default();
    assert!(said(1_000_000 - 90_000).contains("begins 1 d 1 h from now"));
    assert!(said(2_000_000 + 61).contains("ended 1 min 1 s ago"));
    assert_eq!(said(1_000_000) + &said(2_000_000), "");
}

#[tokio::test]
async fn a_name_without_an_address_is_said_to_be_one() {
    let authority = TestAuthority::new();
    let who = stranger(&authority);
    let dialed = dial("nowhere.invalid:443", Transport::Quic, &who).await;
    assert_eq!(dialed.err().unwrap().fault, LinkFault::Name);
}

#[tokio::test]
async fn a_name_with_several_addresses_connects_to_the_one_that_answers() {
    let authority = TestAuthority::new();
    let mut controller = TestController::start(&authority, Lifetime::Now, Network::Open).await;
    // It listens on 127.0.0.1 only; localhost has ::1 as well on most machines.
    let address = format!("localhost:{}", controller.port);
    for transport in [Transport::Quic, Transport::Tcp] {
        let wire = dial(&address, transport, &stranger(&authority))
            .await
            .unwrap();
        let asked = tokio::spawn(async move { wire.ask(&FAREWELL).await });
        let session = controller.session().await;
        session.say(ToNode::Heartbeat).await;
        assert_eq!(asked.await.unwrap(), Ok(ToNode::Heartbeat));
    }
    controller.stop().await;
}

#[tokio::test]
async fn a_link_tells_its_life_and_sends_its_last_words() {
    let authority = TestAuthority::new();
    let mut controller = TestController::start(&authority, Lifetime::Now, Network::Open).await;
    for transport in [Transport::Quic, Transport::Tcp] {
        let (events, mut told) = mpsc::channel(16);
        let (outgoing, queue) = mpsc::channel(16);
        let (link, address) = (LinkId(1), controller.address().as_str().into());
        let who = Arc::new(stranger(&authority));
        let task = tokio::spawn(run_link(link, address, transport, who, queue, events));
        assert!(matches!(told.recv().await, Some(Event::Connected { .. })));
        outgoing.send(ToController::LeaseSaved).await.unwrap();
        let mut session = controller.session().await;
        assert_eq!(session.hear().await, ToController::LeaseSaved);
        session.say(ToNode::Heartbeat).await;
        assert!(matches!(told.recv().await, Some(Event::Frame { .. })));
        outgoing.send(FAREWELL).await.unwrap();
        drop(outgoing);
        assert_eq!(session.end().await, [FAREWELL]);
        timeout(TEST_LIMIT, task).await.unwrap().unwrap();
        assert!(told.recv().await.is_none(), "its end was asked for");
    }
    controller.stop().await;
}

#[tokio::test]
async fn a_link_that_breaks_says_so() {
    let authority = TestAuthority::new();
    let mut controller = TestController::start(&authority, Lifetime::Now, Network::Open).await;
    for transport in [Transport::Quic, Transport::Tcp] {
        let (events, mut told) = mpsc::channel(16);
        let (outgoing, queue) = mpsc::channel(16);
        let (link, address) = (LinkId(1), controller.address().as_str().into());
        let who = Arc::new(stranger(&authority));
        tokio::spawn(run_link(link, address, transport, who, queue, events));
        assert!(matches!(told.recv().await, Some(Event::Connected { .. })));
        outgoing.send(ToController::LeaseSaved).await.unwrap();
        drop(controller.session().await);
        assert!(matches!(told.recv().await, Some(Event::Lost { .. })));
    }
    controller.stop().await;
}
