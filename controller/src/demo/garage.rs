//! The demo's garage: a small parking web interface bound to loopback, as its vendor would ship one. It knows nothing of
//! Malha; it only must be reachable through it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Form, State};
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The size of the sample download.
pub(super) const DOWNLOAD_BYTES: usize = 10 * 1024 * 1024;

/// What the download holds at each offset, so that its receiver can check every byte.
#[must_use]
pub(super) fn download_byte(offset: usize) -> u8 {
    (offset % DOWNLOAD_PERIOD) as u8
}

/// Serves until `stop`.
pub(super) async fn serve(listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router())
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

/// Binds the garage's address.
pub(super) async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

fn router() -> Router {
    Router::new()
        .route("/", get(page))
        .route("/entrada", post(enter))
        .route("/relatorio.bin", get(download))
        .route("/eco", get(echo))
        .route("/garagem.css", get(style))
        .route("/garagem.js", get(script))
        .with_state(Arc::new(Mutex::new(Vec::new())))
}

/// The plates that came in since the start, newest last. Locked for a push or a copy only.
type Plates = Arc<Mutex<Vec<String>>>;

async fn page(State(plates): State<Plates>, headers: HeaderMap) -> Html<String> {
    let plates = plates
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("-")
            .to_owned()
    };
    Html(markup(&plates, header).into_string())
}

fn markup(plates: &[String], header: impl Fn(&str) -> String) -> Markup {
    html! {
        (DOCTYPE)
        html lang="pt-BR" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Garagem 01" }
                link rel="icon" href=(ICON);
                link rel="stylesheet" href="/garagem.css";
                script src="/garagem.js" defer {}
            }
            body {
                main {
                    h1 { "Garagem 01" }
                    p.lead { "Esta página está num servidor que só escuta em 127.0.0.1. Você a vê pelo túnel." }
                    section {
                        h2 { "Cancela" }
                        form method="post" action="/entrada" {
                            label for="placa" { "Placa do veículo" }
                            div.row {
                                input id="placa" name="placa" required maxlength="8" autocomplete="off" placeholder="ABC1D23";
                                button type="submit" { "Registrar entrada" }
                            }
                        }
                        @if plates.is_empty() {
                            p.quiet { "Nenhum veículo no pátio." }
                        } @else {
                            ul.plates { @for plate in plates.iter().rev() { li { (plate) } } }
                        }
                    }
                    section {
                        h2 { "Relatório" }
                        p { a href="/relatorio.bin" download="relatorio.bin" { "Baixar relatório (10 MiB)" } }
                    }
                    section {
                        h2 { "Terminal ao vivo" }
                        p { "WebSocket: " output id="eco" data-state="waiting" { "conectando…" } }
                    }
                    footer {
                        "Host " code { (header("host")) } " · cliente " code { (header("x-forwarded-for")) }
                        " · protocolo " code { (header("x-forwarded-proto")) }
                    }
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Entry {
    placa: String,
}

async fn enter(State(plates): State<Plates>, Form(entry): Form<Entry>) -> Redirect {
    let plate: String = entry
        .placa
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(MAX_PLATE_CHARS)
        .collect::<String>()
        .to_uppercase();
    let mut plates = plates.lock().unwrap_or_else(PoisonError::into_inner);
    if !plate.is_empty() {
        plates.push(plate);
    }
    if plates.len() > MAX_PLATES {
        plates.remove(0);
    }
    Redirect::to("/")
}

async fn download() -> Response {
    let chunks = (0..DOWNLOAD_BYTES).step_by(CHUNK_BYTES).map(|from| {
        let to = DOWNLOAD_BYTES.min(from + CHUNK_BYTES);
        Ok::<_, std::io::Error>(Bytes::from_iter((from..to).map(download_byte)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, DOWNLOAD_BYTES.to_string()),
    ];
    (headers, Body::from_stream(stream::iter(chunks))).into_response()
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MAX_ECHO_BYTES)
        .on_upgrade(async |mut socket: WebSocket| {
            while let Some(Ok(message)) = socket.recv().await {
                let sent = match message {
                    Message::Text(_) | Message::Binary(_) => socket.send(message).await,
                    Message::Close(_) => return,
                    Message::Ping(_) | Message::Pong(_) => Ok(()),
                };
                if sent.is_err() {
                    return;
                }
            }
        })
}

async fn style() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("garage.css"),
    )
}

async fn script() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")],
        include_str!("garage.js"),
    )
}

/// A parking sign.
const ICON: &str = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'>\
    <rect width='32' height='32' rx='7' fill='%230b6e4f'/>\
    <path d='M12 25V7h6a5.5 5.5 0 0 1 0 11h-6' fill='none' stroke='white' stroke-width='4'/></svg>";
const MAX_PLATES: usize = 20;
const MAX_PLATE_CHARS: usize = 8;
const MAX_ECHO_BYTES: usize = 64 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;
/// A prime, so that a lost or doubled chunk shows.
const DOWNLOAD_PERIOD: usize = 251;
