//! Whole devices against each other, a file for each thing that they keep.

mod clock;
mod datagrams;
mod endpoint;
mod flood;
mod peers;
mod places;
mod rest;
mod secrets;
mod super_packets;
mod world;
