//! A listener where descriptors run out. It is a program of its own: the limit holds for all that runs beside it.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

use std::fs::File;
use std::time::Duration;

use futures_util::FutureExt;
use malha_proxy::balance::{KernelListener, Listener};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn a_listener_that_finds_no_descriptor_goes_on_when_there_are_some_again() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut listener = KernelListener::new(socket).unwrap();
    let limit = getrlimit(Resource::Nofile);
    let few = Rlimit {
        current: Some(FEW),
        ..limit
    };
    setrlimit(Resource::Nofile, few).unwrap();
    let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let mut accepting = listener.accept();
    assert!((&mut accepting).now_or_never().is_none(), "it has ended");

    drop(hoard);
    let client = TcpStream::connect(address).await.unwrap();
    let arrival = timeout(PATIENCE, accepting).await.unwrap().unwrap();
    assert_eq!(arrival.source, client.local_addr().unwrap());
}

const FEW: u64 = 64;
/// What anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
