//! Super-packets: many TCP or UDP segments of one flow under one header, as the kernel's TUN device takes and gives them.
//! Pure: it cuts, joins and checks bytes, and knows no sockets, no keys and no policy.

pub(crate) mod buffer;
pub(crate) mod checksum;
pub(crate) mod cut;
pub(crate) mod join;
pub(crate) mod layout;
pub(crate) mod vnet;

#[cfg(test)]
mod tests;
