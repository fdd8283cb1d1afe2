//! A second opinion on HTTP/1.1 and HTTP/2 from curl, where it is installed.

use std::io::ErrorKind;
use std::process::Stdio;

use tokio::process::Command;

use crate::origin::{BIG_BYTES, Origin};
use crate::rig::{HOST, Plan};

#[tokio::test]
async fn curl_downloads_over_both_versions_with_a_verified_certificate() {
    let origin = Origin::start().await;
    let rig = Plan::new().start_before(origin.address);
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    tokio::fs::write(&authority, &rig.authority_pem)
        .await
        .unwrap();
    let port = rig.https().port();
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--noproxy", "*", option])
            .args(["--write-out", "%{http_version} %{size_download}"])
            .args(["--output", "/dev/null", "--max-time", "20"])
            .arg("--cacert")
            .arg(&authority)
            .args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")])
            .arg(format!("https://{HOST}:{port}/big"))
            .stdin(Stdio::null())
            .output()
            .await;
        let output = match output {
            Ok(output) => output,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                eprintln!("skipped: curl is not installed (package `curl`)");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(text, format!("{version} {BIG_BYTES}"), "{complaint}");
    }
}
