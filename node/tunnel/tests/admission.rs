//! Connections that come beside the tunnel meet the tunnel's own rules: permission, listener, end.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

mod nodes;

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use malha_tunnel::{Allow, Stream};
use nodes::*;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::time::timeout;

/// What a carrier beside the tunnel hands over.
struct Pipe(DuplexStream);

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Stream for Pipe {
    fn abort(&mut self) {
        self.0 = duplex(1).0;
    }

    fn into_kernel(self: Box<Self>) -> Result<malha_tunnel::KernelPart, malha_tunnel::BoxStream> {
        Err(self)
    }
}

/// Node 2, which lets node 1 open ports 80 and 81.
async fn node() -> Node {
    let node = Node::netstack(2);
    let mut hub = peer(1, Vec::new());
    hub.ingress = vec![Allow::tcp(80..=81)];
    node.tunnel.set_peer(hub).await.unwrap();
    node
}

async fn admit(node: &Node, port: u16) -> io::Result<malha_tunnel::Admission> {
    let hub = key(1).public_key();
    let (local, remote) = (overlay(2, port), overlay(1, 0));
    node.tunnel.admit(hub, local, remote).await
}

#[tokio::test]
async fn an_admitted_connection_is_accepted_like_one_of_the_tunnel() {
    let node = node().await;
    let mut listener = node.listen(80).await;
    let (mut near, far) = duplex(64);
    admit(&node, 80).await.unwrap().enter(Box::new(Pipe(far)));
    let (mut accepted, from) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    assert_eq!(from, overlay(1, 0));
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(read_all(&mut accepted).await, b"question");
}

#[tokio::test]
async fn what_no_rule_covers_is_refused_and_counted_as_in_the_tunnel() {
    let node = node().await;
    let _listener = node.listen(82).await;
    let refused = admit(&node, 82).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    let stranger = node
        .tunnel
        .admit(key(9).public_key(), overlay(2, 80), overlay(9, 0))
        .await;
    assert_eq!(stranger.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(node.tunnel.stats().await.filter.refused.no_rule, 1);
    assert_eq!(node.tunnel.peers().await[0].drops.filtered.no_rule, 1);
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_refuses() {
    let node = node().await;
    let refused = admit(&node, 81).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_connection_breaks_when_its_permission_goes_and_others_stay() {
    let node = node().await;
    let mut accepted = Vec::new();
    let mut ends = Vec::new();
    for port in [80, 81] {
        let mut listener = node.listen(port).await;
        let (near, far) = duplex(64);
        admit(&node, port).await.unwrap().enter(Box::new(Pipe(far)));
        accepted.push(timeout(LIMIT, listener.accept()).await.unwrap().unwrap().0);
        ends.push(near);
    }
    let mut less = peer(1, Vec::new());
    less.ingress = vec![Allow::tcp(81..=81)];
    node.tunnel.set_peer(less).await.unwrap();
    let cut = timeout(LIMIT, accepted[0].read(&mut [0; 8])).await.unwrap();
    assert_eq!(cut.unwrap_err().kind(), ErrorKind::ConnectionReset);
    ends[1].write_all(b"still here").await.unwrap();
    let mut buffer = [0; 10];
    timeout(LIMIT, accepted[1].read_exact(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&buffer, b"still here");
}

#[tokio::test]
async fn an_admission_that_is_not_used_gives_its_place_back() {
    let mut config = config(2);
    config.max_connections = 1;
    let node = Node::start(malha_tunnel::Engine::Netstack, config, 2);
    node.tunnel.set_peer(peer(1, Vec::new())).await.unwrap();
    let _listener = node.listen(80).await;
    let held = admit(&node, 80).await.unwrap();
    assert_eq!(
        admit(&node, 80).await.unwrap_err().kind(),
        ErrorKind::QuotaExceeded
    );
    drop(held);
    admit(&node, 80).await.unwrap();
}
