//! What is left of the program's last run: what it found out, and the descriptors that somebody kept.

use std::sync::Arc;

use malha_tunnel::{Keeper, TunnelConfig, TunnelError};

use crate::state::Remembered;

#[derive(Clone, Debug, Default)]
pub struct Former {
    pub remembered: Remembered,
    pub keeper: Option<Arc<dyn Keeper>>,
}

impl Former {
    /// Starts a tunnel as the last one was, as far as its configuration leaves that open: at its ports, if they are free and
    /// the engine, which may be another one now, can have them.
    pub(super) fn start<T>(
        &self,
        mut config: TunnelConfig,
        start: impl Fn(TunnelConfig) -> Result<T, TunnelError>,
    ) -> Result<T, TunnelError> {
        config.keeper.clone_from(&self.keeper);
        let is_open = config.listen.is_empty();
        if is_open && !self.remembered.listen.is_empty() {
            let mut as_before = config.clone();
            as_before.listen.clone_from(&self.remembered.listen);
            match start(as_before) {
                Err(TunnelError::Bind { .. } | TunnelError::TwoPorts(..)) => {}
                started => return started,
            }
        }
        start(config)
    }

    /// Everything of the last run that is wanted is in use now.
    pub(super) fn settle(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.forget_unclaimed();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::SocketAddr;

    use malha_tunnel::PrivateKey;

    use super::*;

    const BEFORE: &str = "0.0.0.0:40123";

    fn taken(address: SocketAddr) -> TunnelError {
        TunnelError::Bind {
            address,
            source: std::io::ErrorKind::AddrInUse.into(),
        }
    }

    /// The addresses with which a tunnel was tried, where the one of before can be had or not.
    fn tried(
        configured: &[SocketAddr],
        refuse: Option<fn(SocketAddr) -> TunnelError>,
    ) -> Vec<Vec<SocketAddr>> {
        let former = Former {
            remembered: Remembered::of(&[BEFORE.parse().unwrap()], &[]),
            keeper: None,
        };
        let key = PrivateKey::from_bytes([1; 32]);
        let mut config = TunnelConfig::new(key, vec!["100.64.0.1/10".parse().unwrap()]);
        config.listen = configured.to_vec();
        let tried = RefCell::new(Vec::new());
        let started = former.start(config, |config| {
            let address = config.listen.first().copied();
            tried.borrow_mut().push(config.listen);
            let refused = address.zip(refuse);
            refused.map_or(Ok(()), |(address, refuse)| Err(refuse(address)))
        });
        assert_eq!(started.is_ok(), configured.is_empty() || refuse.is_none());
        tried.into_inner()
    }

    #[test]
    fn a_tunnel_that_may_have_any_port_gets_the_one_of_before_while_that_is_free() {
        let before = vec![BEFORE.parse().unwrap()];
        assert_eq!(tried(&[], None), vec![before.clone()]);
        assert_eq!(tried(&[], Some(taken)), vec![before, vec![]]);
    }

    #[test]
    fn an_engine_that_cannot_have_the_ports_of_before_gets_another() {
        let two_ports = |address: SocketAddr| TunnelError::TwoPorts(address.port(), 40124);
        let before = vec![BEFORE.parse().unwrap()];
        assert_eq!(tried(&[], Some(two_ports)), vec![before, vec![]]);
    }

    #[test]
    fn what_the_operator_wrote_goes_before_what_was() {
        let written = ["0.0.0.0:51820".parse().unwrap()];
        for refuse in [None, Some(taken as fn(SocketAddr) -> TunnelError)] {
            assert_eq!(tried(&written, refuse), vec![written.to_vec()]);
        }
    }
}
