//! `malha-node doctor` on machines that are well and on machines that are not: each trouble is found where it is, and not elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use malha_proto::EnrolToken;
use malha_tests::lab::{
    Access, Lab, Machine, Mapping, PATIENCE, Process, Router, eventually, output, story,
};
use serde_json::Value;

/// The words of what was found, by what was looked at; of services there may be several.
struct Report {
    codes: BTreeMap<String, Vec<String>>,
    exit: Option<i32>,
    text: String,
}

impl Report {
    /// Runs the doctor, with a token where the machine is not enrolled yet.
    fn of(machine: &Machine, token: Option<&str>) -> Result<Self> {
        let mut command = machine.node(&["doctor", "--json"])?;
        Self::by(command.envs(token.map(|token| ("MALHA_TOKEN", token))))
    }

    fn by(command: &mut Command) -> Result<Self> {
        let ended = output(command)?;
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&ended.stderr).into_owned();
        let report: Value =
            serde_json::from_str(&said).with_context(|| format!("{said}{complaint}"))?;
        let mut codes = BTreeMap::<String, Vec<String>>::new();
        for looked in report["looks"].as_array().context("no looks")? {
            let word = |key: &str| looked[key].as_str().unwrap_or_default().to_owned();
            codes.entry(word("look")).or_default().push(word("code"));
        }
        Ok(Self {
            codes,
            exit: ended.status.code(),
            text: said,
        })
    }

    /// Finds these, whatever else there is.
    fn finds(&self, codes: &[&str]) -> Result<()> {
        for code in codes {
            let found = self.codes.values().flatten().any(|it| it == code);
            ensure!(found, "no {code} in {}", self.text);
        }
        Ok(())
    }

    /// Finds nothing wrong, and these.
    fn is_well(&self, codes: &[&str]) -> Result<()> {
        ensure!(self.exit == Some(0), "exit {:?}: {}", self.exit, self.text);
        self.finds(codes)
    }

    /// Finds something wrong, and these.
    fn is_ill(&self, codes: &[&str]) -> Result<()> {
        ensure!(self.exit == Some(1), "exit {:?}: {}", self.exit, self.text);
        self.finds(codes)
    }
}

/// A token for whoever has it.
fn token(lab: &Lab) -> Result<String> {
    lab.hub
        .malha(&["site", "add", "estacionamentos/examinada"])?;
    lab.hub.token(&[
        "token",
        "add",
        "estacionamentos/examinada",
        "--profile",
        "garage",
    ])
}

#[test]
fn a_healthy_garage_is_well_and_each_of_its_own_troubles_is_named() {
    story("a doctor's round", |lab| {
        let mut garage = lab.open_garage(1, "userspace")?;
        garage.machine.becomes_healthy()?;
        eventually("the agent has looked around", PATIENCE, || {
            Report::of(&garage.machine, None)?.is_well(&[
                "agent-online",
                "dns-answers",
                "udp-answers",
                "tcp-answers",
                "portal-none",
                "mtu-fits",
                "clock-right",
                "certificate-valid",
                "tunnel-direct",
                "service-answers",
                "names-here-only",
                "engine-runs",
                "guard-in-place",
                "files-private",
                "disk-free",
            ])
        })?;
        let page = output(&mut garage.machine.node(&["doctor", "--lang", "pt-BR"])?)?;
        let page = String::from_utf8_lossy(&page.stdout).into_owned();
        ensure!(page.contains("Nenhum problema encontrado"), "{page}");

        drop(garage.machine.web.take());
        let key = garage.machine.state().join("wg.key");
        let set_mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode));
        set_mode(0o644)?;
        let report = Report::of(&garage.machine, None)?;
        report.is_ill(&["service-refused", "files-exposed", "tunnel-direct"])?;
        set_mode(0o600)?;

        garage.machine.agent()?.stop()?;
        let report = Report::of(&garage.machine, None)?;
        report.is_ill(&[
            "agent-stopped",
            "tunnel-no-agent",
            "udp-answers",
            "guard-in-place",
        ])?;
        let removed = output(&mut garage.machine.node(&["guard", "remove"])?)?;
        ensure!(removed.status.success(), "{removed:?}");
        Report::of(&garage.machine, None)?.is_ill(&["guard-missing"])
    });
}

