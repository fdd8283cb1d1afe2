//! The plain HTTP port sends people to HTTPS and does nothing else.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::origin::Origin;
use crate::rig::{HOST, Plan, Rig, read_until_closed};

async fn plain(rig: &Rig, target: &str, host: &str) -> String {
    let mut tcp = TcpStream::connect(rig.http()).await.unwrap();
    let request = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    read_until_closed(&mut tcp).await
}

#[tokio::test]
async fn a_known_host_is_sent_to_https_with_path_and_query() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let answer = plain(&rig, "/a/b?c=d", "GARAGEM-01.example.org:80").await;
    assert!(answer.starts_with("HTTP/1.1 308"), "{answer}");
    let location = format!("\r\nlocation: https://{HOST}/a/b?c=d\r\n");
    assert!(answer.contains(&location), "{answer}");
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn the_redirect_names_an_unusual_public_port() {
    let mut plan = Plan::new();
    plan.config.public_https_port = 8443;
    let rig = plan.start();
    let answer = plain(&rig, "//evil.example/", HOST).await;
    let location = format!("\r\nlocation: https://{HOST}:8443//evil.example/\r\n");
    assert!(answer.contains(&location), "{answer}");
}

#[tokio::test]
async fn an_unknown_host_is_not_redirected() {
    let rig = Plan::new().start();
    let answer = plain(&rig, "/", "evil.example").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(!answer.contains("location:"), "{answer}");
    let answer = plain(&rig, "http://evil.example/", HOST).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
