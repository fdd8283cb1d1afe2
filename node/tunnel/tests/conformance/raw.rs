//! A peer on a UDP socket that sends exactly what a story tells it to, genuine or not, and sees exactly what comes. It never
//! answers, repeats or keeps alive by itself.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout};

use crate::ground::SUBJECT;
use crate::nodes::{LIMIT, Node, key, overlay, overlay6};
use crate::noise::{Begun, Identity, Session};
use crate::ping;

/// One peer. Its newest session is the last one.
pub(crate) struct Raw {
    pub(crate) number: u8,
    pub(crate) identity: Identity,
    pub(crate) socket: UdpSocket,
    pub(crate) subject: SocketAddr,
    pub(crate) sessions: Vec<Numbered>,
    /// Handshake messages and cookie replies that came while something else was awaited.
    pub(crate) handshakes: Vec<Vec<u8>>,
    stamp_s: u64,
    /// When the last initiation was sent.
    called: Cell<Option<Instant>>,
    next_index: u32,
    next_ping: u16,
}

/// A session with the counter of the next datagram.
pub(crate) struct Numbered {
    pub(crate) session: Session,
    pub(crate) next: u64,
}

impl Raw {
    /// A peer of this number that knows where the tunnel under test is.
    pub(crate) async fn new(number: u8, subject: &Node) -> Self {
        Self::at(number, subject.underlay().await[0]).await
    }

    /// The same on the given underlay address of the tunnel under test.
    pub(crate) async fn at(number: u8, subject: SocketAddr) -> Self {
        let theirs = *key(SUBJECT).public_key().as_bytes();
        Self {
            number,
            identity: Identity::new(*key(number).as_bytes(), theirs),
            socket: loopback(subject.is_ipv6()).await,
            subject,
            sessions: Vec::new(),
            handshakes: Vec::new(),
            stamp_s: FIRST_STAMP_S,
            called: Cell::new(None),
            next_index: u32::from(number) << 8,
            next_ping: 0,
        }
    }

    pub(crate) fn endpoint(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// From now on it sends from, and listens at, another port.
    pub(crate) async fn moves(&mut self) -> UdpSocket {
        let elsewhere = loopback(self.subject.is_ipv6()).await;
        std::mem::replace(&mut self.socket, elsewhere)
    }

    pub(crate) async fn send(&self, datagram: &[u8]) {
        if datagram.first() == Some(&INITIATION) {
            if let Some(last) = self.called.get() {
                sleep_until(last + CALL_INTERVAL).await;
            }
            self.called.set(Some(Instant::now()));
        }
        self.socket.send_to(datagram, self.subject).await.unwrap();
    }

    /// The next datagram, if one comes within this time.
    pub(crate) async fn hears(&self, within: Duration) -> Option<Vec<u8>> {
        let mut datagram = vec![0; MAX_DATAGRAM_BYTES];
        let (length, _) = timeout(within, self.socket.recv_from(&mut datagram))
            .await
            .ok()?
            .unwrap();
        datagram.truncate(length);
        Some(datagram)
    }

    pub(crate) async fn datagram(&self) -> Vec<u8> {
        self.hears(LIMIT).await.expect("nothing came")
    }

    /// The next datagram of this type, whatever comes before.
    pub(crate) async fn message(&self, kind: u8) -> Vec<u8> {
        let found = async {
            loop {
                let datagram = self.datagram().await;
                if datagram[0] == kind {
                    return datagram;
                }
            }
        };
        timeout(LIMIT, found).await.expect("no such message came")
    }

    /// An initiation that is newer than all before.
    pub(crate) fn initiation(&mut self, cookie: Option<[u8; 16]>) -> (Vec<u8>, Begun) {
        self.stamp_s += 1;
        self.initiation_at(self.stamp_s, cookie)
    }

    pub(crate) fn initiation_at(
        &mut self,
        stamp_s: u64,
        cookie: Option<[u8; 16]>,
    ) -> (Vec<u8>, Begun) {
        let mut stamp = [0; 12];
        stamp[..8].copy_from_slice(&stamp_s.to_be_bytes());
        self.next_index += 1;
        self.identity.initiate(self.next_index, stamp, cookie)
    }

    /// Calls, and has a session that the other side knows to be used.
    pub(crate) async fn calls(&mut self) {
        let (initiation, begun) = self.initiation(None);
        self.send(&initiation).await;
        let response = self.message(RESPONSE).await;
        let session = self.identity.complete(&begun, &response);
        self.keep(session.expect("the response proves nothing"));
        let keepalive = self.seal(&[]);
        self.send(&keepalive).await;
    }

    /// Waits to be called, answers, and waits for the confirmation.
    pub(crate) async fn is_called(&mut self) {
        let initiation = self.message(INITIATION).await;
        self.answers(&initiation).await;
        self.is_confirmed().await;
    }

    /// Waits for the first message of the newest session: a responder says nothing in it before the initiator has confirmed
    /// it, and an initiator need not take data that overtakes the response.
    pub(crate) async fn is_confirmed(&self) {
        let newest = self.sessions.last().expect("a session");
        while newest.session.open(&self.datagram().await).is_none() {}
    }

    pub(crate) async fn answers(&mut self, initiation: &[u8]) {
        self.next_index += 1;
        let answer = self.identity.respond(self.next_index, initiation);
        let (response, session) = answer.expect("the initiation proves nothing");
        self.keep(session);
        self.send(&response).await;
    }

    /// The time in an initiation.
    pub(crate) fn stamp_of(&self, initiation: &[u8]) -> [u8; 12] {
        let answer = self.identity.respond(0, initiation);
        answer.expect("the initiation proves nothing");
        self.identity.last_stamp()
    }

    pub(crate) fn keep(&mut self, session: Session) {
        self.sessions.push(Numbered { session, next: 0 });
    }

    /// A datagram of the newest session.
    pub(crate) fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        let newest = self.sessions.len() - 1;
        self.seal_with(newest, packet)
    }

