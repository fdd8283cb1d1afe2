//! Stories of name servers that are slow, silent or wrong, on a clock that nobody waits for.

use std::future::{pending, ready};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::sleep;

use super::*;

const HOST: &str = "hub.example";

/// What a resolver needs with one silent name server before the one that answers.
const ONE_IS_SILENT: Duration = Duration::from_millis(5_036);

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

/// A resolver that gives this address after a while.
async fn after(time: Duration, last: u8) -> io::Result<Vec<IpAddr>> {
    sleep(time).await;
    Ok(vec![ip(last)])
}

fn fresh(last: u8) -> Result<Found, LinkError> {
    Ok(Found {
        addresses: vec![ip(last)],
        stale: None,
    })
}

fn stale(found: Result<Found, LinkError>) -> Vec<IpAddr> {
    let found = found.unwrap();
    assert_eq!(found.stale.unwrap().fault, LinkFault::Name);
    found.addresses
}

#[tokio::test(start_paused = true)]
async fn a_silent_first_name_server_keeps_nobody_from_an_address() {
    let lookups = Lookups::new();
    let found = lookups
        .find(HOST, LOOKUP_LIMIT, after(ONE_IS_SILENT, 1))
        .await;
    assert_eq!(found, fresh(1));
    let (host, took) = lookups.slowest().unwrap();
    assert_eq!((host.as_str(), took), (HOST, ONE_IS_SILENT));
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_never_answers_is_an_error_that_says_so() {
    let lookups = Lookups::new();
    let error = lookups
        .find(HOST, LOOKUP_LIMIT, pending())
        .await
        .unwrap_err();
    assert_eq!(error.fault, LinkFault::Name);
    assert!(error.to_string().contains("within 9 s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_on_the_former_network_is_asked_anew() {
    let lookups = Lookups::new();
    lookups
        .find(HOST, LOOKUP_LIMIT, pending())
        .await
        .unwrap_err();
    for change in 0..MAX_OUTDATED {
        lookups.outdate();
        let error = lookups.find(HOST, LOOKUP_LIMIT, pending()).await;
        assert!(error.is_err(), "change {change}");
    }
    lookups.outdate();
    assert!(
        lookups
            .find(HOST, LOOKUP_LIMIT, after(Duration::ZERO, 1))
            .await
            .is_err(),
        "one more than are left to themselves"
    );
    sleep(QUESTION_LIMIT).await;
    lookups
        .find(HOST, LOOKUP_LIMIT, pending())
        .await
        .unwrap_err();
    lookups.outdate();
    assert_eq!(
        lookups
            .find(HOST, LOOKUP_LIMIT, after(Duration::ZERO, 2))
            .await,
        fresh(2)
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_late_for_one_attempt_is_there_for_the_next() {
    let lookups = Lookups::new();
    let two_are_silent = 2 * ONE_IS_SILENT;
    assert!(
        lookups
            .find(HOST, LOOKUP_LIMIT, after(two_are_silent, 1))
            .await
            .is_err()
    );
    // Nobody asks meanwhile: the pause between two attempts.
    sleep(two_are_silent).await;
    assert_eq!(
        stale(lookups.find(HOST, LOOKUP_LIMIT, pending()).await),
        [ip(1)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_look_waits_until_two_silent_name_servers_are_passed_over() {
    let lookups = Lookups::new();
    let two_are_silent = 2 * ONE_IS_SILENT;
    let found = lookups.find(HOST, LOOK_LIMIT, after(two_are_silent, 1));
    assert_eq!(found.await, fresh(1));
    let slowest = lookups.slowest().map(|(_, took)| took);
    assert_eq!(slowest, Some(two_are_silent));
}

#[tokio::test(start_paused = true)]
async fn all_who_need_a_name_share_one_question() {
    let lookups = Lookups::new();
    let asked = Arc::new(AtomicU32::new(0));
    let question = || {
        let asked = asked.clone();
        async move {
            asked.fetch_add(1, Ordering::Relaxed);
            after(ONE_IS_SILENT, 1).await
        }
    };
    let later = async {
        sleep(Duration::from_secs(3)).await;
        lookups.find(HOST, LOOKUP_LIMIT, question()).await
    };
    let given_up = timeout(
        Duration::from_secs(1),
        lookups.find(HOST, LOOKUP_LIMIT, question()),
    );
    let (quic, tcp, given_up) = tokio::join!(
        lookups.find(HOST, LOOKUP_LIMIT, question()),
        later,
        given_up
    );
    assert_eq!((quic, tcp), (fresh(1), fresh(1)));
    assert!(given_up.is_err());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_former_answer_serves_while_the_name_server_is_silent_or_at_a_loss() {
    let lookups = Lookups::new();
    lookups
        .find(HOST, LOOKUP_LIMIT, after(Duration::ZERO, 1))
        .await
        .unwrap();
    let since = Instant::now();
    assert_eq!(
        stale(lookups.find(HOST, LOOKUP_LIMIT, pending()).await),
        [ip(1)]
    );
    assert_eq!(since.elapsed(), PATIENCE);
    sleep(QUESTION_LIMIT).await;
    let fails = ready(Err(io::Error::other("temporary failure")));
    assert_eq!(
        stale(lookups.find(HOST, LOOKUP_LIMIT, fails).await),
        [ip(1)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_answer_wins_over_the_former_one() {
    let lookups = Lookups::new();
    lookups
        .find(HOST, LOOKUP_LIMIT, after(Duration::ZERO, 1))
        .await
        .unwrap();
    let moved = lookups
        .find(HOST, LOOKUP_LIMIT, after(Duration::ZERO, 2))
        .await;
    assert_eq!(moved, fresh(2));
    // Too late for this attempt, and taken by the next.
    let found = lookups
        .find(HOST, LOOKUP_LIMIT, after(ONE_IS_SILENT, 3))
        .await;
    assert_eq!(stale(found), [ip(2)]);
    sleep(ONE_IS_SILENT).await;
    assert_eq!(
        stale(lookups.find(HOST, LOOKUP_LIMIT, pending()).await),
        [ip(3)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_that_never_ends_is_asked_again_in_time() {
    let lookups = Lookups::new();
    assert!(lookups.find(HOST, LOOKUP_LIMIT, pending()).await.is_err());
    sleep(QUESTION_LIMIT).await;
    assert_eq!(
        lookups
            .find(HOST, LOOKUP_LIMIT, after(ONE_IS_SILENT, 1))
            .await,
        fresh(1)
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_hosts_are_kept_than_there_is_room_for() {
    let lookups = Lookups::new();
    for nth in 0..3 * MAX_HOSTS {
        let host = format!("host{nth}.example");
        lookups
            .find(&host, LOOKUP_LIMIT, after(PATIENCE, 1))
            .await
            .unwrap();
    }
    assert_eq!(lookups.0.lock().unwrap().len(), MAX_HOSTS);
}

#[test]
fn a_question_that_ended_with_its_runtime_is_asked_again() {
    let lookups = Lookups::new();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let lost = runtime().block_on(async { lookups.find(HOST, LOOKUP_LIMIT, pending()).await });
    assert!(lost.is_err());
    let found =
        runtime().block_on(async { lookups.find(HOST, LOOKUP_LIMIT, after(PATIENCE, 1)).await });
    assert_eq!(found, fresh(1));
}

#[tokio::test]
async fn an_address_needs_no_question() {
    for place in ["192.0.2.1:443", "[2001:db8::1]:443"] {
        assert_eq!(resolve(place).await, Ok(vec![place.parse().unwrap()]));
    }
    assert!(resolve("hub.example").await.is_err());
    assert!(resolve("hub.example:70000").await.is_err());
}
