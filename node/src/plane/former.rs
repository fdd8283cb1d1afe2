//! What is left of the program's last run: what it found out, and the descriptors that somebody kept.

use std::sync::Arc;

use malha_tunnel::{Keeper, TunnelConfig};

use crate::state::Remembered;

#[derive(Clone, Debug, Default)]
pub struct Former {
    pub remembered: Remembered,
    pub keeper: Option<Arc<dyn Keeper>>,
}

impl Former {
    /// Has a tunnel start as the last one was, as far as its configuration leaves that open.
    pub(super) fn hand_to(&self, config: &mut TunnelConfig) {
        config.keeper.clone_from(&self.keeper);
        config.wished_ports = self.remembered.ports();
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
    use std::net::{SocketAddr, UdpSocket};

    use malha_tunnel::{Engine, PrivateKey};

    use super::*;

    /// Where a tunnel listens after one that listened at these.
    async fn listens(before: &[SocketAddr], configured: &[SocketAddr]) -> Vec<SocketAddr> {
        let former = Former {
            remembered: Remembered::of(before, &[]),
            keeper: None,
        };
        let key = PrivateKey::from_bytes([1; 32]);
        let mut config = TunnelConfig::new(key, vec!["100.64.0.1/10".parse().unwrap()]);
        config.listen = configured.to_vec();
        former.hand_to(&mut config);
        let tunnel = malha_tunnel::start(Engine::Netstack, config).unwrap();
        tunnel.listen_addrs().await
    }

    fn free(ip: &str) -> SocketAddr {
        let probe = UdpSocket::bind(format!("{ip}:0")).unwrap();
        probe.local_addr().unwrap()
    }

    #[tokio::test]
    async fn only_the_ports_of_before_are_asked_for_and_both_families_are() {
        for before in [free("0.0.0.0"), free("127.0.0.1")] {
            let listen = listens(&[before], &[]).await;
            assert_eq!(listen[0], ([0; 4], before.port()).into());
            assert_eq!((listen.len(), listen[1].is_ipv6()), (2, true));
        }
        let before = free("[::]");
        let listen = listens(&[before], &[]).await;
        assert_eq!((listen.len(), listen[1]), (2, before));
    }

    #[tokio::test]
    async fn what_the_operator_wrote_goes_before_what_was() {
        let (before, written) = (free("127.0.0.1"), free("127.0.0.1"));
        assert_eq!(listens(&[before], &[written]).await, [written]);
    }
}
