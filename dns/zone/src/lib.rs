//! Authoritative DNS as pure values: zones, record sets, serials, journals, and the answer to a query.
//! It never does I/O, reads a clock or draws a random number.
//!
//! How many of each exist: one [`Zones`] per published snapshot, one [`Zone`] per hosted origin, one
//! [`RecordSet`] per name and type. All are immutable and cheap to clone; an edit gives a new [`Zone`]
//! and the [`ZoneChange`] that leads to it.

#![forbid(unsafe_code)]

mod answer;
mod change;
mod edit;
#[doc(hidden)]
pub mod fuzz;
mod key;
mod name;
mod rdata;
mod rtype;
mod rules;
mod serial;
mod set;
mod soa;
mod zone;
mod zones;

pub use answer::{
    Answer, MAX_CHAIN_HOPS, Rcode, TCP_PAYLOAD_BYTES, Transport, UDP_PAYLOAD_BYTES, answer,
    truncated_answer,
};
pub use change::ZoneChange;
pub use edit::{Edit, MAX_EDITS};
#[doc(hidden)]
pub use fuzz::{fuzz_answer, fuzz_edit};
pub use name::{DomainName, NameError, RecordName, ZoneName};
pub use rdata::{Caa, DataError, MAX_TXT_BYTES, RecordData, SoaData, Txt};
pub use rtype::{RecordType, UnknownRecordType};
pub use serial::Serial;
pub use set::{DEFAULT_TTL_S, MAX_SET_BYTES, MAX_SET_DATA, MAX_TTL_S, RecordSet, SetError, Source};
pub use soa::Soa;
pub use zone::{MAX_SETS, Zone, ZoneError};
pub use zones::Zones;
