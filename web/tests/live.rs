//! Live streams: they begin with the present, follow changes at a bounded pace, and end when they
//! should.
#![allow(clippy::unwrap_used)] // A panic fails the test that caused it.

mod browser;
mod memory_console;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use browser::Browser;
use http_body_util::BodyExt;
use malha_web::WebConfig;
use malha_web::model::{NodeState, Topic};
use memory_console::MemoryConsole;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The next event of a stream as text; `None` at its end.
async fn next(stream: &mut Response) -> Option<String> {
    let frame = stream.body_mut().frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_the_present_and_delivers_a_change() {
    let console = Arc::new(MemoryConsole::sample());
    let browser = Browser::signed_in(&console).await;
    let mut stream = browser.stream("/live?view=nodes&q=").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert!(next(&mut stream).await.unwrap().contains("garagem-01"));
    console.change(Topic::Nodes, |world| {
        world.nodes[0].row.name = "servidor-novo".into()
    });
    let drawing = next(&mut stream).await.unwrap();
    assert!(drawing.contains("servidor-novo"));
    assert!(drawing.contains(r##"<hx-partial hx-target="#live" hx-swap="innerMorph">"##));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_changes_at_once_are_one_drawing() {
    let console = Arc::new(MemoryConsole::sample());
    let browser = Browser::signed_in(&console).await;
    let mut stream = browser.stream("/live?view=nodes").await;
    next(&mut stream).await;
    for number in 0..100 {
        console.change(Topic::Nodes, |world| {
            world.nodes[0].row.name = format!("servidor-{number}").into()
        });
    }
    assert!(next(&mut stream).await.unwrap().contains("servidor-99"));
    assert_eq!(
        next(&mut stream).await.unwrap(),
        ": -\n\n",
        "nothing but a heartbeat is left"
    );
}

#[tokio::test(start_paused = true)]
async fn drawings_keep_their_distance_and_silence_has_a_heartbeat() {
    let console = Arc::new(MemoryConsole::sample());
    let browser = Browser::signed_in(&console).await;
    let mut stream = browser.stream("/live?view=tokens").await;
    next(&mut stream).await;
    let drawn_at = tokio::time::Instant::now();
    console.change(Topic::Tokens, |_| {});
    next(&mut stream).await;
    assert_eq!(drawn_at.elapsed().as_millis(), 500);
    let quiet_since = tokio::time::Instant::now();
    assert_eq!(next(&mut stream).await.unwrap(), ": -\n\n");
    assert_eq!(quiet_since.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_page_is_not_drawn_again_for_what_it_does_not_show() {
    let console = Arc::new(MemoryConsole::sample());
    let browser = Browser::signed_in(&console).await;
    let mut stream = browser.stream("/live?view=tokens").await;
    next(&mut stream).await;
    console.change(Topic::Dns, |_| {});
    assert_eq!(next(&mut stream).await.unwrap(), ": -\n\n");
}

#[tokio::test(start_paused = true)]
async fn when_the_session_ends_the_page_is_told_and_the_stream_ends() {
    let console = Arc::new(MemoryConsole::sample());
    let browser = Browser::signed_in(&console).await;
    let mut stream = browser.stream("/live?view=overview").await;
    next(&mut stream).await;
    console.change(Topic::Nodes, |world| world.sessions.clear());
    assert_eq!(
        next(&mut stream).await.unwrap(),
        "event: signed-out\ndata: -\n\n"
    );
    assert_eq!(next(&mut stream).await, None);
    assert_eq!(
        browser.stream("/live?view=overview").await.status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_the_process_does() {
    let console = Arc::new(MemoryConsole::sample());
    let browser = Browser::signed_in(&console).await;
    let mut stream = browser.stream("/live?view=activity").await;
    next(&mut stream).await;
    console.close();
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_leaves_words_in_its_open_page() {
    let console = Arc::new(MemoryConsole::sample());
    let browser = Browser::signed_in(&console).await;
    let mut stream = browser.stream("/live?view=node&id=n1").await;
    next(&mut stream).await;
    console.change(Topic::Nodes, |world| {
        world
            .nodes
            .retain(|node| node.row.state != NodeState::Active)
    });
    assert!(
        next(&mut stream)
            .await
            .unwrap()
            .contains("This address does not exist")
    );
}

#[tokio::test]
async fn there_are_only_so_many_streams_and_a_closed_one_makes_room() {
    let console = Arc::new(MemoryConsole::sample());
    let config = WebConfig {
        secure_cookies: false,
        live_streams_max: 2,
    };
    let mut browser = Browser::with(&console, config);
    browser.sign_in().await;
    let first = browser.stream("/live?view=nodes").await;
    let _second = browser.stream("/live?view=nodes").await;
    let refused = browser.stream("/live?view=nodes").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    drop(first);
    assert_eq!(
        browser.stream("/live?view=nodes").await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn over_a_real_socket_a_reconnect_misses_nothing() {
    let console = Arc::new(MemoryConsole::sample());
    let browser = Browser::signed_in(&console).await;
    let address = serve(&console).await;
    let mut first = connect(address, &browser).await;
    read_until(&mut first, "garagem-01").await;
    console.change(Topic::Nodes, |world| {
        world.nodes[0].row.name = "primeiro".into()
    });
    read_until(&mut first, "primeiro").await;
    drop(first);
    console.change(Topic::Nodes, |world| {
        world.nodes[0].row.name = "segundo".into()
    });
    let mut second = connect(address, &browser).await;
    read_until(&mut second, "segundo").await;
}

async fn serve(console: &Arc<MemoryConsole>) -> SocketAddr {
    let router = malha_web::router(
        console.clone(),
        WebConfig {
            secure_cookies: false,
            ..WebConfig::default()
        },
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(
            listener,
            router.into_make_service_with_connect_info::<SocketAddr>(),
        )
        .await
    });
    address
}

async fn connect(address: SocketAddr, browser: &Browser) -> BufReader<TcpStream> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let cookie = browser.cookie_header();
    let request =
        format!("GET /live?view=nodes HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(socket)
}

/// Reads lines until one holds the text; a stream that ends before fails the test.
async fn read_until(socket: &mut BufReader<TcpStream>, text: &str) {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert_ne!(
            socket.read_line(&mut line).await.unwrap(),
            0,
            "the stream ended before {text:?}"
        );
    }
}
