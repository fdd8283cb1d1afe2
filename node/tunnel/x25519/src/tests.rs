//! Published outcomes, and those of the crate that computes the same.

use curve25519_dalek::MontgomeryPoint;
use proptest::prelude::*;

use super::*;

/// RFC 7748, section 5.2: the secret of each turn is the outcome of the last, the point its secret.
#[test]
fn a_thousand_turns_come_to_the_published_point() {
    let mut secret = [0; KEY_BYTES];
    secret[0] = 9;
    let mut point = secret;
    for turn in 1..=1_000 {
        let next = Secret::from(secret).diffie_hellman(&PublicKey::from(point));
        (secret, point) = (next.to_bytes(), secret);
        if turn == 1 {
            let once = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
            assert_eq!(hex(&secret), once);
        }
    }
    let thousand = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
    assert_eq!(hex(&secret), thousand);
}

#[test]
fn a_point_of_low_order_comes_to_nothing() {
    let secret = Secret::from([7; KEY_BYTES]);
    let mut one = [0; KEY_BYTES];
    one[0] = 1;
    // The field's prime, another way to write zero.
    let mut prime = [0xff; KEY_BYTES];
    (prime[0], prime[31]) = (0xed, 0x7f);
    for point in [[0; KEY_BYTES], one, prime] {
        let shared = secret.diffie_hellman(&PublicKey::from(point));
        assert_eq!(shared.as_bytes(), &[0; KEY_BYTES]);
    }
}

#[test]
fn secrets_are_drawn_from_the_source() {
    let [one, other] = [(); 2].map(|()| Secret::random_from_rng(rand_core::OsRng));
    let [at_one, at_other] = [&one, &other].map(PublicKey::from);
    assert_ne!(at_one, at_other);
    let shared = one.diffie_hellman(&at_other);
    assert_eq!(shared.as_bytes(), other.diffie_hellman(&at_one).as_bytes());
}

proptest! {
    /// Points that no secret leads to and the unused top bit included.
    #[test]
    fn every_outcome_is_that_of_the_crate_whose_place_it_takes(secret: [u8; KEY_BYTES], point: [u8; KEY_BYTES]) {
        let ours = Secret::from(secret);
        let shared = ours.diffie_hellman(&PublicKey::from(point));
        prop_assert_eq!(shared.to_bytes(), MontgomeryPoint(point).mul_clamped(secret).to_bytes());
        let public = MontgomeryPoint::mul_base_clamped(secret);
        prop_assert_eq!(PublicKey::from(&ours).to_bytes(), public.to_bytes());
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
