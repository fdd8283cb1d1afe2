//! The overlay addresses to which there are connections through the kernel's TCP, and the signal that ends those to one
//! address. It never decides when.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Weak;

use tokio_util::sync::CancellationToken;

use crate::userspace::CutSignal;

#[derive(Default)]
pub(crate) struct Watched {
    signals: HashMap<IpAddr, Weak<CancellationToken>>,
}

impl Watched {
    /// The signal for connections to an address.
    ///
    /// # Errors
    /// `QuotaExceeded`: connections to too many addresses.
    pub(crate) fn signal(&mut self, remote: IpAddr) -> io::Result<CutSignal> {
        if let Some(signal) = self.signals.get(&remote).and_then(Weak::upgrade) {
            return Ok(signal);
        }
        if self.signals.len() >= MAX_WATCHED {
            self.signals.retain(|_, signal| signal.strong_count() > 0);
        }
        if self.signals.len() >= MAX_WATCHED {
            let text = "connections to too many addresses";
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        }
        let signal = CutSignal::default();
        self.signals
            .insert(remote, std::sync::Arc::downgrade(&signal));
        Ok(signal)
    }

    pub(crate) fn remotes(&self) -> Vec<IpAddr> {
        self.signals.keys().copied().collect()
    }

    /// Ends the connections to the addresses that have no owner any more, or another.
    pub(crate) fn cut(&mut self, is_lost: impl Fn(IpAddr) -> bool) {
        let lost = self.signals.extract_if(|remote, _| is_lost(*remote));
        for signal in lost.filter_map(|(_, signal)| signal.upgrade()) {
            signal.cancel();
        }
    }
}

const MAX_WATCHED: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_ends_what_goes_to_lost_addresses_only() {
        let mut watched = Watched::default();
        let one = watched.signal([10, 0, 0, 1].into()).unwrap();
        let other = watched.signal([10, 0, 0, 2].into()).unwrap();
        watched.cut(|remote| remote == IpAddr::from([10, 0, 0, 1]));
        assert!(one.is_cancelled() && !other.is_cancelled());
        assert!(!watched.signal([10, 0, 0, 1].into()).unwrap().is_cancelled());
    }
}
