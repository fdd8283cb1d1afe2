//! The API as its clients meet it: requests against a real coordinator on a memory store. No listener runs here.

mod agencies;
mod approval;
mod backup;
mod bad_input;
mod balancers;
mod checks;
mod declarations;
mod document;
mod endpoints;
mod language;
mod limits;
mod nodes;
mod permission;
mod policy;
mod profiles;
mod psk;
mod records;
mod repetition;
pub(crate) mod rig;
mod trace;
mod waiting;
