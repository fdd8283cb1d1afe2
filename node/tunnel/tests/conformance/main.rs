//! One battery over the `Tunnel` trait for every engine: what WireGuard's paper and our own rules promise, seen from the wire by a
//! peer that can misbehave. The battery knows nothing of how an engine works inside.
//!
//! `netstack` runs unprivileged on loopback; the others need root, and each story of theirs gets a network namespace. A machine
//! that can't give that is told so and the story is skipped. Where the kernel has no WireGuard, `in_kernel` boots a virtual
//! machine that has, and plays the kernel's stories there; all but those of `clock`, since nobody can stop or deceive a kernel
//! that runs no process.

#![allow(
    clippy::unwrap_used,
    reason = "this is test code, but not all inside test functions"
)]

mod beside_relay;
mod change;
mod clock;
mod ground;
mod handshake;
mod hostile;
mod in_kernel;
mod ipsec;
mod link;
#[path = "../nodes/mod.rs"]
mod nodes;
mod noise;
mod ping;
mod raw;
mod session;

/// The stories, each played with this engine.
macro_rules! battery {
    ($name:ident, $engine:ident) => {
        battery!($name, $engine, 1);
    };
    ($name:ident, $engine:ident, $shards:literal) => {
        mod $name {
            conforms! { $engine, $shards:
                handshake {
                    either_side_may_begin
                    initiations_that_cross_end_in_one_session
                    a_stranger_gets_no_answer
                    what_is_no_message_gets_no_answer
                    an_initiation_counts_once_and_time_never_goes_back
                    nothing_is_sent_before_the_caller_has_proven_itself
                    another_preshared_key_never_becomes_a_session
                }
                session {
                    a_datagram_counts_once
                    late_datagrams_count_within_the_window_and_not_beyond
                    a_counter_at_the_end_of_its_range_does_no_harm
                    a_rekey_under_traffic_loses_nothing
                    data_that_nobody_answers_is_answered_by_a_keepalive
                    a_peer_that_fell_silent_is_called_again
                    handshakes_that_come_to_nothing_cost_no_session
                }
                hostile {
                    under_load_a_cookie_is_asked_for_and_then_honoured
                    a_peer_cannot_speak_for_the_narrower_prefix_of_another
                    the_endpoint_follows_genuine_data_and_nothing_else
                    changed_bytes_are_refused
                }
                change {
                    a_new_preshared_key_loses_no_packet
                    a_download_goes_on_while_the_preshared_key_changes
                    a_removed_peer_is_cut_under_traffic_and_may_return
                    a_new_permission_holds_from_the_next_packet
                    each_permission_counts_what_it_admits
                }
                link {
                    ipv6_carries_both_families
                    the_largest_packet_passes_and_no_larger_one_is_made
                    fragments_inside_are_refused
                    fragments_outside_are_put_together
                }
                clock {
                    a_stopped_process_goes_on_where_it_was
                    after_a_long_sleep_the_peer_is_called_anew
                    a_clock_set_back_costs_no_session
                    a_clock_set_right_after_the_start_opens_the_way
                }
            }
        }
    };
}

macro_rules! conforms {
    ($engine:ident, $shards:literal: $($room:ident { $($story:ident)* })*) => {
        $($(
            #[test]
            fn $story() {
                let ground = crate::ground::Ground::new(malha_tunnel::Engine::$engine, $shards);
                crate::ground::play(ground, crate::$room::$story);
            }
        )*)*
    };
}

battery!(netstack, Netstack);
battery!(userspace, Userspace);
battery!(userspace_of_two_shards, Userspace, 2);
battery!(userspace_of_three_shards, Userspace, 3);
battery!(kernel, Kernel);

/// Not a story: the process that `clock` stops, resumes and deceives about the time. It does nothing unless it is asked to.
#[test]
fn subject_of_another_process() {
    clock::serve_if_asked();
}
