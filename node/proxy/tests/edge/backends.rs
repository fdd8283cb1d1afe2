//! Several backends, kept connections, and changes of the route table under way.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use malha_proxy::{BackendHealth, Hop};
use tokio::sync::oneshot;

use crate::origin::{Origin, raw_origin, read_head, say};
use crate::rig::{
    Answer, BACKEND, HOST, Plan, Way, down, empty, full, get, overlay, request, route,
};

#[tokio::test]
async fn requests_take_turns_among_the_backends_that_are_up() {
    let (first, second) = (Origin::start().await, Origin::start().await);
    let mut plan = Plan::new();
    let up = BackendHealth::Up;
    let backends = [
        (overlay(1), up),
        (overlay(2), up),
        (overlay(3), down(Hop::Origin)),
    ];
    plan.routes = vec![route(1, HOST, "/", &backends)];
    let rig = plan.start();
    rig.dialer.lead(overlay(1), Way::To(first.address));
    rig.dialer.lead(overlay(2), Way::To(second.address));
    for _ in 0..6 {
        assert_eq!(rig.get("/").await.status, 200);
    }
    assert_eq!((first.requests(), second.requests()), (3, 3));
}

#[tokio::test]
async fn a_backend_that_can_not_be_dialed_gives_way_to_the_next() {
    let alive = Origin::start().await;
    let mut plan = Plan::new();
    let up = BackendHealth::Up;
    plan.routes = vec![route(1, HOST, "/", &[(overlay(1), up), (overlay(2), up)])];
    let rig = plan.start();
    rig.dialer
        .lead(overlay(1), Way::Fails(ErrorKind::ConnectionRefused));
    rig.dialer.lead(overlay(2), Way::To(alive.address));
    for _ in 0..4 {
        let answer = rig.ask(request("POST", "/hash", full("hello"))).await;
        assert!(answer.text().starts_with("5 "), "the body is still whole");
    }
}

#[tokio::test]
async fn a_canary_finds_that_a_backend_is_back() {
    let origin = Origin::start().await;
    let mut plan = Plan::new();
    plan.routes = vec![route(1, HOST, "/", &[(BACKEND, down(Hop::Tunnel))])];
    let rig = plan.start_before(origin.address);
    assert_eq!(rig.get("/").await.status, 200, "the canary passes");
    assert_eq!(rig.get("/").await.status, 200, "and the others follow");
    assert_eq!(rig.counters.canaries.value(), 1);
}

#[tokio::test]
async fn a_new_route_table_serves_the_next_request_of_an_open_connection() {
    let (old, new) = (Origin::start().await, Origin::start().await);
    let rig = Plan::new().start_before(old.address);
    let mut sender = rig.http1(HOST).await;
    Answer::of(sender.send_request(get("/")).await.unwrap()).await;
    rig.dialer.lead(overlay(2), Way::To(new.address));
    let up = BackendHealth::Up;
    rig.reroute(vec![route(1, HOST, "/", &[(overlay(2), up)])]);
    sender.ready().await.unwrap();
    Answer::of(sender.send_request(get("/")).await.unwrap()).await;
    assert_eq!((old.requests(), new.requests()), (1, 1));
    rig.reroute(vec![]);
    sender.ready().await.unwrap();
    let answer = Answer::of(sender.send_request(get("/")).await.unwrap()).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn the_origin_connection_is_kept_for_the_next_request() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let mut sender = rig.http1(HOST).await;
    for path in ["/", "/204", "/big", "/"] {
        sender.ready().await.unwrap();
        Answer::of(sender.send_request(get(path)).await.unwrap()).await;
    }
    sender.ready().await.unwrap();
    let head = sender
        .send_request(request("HEAD", "/big-sized", empty()))
        .await;
    Answer::of(head.unwrap()).await;
    assert_eq!(origin.requests(), 5);
    assert_eq!(origin.connections(), 1);
}

/// A kept connection to a dead site is silent for a minute; a new one fails in seconds.
#[tokio::test]
async fn the_canary_of_a_route_that_is_down_takes_no_kept_connection() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    assert_eq!(rig.get("/").await.status, 200);
    let down = BackendHealth::Down {
        hop: Hop::Tunnel,
        since_ms: 1,
    };
    rig.reroute(vec![route(1, HOST, "/", &[(overlay(1), down)])]);
    assert_eq!(rig.get("/").await.status, 200);
    assert_eq!(origin.connections(), 2);
}

/// An origin that answers once per connection, closes when told, and tells when it has closed.
async fn forgetful_origin() -> (
    std::net::SocketAddr,
    Arc<Mutex<Vec<String>>>,
    oneshot::Sender<()>,
    oneshot::Receiver<()>,
) {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let (close, told) = oneshot::channel::<()>();
    let (closed, is_closed) = oneshot::channel::<()>();
    let first = Mutex::new(Some((told, closed)));
    let seen = Arc::clone(&heads);
    let address = raw_origin(move |mut tcp, before| {
        let seen = Arc::clone(&seen);
        let first = first.lock().unwrap().take().filter(|_| before == 0);
        async move {
            let head = read_head(&mut tcp).await;
            seen.lock().unwrap().push(head);
            say(&mut tcp, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            if let Some((told, closed)) = first {
                told.await.unwrap();
                // The next request on this connection is read and never answered.
                let head = read_head(&mut tcp).await;
                seen.lock().unwrap().push(head);
                drop(tcp);
                let _ = closed.send(());
            }
        }
    })
    .await;
    (address, heads, close, is_closed)
}

#[tokio::test]
async fn a_stale_connection_costs_an_idempotent_request_one_retry() {
    let (origin, heads, close, closed) = forgetful_origin().await;
    let rig = Plan::new().start_before(origin);
    assert_eq!(rig.get("/first").await.text(), "ok");
    close.send(()).unwrap();
    assert_eq!(rig.get("/second").await.text(), "ok");
    closed.await.unwrap();
    assert_eq!(rig.counters.stale_retries.value(), 1);
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 3);
    assert_eq!(heads[1], heads[2], "the retry is the same request");
}

#[tokio::test]
async fn a_request_that_may_have_been_acted_on_is_not_sent_twice() {
    let (origin, heads, close, closed) = forgetful_origin().await;
    let rig = Plan::new().start_before(origin);
    assert_eq!(rig.get("/first").await.text(), "ok");
    close.send(()).unwrap();
    let answer = rig.ask(request("POST", "/pay", empty())).await;
    assert_eq!(answer.status, 502);
    closed.await.unwrap();
    assert_eq!(heads.lock().unwrap().len(), 2);
    assert_eq!(rig.counters.stale_retries.value(), 0);
}
