//! The hub's UDP socket as a QUIC endpoint wants one: its WireGuard and the control channel's QUIC are on one port, told apart by
//! the tunnel. It moves batches and reads nothing in them.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use malha_tunnel::{QuicRoom, QuicSide};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, EndpointConfig, UdpPoller};

#[derive(Debug)]
pub(super) struct SharedSocket(pub(super) QuicSide);

/// What an endpoint on a shared socket must be like: QUIC is known by a bit that an endpoint may let others grease (RFC 9287),
/// and here they may not.
pub(super) fn endpoint_config() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.grease_quic_bit(false);
    config
}

impl AsyncUdpSocket for SharedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room(self.0.room()))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.0.try_send(transmit) {
            // A driver that meets another error ends and leaves those who wait for its connection waiting.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Ok(()),
            sent => sent,
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        match self.0.poll_receive(cx, buffers, metas) {
            // The tunnel has ended, as it does when the controller stops; connections that are left end by their own timeout.
            Poll::Ready(Err(_)) => Poll::Pending,
            arrived => arrived,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local_addr())
    }

    fn max_transmit_segments(&self) -> usize {
        QuicSide::MAX_SEGMENTS
    }

    fn max_receive_segments(&self) -> usize {
        QuicSide::MAX_SEGMENTS
    }

    /// As WireGuard needs it.
    fn may_fragment(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Room(QuicRoom);

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests;
