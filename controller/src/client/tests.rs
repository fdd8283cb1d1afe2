//! What the client says and repeats when a connection breaks, and where it never sends a key.

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// The head of a request, with its body.
async fn request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while !text.ends_with(b"}") {
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0);
        text.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(text).unwrap()
}

fn key(request: &str) -> String {
    let mut lines = request.lines();
    let line = lines.find(|line| line.starts_with("idempotency-key: "));
    line.unwrap().to_owned()
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_asked_for_again_under_the_same_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::new(&url, "malha_key_x", None).unwrap();
    let body = serde_json::json!({});
    let controller = async {
        let (mut lost, _) = listener.accept().await.unwrap();
        let first = key(&request(&mut lost).await);
        drop(lost);
        let (mut stream, _) = listener.accept().await.unwrap();
        let second = key(&request(&mut stream).await);
        let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 8\r\n\r\n{\"id\":1}";
        stream.write_all(answer).await.unwrap();
        (first, second)
    };
    let (answer, (first, second)) = tokio::join!(client.create("/sites", &body), controller);
    assert_eq!(answer.unwrap()["id"], 1);
    assert_eq!(first, second);
}

#[tokio::test]
async fn what_is_no_creation_is_asked_for_once_and_said_to_be_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::new(&url, "malha_key_x", None).unwrap();
    let body = serde_json::json!({});
    let controller = async {
        let (mut lost, _) = listener.accept().await.unwrap();
        request(&mut lost).await
    };
    let asked = client.send(Method::POST, "/psk/rotate", Some(&body));
    let (answer, text) = tokio::join!(asked, controller);
    assert!(matches!(answer, Err(ClientError::Broken { .. })));
    assert!(!text.contains("idempotency-key"));
}

fn problem(url: &str) -> String {
    Client::new(url, "malha_key_x", None)
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

#[test]
fn a_key_never_goes_over_a_network_in_clear() {
    assert!(problem("http://hub.example:8480").contains("--ca"));
    assert!(problem("http://192.0.2.1").contains("--ca"));
    assert!(problem("https://hub.example").contains("--ca"));
    for url in [
        "http://127.0.0.1:8480",
        "http://localhost:1",
        "http://[::1]:8480/",
    ] {
        assert!(Client::new(url, "malha_key_x", None).is_ok(), "{url}");
    }
}

#[test]
fn hostile_addresses_are_refused() {
    for url in [
        "",
        "127.0.0.1:8480",
        "ftp://127.0.0.1",
        "http://a@127.0.0.1",
        "http://127.0.0.1/x",
        "http://127.0.0.1?x",
        "http://127.0.0.1:99999999",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:0",
        "http://127.0.0.1:",
        "https://hub.example:443443",
        "http://[::1]:70000",
    ] {
        assert!(
            matches!(
                Client::new(url, "k", None),
                Err(ClientError::Address { .. })
            ),
            "{url:?}"
        );
    }
    assert!(matches!(
        Client::new("http://127.0.0.1", "a\nb", None),
        Err(ClientError::Key)
    ));
}

#[test]
fn a_part_can_not_leave_its_place() {
    assert_eq!(part("org/site"), "org%2Fsite");
    assert_eq!(part(".."), "%2E%2E");
    assert_eq!(part("*.dev"), "%2A.dev");
    assert_eq!(part("é?#"), "%C3%A9%3F%23");
}
