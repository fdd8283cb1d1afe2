//! Carriers over in-memory streams: what passes, what is dropped, and how they end.

use std::future::poll_fn;

use tokio::io::duplex;

use super::*;

async fn next(carriers: &mut Carriers) -> Carried {
    let next = timeout(LIMIT, poll_fn(|cx| carriers.poll_next(cx)));
    next.await.unwrap()
}

fn attached(buffer_bytes: usize) -> (Carriers, CarrierId, tokio::io::DuplexStream) {
    let (near, far) = duplex(buffer_bytes);
    let mut carriers = Carriers::new(Place::ALONE);
    let id = carriers.attach(Box::new(near)).unwrap();
    (carriers, id, far)
}

#[tokio::test]
async fn datagrams_of_every_length_arrive_in_order() {
    let (near, far) = duplex(1000);
    let (mut left, mut right) = (Carriers::new(Place::ALONE), Carriers::new(Place::ALONE));
    let to = left.attach(Box::new(near)).unwrap();
    let at = right.attach(Box::new(far)).unwrap();
    for bytes in [1, 2, 1400, 9600, 3] {
        left.send(to, vec![bytes as u8; bytes]);
    }
    for bytes in [1, 2, 1400, 9600, 3] {
        let came = next(&mut right).await;
        assert_eq!(came, Carried::Datagram(at, vec![bytes as u8; bytes]));
    }
    assert_eq!(left.dropped, 0);
}

#[tokio::test]
async fn a_stream_that_takes_nothing_costs_datagrams_and_not_time() {
    let (mut carriers, id, far) = attached(100);
    for _ in 0..10_000 {
        carriers.send(id, vec![1; 1000]);
    }
    assert_eq!(carriers.dropped, 10_000 - MAX_OUTGOING as u64);
    drop(far);
    assert_eq!(next(&mut carriers).await, Carried::Closed(id));
    carriers.send(id, vec![1]);
    assert_eq!(carriers.dropped, 10_001 - MAX_OUTGOING as u64);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stays_stuck_is_given_up() {
    let (mut carriers, id, _far) = attached(100);
    carriers.send(id, vec![1; 1000]);
    assert_eq!(next(&mut carriers).await, Carried::Closed(id));
}

#[tokio::test]
async fn an_end_in_the_middle_of_a_frame_ends_the_carrier() {
    let (mut carriers, id, mut far) = attached(100);
    far.write_all(&[0, 9, 1, 2, 3]).await.unwrap();
    drop(far);
    assert_eq!(next(&mut carriers).await, Carried::Closed(id));
}

#[tokio::test]
async fn a_frame_of_no_possible_length_ends_the_carrier() {
    for length in [[0, 0], [0xff, 0xff]] {
        let (mut carriers, id, mut far) = attached(100);
        far.write_all(&[0, 1, 7]).await.unwrap();
        far.write_all(&length).await.unwrap();
        assert_eq!(next(&mut carriers).await, Carried::Datagram(id, vec![7]));
        assert_eq!(next(&mut carriers).await, Carried::Closed(id));
    }
}

#[tokio::test]
async fn empty_and_too_long_datagrams_are_left_out() {
    let (mut carriers, id, mut far) = attached(200_000);
    for bytes in [0, 9601, 2] {
        carriers.send(id, vec![5; bytes]);
    }
    let mut frame = [0; 4];
    timeout(LIMIT, far.read_exact(&mut frame))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(frame, [0, 2, 5, 5]);
}

#[tokio::test]
async fn a_detached_carrier_closes_its_stream_and_says_nothing_more() {
    let (mut carriers, id, mut far) = attached(100);
    let (near, _other) = duplex(100);
    let other = carriers.attach(Box::new(near)).unwrap();
    assert_ne!(id, other);
    far.write_all(&[0, 1, 7]).await.unwrap();
    assert!(carriers.detach(id) && !carriers.detach(id));
    assert_eq!(
        timeout(LIMIT, far.read(&mut [0; 9]))
            .await
            .unwrap()
            .unwrap(),
        0
    );
    let polled = poll_fn(|cx| Poll::Ready(carriers.poll_next(cx))).await;
    assert!(polled.is_pending());
}

const LIMIT: Duration = Duration::from_secs(60);
