//! Two engines with a cable between them: one serves, the other calls, and both are seen to do what every engine does.

use std::io::ErrorKind;
use std::net::SocketAddr;

use malha_tunnel::{Allow, Engine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::namespace::{Namespace, missing};
use super::*;

pub(crate) const MIB: usize = 1024 * 1024;
pub(crate) const INTERFACE: &str = "malha0";

pub(crate) fn underlay(number: u8) -> SocketAddr {
    ([192, 168, 77, number], 51820).into()
}

pub(crate) fn start_node(engine: Engine, number: u8) -> Node {
    let mut config = config(number);
    config.listen = vec![underlay(number)];
    config.interface = INTERFACE.into();
    Node::start(engine, config, number)
}

/// Runs `server` in the namespace until `client` has ended in the other.
pub(crate) fn play<S, C>(server: (Namespace, S), client: (Namespace, C))
where
    S: AsyncFnOnce(CancellationToken, CancellationToken) + Send + 'static,
    C: AsyncFnOnce() + Send + 'static,
{
    let (ready, done) = (CancellationToken::new(), CancellationToken::new());
    let (server_ready, server_done) = (ready.clone(), done.clone());
    let serving = server.0.run(move || (server.1)(server_ready, server_done));
    let _ends_server = done.drop_guard();
    let calling = client.0.run(async move || {
        timeout(LIMIT, ready.cancelled())
            .await
            .expect("the server was never ready");
        (client.1)().await;
    });
    let called = calling.join();
    drop(_ends_server);
    serving.join().unwrap();
    called.unwrap();
}

/// Serves an echo on port 80, a port 81 that resets, and nothing on port 82.
pub(crate) async fn serve(
    engine: Engine,
    number: u8,
    caller: u8,
    ready: CancellationToken,
    done: CancellationToken,
) {
    let node = start_node(engine, number);
    let mut caller = peer(caller, Vec::new());
    caller.ingress.push(Allow::icmp());
    node.tunnel.set_peer(caller).await.unwrap();
    echo(node.listen(80).await);
    let mut resetting = node.listen(81).await;
    ready.cancel();
    loop {
        tokio::select! {
            accepted = resetting.accept() => accepted.unwrap().0.abort(),
            () = done.cancelled() => break,
        }
    }
    node.tunnel.shutdown().await;
}

pub(crate) async fn call(engine: Engine, number: u8, server: u8) {
    let node = start_node(engine, number);
    node.tunnel
        .set_peer(peer(server, vec![underlay(server)]))
        .await
        .unwrap();
    for address in [overlay(server, 80), overlay6(server, 80)] {
        let stream = node.dial(address).await.unwrap();
        assert_echoes(stream, body(body_bytes(), 11)).await;
    }
    // The reset may be there before the dial has returned.
    let reset = async { node.dial(overlay(server, 81)).await?.read_u8().await };
    let error = timeout(LIMIT, reset).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let refused = node.dial(overlay(server, 82)).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let nobody = node.dial(overlay(77, 80)).await.err().unwrap();
    assert_eq!(nobody.kind(), ErrorKind::NetworkUnreachable);
    let mut stream = node.dial(overlay(server, 80)).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.read_u8().await.unwrap();
    assert!(
        node.tunnel
            .remove_peer(key(server).public_key())
            .await
            .unwrap()
    );
    let cut = timeout(LIMIT, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::ConnectionReset);
    node.tunnel.shutdown().await;
}

fn body_bytes() -> usize {
    match is_emulated() {
        true => MIB / 8,
        false => 2 * MIB,
    }
}

pub(crate) fn engines_meet(serving: Engine, calling: Engine) {
    if let Some(reason) = missing(&[("ip", "iproute2")]) {
        println!("{reason}");
        return;
    }
    let (left, right) = Namespace::joined_pair();
    play(
        (left, async move |ready, done| {
            serve(serving, 1, 2, ready, done).await
        }),
        (right, async move || call(calling, 2, 1).await),
    );
}