#[test]
fn blocked_udp_and_a_dead_hub_are_told_apart() {
    story("UDP blocked, then the hub dead", |lab| {
        let mut garage = lab.open_garage(1, "netstack")?;
        garage.machine.becomes_healthy()?;
        eventually("the agent has looked around", PATIENCE, || {
            let report = Report::of(&garage.machine, None)?;
            report.is_well(&["guard-no-interface", "engine-runs", "tunnel-direct"])
        })?;
        garage.router.block_udp()?;
        eventually("the tunnel goes over TCP", PATIENCE, || {
            let status = garage.machine.status()?;
            ensure!(status["peers"][0]["path"] == "carrier", "{status}");
            Ok(())
        })?;
        let report = Report::of(&garage.machine, None)?;
        report.is_ill(&[
            "udp-silent",
            "tcp-answers",
            "tunnel-carried",
            "nat-no-answer",
        ])?;
        garage.router.unblock()?;
        Report::of(&garage.machine, None)?.is_well(&["udp-answers"])?;

        lab.hub.controller()?.kill()?;
        eventually("the agent knows", PATIENCE, || {
            let status = garage.machine.status()?;
            ensure!(status["control"]["state"] != "online", "{status}");
            Ok(())
        })?;
        let report = Report::of(&garage.machine, None)?;
        report.is_ill(&[
            "agent-offline",
            "udp-silent",
            "tcp-silent",
            "portal-unknown",
            "clock-no-answer",
        ])
    });
}

#[test]
fn a_wrong_clock_is_found_and_its_error_told_even_where_no_certificate_fits() {
    story("a doctor and a clock", |lab| {
        let garage = lab.open_garage(1, "userspace")?;
        if !faketime_library().exists() {
            println!("skip: libfaketime is missing; install the package faketime");
            return Ok(());
        }
        let at = |offset: &str| -> Result<Report> {
            let mut command = garage.machine.node(&["doctor", "--json"])?;
            command
                .env("LD_PRELOAD", faketime_library())
                // Sleeps and deadlines go on as they are.
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("FAKETIME", offset);
            Report::by(&mut command)
        };
        eventually("all is well", PATIENCE, || {
            at("+0d")?.is_well(&["clock-right", "certificate-valid"])
        })?;
        let report = at("+2h")?;
        report.is_ill(&["clock-ahead", "certificate-valid", "udp-answers"])?;
        ensure!(
            report.text.contains("ahead of the controller's"),
            "{}",
            report.text
        );
        ensure!(
            report.text.contains(" 1 h 59 min") || report.text.contains(" 2 h 0 min"),
            "{}",
            report.text
        );
        // A board without a battery begins in the past.
        let report = at("-400d")?;
        report.is_ill(&[
            "clock-behind",
            "certificate-not-yet",
            "udp-answers",
            "tcp-answers",
        ])?;
        ensure!(
            report.text.contains(" 400 d 0 h") || report.text.contains(" 399 d 23 h"),
            "{}",
            report.text
        );
        at("+400d")?.is_ill(&["clock-ahead", "certificate-over", "portal-none"])
    });
}

#[test]
fn before_its_enrolment_a_machine_learns_what_stands_between_it_and_the_hub() {
    story("a doctor before the enrolment", |lab| {
        let token = token(lab)?;
        let home = lab.connected(Access::Home(Mapping::Preserving), 0)?;
        let nothing = Report::of(&home.machine, None)?;
        nothing.is_well(&["agent-not-enrolled", "no-controller"])?;
        ensure!(
            !home.machine.state().exists(),
            "a look made the state folder"
        );
        let found = [
            "udp-answers",
            "tcp-answers",
            "portal-none",
            "clock-right",
            "mtu-fits",
        ];
        let report = Report::of(&home.machine, Some(&token))?;
        report.is_well(&[&found[..], &["agent-not-enrolled", "nat-kept"]].concat())?;
        let secret = token.split_once('_').context("no token")?.1;
        ensure!(!report.text.contains(secret), "the token is shown");

        let carrier = lab.connected(Access::Carrier(Mapping::Preserving), 1)?;
        let report = Report::of(&carrier.machine, Some(&token))?;
        report.is_well(&[&found[..], &["nat-changed-carrier"]].concat())?;
        let mobile = lab.connected(Access::Mobile, 2)?;
        Report::of(&mobile.machine, Some(&token))?.is_well(&["nat-changed-carrier"])?;
        let proxied = lab.connected(Access::ProxyOnly, 3)?;
        let report = Report::of(&proxied.machine, Some(&token))?;
        report.is_ill(&[
            "udp-silent",
            "tcp-through-proxy",
            "portal-none",
            "clock-right",
        ])?;
        let newer = lab.connected(Access::Ipv6Only, 4)?;
        Report::of(&newer.machine, Some(&token))?.is_well(&["udp-answers", "nat-none"])
    });
}

