//! Replays the fuzz corpora: every input that was ever interesting must still be judged without a panic.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

use std::path::Path;

fn replay(folder: &str, entry: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(folder);
    let mut count = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        entry(&std::fs::read(file.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 8, "{} holds only {count} inputs", folder.display());
}

#[test]
fn carrier_streams() {
    replay("carrier", malha_tunnel::fuzz::carried);
}

#[test]
fn datagrams() {
    replay("datagram", malha_tunnel::fuzz::datagram);
}

#[test]
fn packets_in_a_row() {
    replay("filter", malha_tunnel::fuzz::filter);
}

#[test]
fn packets() {
    replay("packet", malha_tunnel::fuzz::packet);
}

#[test]
fn relay_frames() {
    replay("relay_frame", malha_tunnel::fuzz::relay_frame);
}

#[test]
fn relay_stories() {
    replay("relay_story", malha_tunnel::fuzz::bound);
}

#[test]
fn segments_of_several_flows() {
    replay("segments", malha_tunnel::fuzz::joined);
}

#[test]
fn tun_frames() {
    replay("tun_frame", malha_tunnel::fuzz::tun_frame);
}
