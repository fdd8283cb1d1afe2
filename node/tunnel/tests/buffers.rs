//! What connections of the engine `netstack` add to the memory of a node, and leave there. It is alone in its program, since it
//! reads what the whole process holds, the allocator's own part included.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

mod nodes;

use malha_tunnel::{BoxStream, TunnelListener};
use nodes::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::timeout;

#[tokio::test]
async fn connections_hold_what_they_carry_and_leave_nothing() {
    let nodes: [Node; 2] = pair().await.into();
    let mut listener = nodes[1].listen(80).await;
    // It finds everything that there is once.
    let first = ends(&nodes[0], &mut listener, 1).await;
    cut(&nodes, first).await;
    let before = held_bytes();
    for round in 1..=ROUNDS {
        let open = ends(&nodes[0], &mut listener, CONNECTIONS).await;
        let each = held_bytes().saturating_sub(before) / open.len();
        println!("round {round}: an end holds {each} bytes");
        assert!(each < OPEN_BYTES, "round {round}: {each} bytes");
        cut(&nodes, open).await;
    }
    let left_behind = held_bytes().saturating_sub(before);
    println!("{left_behind} bytes are left behind");
    assert!(left_behind < LEFT_BYTES, "{left_behind} bytes");
}

/// Both ends of so many connections, each of which has carried something.
async fn ends(from: &Node, listener: &mut TunnelListener, connections: usize) -> Vec<BoxStream> {
    let mut open = Vec::new();
    for _ in 0..connections {
        let (near, far) = tokio::join!(from.dial(overlay(2, 80)), listener.accept());
        let (mut near, (mut far, _)) = (near.unwrap(), far.unwrap());
        near.write_all(&[7; CARRIED_BYTES]).await.unwrap();
        far.read_exact(&mut [0; CARRIED_BYTES]).await.unwrap();
        open.extend([near, far]);
    }
    open
}

async fn cut(nodes: &[Node; 2], mut ends: Vec<BoxStream>) {
    ends.iter_mut().for_each(|end| end.abort());
    drop(ends);
    let over = async {
        for node in nodes {
            while node.tunnel.stats().await.stack.connections > 0 {
                yield_now().await;
            }
        }
    };
    timeout(LIMIT, over).await.unwrap();
}

/// The memory of this process that is no file's.
fn held_bytes() -> usize {
    let all = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = all.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<usize>().unwrap() * 1024
}

const ROUNDS: usize = 4;
const CONNECTIONS: usize = 16;
const CARRIED_BYTES: usize = 1024;
/// Of one end of a connection; its buffers may hold 4 MiB.
const OPEN_BYTES: usize = 100 * 1024;
const LEFT_BYTES: usize = 8 * 1024 * 1024;
