//! Visitors who read slowly, or not at all, and what is left for those who read.

use tokio::task::yield_now;
use tokio::time::{Instant, advance, pause};

use super::*;

/// A stream into which the node writes more than its window, and that nobody reads yet.
async fn unread(scene: &Scene) -> BoxStream {
    let (stream, (mut send, receive)) = scene.opens().await;
    tokio::spawn(async move {
        let _ = send.write_all(&vec![0; 5 * 1024 * 1024]).await;
        drop(receive);
    });
    stream
}

/// The node has written all that it may into this many streams.
async fn held_up(scene: &Scene, streams: u64) {
    let blocked = async {
        loop {
            let sent = scene.node.stats().frame_tx;
            if sent.data_blocked > 0 || sent.stream_data_blocked >= streams {
                return;
            }
            yield_now().await;
        }
    };
    timeout(LIMIT, blocked).await.unwrap();
}

async fn hears_a_new_stream(scene: &Scene) {
    let (mut stream, (mut send, _receive)) = scene.opens().await;
    send.write_all(&[7; 1024]).await.unwrap();
    let mut heard = [0; 1024];
    let read = timeout(LIMIT, stream.read_exact(&mut heard)).await;
    read.expect("it should arrive").unwrap();
}

#[tokio::test]
async fn two_visitors_who_do_not_read_hold_up_nobody() {
    let scene = Scene::lossy().await;
    let _slow = [unread(&scene).await, unread(&scene).await];
    held_up(&scene, 2).await;
    hears_a_new_stream(&scene).await;
}

#[tokio::test]
async fn of_too_many_visitors_who_do_not_read_those_go_that_read_the_longest_ago() {
    let scene = Scene::lossy().await;
    let filling = CONNECTION_WINDOW_BYTES / STREAM_WINDOW_BYTES;
    let mut slow = Vec::new();
    for _ in 0..filling {
        slow.push(unread(&scene).await);
    }
    held_up(&scene, filling.into()).await;
    let later = Instant::now() + Duration::from_secs(60);
    scene.streams.give_up_slow(later);
    hears_a_new_stream(&scene).await;
    let first = slow[0].read_u8().await.unwrap_err();
    assert_eq!(first.kind(), ErrorKind::ConnectionReset);
    slow.last_mut().unwrap().read_u8().await.unwrap();
}

#[tokio::test]
async fn a_visitor_who_takes_a_byte_now_and_then_is_slow() {
    let scene = Scene::lossy().await;
    let mut stream = unread(&scene).await;
    held_up(&scene, 1).await;
    pause();
    for _ in 0..3 {
        stream.read_u8().await.unwrap();
        advance(Duration::from_secs(1)).await;
    }
    let line = scene.streams.taken(NODE).unwrap();
    assert_eq!(line.readers.slow(Instant::now()), 1);
    stream.read_exact(&mut [0; 64 * 1024]).await.unwrap();
    assert_eq!(line.readers.slow(Instant::now()), 0);
}

#[tokio::test]
async fn a_stream_that_breaks_while_its_visitor_is_looked_at_is_no_end_of_data() {
    let scene = Scene::lossy().await;
    let (mut stream, (mut send, _receive)) = scene.opens().await;
    send.write_all(&[7; 10]).await.unwrap();
    stream.read_exact(&mut [0; 10]).await.unwrap();
    send.reset(STREAM_BROKEN.into()).unwrap();
    let told = async {
        while scene.at_hub().stats().frame_rx.reset_stream == 0 {
            yield_now().await;
        }
    };
    timeout(LIMIT, told).await.unwrap();
    let later = Instant::now() + Duration::from_secs(60);
    scene.streams.give_up_slow(later);
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn the_connections_with_the_most_slow_readers_lose_them_first() {
    let mut slow = vec![MOST_SLOW; 10];
    slow.push(3);
    let most = share(&slow);
    assert!(most > 3 && 10 * most + 3 <= MAX_SLOW_READERS);
}

#[test]
fn each_connection_may_have_one_slow_reader() {
    assert_eq!(share(&vec![1; 2 * MAX_SLOW_READERS]), 1);
}
