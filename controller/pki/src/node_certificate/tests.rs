//! What a node can and can't get out of the authority with a certificate request.

use super::*;
use crate::AuthorityProfile;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};
use std::sync::LazyLock;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let profile = AuthorityProfile {
        name: "Overlay".to_owned(),
        years: 10,
    };
    Authority::create(&profile, NOW).unwrap()
});

fn identity(node: u64) -> NodeIdentity {
    NodeIdentity {
        node: NodeId(node),
        organization: "orgao".parse().unwrap(),
        site: "producao".parse().unwrap(),
        name: "garagem-01".parse().unwrap(),
    }
}

fn month() -> Validity {
    Validity::starting(NOW, Duration::days(30)).unwrap()
}

fn sign(csr: &[u8]) -> Result<NodeCertificate, PkiError> {
    AUTHORITY.sign_node_csr(csr, &identity(12), month())
}

/// A request for `key` that asks for everything it should not get.
fn greedy_request(key: &KeyPair) -> rcgen::CertificateSigningRequest {
    let mut params = CertificateParams::new(vec!["controller.malha.internal".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "somebody else");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
    params.serialize_request(key).unwrap()
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

#[test]
fn a_node_gets_its_own_key_signed_and_nothing_it_asked_for() {
    let key = key(&PKCS_ECDSA_P256_SHA256);
    let signed = sign(greedy_request(&key).der()).unwrap();
    let parsed = x509::parse_certificate(&signed.der).unwrap();

    assert_eq!(parsed.public_key().raw, key.subject_public_key_info());
    assert_eq!(
        parsed.subject().to_string(),
        "O=orgao, OU=producao, CN=garagem-01"
    );
    assert_eq!(
        x509::alternative_names(&parsed).unwrap(),
        [GeneralName::URI("malha://node/n12")]
    );
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert_eq!(node_identity(&signed.der).unwrap(), NodeId(12));
}

#[test]
fn der_and_pem_requests_are_the_same_request() {
    let request = greedy_request(&key(&PKCS_ECDSA_P256_SHA256));
    let pem = request.pem().unwrap();
    for bytes in [request.der().to_vec(), pem.into_bytes()] {
        assert_eq!(
            node_identity(&sign(&bytes).unwrap().der).unwrap(),
            NodeId(12)
        );
    }
}

#[test]
fn every_good_kind_of_key_is_signed() {
    for algorithm in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
        &PKCS_RSA_SHA256,
    ] {
        let key = key(algorithm);
        let signed = sign(greedy_request(&key).der()).unwrap();
        let parsed = x509::parse_certificate(&signed.der).unwrap();
        assert_eq!(parsed.public_key().raw, key.subject_public_key_info());
        assert!(parsed.verify_signature(None).is_err());
    }
}

#[test]
fn weak_or_unusual_keys_are_refused_with_what_would_be_right() {
    let p521 = greedy_request(&key(&PKCS_ECDSA_P521_SHA512));
    for request in [RSA_1024_CSR.as_bytes(), SHA1_CSR.as_bytes(), p521.der()] {
        let error = sign(request).unwrap_err();
        assert!(matches!(error, PkiError::RequestKey(_)), "{error}");
        assert!(error.to_string().contains("P-256"), "{error}");
    }
}

#[test]
fn a_request_altered_in_its_signed_part_is_refused_and_elsewhere_changes_nothing() {
    let key = key(&PKCS_ECDSA_P256_SHA256);
    let request = greedy_request(&key).der().to_vec();
    let signed_part = {
        let (_, parsed) = X509CertificationRequest::from_der(&request).unwrap();
        let raw = parsed.certification_request_info.raw;
        let start = request.windows(raw.len()).position(|w| w == raw).unwrap();
        start..start + raw.len()
    };
    for at in 0..request.len() {
        for bit in 0..8 {
            let mut altered = request.clone();
            altered[at] ^= 1 << bit;
            if let Ok(signed) = sign(&altered) {
                let parsed = x509::parse_certificate(&signed.der).unwrap();
                assert!(!signed_part.contains(&at), "bit {bit} of byte {at}");
                assert_eq!(parsed.public_key().raw, key.subject_public_key_info());
            }
        }
    }
}

#[test]
fn anothers_key_can_not_be_put_into_ones_own_request() {
    let mine = key(&PKCS_ECDSA_P256_SHA256);
    let theirs = key(&PKCS_ECDSA_P256_SHA256);
    let request = greedy_request(&mine).der().to_vec();
    let at = request
        .windows(mine.der_bytes().len())
        .position(|w| w == mine.der_bytes())
        .unwrap();
    let mut forged = request;
    forged[at..at + theirs.der_bytes().len()].copy_from_slice(theirs.der_bytes());

    assert!(matches!(sign(&forged), Err(PkiError::RequestSignature)));
}

#[test]
fn what_is_not_one_whole_request_is_refused() {
    let request = greedy_request(&key(&PKCS_ECDSA_P256_SHA256)).der().to_vec();
    let trailing = [request.as_slice(), &[0]].concat();
    let cut = &request[..request.len() - 1];
    let certificate = AUTHORITY.certificate_der().to_vec();
    let certificate_pem = AUTHORITY.certificate_pem().as_bytes();
    for bytes in [&[], trailing.as_slice(), cut, &certificate, certificate_pem] {
        assert!(matches!(sign(bytes), Err(PkiError::RequestMalformed)));
    }
    assert!(matches!(
        sign(&vec![0x30; MAX_CSR_BYTES + 1]),
        Err(PkiError::RequestTooLong { .. })
    ));
}

#[test]
fn a_certificate_never_outlives_its_authority() {
    let request = greedy_request(&key(&PKCS_ECDSA_P256_SHA256));
    let long = Validity::starting(NOW, Duration::days(36_500)).unwrap();
    let signed = AUTHORITY
        .sign_node_csr(request.der(), &identity(1), long)
        .unwrap();
    assert_eq!(
        signed.validity.not_after(),
        AUTHORITY.validity().not_after()
    );
    let parsed = x509::parse_certificate(&signed.der).unwrap();
    assert_eq!(x509::not_after(&parsed), AUTHORITY.validity().not_after());
}

#[test]
fn only_the_exact_form_of_a_node_certificate_names_a_node() {
    let names_and_usages = [
        (
            vec!["malha://node/n12"],
            ExtendedKeyUsagePurpose::ServerAuth,
        ),
        (
            vec!["malha://node/n12", "malha://node/n13"],
            ExtendedKeyUsagePurpose::ClientAuth,
        ),
        (vec!["malha://node/12"], ExtendedKeyUsagePurpose::ClientAuth),
        (
            vec!["malha://node/n012"],
            ExtendedKeyUsagePurpose::ClientAuth,
        ),
        (
            vec!["malha://node/n12/"],
            ExtendedKeyUsagePurpose::ClientAuth,
        ),
        (
            vec!["malha://site/n12"],
            ExtendedKeyUsagePurpose::ClientAuth,
        ),
        (vec![], ExtendedKeyUsagePurpose::ClientAuth),
    ];
    for (names, usage) in names_and_usages {
        let leaf = Leaf {
            subject: DistinguishedName::new(),
            names: names
                .iter()
                .map(|name| SanType::URI(Ia5String::try_from(*name).unwrap()))
                .collect(),
            usage,
            validity: month(),
        };
        let (der, _) = AUTHORITY
            .certify(leaf, &key(&PKCS_ECDSA_P256_SHA256))
            .unwrap();
        assert!(
            matches!(node_identity(&der), Err(PkiError::NotANode(_))),
            "{names:?}"
        );
    }
    assert!(node_identity(AUTHORITY.certificate_der()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_node_id_comes_back_from_its_certificate(node in 1_u64..) {
        static REQUEST: LazyLock<Vec<u8>> =
            LazyLock::new(|| greedy_request(&key(&PKCS_ECDSA_P256_SHA256)).der().to_vec());
        let signed = AUTHORITY.sign_node_csr(&REQUEST, &identity(node), month()).unwrap();
        prop_assert_eq!(node_identity(&signed.der).unwrap(), NodeId(node));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(sign(&bytes).is_err());
        prop_assert!(node_identity(&bytes).is_err());
    }
}

const RSA_1024_CSR: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIIBSzCBtQIBADAMMQowCAYDVQQDDAF4MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCB
iQKBgQDEvFWoYNV0R4zz7elcZcUa69rTsDKO/eJsfStDprnWTM7gVo0KwYk2NpwB
Rgj2MpFDXIi9zJShtEOHL43Bn1nvAnGZw8wrrkHnSNswtVrDHGZyhWLk1KUJqTz0
iGyUNpDtIG3TRbMn2Kebq2Ml4W4eKGjU6/2THaRTDsf7JnRz0wIDAQABoAAwDQYJ
KoZIhvcNAQELBQADgYEAVLDhbexueY4tzE+eGm1KvdWw3KoDMNfpz83SwHolJtr4
AR+CALBwS06PrSvRZS5JBA6LuYt4nf1CW3IA8V/TKiZwHFDbXG2jlBZcv81H6ULo
UyioqBq66GKHlZjQeyNvqLbmOEHQqf3WJwWcUYicmR/sehdXeMSIu2mxrEenuxI=
-----END CERTIFICATE REQUEST-----
";

const SHA1_CSR: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIICUTCCATkCAQAwDDEKMAgGA1UEAwwBeDCCASIwDQYJKoZIhvcNAQEBBQADggEP
ADCCAQoCggEBAJurrnvaAtYT3EY3JVg8gv+33ywbiXg9tB/q2KVNZbEcIbMzMPVM
PoQcF72augEQSOIF171MiDg4soXi2ce5mYWPlH1fTFEb3fb7lNTvw5z72a52czlc
/SnR2k9edjE1Lif3vD0ldlAbpgYZvQq3XZ51jiD6GRXhrbMDbDDr+8ifhCI327Cp
wD2Igy4uBLP4zFz/Q6R+eDFnrZQmXoVIjO2LUZAYhmd19w1bHY6vKgniFZYIckR2
t9cJixVe000x5Gzw1aezFkKPbftTx6v8Akvs9buMQoE3zGeNfH0ibFhKAP8FIrpH
7uUxipaj/tdSDNDrkFBjWdFilfyLBtg1HDkCAwEAAaAAMA0GCSqGSIb3DQEBBQUA
A4IBAQAmdS/4X+Ewo2LECJ2UiVZ999Yc8utBvOHR5caiY/CxgEbQ13eb+stutDIu
gErdkzQPxgAGZL8+cQjJ/g5c9Qofr7YHx4WJ21NjrjFtmlJjZfqhBu2nPPzBo6of
oLvXZJeMmbeQoIN3IXTPxFWLSLHlU4TxxaPS3nFyy2yhSClrO/dtBmplZAd/ONEk
bdMsP5OR37ZGRtJkCOS9c+mk0f7sbENi5p9/mdqyxf0to6Ni4ZxJylTAmFyMyGgv
uu6k2PwK78vr9x8jiwxbBYI450oeNxYUwVj91++gEQiNxjpwLKdP6UAJPJ9fAihy
rSqqt/XPj8SDAcjuuXCHlmc/D+GH
-----END CERTIFICATE REQUEST-----
";

#[test]
fn a_request_and_its_certificate_name_the_same_key_and_another_key_another() {
    let [first, second] = [0, 1].map(|_| key(&PKCS_ECDSA_P256_SHA256));
    let request = greedy_request(&first);
    let named = request_key(request.der()).unwrap();
    assert_eq!(
        certificate_key(&sign(request.der()).unwrap().der).unwrap(),
        named
    );
    assert_ne!(request_key(greedy_request(&second).der()).unwrap(), named);
}
