//! An agent where descriptors are few. It is a program of its own: the limit holds for all that runs beside it.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

use malha_node::descriptors::raise_limit;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_process_takes_all_the_descriptors_that_it_may_have() {
    let allowed = getrlimit(Resource::Nofile).maximum;
    limit_to(FEW);
    raise_limit();
    let limit = getrlimit(Resource::Nofile);
    assert_eq!((limit.current, limit.maximum), (allowed, allowed));
}

fn limit_to(descriptors: u64) {
    let few = Rlimit {
        current: Some(descriptors),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, few).unwrap();
}

const FEW: u64 = 64;
