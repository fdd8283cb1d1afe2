//! Stories of machines behind a proxy. The proxy is a real one: it reads CONNECT, asks for credentials and joins streams.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use malha_proto::ALPN;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, copy_bidirectional};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, pause, sleep};

use super::*;
use crate::control::{ClientTls, Credentials, tcp};
use crate::testbed::{Lifetime, Network, TEST_LIMIT, TestAuthority, TestController};

fn chosen(
    controller: &str,
    variables: &[(&'static str, &'static str)],
) -> Result<Option<Proxy>, LinkError> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    Proxy::of_variables(controller, |name| {
        variables.get(name).map(ToString::to_string)
    })
}

#[test]
fn without_a_word_of_a_proxy_there_is_none() {
    assert!(chosen("hub.example:443", &[]).unwrap().is_none());
    let empty = [("HTTPS_PROXY", " ")];
    assert!(chosen("hub.example:443", &empty).unwrap().is_none());
}

#[test]
fn urls_are_read_in_every_usual_form() {
    for (url, at, user) in [
        ("http://proxy.example:8080", "proxy.example:8080", None),
        ("http://proxy.example/", "proxy.example:3128", None),
        ("proxy.example:8080", "proxy.example:8080", None),
        ("http://[2001:db8::1]:8080", "[2001:db8::1]:8080", None),
        (
            "http://ana:s%40nha@10.0.0.1:3128",
            "10.0.0.1:3128",
            Some("ana:s@nha"),
        ),
    ] {
        let proxy = Proxy::parse(url).unwrap();
        let expected = user.map(|user| format!("Basic {}", BASE64.encode(user.as_bytes())));
        let authorization = proxy.authorization.as_ref().map(|text| text.to_string());
        assert_eq!((proxy.at.as_str(), authorization), (at, expected), "{url}");
    }
}

#[test]
fn a_wrong_url_is_told_with_the_right_form_and_without_the_password() {
    for url in [
        "https://ana:secret@proxy.example:443",
        "socks5://ana:secret@proxy.example:1080",
        "http://ana:secret@",
        "http://ana:secret@proxy.example:port",
        "http://ana:secret%4@proxy.example:1",
        "http://ana:secret@proxy example:1",
    ] {
        let error = Proxy::parse(url).unwrap_err();
        assert!(error.detail.contains("http://proxy.example:3128"), "{url}");
        assert!(!error.detail.contains("secret"), "{error}");
    }
    let proxy = Proxy::parse("http://ana:secret@proxy.example").unwrap();
    assert_eq!(format!("{proxy:?}"), "Proxy(proxy.example:3128)");
}

#[test]
fn exceptions_are_names_with_all_below_them_addresses_and_prefixes() {
    for (controller, list, expected) in [
        ("hub.example:443", "example", true),
        ("hub.example:443", ".example", true),
        ("hub.example:443", "*.example", true),
        ("hub.example:443", "other.example, HUB.example", true),
        ("hub.example:443", "ub.example", false),
        ("hub.example:443", "", false),
        ("hub.example:443", "*", true),
        ("hub.example:443", "hub.example:443", true),
        ("10.1.2.3:443", "10.0.0.0/8", true),
        ("10.1.2.3:443", "10.1.2.3", true),
        ("10.1.2.3:443", "10.1.2", false),
        ("[2001:db8::1]:443", "2001:db8::/32", true),
        ("[2001:db8::1]:443", "2001:db8::1", true),
    ] {
        assert_eq!(
            is_excepted(controller, list),
            expected,
            "{controller} {list}"
        );
    }
}

/// A proxy for one connection; ends with the head that it was shown.
async fn proxy(password: Option<&'static str>) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let mut client = BufReader::new(client);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            client.read_line(&mut head).await.unwrap();
        }
        let expected = password.map(|text| BASE64.encode(text.as_bytes()));
        if !expected.is_none_or(|text| head.contains(&format!("Basic {text}\r\n"))) {
            let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
            client.write_all(refusal).await.unwrap();
            return head;
        }
        let to = head.split(' ').nth(1).unwrap();
        let mut server = TcpStream::connect(to).await.unwrap();
        client
            .write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n")
            .await
            .unwrap();
        let _ = copy_bidirectional(&mut client, &mut server).await;
        head
    });
    (at, serving)
}

#[tokio::test]
async fn a_connection_through_a_proxy_carries_bytes_both_ways() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let controller = server.local_addr().unwrap().to_string();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        stream.write_all(&word).await.unwrap();
    });
    let (at, serving) = proxy(Some("ana:s@nha")).await;
    let proxy = Proxy::parse(&format!("http://ana:s%40nha@{at}")).unwrap();
    let mut stream = proxy.connect(&controller).await.unwrap();
    stream.write_all(b"word").await.unwrap();
    let mut word = [0; 4];
    stream.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"word");
    drop(stream);
    echo.await.unwrap();
    let head = serving.await.unwrap();
    assert!(head.starts_with(&format!(
        "CONNECT {controller} HTTP/1.1\r\nHost: {controller}\r\n"
    )));
}