#[test]
fn two_destinations_show_a_symmetric_nat() {
    story("a doctor and NAT", |lab| {
        lab.hub
            .namespace
            .ip(&format!("address add {SECOND}/24 dev wan"))?;
        let mut token: EnrolToken = token(lab)?.parse()?;
        token.controllers.push(format!("{SECOND}:443"));
        let token = token.expose();
        for (number, mapping, code) in [
            (0, Mapping::Preserving, "nat-kept"),
            (1, Mapping::Restricted, "nat-same"),
            (2, Mapping::PerAddress, "nat-symmetric"),
            (3, Mapping::Symmetric, "nat-symmetric"),
        ] {
            let site = lab.connected(Access::Home(mapping), number)?;
            Report::of(&site.machine, Some(&token))?.is_well(&[code])?;
        }
        Ok(())
    });
}

#[test]
fn a_path_that_is_too_narrow_for_the_tunnel_is_measured() {
    story("a doctor and MTU", |lab| {
        let token = token(lab)?;
        let site = lab.connected(Access::Home(Mapping::Preserving), 0)?;
        // The router keeps silent about it, as many do.
        site.routers[0].namespace.nft("add table inet silent")?;
        site.routers[0]
            .namespace
            .nft("add chain inet silent out { type filter hook output priority 0; }")?;
        site.routers[0]
            .namespace
            .nft("add rule inet silent out icmp type destination-unreachable drop")?;
        for (mtu, code) in [(1_400, "mtu-fits"), (1_320, "mtu-too-small")] {
            site.routers[0]
                .namespace
                .ip(&format!("link set wan mtu {mtu}"))?;
            let report = Report::of(&site.machine, Some(&token))?;
            report.finds(&[code, "udp-answers"])?;
            ensure!(
                report.text.contains(&format!(" {mtu} bytes")),
                "{}",
                report.text
            );
        }
        Ok(())
    });
}

#[test]
fn who_answers_in_the_controllers_place_is_a_portal() {
    story("a doctor and a portal", |lab| {
        let token = token(lab)?;
        let site = lab.connected(Access::Home(Mapping::Preserving), 0)?;
        let router = &site.routers[0];
        router.namespace.nft(PORTAL)?;
        let _tls = tls_portal(lab, router)?;
        let pages = router
            .namespace
            .within(|| TcpListener::bind("0.0.0.0:8080"))??;
        thread::spawn(move || serve_pages(&pages));
        Report::of(&site.machine, Some(&token))?.is_well(&["portal-none"])?;

        router
            .namespace
            .nft("add rule inet portal astray iifname \"lan\" tcp dport 443 redirect to :8443")?;
        router.block_udp()?;
        eventually("the portal's certificate is seen", PATIENCE, || {
            let report = Report::of(&site.machine, Some(&token))?;
            report.is_ill(&["portal-tls", "udp-silent", "tcp-broken"])?;
            ensure!(report.text.contains("portal.example"), "{}", report.text);
            Ok(())
        })?;
        router.namespace.nft("flush chain inet portal astray")?;
        router
            .namespace
            .nft("add rule inet portal astray iifname \"lan\" tcp dport 80 redirect to :8080")?;
        router.block_port("tcp", 443)?;
        let report = Report::of(&site.machine, Some(&token))?;
        report.is_ill(&["portal-page", "tcp-silent"])?;
        ensure!(
            report.text.contains("http://portal.example/login"),
            "{}",
            report.text
        );
        Ok(())
    });
}

/// Somebody with a certificate of his own, who speaks TLS 1.3.
fn tls_portal(lab: &Lab, router: &Router) -> Result<Process> {
    let (key, certificate) = (lab.file("portal.key"), lab.file("portal.pem"));
    let made = output(
        Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-subj", "/CN=portal.example", "-days", "2", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate),
    )?;
    ensure!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let mut command = router.namespace.command("openssl");
    command.args([
        "s_server",
        "-accept",
        "8443",
        "-alpn",
        "malha/1,http/1.1",
        "-quiet",
        "-key",
    ]);
    command.arg(&key).arg("-cert").arg(&certificate);
    Process::start("the portal", &mut command, &lab.file("portal.log"))
}

/// Sends everybody to the login, until the test's end.
fn serve_pages(listener: &TcpListener) {
    while let Ok((mut stream, _)) = listener.accept() {
        let _ = stream.read(&mut [0; 1_024]);
        let _ = stream.write_all(
            b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/login\r\nConnection: close\r\n\r\n",
        );
    }
}

fn faketime_library() -> std::path::PathBuf {
    let folder = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    Path::new(&folder).join("faketime/libfaketimeMT.so.1")
}

/// One more address of the hub.
const SECOND: &str = "203.0.113.3";
const PORTAL: &str = "
table inet portal {
    chain astray { type nat hook prerouting priority dstnat; }
}";
