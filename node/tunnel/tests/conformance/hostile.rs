//! Floods, forgeries and peers that claim what is not theirs.

use std::net::Ipv4Addr;
use std::time::Duration;

use malha_tunnel::TunnelEvent;
use tokio::net::UdpSocket;

use crate::ground::{Ground, peer};
use crate::nodes::{Node, key, wait_for};
use crate::noise::{Begun, COOKIE_REPLY_BYTES, Session};
use crate::raw::{COOKIE, RESPONSE, Raw, SILENCE, loopback};

pub(crate) async fn under_load_a_cookie_is_asked_for_and_then_honoured(ground: Ground) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    raw.calls().await;
    let crowd = Crowd::around(&raw, &subject).await;
    let mut cookie = None;
    for _ in 0..MAX_FLOODS {
        crowd.floods(&raw).await;
        let (initiation, begun) = raw.initiation(cookie);
        raw.send(&initiation).await;
        match (answer(&mut raw, &begun).await, cookie) {
            (Some(Answer::Session(session)), Some(_)) => {
                raw.keep(session);
                return raw.pings().await;
            }
            (Some(Answer::Cookie(asked)), _) => {
                // Cookies change every two minutes; the one that is asked for is another one then.
                assert_ne!(Some(asked), cookie, "the cookie was not honoured");
                cookie = Some(asked);
            }
            // Not under load at that moment, or the flood left no room for the question.
            (Some(Answer::Session(_)) | None, _) => {}
        }
    }
    panic!("never under load, or never answered; the cookie: {cookie:?}");
}

enum Answer {
    Cookie([u8; 16]),
    Session(Session),
}

/// What comes back for this initiation; late answers to earlier ones are not for it, and open with nothing of it.
async fn answer(raw: &mut Raw, begun: &Begun) -> Option<Answer> {
    loop {
        let datagram = raw.hears(PATIENCE).await?;
        let answer = match datagram[0] {
            COOKIE => {
                assert_eq!(datagram.len(), COOKIE_REPLY_BYTES);
                let cookie = raw.identity.cookie(&begun.mac1, &datagram);
                cookie.map(Answer::Cookie)
            }
            _ => raw.identity.complete(begun, &datagram).map(Answer::Session),
        };
        if answer.is_some() {
            return answer;
        }
    }
}

/// Many who send what passes the first checksum. Some engines are under load when much of it waits, others when much of it
/// came within a second: a slow machine gets to the former by what is dear to judge, and to the latter by what is cheap.
struct Crowd {
    /// In many prefixes, since each may only begin so often.
    sockets: Vec<UdpSocket>,
    /// Dear: a stranger's, whose key must be found out.
    initiation: Vec<u8>,
    /// Cheap: for a session that asked for none.
    response: Vec<u8>,
}

impl Crowd {
    async fn around(raw: &Raw, subject: &Node) -> Self {
        let mut sockets = Vec::new();
        for n in 1..=32 {
            let socket = UdpSocket::bind((Ipv4Addr::new(127, n, 0, 1), 0)).await;
            sockets.push(socket.unwrap());
        }
        let (initiation, _) = Raw::new(9, subject).await.initiation(None);
        let session = &raw.sessions.last().unwrap().session;
        Self {
            sockets,
            initiation,
            response: raw.identity.unasked_response(session),
        }
    }

    async fn floods(&self, raw: &Raw) {
        for (noise, rounds) in [(&self.initiation, 30), (&self.response, 60)] {
            for _ in 0..rounds {
                for socket in &self.sockets {
                    socket.send_to(noise, raw.subject).await.unwrap();
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The device-wide longest prefix decides, not the peer's own list.
pub(crate) async fn a_peer_cannot_speak_for_the_narrower_prefix_of_another(ground: Ground) {
    let subject = ground.subject().await;
    let mut wide = Raw::new(2, &subject).await;
    let mut config = peer(2, vec![]);
    config.allowed_ips = vec![
        "100.64.0.0/24".parse().unwrap(),
        "fd00::/64".parse().unwrap(),
    ];
    subject.tunnel.set_peer(config).await.unwrap();
    let mut narrow = Raw::new(3, &subject).await;
    subject.tunnel.set_peer(peer(3, vec![])).await.unwrap();
    wide.calls().await;
    narrow.calls().await;

    let (mine, number) = wide.request_from([100, 64, 0, 200].into());
    let datagram = wide.seal(&mine);
    wide.send(&datagram).await;
    assert_eq!(wide.replies().await, [number]);
    for stolen in [
        "100.64.0.3",
        "fd00::3",
        "100.64.1.2",
        "127.0.0.1",
        "100.64.0.1",
    ] {
        let from = stolen.parse::<std::net::IpAddr>().unwrap();
        let (request, _) = wide.request_from(from);
        let datagram = wide.seal(&request);
        wide.send(&datagram).await;
        assert_eq!(wide.replies().await, [], "{stolen}");
        assert_eq!(narrow.replies().await, [], "{stolen}");
    }
}

pub(crate) async fn the_endpoint_follows_genuine_data_and_nothing_else(ground: Ground) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    let (recorded_call, begun) = raw.initiation(None);
    raw.send(&recorded_call).await;
    let response = raw.message(RESPONSE).await;
    raw.keep(raw.identity.complete(&begun, &response).unwrap());
    let recorded = raw.seal(&[]);
    raw.send(&recorded).await;
    raw.pings().await;

    let attacker = loopback(false).await;
    let (request, _) = raw.request();
    let mut forged = raw.seal(&request);
    forged[20] ^= 1;
    for datagram in [&recorded, &recorded_call, &forged, &response] {
        attacker.send_to(datagram, raw.subject).await.unwrap();
    }
    raw.pings().await;
    let endpoint = Some(raw.endpoint());
    ground
        .sees(&subject, |peers| peers[0].endpoint == endpoint)
        .await;
    let mut heard = [0; 2048];
    let answered = tokio::time::timeout(SILENCE, attacker.recv_from(&mut heard)).await;
    assert!(answered.is_err(), "the attacker was answered");

    let mut events = subject.tunnel.events();
    let _former = raw.moves().await;
    raw.pings().await;
    let moved = TunnelEvent::EndpointChanged {
        peer: key(2).public_key(),
        endpoint: raw.endpoint(),
    };
    wait_for(&mut events, moved).await;
}

pub(crate) async fn changed_bytes_are_refused(ground: Ground) {
    let subject = ground.subject().await;
    let mut raw = Raw::new(2, &subject).await;
    subject.tunnel.set_peer(peer(2, vec![])).await.unwrap();
    raw.calls().await;
    let (request, number) = raw.request();
    let genuine = raw.seal(&request);
    for at in (0..genuine.len()).step_by(3) {
        let mut changed = genuine.clone();
        changed[at] ^= 0x40;
        raw.send(&changed).await;
    }
    raw.send(&genuine[..genuine.len() - 1]).await;
    // Longer than anything that the tunnel's link could have carried.
    raw.send(&[&genuine[..], &[0; 60_000]].concat()).await;
    assert_eq!(raw.replies().await, []);
    raw.send(&genuine).await;
    assert_eq!(raw.replies().await, [number]);
    assert_eq!(raw.hears(Duration::from_millis(1)).await, None);
}

const MAX_FLOODS: usize = 20;
/// For an answer behind all that a flood left, on an emulated processor too.
const PATIENCE: Duration = Duration::from_secs(5);
