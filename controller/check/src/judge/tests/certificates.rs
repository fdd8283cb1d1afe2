//! Handshakes and certificates, with certificates made for each case.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use time::Duration;

use super::{NOW, assert_unknown, verdict};
use crate::sample;
use crate::{
    Cause, Der, Failure, Fault, HttpSeen, Seen, Subject, TlsSeen, UrlSeen, Verdict,
    WithoutCertificate,
};

/// An authority and what it signs.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str, days: i64) -> CertificateParams {
    let names = match name.contains('.') {
        true => vec![name.to_owned()],
        false => Vec::new(),
    };
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = NOW - Duration::days(400);
    params.not_after = NOW + Duration::days(days);
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name, 1_000);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn authority(params: CertificateParams) -> Authority {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    Authority {
        certificate,
        issuer,
    }
}

impl Authority {
    fn sign(&self, params: &CertificateParams) -> Der {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Der(certificate.der().to_vec())
    }

    fn subject(&self) -> Subject {
        Subject {
            issuers_pem: vec![self.certificate.pem()],
            ..sample::subject()
        }
    }
}

fn leaf_params(days: i64) -> CertificateParams {
    let mut params = params("servidor.mt.gov.br", days);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

fn tls(chain: Vec<Der>) -> TlsSeen {
    TlsSeen {
        chain,
        asked_certificate: true,
        without_certificate: WithoutCertificate::Refused,
        has_proved_key: true,
        ..TlsSeen::default()
    }
}

fn of_5500(subject: &Subject, what: &str, seen: TlsSeen) -> Verdict {
    let id = format!("production/service/5500/servidor-1/{what}");
    verdict(subject, &id, Seen::Tls(seen))
}

#[test]
fn a_client_certificate_must_be_asked_for_and_insisted_on() {
    let authority = authority(authority_params("AC"));
    let subject = authority.subject();
    let right = tls(vec![authority.sign(&leaf_params(400))]);
    let judged = |seen| of_5500(&subject, "client-certificate", seen);
    assert!(judged(right.clone()).is_ok());
    let silent = TlsSeen {
        asked_certificate: false,
        ..right.clone()
    };
    assert_eq!(judged(silent).fault(), Some(Fault::NoCertificateRequest));
    let lenient = TlsSeen {
        without_certificate: WithoutCertificate::Accepted,
        ..right
    };
    assert_eq!(judged(lenient).fault(), Some(Fault::CertificateOptional));
    assert_eq!(judged(TlsSeen::default()).fault(), Some(Fault::NoTls));
}

#[test]
fn a_chain_ends_at_a_declared_issuer_signature_by_signature() {
    let root = authority(authority_params("AC raiz"));
    let subject = root.subject();
    let middle_params = authority_params("AC intermediária");
    let key = KeyPair::generate().unwrap();
    let middle = middle_params.signed_by(&key, &root.issuer).unwrap();
    let issuer = Issuer::new(middle_params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = leaf_params(400).signed_by(&leaf_key, &issuer).unwrap();
    let leaf = Der(leaf.der().to_vec());
    let middle = Der(middle.der().to_vec());
    let judged = |chain| of_5500(&subject, "chain", tls(chain));
    assert!(judged(vec![root.sign(&leaf_params(400))]).is_ok());
    assert!(judged(vec![leaf.clone(), middle]).is_ok());
    assert_eq!(judged(vec![leaf]).fault(), Some(Fault::UnknownIssuer));

    let impostor = authority(authority_params("AC raiz"));
    let forged = judged(vec![impostor.sign(&leaf_params(400))]);
    assert_eq!(forged.fault(), Some(Fault::ChainSignatureBad));
    let stranger = authority(authority_params("Outra AC"));
    let foreign = judged(vec![stranger.sign(&leaf_params(400))]);
    assert_eq!(foreign.fault(), Some(Fault::UnknownIssuer));
    let garbage = judged(vec![Der(vec![0x30, 0])]);
    assert_eq!(garbage.fault(), Some(Fault::CertificateMalformed));
    let unknown = of_5500(
        &sample::subject(),
        "chain",
        tls(vec![root.sign(&leaf_params(9))]),
    );
    assert_unknown(&unknown, Cause::NothingDeclared);
}

#[test]
fn an_issuer_must_be_one_and_be_valid() {
    let mut no_authority = authority_params("AC");
    no_authority.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let mut ended = authority_params("AC");
    ended.not_after = NOW - Duration::DAY;
    for (params, fault) in [
        (no_authority, Fault::IssuerMayNotIssue),
        (ended, Fault::IssuerExpired),
    ] {
        let authority = authority(params);
        let chain = vec![authority.sign(&leaf_params(400))];
        let judged = of_5500(&authority.subject(), "chain", tls(chain));
        assert_eq!(judged.fault(), Some(fault));
    }
}

#[test]
fn between_server_and_issuer_only_authorities_count() {
    let root = authority(authority_params("AC raiz"));
    let no_authority = params("servidor.mt.gov.br", 1_000);
    let key = KeyPair::generate().unwrap();
    let middle = no_authority.signed_by(&key, &root.issuer).unwrap();
    let issuer = Issuer::new(no_authority, key);
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = leaf_params(400).signed_by(&leaf_key, &issuer).unwrap();
    let chain = [leaf, middle].map(|it| Der(it.der().to_vec()));
    let judged = of_5500(&root.subject(), "chain", tls(chain.to_vec()));
    assert_eq!(judged.fault(), Some(Fault::IssuerMayNotIssue));
}

#[test]
fn a_certificate_without_its_key_proves_nothing() {
    let authority = authority(authority_params("AC"));
    let mut copied = tls(vec![authority.sign(&leaf_params(400))]);
    copied.has_proved_key = false;
    let judged = of_5500(&authority.subject(), "chain", copied);
    assert_eq!(judged.fault(), Some(Fault::KeyUnproven));
    let mut ended = tls(vec![authority.sign(&leaf_params(-1))]);
    ended.has_proved_key = false;
    let judged = of_5500(&authority.subject(), "chain", ended);
    assert_eq!(judged.fault(), Some(Fault::Expired));
}

#[test]
fn usages_must_allow_the_role() {
    let authority = authority(authority_params("AC"));
    let subject = authority.subject();
    let judged = |params: &CertificateParams| {
        of_5500(&subject, "usage", tls(vec![authority.sign(params)])).fault()
    };
    assert_eq!(judged(&leaf_params(400)), None);
    let mut signer = leaf_params(400);
    signer.key_usages = vec![KeyUsagePurpose::ContentCommitment];
    assert_eq!(judged(&signer), Some(Fault::UsageWrong));
    let mut server_only = leaf_params(400);
    server_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(judged(&server_only), Some(Fault::UsageWrong));
    let mut issuer = leaf_params(400);
    issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(judged(&issuer), Some(Fault::UsageWrong));
    let mut free = leaf_params(400);
    free.key_usages.clear();
    free.extended_key_usages.clear();
    assert_eq!(judged(&free), None);
}

#[test]
fn a_certificate_near_its_end_is_said_in_steps() {
    let authority = authority(authority_params("AC"));
    let subject = authority.subject();
    for (days, fault) in [
        (61, None),
        (60, Some(Fault::Expires60)),
        (31, Some(Fault::Expires60)),
        (30, Some(Fault::Expires30)),
        (16, Some(Fault::Expires30)),
        (15, Some(Fault::Expires15)),
        (8, Some(Fault::Expires15)),
        (7, Some(Fault::Expires7)),
        (0, Some(Fault::Expires7)),
        (-1, Some(Fault::Expired)),
    ] {
        let chain = vec![authority.sign(&leaf_params(days))];
        let judged = of_5500(&subject, "lasting", tls(chain));
        assert_eq!(judged.fault(), fault, "{days} days");
    }
    let mut early = leaf_params(400);
    early.not_before = NOW + Duration::HOUR;
    let judged = of_5500(&subject, "lasting", tls(vec![authority.sign(&early)]));
    assert_eq!(judged.fault(), Some(Fault::NotYetValid));
}

fn url(authority: &Authority, name: &str, http: Option<HttpSeen>) -> Seen {
    let mut params = params(name, 400);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Seen::Url(UrlSeen {
        host: name.to_owned(),
        tls: tls(vec![authority.sign(&params)]),
        http,
    })
}

fn answer(status: u16, location: Option<&str>) -> Option<HttpSeen> {
    Some(HttpSeen::Answer {
        status,
        content_type: None,
        location: location.map(str::to_owned),
        body: String::new(),
    })
}

#[test]
fn a_web_address_has_a_certificate_for_its_name() {
    let authority = authority(authority_params("AC"));
    let subject = authority.subject();
    let id = "production/url/host-name/https://xvia.sedec.mt.gov.br/";
    let judged = |name| verdict(&subject, id, url(&authority, name, answer(200, None)));
    assert!(judged("xvia.sedec.mt.gov.br").is_ok());
    assert!(judged("*.sedec.mt.gov.br").is_ok());
    for wrong in ["xvia-dev.sedec.mt.gov.br", "*.mt.gov.br", "sedec.mt.gov.br"] {
        assert_eq!(
            judged(wrong).fault(),
            Some(Fault::HostNameMismatch),
            "{wrong}"
        );
    }
}

#[test]
fn a_web_address_does_not_lead_to_the_other_stage() {
    let authority = authority(authority_params("AC"));
    let mut subject = authority.subject();
    let id = "production/url/not-crossed/https://xvia.sedec.mt.gov.br/";
    let name = "xvia.sedec.mt.gov.br";
    let judged = |subject: &Subject, id: &str, location| {
        verdict(subject, id, url(&authority, name, answer(302, location)))
    };
    assert!(judged(&subject, id, Some("https://xvia.sedec.mt.gov.br/login")).is_ok());
    let crossed = judged(&subject, id, Some("https://xvia-dev.sedec.mt.gov.br/login"));
    assert_eq!(crossed.fault(), Some(Fault::OtherStage));
    subject.development.urls = vec!["https://xvia.sedec.mt.gov.br/".to_owned()];
    let id = "development/url/not-crossed/https://xvia.sedec.mt.gov.br/";
    assert_eq!(judged(&subject, id, None).fault(), Some(Fault::OtherStage));
}

#[test]
fn a_web_address_that_was_not_asked_is_not_known_to_answer() {
    let authority = authority(authority_params("AC"));
    let subject = authority.subject();
    let id = "production/url/answers/https://xvia.sedec.mt.gov.br/";
    let judged = |http| verdict(&subject, id, url(&authority, "xvia.sedec.mt.gov.br", http));
    assert!(judged(answer(404, None)).is_ok());
    assert_eq!(judged(answer(502, None)).fault(), Some(Fault::StatusWrong));
    assert_unknown(&judged(None), Cause::Before);
    let error = "no address".to_owned();
    let why = Failure::Before { error };
    assert_unknown(&verdict(&subject, id, Seen::Failed { why }), Cause::Before);
}
