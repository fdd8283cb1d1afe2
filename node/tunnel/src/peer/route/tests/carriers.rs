//! Peers that a carrier reaches, and UDP sometimes.

use super::*;

#[test]
fn a_hub_that_blocks_udp_is_reached_by_the_carrier_until_udp_returns() {
    let now = Instant::now();
    let mut config = PeerConfig::new(PrivateKey::from_bytes([9; 32]).public_key());
    config.endpoints = vec![place(1)];
    config.carrier_possible = true;
    let mut route = Route::new(&config, now);
    let udp = Path::Udp {
        local: Some(0),
        remote: place(1),
    };
    route.heard(udp, Heard::Handshake, now);
    let mut orders = Vec::new();
    let mut at = now;
    while !orders.contains(&Order::TellSilent) {
        at += Duration::from_millis(250);
        assert!(at - now < s(14), "never told");
        route.tick(at);
        orders.extend(std::iter::from_fn(|| route.poll_order()));
    }
    let carrier = Path::Carrier(CarrierId(3));
    route.set_carrier(Some(CarrierId(3)), at);
    assert_eq!(route.path(), Some(carrier));
    let mut asked_udp = 0;
    for step in 0..480 {
        at += Duration::from_millis(250);
        route.tick(at);
        while let Some(order) = route.poll_order() {
            let Order::Ask(path, token) = order else {
                continue;
            };
            if path == carrier {
                route.heard(carrier, Heard::Answer(token), at);
            } else {
                asked_udp += 1;
                // UDP comes back after a minute and a half.
                if step > 360 {
                    route.heard(udp, Heard::Answer(token), at);
                }
            }
        }
        let wanted = if step > 430 {
            udp
        } else {
            route.path().unwrap()
        };
        assert_eq!(route.path(), Some(wanted));
        assert!(step > 360 || route.path() == Some(carrier));
    }
    assert!(asked_udp >= 6, "{asked_udp}");
    route.lose_carrier(CarrierId(3), at);
    assert_eq!(route.path(), Some(udp));
}

#[test]
fn a_peer_without_fallback_is_followed_but_not_to_where_it_only_asks_from() {
    let now = Instant::now();
    let mut config = PeerConfig::new(PrivateKey::from_bytes([9; 32]).public_key());
    config.endpoints = vec![place(1)];
    let mut route = Route::new(&config, now);
    let carrier = Path::Carrier(CarrierId(1));
    route.heard(carrier, Heard::Payload, now);
    route.heard(Path::udp(place(1)), Heard::Ask(1), now);
    assert_eq!(route.path(), Some(carrier));
    route.heard(Path::udp(place(1)), Heard::Keepalive, now);
    assert_eq!(route.path(), Some(Path::udp(place(1))));
    let orders: Vec<_> = std::iter::from_fn(|| route.poll_order()).collect();
    assert!(
        !orders
            .iter()
            .any(|order| matches!(order, Order::Ask(..) | Order::Announce(_)))
    );
}
