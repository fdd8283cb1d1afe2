//! The dashboard over an in-memory console, on plain HTTP at loopback, to look at pages while they
//! are made. `--empty` starts without sample data, `--no-login` lets its own console take any
//! session, `--port` picks the port. It sees no network and keeps nothing.

#[path = "../tests/memory_console/mod.rs"]
mod memory_console;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use malha_web::WebConfig;
use malha_web::model::{HopState, Topic};
use memory_console::{MemoryConsole, PASSWORD, USER};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let port = arguments
        .iter()
        .position(|argument| argument == "--port")
        .and_then(|at| arguments.get(at + 1));
    let port: u16 = port.map_or(Ok(8089), |port| port.parse())?;
    let console = Arc::new(if has("--empty") {
        MemoryConsole::empty()
    } else {
        MemoryConsole::sample()
    });
    let mut router = malha_web::router(
        console.clone(),
        WebConfig {
            secure_cookies: false,
            ..WebConfig::default()
        },
    );
    if has("--no-login") {
        console.change(Topic::Nodes, |world| world.any_session = true);
        router = router.layer(middleware::from_fn(with_a_session));
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}/  {USER} / {PASSWORD}", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()) => served?,
        () = live_a_little(&console) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}

/// Lets every browser in: this preview's console takes any session, so any cookie will do.
async fn with_a_session(mut request: Request, next: Next) -> axum::response::Response {
    request
        .headers_mut()
        .append(header::COOKIE, HeaderValue::from_static("malha=preview"));
    next.run(request).await
}

/// Moves a counter and now and then a tunnel, so that live pages have something to show.
async fn live_a_little(console: &MemoryConsole) {
    for tick in 1_u64.. {
        tokio::time::sleep(Duration::from_secs(2)).await;
        console.change(Topic::Nodes, |world| {
            let Some(node) = world.nodes.first_mut() else {
                return;
            };
            node.row.hops.tunnel.rx_bytes += 65_536;
            let up = tick % 8 != 0;
            node.row.hops.tunnel.state = if up { HopState::Up } else { HopState::Unknown };
        });
    }
}
