//! A flow between two real connections whose other ends are the test's.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use proptest::prelude::*;
use rustix::net::sockopt::tcp_nodelay;

use super::*;

/// One end for a flow, and the other for the test.
fn pair() -> (End, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    (End::new(near.into()), far)
}

fn advance(flow: &mut Flow, from: &mut End, to: &mut End, stock: &mut Stock) -> Vec<Step> {
    let steps = Cell::new(Vec::new());
    let told = |step| {
        let mut all = steps.take();
        all.push(step);
        steps.set(all);
    };
    (from.is_readable, to.is_writable) = (true, true);
    flow.advance((from, to), stock, told).unwrap();
    steps.into_inner()
}

#[test]
fn what_follows_a_first_small_message_is_not_held_back() {
    let ((mut from, mut client), (mut to, _server)) = (pair(), pair());
    to.delays = true;
    let (mut flow, mut stock) = (Flow::default(), Stock::default());
    let mut hints = Vec::new();
    for _ in 0..2 {
        client.write_all(b"x").unwrap();
        while advance(&mut flow, &mut from, &mut to, &mut stock).is_empty() {}
        hints.push(tcp_nodelay(&to.tcp).unwrap());
    }
    assert_eq!(hints, [false, true]);
}

#[test]
fn what_follows_words_of_our_own_is_not_held_back() {
    let ((mut from, mut client), (mut to, mut server)) = (pair(), pair());
    to.delays = true;
    let mut flow = Flow::beginning_with(b"PROXY ".to_vec());
    client.write_all(b"x").unwrap();
    while advance(&mut flow, &mut from, &mut to, &mut Stock::default()).is_empty() {}
    assert!(tcp_nodelay(&to.tcp).unwrap());
    server.set_nonblocking(false).unwrap();
    let mut heard = [0; 7];
    server.read_exact(&mut heard).unwrap();
    assert_eq!(heard, *b"PROXY x");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the source speaks and the sink listens, short flows and long ones, by copy and by pipe.
    #[test]
    fn every_byte_arrives_once_and_in_order_and_then_the_end(
        bytes in 0..3_000_000_usize,
        write_bytes in 1_000..300_000_usize,
        read_bytes in 1_000..300_000_usize,
    ) {
        let sent: Vec<u8> = (0..bytes).map(|at| (at * 31 % 251) as u8).collect();
        let ((mut from, mut client), (mut to, mut server)) = (pair(), pair());
        let (mut flow, mut stock) = (Flow::default(), Stock::default());
        let (mut written, mut heard, mut has_ended) = (0, Vec::<u8>::new(), false);
        let mut room = vec![0; read_bytes];
        while !has_ended {
            if written == bytes {
                // Once more does no harm.
                client.shutdown(Shutdown::Write).unwrap();
            } else {
                let until = bytes.min(written + write_bytes);
                match client.write(&sent[written..until]) {
                    Ok(taken) => written += taken,
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            advance(&mut flow, &mut from, &mut to, &mut stock);
            match server.read(&mut room) {
                Ok(0) => has_ended = true,
                Ok(read) => heard.extend(&room[..read]),
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        prop_assert!(heard == sent);
        prop_assert!(flow.has_ended() && flow.is_flushed());
        prop_assert!(stock.pipes.are_empty());
    }
}
