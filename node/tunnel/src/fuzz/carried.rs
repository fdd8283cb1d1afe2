//! Entry point for fuzzing what comes over a carrier's byte stream.

use std::future::poll_fn;
use std::io::Cursor;

use tokio::io::{join, sink};
use tokio::runtime::Builder;

use crate::carrier::{Carried, Carriers, MAX_DATAGRAM_BYTES};
use crate::shard::Place;

/// A stream from the other side: the datagrams in it up to the first frame that breaks the rules, and no more of it.
pub fn carried(data: &[u8]) {
    let runtime = Builder::new_current_thread().build();
    let came = runtime.expect("a runtime").block_on(async {
        let mut carriers = Carriers::new(Place::ALONE);
        let stream = join(Cursor::new(data.to_vec()), sink());
        carriers.attach(Box::new(stream)).expect("the first");
        let mut came = Vec::new();
        while let Carried::Datagram(_, datagram) = poll_fn(|cx| carriers.poll_next(cx)).await {
            came.push(datagram);
        }
        came
    });
    assert_eq!(came, datagrams(data));
}

fn datagrams(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        match rest.split_at_checked(length) {
            Some((datagram, rest)) if (1..=MAX_DATAGRAM_BYTES).contains(&length) => {
                all.push(datagram.to_vec());
                data = rest;
            }
            _ => break,
        }
    }
    all
}
