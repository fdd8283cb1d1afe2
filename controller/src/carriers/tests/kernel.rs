//! A tunnel that does what the `kernel` engine does when it is asked for what it has not, on a machine without that engine.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use malha_tunnel::{
    BoxStream, CarrierId, CarrierStream, Engine, PeerStatus, PeersChange, PeersChanged, PublicKey,
    QuicSide, RelayPair, Tunnel, TunnelError, TunnelEvent, TunnelListener, TunnelStats,
};
use tokio::sync::broadcast;
use tokio::time::Instant;

pub(super) struct InKernel(pub(super) Arc<dyn Tunnel>);

#[async_trait]
impl Tunnel for InKernel {
    fn engine(&self) -> Engine {
        Engine::Kernel
    }

    fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    async fn change_peers(&self, peers: PeersChange) -> Result<PeersChanged, TunnelError> {
        self.0.change_peers(peers).await
    }

    async fn peers(&self) -> Vec<PeerStatus> {
        self.0.peers().await
    }

    async fn dial(&self, remote: SocketAddr, deadline: Instant) -> io::Result<BoxStream> {
        self.0.dial(remote, deadline).await
    }

    async fn listen(&self, address: SocketAddr) -> io::Result<TunnelListener> {
        self.0.listen(address).await
    }

    async fn listen_addrs(&self) -> Vec<SocketAddr> {
        self.0.listen_addrs().await
    }

    fn events(&self) -> broadcast::Receiver<TunnelEvent> {
        self.0.events()
    }

    async fn rebind(&self) -> Result<(), TunnelError> {
        self.0.rebind().await
    }

    async fn refresh(&self) {
        self.0.refresh().await;
    }

    async fn set_relay_pairs(&self, _: Vec<RelayPair>) -> Result<(), TunnelError> {
        Err(TunnelError::NotInKernel("relay"))
    }

    async fn attach_carrier(
        &self,
        _: CarrierStream,
        _: Option<PublicKey>,
    ) -> Result<CarrierId, TunnelError> {
        Err(TunnelError::NotInKernel("carrier"))
    }

    async fn detach_carrier(&self, _: CarrierId) {}

    async fn take_quic(&self, _: usize) -> Result<QuicSide, TunnelError> {
        Err(TunnelError::NotInKernel("QUIC side"))
    }

    async fn stats(&self) -> TunnelStats {
        self.0.stats().await
    }

    async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}