#[tokio::test]
async fn a_proxy_that_wants_credentials_is_named_and_they_are_not() {
    let (at, serving) = proxy(Some("ana:right")).await;
    let proxy = Proxy::parse(&format!("http://ana:wrong@{at}")).unwrap();
    let error = proxy.connect("hub.example:443").await.unwrap_err();
    assert_eq!(error.fault, LinkFault::ProxyRefused);
    assert!(error.detail.contains("HTTPS_PROXY") && error.detail.contains(&at.to_string()));
    assert!(!error.detail.contains("wrong"), "{error}");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_proxy_that_thinks_about_credentials_is_shown_them_once() {
    let shown = Arc::new(AtomicUsize::new(0));
    let mut addresses = vec![];
    for host in ["127.0.0.1:0", "127.0.0.2:0"] {
        let listener = TcpListener::bind(host).await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        let shown = shown.clone();
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let mut client = BufReader::new(client);
            client.read_line(&mut String::new()).await.unwrap();
            if shown.fetch_add(1, Ordering::Relaxed) == 0 {
                // What follows is a matter of the clock, which goes as soon as nothing else does.
                pause();
            }
            sleep(ANSWER_LIMIT / 2).await;
            let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
            client.write_all(refusal).await.unwrap();
            pending::<()>().await;
        });
    }
    let proxy = Proxy::parse("http://ana:wrong@proxy.example:3128").unwrap();
    let turn = Semaphore::new(1);
    let by = |to| proxy.connect_by(to, "hub.example:443", &turn);
    let error = address::first(&addresses, by).await.unwrap_err();
    assert_eq!(error.fault, LinkFault::ProxyRefused, "{error}");
    assert_eq!(shown.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_proxy_that_says_no_is_told_from_one_that_fails() {
    for (status, fault) in [
        (403, LinkFault::ProxyRefused),
        (407, LinkFault::ProxyRefused),
        (502, LinkFault::Proxy),
        (503, LinkFault::Proxy),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let serving = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let answer = format!("HTTP/1.1 {status} No\r\n\r\n");
            client.write_all(answer.as_bytes()).await.unwrap();
            client
        });
        let error = proxy.connect("hub.example:443").await.unwrap_err();
        assert_eq!(error.fault, fault, "{error}");
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn a_proxy_that_answers_and_lets_nothing_through_is_named() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let controller = mute.local_addr().unwrap().to_string();
    let (at, _serving) = proxy(None).await;
    let proxy = Proxy::parse(&format!("http://{at}")).unwrap();
    let plain = proxy.connect(&controller).await.unwrap();
    let stranger = Credentials {
        authority: TestAuthority::new().fingerprint(),
        authority_certificate: None,
        node: None,
    };
    let tls = ClientTls::new(&stranger, ALPN).unwrap();
    let config = Arc::new(tls.config());
    // Nothing more comes but what the clock brings.
    pause();
    let secured = tcp::secure_behind(&proxy, plain, &controller, config, ALPN);
    let secured = timeout(TEST_LIMIT, secured).await;
    let error = secured.expect("it has a limit").err().unwrap();
    assert_eq!(error.fault, LinkFault::Proxy, "{error}");
    assert!(error.detail.contains(&at.to_string()) && error.detail.contains("NO_PROXY"));
}

#[tokio::test]
async fn the_address_of_a_proxy_is_not_taken_for_the_controllers() {
    let authority = TestAuthority::new();
    let controller = TestController::start(&authority, Lifetime::Now, Network::Open).await;
    let (at, serving) = proxy(None).await;
    let proxy = Proxy::parse(&format!("http://{at}")).unwrap();
    let plain = proxy.connect(&controller.address()).await.unwrap();
    let tls = ClientTls::new(&authority.node_credentials(), ALPN).unwrap();
    let (config, address) = (Arc::new(tls.config()), controller.address());
    let secured = tcp::secure_behind(&proxy, plain, &address, config, ALPN).await;
    assert_eq!(secured.unwrap().remote, None);
    controller.stop().await;
    serving.await.unwrap();
}

#[tokio::test]
async fn a_proxy_that_answers_nothing_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let mut head = BufReader::new(client);
        head.read_line(&mut String::new()).await.unwrap();
        // Nothing more comes but what the clock brings.
        pause();
        pending::<()>().await;
    });
    let proxy = Proxy::parse(&format!("http://{at}")).unwrap();
    let since = Instant::now();
    let error = proxy.connect("hub.example:443").await.unwrap_err();
    assert_eq!(error.fault, LinkFault::Proxy, "{error}");
    let took = since.elapsed();
    assert!(took < address::CONNECT_LIMIT, "told too late: {took:?}");
}
