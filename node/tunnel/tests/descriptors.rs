//! A tunnel where descriptors run out. It is a program of its own: the limit holds for all that runs beside it. It needs root, and
//! is skipped elsewhere.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

#[allow(dead_code, reason = "the battery of all engines uses the rest")]
#[path = "conformance/ground.rs"]
mod ground;
mod nodes;

use std::fs::File;

use ground::{Ground, play};
use malha_tunnel::Engine;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_tunnel_that_finds_no_descriptor_has_not_ended() {
    play(Ground::new(Engine::Userspace, 1), async |ground| {
        let subject = ground.subject().await;
        let limit = getrlimit(Resource::Nofile);
        let few = Rlimit {
            current: Some(FEW),
            ..limit
        };
        setrlimit(Resource::Nofile, few).unwrap();
        let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        let has_ended = subject.tunnel.has_ended();
        drop(hoard);
        assert!(!has_ended, "a lack of descriptors passes for an end");
    });
}

const FEW: u64 = 64;
