//! The evidence file as an auditor handles it who has a shell and OpenSSL, and nothing of Malha.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use malha_check::{PortProbe, Signer, verify_evidence, write_evidence};

use crate::authority::Authority;
use crate::parts::free_address;
use crate::rig::{Loopback, Run, subject};

/// OpenSSL signs with the authority's key.
struct ByOpenssl<'a> {
    authority: &'a Authority,
    der: Vec<u8>,
}

impl Signer for ByOpenssl<'_> {
    fn certificate_der(&self) -> &[u8] {
        &self.der
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let sign = ["dgst", "-sha256", "-sign", "authority.key", "message"];
        fs::write(self.authority.folder().join("message"), message).unwrap();
        Ok(self.authority.openssl(&sign))
    }
}

/// The commands of the document, run on the files as the document names them.
fn audit(authority: &Authority, file: &str) -> Result<String, String> {
    fs::write(authority.folder().join("evidence.jsonl"), file).unwrap();
    let document = include_str!("../../../../docs/EVIDENCE.md");
    let script = document
        .split("```sh\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let mut shell = Command::new("sh")
        .arg("-s")
        .current_dir(authority.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    shell
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = shell.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => Err(said + &String::from_utf8_lossy(&output.stderr)),
    }
}

#[tokio::test]
async fn a_shell_and_openssl_come_to_the_same_as_this_program() {
    let Some(authority) = Authority::new("Malha") else {
        return;
    };
    let port = (free_address(), PortProbe::Health);
    let run = Run::of(subject(&[port]), &Loopback::default()).await;
    let der = authority.openssl(&["x509", "-in", "authority.pem", "-outform", "DER"]);
    let signer = ByOpenssl {
        authority: &authority,
        der,
    };
    let file = write_evidence(&run.report(), &run.subject, &run.observations, &signer).unwrap();
    let verified = verify_evidence(&file, &authority.pem()).unwrap();
    assert_eq!(verified.report, run.report());
    assert_eq!(audit(&authority, &file), Ok("Verified OK\n".to_owned()));

    let lines: Vec<&str> = file.lines().collect();
    let changed = file.replacen("refused", "silent", 1);
    let removed = [&lines[..2], &lines[3..]].concat().join("\n") + "\n";
    let cut = lines[..lines.len() - 1].join("\n") + "\n";
    for damaged in [changed, removed, cut] {
        assert!(verify_evidence(&damaged, &authority.pem()).is_err());
        assert!(audit(&authority, &damaged).is_err());
    }
}
