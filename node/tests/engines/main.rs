//! Stories that a node plays with each engine: its tunnel balancer and its services, their clients and servers behind the tunnel.
//!
//! The node with the engine `kernel` needs root and a kernel with WireGuard; where that is missing, the last test plays its stories in
//! a virtual machine that has one.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

#[allow(dead_code, reason = "the tunnel's own stories use the rest")]
#[path = "../../tunnel/tests/conformance/ground.rs"]
mod ground;
#[path = "../../tunnel/tests/nodes/mod.rs"]
mod nodes;
#[allow(dead_code, reason = "each test crate uses its part of the testbed")]
#[path = "../../src/testbed.rs"]
mod testbed;

mod balancing;
mod services;

use nodes::namespace::no_kernel;

macro_rules! played_with {
    ($($name:ident: $engine:ident, $shards:literal;)*) => {$(
        mod $name {
            use crate::ground::{Ground, play};
            use crate::{balancing, services};

            const GROUND: Ground = Ground {
                engine: malha_tunnel::Engine::$engine,
                shards: $shards,
            };

            #[test]
            fn what_is_carried_goes_on_with_the_other_server_when_one_is_removed() {
                play(GROUND, balancing::one_server_is_removed);
            }

            #[test]
            fn a_client_whose_address_leaves_its_peer_is_cut() {
                play(GROUND, balancing::the_clients_address_leaves_its_peer);
            }

            #[test]
            fn a_service_is_on_the_overlay_address_and_on_no_other() {
                play(GROUND, services::on_the_overlay_alone);
            }

            #[test]
            fn what_a_node_offers_is_there_on_ipv4_where_it_may_not_have_ipv6() {
                play(GROUND, services::on_ipv4_alone);
            }
        }
    )*};
}

played_with! {
    netstack: Netstack, 1;
    userspace: Userspace, 1;
    userspace_of_two_shards: Userspace, 2;
    kernel: Kernel, 1;
}

#[test]
fn the_engine_kernel_is_proven_in_a_virtual_machine() {
    if no_kernel().is_none() {
        println!("skipped: this kernel has WireGuard, so its stories have been played");
        return;
    }
    nodes::virtual_machine::run_this_program("engines", &["kernel::"]);
}