    pub(crate) fn seal_with(&mut self, session: usize, packet: &[u8]) -> Vec<u8> {
        let numbered = &mut self.sessions[session];
        numbered.next += 1;
        numbered.session.seal(numbered.next - 1, packet)
    }

    pub(crate) fn open(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let sessions = self.sessions.iter().rev();
        sessions
            .into_iter()
            .find_map(|it| it.session.open(datagram))
    }

    /// An echo request to the tunnel under test, and its number.
    pub(crate) fn request(&mut self) -> (Vec<u8>, u16) {
        self.request_from(overlay(self.number, 0).ip())
    }

    pub(crate) fn request_from(&mut self, from: IpAddr) -> (Vec<u8>, u16) {
        let to = if from.is_ipv4() {
            overlay(SUBJECT, 0)
        } else {
            overlay6(SUBJECT, 0)
        };
        self.next_ping += 1;
        let request = ping::request(from, to.ip(), self.next_ping, 64);
        (request, self.next_ping)
    }

    /// Asks for an echo and waits for it, in both families.
    pub(crate) async fn pings(&mut self) {
        for from in [overlay(self.number, 0), overlay6(self.number, 0)] {
            let (request, number) = self.request_from(from.ip());
            let datagram = self.seal(&request);
            self.send(&datagram).await;
            let answered = self.replies_until(number).await;
            assert_eq!(answered, [number], "other requests were answered too");
        }
    }

    /// The numbers of the requests that were answered by now: a last request marks the end, since requests are answered in
    /// the order in which they came.
    pub(crate) async fn replies(&mut self) -> Vec<u16> {
        let (request, last) = self.request();
        let datagram = self.seal(&request);
        self.send(&datagram).await;
        let mut replies = self.replies_until(last).await;
        assert_eq!(replies.pop(), Some(last));
        replies
    }

    async fn replies_until(&mut self, last: u16) -> Vec<u16> {
        let mut replies = Vec::new();
        while replies.last() != Some(&last) {
            let datagram = self.datagram().await;
            if datagram[0] != DATA {
                self.handshakes.push(datagram);
                continue;
            }
            let packet = self.open(&datagram).expect("data that we can't open");
            replies.extend(ping::reply(&packet));
        }
        replies
    }

    /// Asserts that no handshake message or cookie came in answer to what was sent before.
    pub(crate) async fn heard_no_handshake(&mut self) {
        assert_eq!(self.replies().await, []);
        assert!(self.handshakes.is_empty(), "{:02x?}", self.handshakes);
    }
}

pub(crate) async fn loopback(ipv6: bool) -> UdpSocket {
    let address = if ipv6 { "[::1]:0" } else { "127.0.0.1:0" };
    UdpSocket::bind(address).await.unwrap()
}

pub(crate) const INITIATION: u8 = 1;
pub(crate) const RESPONSE: u8 = 2;
pub(crate) const COOKIE: u8 = 3;
pub(crate) const DATA: u8 = 4;
/// TAI64's zero is in the year 1970; any time will do that grows.
const FIRST_STAMP_S: u64 = (1 << 62) + 1_000_000;
/// A kernel takes a peer's initiation that follows another within 20 ms for a part of a flood.
const CALL_INTERVAL: Duration = Duration::from_millis(50);
const MAX_DATAGRAM_BYTES: usize = 65_535;
/// Waiting this long for something that should not come is enough on loopback: what comes there comes within a millisecond.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
