//! The evidence file as an auditor handles it who has a shell and OpenSSL, and nothing of Malha.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use malha_check::{
    ChainFault, ChainedRun, PortProbe, RunLink, Signer, chains, verify_evidence, write_evidence,
};

use crate::authority::Authority;
use crate::net::{Net, played};
use crate::rig::{HEALTH, Looker, Run, subject};

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

/// The commands of the document about one file, run on the files as the document names them.
fn audit(authority: &Authority, file: &str) -> Result<String, String> {
    fs::write(authority.folder().join("evidence.jsonl"), file).unwrap();
    run_block(1, authority.folder())
}

/// Those about all runs of an organization.
fn audit_chain(runs: &Path) -> Result<String, String> {
    run_block(2, runs)
}

fn run_block(number: usize, folder: &Path) -> Result<String, String> {
    let document = include_str!("../../../docs/EVIDENCE.md");
    let script = document
        .split("```sh\n")
        .nth(number)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let mut shell = Command::new("sh")
        .arg("-s")
        .current_dir(folder)
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

#[test]
fn a_shell_and_openssl_come_to_the_same_as_this_program() {
    played(async |net| {
        let authority = Authority::new("Malha");
        let address = net.host().at(HEALTH);
        let subject = subject(&[(address, PortProbe::Health)]);
        let run = Run::of(subject, &Looker::default()).await;
        let der = authority.openssl(&["x509", "-in", "authority.pem", "-outform", "DER"]);
        let signer = ByOpenssl {
            authority: &authority,
            der,
        };
        let file = write_evidence(
            &run.report(),
            &run.subject,
            &run.observations,
            &RunLink::first(),
            &signer,
        )
        .unwrap();
        let verified = verify_evidence(&file, &authority.pem()).unwrap();
        assert_eq!(verified.report, run.report());
        assert_eq!(audit(&authority, &file), Ok("Verified OK\n".to_owned()));

        let lines: Vec<&str> = file.lines().collect();
        // Not what was observed: on a loaded machine that may be a silence, too.
        let other = (address.ip(), address.port() ^ 1).into();
        let changed = file.replacen(&address.to_string(), &SocketAddr::to_string(&other), 1);
        assert_ne!(changed, file);
        let removed = [&lines[..2], &lines[3..]].concat().join("\n") + "\n";
        let cut = lines[..lines.len() - 1].join("\n") + "\n";
        for damaged in [changed, removed, cut] {
            assert!(verify_evidence(&damaged, &authority.pem()).is_err());
            assert!(audit(&authority, &damaged).is_err());
        }
    });
}

/// Three runs of one organization on disk, as a controller keeps them.
async fn three_runs(net: &Net, authority: &Authority, folder: &Path) {
    let der = authority.openssl(&["x509", "-in", "authority.pem", "-outform", "DER"]);
    let signer = ByOpenssl { authority, der };
    let mut link = RunLink::first();
    for number in 1..=3 {
        let port = (net.host().at(HEALTH), PortProbe::Health);
        let run = Run::of(subject(&[port]), &Looker::default()).await;
        let report = run.report();
        let file = write_evidence(&report, &run.subject, &run.observations, &link, &signer);
        let file = file.unwrap();
        link = RunLink::after(number, RunLink::sha256_of(file.as_bytes()));
        let started_ms = report.started.unix_timestamp_nanos() / 1_000_000;
        fs::write(folder.join(format!("{started_ms}.evidence")), file).unwrap();
    }
}

/// What this program says of a folder of runs.
fn faults(folder: &Path, authority: &Authority) -> Vec<ChainFault> {
    let files = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let runs: Vec<ChainedRun> = files
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let verified = verify_evidence(&text, &authority.pem()).unwrap();
            ChainedRun::new(path.display().to_string(), &verified)
        })
        .collect();
    let [chain] = &chains(&runs)[..] else {
        panic!("one organization");
    };
    chain.faults.clone()
}

#[test]
fn a_shell_finds_the_run_that_was_removed_exchanged_or_moved_too() {
    played(async |net| {
        let authority = Authority::new("Malha");
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path();
        three_runs(net, &authority, runs).await;
        let mut names: Vec<_> = fs::read_dir(runs)
            .unwrap()
            .map(|it| it.unwrap().path())
            .collect();
        names.sort();
        assert_eq!(faults(runs, &authority), []);
        assert_eq!(audit_chain(runs).unwrap(), "runs 1 to 3\n");

        let texts: Vec<String> = names
            .iter()
            .map(|it| fs::read_to_string(it).unwrap())
            .collect();
        // Moved.
        fs::write(&names[0], &texts[1]).unwrap();
        fs::write(&names[1], &texts[0]).unwrap();
        assert_eq!(faults(runs, &authority).len(), 2);
        assert!(audit_chain(runs).is_err());
        // Exchanged for another of the same place, signed by the same authority.
        fs::write(&names[0], &texts[0]).unwrap();
        let other = tempfile::tempdir().unwrap();
        three_runs(net, &authority, other.path()).await;
        let mut others: Vec<_> = fs::read_dir(other.path())
            .unwrap()
            .map(|it| it.unwrap().path())
            .collect();
        others.sort();
        fs::remove_file(&names[0]).unwrap();
        fs::remove_file(&names[1]).unwrap();
        fs::write(&names[0], &texts[0]).unwrap();
        let exchanged = runs.join(others[1].file_name().unwrap());
        fs::copy(&others[1], &exchanged).unwrap();
        assert!(!faults(runs, &authority).is_empty());
        assert!(audit_chain(runs).is_err());
        // Removed.
        fs::remove_file(&exchanged).unwrap();
        assert_eq!(
            faults(runs, &authority),
            [ChainFault::Missing { from: 2, to: 2 }]
        );
        assert!(audit_chain(runs).is_err());
        // The oldest alone was forgotten.
        fs::write(&names[1], &texts[1]).unwrap();
        fs::remove_file(&names[0]).unwrap();
        assert_eq!(faults(runs, &authority), []);
        assert_eq!(audit_chain(runs).unwrap(), "runs 2 to 3\n");
    });
}
