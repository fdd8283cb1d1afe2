//! The console over a real coordinator on a memory store, with sessions that apply or keep silent. No page is drawn here.

mod balancers;
mod compliance;
mod notices;
mod policy;
mod publishing;
mod record_sets;
mod rig;
mod roles;
mod sign_in;
mod view;
mod writes;
