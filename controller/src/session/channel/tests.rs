//! What a channel waits for, and for how long, before a node that reads slowly or not at all.

#![allow(clippy::unwrap_used, reason = "a test that can't go on must stop")]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use malha_proto::RefusalCode;
use tokio::io::{DuplexStream, duplex, empty, split};
use tokio::time::{Instant, sleep};

use super::*;

fn channel(pipe: DuplexStream) -> Channel {
    let (read, write) = split(pipe);
    opened(read, write)
}

fn opened(
    read: impl AsyncRead + Send + Unpin + 'static,
    write: impl AsyncWrite + Send + Unpin + 'static,
) -> Channel {
    let remote = Remote::Fixed(([203, 0, 113, 9], 40_000).into());
    Channel::new(read, write, remote, Transport::Tls, None)
}

fn message(bytes: usize) -> ToNode {
    ToNode::Refused {
        code: RefusalCode::Busy,
        text: "x".repeat(bytes),
    }
}

/// Sends a frame to a node that reads a piece in each of these pauses, until the sender is done.
async fn sent_to(
    bytes: usize,
    piece_bytes: usize,
    pause: Duration,
) -> (Result<(), ChannelError>, Duration) {
    let (near, mut far) = duplex(1024);
    let mut channel = channel(near);
    let since = Instant::now();
    let reads = async {
        let mut piece = vec![0; piece_bytes];
        loop {
            sleep(pause).await;
            far.read_exact(&mut piece).await.unwrap();
        }
    };
    let message = message(bytes);
    let sent = tokio::select! {
        sent = channel.send(&message) => sent,
        () = reads => unreachable!("it reads as long as it lives"),
    };
    (sent, since.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_a_frame_slowly_gets_it_whole() {
    let (sent, took) = sent_to(60_000, 1024, Duration::from_secs(1)).await;
    assert!(sent.is_ok(), "{sent:?}");
    assert!(took > Duration::from_secs(50), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_nothing_is_given_up() {
    let (sent, took) = sent_to(60_000, 1024, Duration::from_secs(3_600)).await;
    assert!(matches!(sent, Err(ChannelError::Stalled)), "{sent:?}");
    assert_eq!(took.as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_byte_after_byte_holds_no_frame_for_ever() {
    let (sent, took) = sent_to(60_000, 1, Duration::from_secs(5)).await;
    assert!(sent.is_err());
    assert_eq!(took.as_secs(), 120);
}

/// Takes everything, and never comes to an end.
struct Endless;

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_take_the_end_is_not_waited_for() {
    let last = message(10);
    let finished = opened(empty(), Endless).finish(&last);
    let finished = tokio::time::timeout(Duration::from_secs(3_600), finished).await;
    finished.expect("it should give up");
}

/// How long a node that never closes its end is waited for behind a last message of so many bytes.
async fn lingers(bytes: usize) -> u64 {
    let (near, _far) = duplex(MAX_FRAME_TO_NODE_BYTES);
    let since = Instant::now();
    channel(near).finish(&message(bytes)).await;
    since.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_long_last_message_has_longer_to_arrive() {
    assert_eq!(lingers(10).await, 2);
    assert_eq!(lingers(MAX_FRAME_TO_NODE_BYTES / 2).await, 62);
}
