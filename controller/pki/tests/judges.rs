//! OpenSSL as an independent judge of every certificate profile, strict mode, and as the maker of certificate requests.

#![allow(clippy::unwrap_used)] // A test that can not go on must stop.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use malha_pki::{Authority, AuthorityProfile, NodeIdentity, Validity};
use malha_proto::{HostName, NodeId};
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

#[test]
fn the_authority_is_a_good_root() {
    let Some(court) = Court::open() else { return };
    let verdict = court.verify(court.authority.certificate_der(), "any", &[]);
    assert_eq!(verdict, Ok(()));
}

#[test]
fn the_controllers_certificate_is_a_good_server() {
    let Some(court) = Court::open() else { return };
    let also: HostName = "vpn.orgao.example".parse().unwrap();
    let issued = court.authority.issue_controller(&[also], NOW, 90).unwrap();
    for name in [malha_proto::CONTROLLER_TLS_NAME, "vpn.orgao.example"] {
        let asked = ["-verify_hostname", name];
        assert_eq!(
            court.verify(&issued.chain()[0], "sslserver", &asked),
            Ok(())
        );
    }
    let foreign = ["-verify_hostname", "other.example"];
    assert!(
        court
            .verify(&issued.chain()[0], "sslserver", &foreign)
            .is_err()
    );
    assert!(court.verify(&issued.chain()[0], "sslclient", &[]).is_err());
}

#[test]
fn edge_certificates_are_good_servers_also_with_wildcards_and_long_names() {
    let Some(court) = Court::open() else { return };
    let long = format!("{}.{}.example", "a".repeat(60), "b".repeat(60));
    for (name, asked) in [
        ("garagem-01.localhost", "garagem-01.localhost"),
        ("*.garagem.example", "x.garagem.example"),
        (long.as_str(), long.as_str()),
    ] {
        let host: HostName = name.parse().unwrap();
        let issued = court.authority.issue_edge(&[host], NOW, 90).unwrap();
        let asked = ["-verify_hostname", asked];
        assert_eq!(
            court.verify(&issued.chain()[0], "sslserver", &asked),
            Ok(())
        );
    }
}

#[test]
fn node_certificates_for_every_kind_of_key_that_openssl_makes_are_good_clients() {
    let Some(court) = Court::open() else { return };
    for algorithm in [
        ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"].as_slice(),
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["-newkey", "ed25519"],
        &["-newkey", "rsa:2048"],
        &["-newkey", "rsa:3072", "-sha512"],
    ] {
        let csr = court.request(algorithm);
        let identity = NodeIdentity {
            node: NodeId(12),
            organization: "orgao".parse().unwrap(),
            site: "producao".parse().unwrap(),
            name: "garagem-01".parse().unwrap(),
        };
        let validity = Validity::starting(NOW, Duration::days(30)).unwrap();
        let signed = court
            .authority
            .sign_node_csr(&csr, &identity, validity)
            .unwrap();
        assert_eq!(
            court.verify(&signed.der, "sslclient", &[]),
            Ok(()),
            "{algorithm:?}"
        );
        assert!(court.verify(&signed.der, "sslserver", &[]).is_err());
    }
}

/// OpenSSL with a folder of its own and an authority to judge.
struct Court {
    folder: TempDir,
    authority: Authority,
}

impl Court {
    /// None, with a line that says so, on a machine without OpenSSL.
    fn open() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("SKIPPED: no openssl on this machine (Debian package: openssl)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let profile = AuthorityProfile {
            name: "Autoridade da Malha – São Paulo".to_owned(),
            years: 10,
        };
        let authority = Authority::create(&profile, NOW).unwrap();
        fs::write(folder.path().join("ca.pem"), authority.certificate_pem()).unwrap();
        Some(Self { folder, authority })
    }

    /// OpenSSL's own words when it refuses.
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        purpose: &str,
        more: &[&str],
    ) -> Result<(), String> {
        let (der, pem) = (self.path("leaf.der"), self.path("leaf.pem"));
        fs::write(&der, certificate).unwrap();
        let converted = run(openssl(["x509", "-inform", "DER"])
            .arg("-in")
            .arg(&der)
            .arg("-out")
            .arg(&pem));
        assert!(converted.status.success());
        let mut command = openssl(["verify", "-x509_strict", "-check_ss_sig"]);
        command
            .args(["-purpose", purpose, "-attime"])
            .arg(NOW.unix_timestamp().to_string())
            .args(more)
            .arg("-CAfile")
            .arg(self.path("ca.pem"))
            .arg(&pem);
        let output = run(&mut command);
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// A request in PEM for a fresh key.
    fn request(&self, algorithm: &[&str]) -> Vec<u8> {
        let mut command = openssl(["req", "-new", "-nodes"]);
        command
            .args(algorithm)
            .args(["-subj", "/CN=garage", "-keyout"])
            .arg(self.path("key.pem"));
        let output = run(&mut command);
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

fn openssl<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new("openssl");
    // The machine's own configuration must not change the verdict.
    command
        .env("OPENSSL_CONF", Path::new("/dev/null"))
        .args(args);
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}
