//! Stories of looks at a real controller on the loopback.

use std::net::SocketAddr;

use malha_proto::ToNode;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::testbed::{Lifetime, Network, TestAuthority, TestController};

const HOUR_MS: u64 = 3_600_000;

fn authority(of: &TestAuthority) -> Authority {
    Authority {
        fingerprint: of.fingerprint(),
        certificate: None,
    }
}

/// Answers every question from an hour ahead of this machine.
async fn reflect_to_all(controller: &mut TestController) -> ! {
    // A session that is dropped may take its last message with it.
    let mut kept = Vec::new();
    loop {
        let mut session = controller.session().await;
        assert_eq!(session.hear().await, ToController::Reflect);
        assert!(
            session.node_certificate.is_none(),
            "a look shows no certificate"
        );
        let reflection = ToNode::Reflection {
            seen_as: "198.51.100.7:40000".parse().unwrap(),
            unix_ms: unix_ms() + HOUR_MS,
        };
        session.say(reflection).await;
        kept.push(session);
    }
}

fn is_an_hour(behind_ms: i64) -> bool {
    (behind_ms - 3_600_000).abs() < 10_000
}

/// Looks over UDP and TCP while the controller answers.
async fn looked(
    lifetime: Lifetime,
    network: Network,
    known: &TestAuthority,
    other: Option<&TestAuthority>,
) -> (Result<Reached, LinkError>, Carried) {
    let mut controller = TestController::start(known, lifetime, network).await;
    let address = controller.address();
    let to: [SocketAddr; 1] = [address.parse().unwrap()];
    let trusted = authority(other.unwrap_or(known));
    let found = tokio::select! {
        found = async { tokio::join!(over_udp(&to, &trusted), over_tcp(&address, &trusted)) } => found,
        never = reflect_to_all(&mut controller) => never,
    };
    controller.stop().await;
    let (mut udp, tcp) = found;
    (udp.remove(0).1, tcp)
}

#[tokio::test]
async fn a_look_measures_packets_clock_and_address() {
    let (udp, tcp) = looked(Lifetime::Now, Network::Open, &TestAuthority::new(), None).await;
    let udp = udp.unwrap();
    assert_eq!(udp.packet_bytes, 1_500);
    assert_eq!(udp.from.ip().to_string(), "127.0.0.1");
    assert!(!udp.is_untimely && !tcp.is_untimely);
    for reflection in [udp.reflection, tcp.control.unwrap()] {
        let reflection = reflection.expect("a reflection");
        assert_eq!(reflection.seen_as.to_string(), "198.51.100.7:40000");
        assert!(is_an_hour(reflection.behind_ms), "{reflection:?}");
    }
    // This controller speaks no HTTP.
    assert!(tcp.carrier.is_err());
}

#[tokio::test]
async fn a_certificate_outside_its_time_is_noted_and_the_time_is_told() {
    for lifetime in [Lifetime::Over, Lifetime::NotYet] {
        let (udp, tcp) = looked(lifetime, Network::Open, &TestAuthority::new(), None).await;
        let udp = udp.unwrap();
        assert!(udp.is_untimely && tcp.is_untimely);
        assert!(is_an_hour(udp.reflection.unwrap().behind_ms));
        assert!(is_an_hour(tcp.control.unwrap().unwrap().behind_ms));
    }
}

#[tokio::test]
async fn somebody_else_in_the_controllers_place_is_named() {
    let (known, other) = (TestAuthority::new(), TestAuthority::new());
    for lifetime in [Lifetime::Now, Lifetime::Over] {
        let (udp, tcp) = looked(lifetime, Network::Open, &known, Some(&other)).await;
        for error in [udp.unwrap_err(), tcp.control.unwrap_err()] {
            assert_eq!(error.fault, LinkFault::WrongController, "{error}");
            assert!(error.detail.contains("issued by"), "{error}");
        }
    }
}

#[tokio::test]
async fn silence_over_udp_says_nothing_of_tcp() {
    let known = TestAuthority::new();
    let (udp, tcp) = looked(Lifetime::Now, Network::UdpBlocked, &known, None).await;
    assert_eq!(udp.unwrap_err().fault, LinkFault::Unreachable);
    assert!(tcp.control.is_ok());
}

#[tokio::test]
async fn an_older_controller_answers_without_a_reflection() {
    let known = TestAuthority::new();
    let mut controller = TestController::start(&known, Lifetime::Now, Network::Open).await;
    let address = controller.address();
    let who = authority(&known);
    // It skips what it does not know, and hangs up at last.
    let skipping = async {
        loop {
            let mut session = controller.session().await;
            let _ = session.hear().await;
        }
    };
    let found = tokio::select! {
        found = over_tcp(&address, &who) => found,
        never = skipping => never,
    };
    assert_eq!(found.control, Ok(None));
}

#[tokio::test]
async fn a_page_is_read_as_far_as_its_head() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 512]).await;
        let answer = "HTTP/1.1 302 Found\r\nLocation: http://login.example/\u{1b}[31m\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let page = page_at(&[([127, 0, 0, 1], port).into()], "hub.example").await;
    serving.await.unwrap();
    let expected = Page {
        status: 302,
        location: Some("http://login.example/[31m".into()),
    };
    assert_eq!(page, Some(expected));
}
