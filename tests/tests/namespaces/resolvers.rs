//! Names inside the overlay by the machine's own resolver: with exactly the lines that `malha-node status` says, the real dnsmasq and
//! unbound ask the agent for the overlay zone and their upstream for everything else; systemd-resolved is set up by the agent itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use malha_tests::lab::{
    AGENCY, Garage, HUB, Lab, Namespace, PATIENCE, Process, eventually, output, story,
};

/// A name of the public internet, which the hub's DNS answers for.
const ELSEWHERE: &str = "outra.garagens.example";
const NAME: &str = "servidor.garagem-01.estacionamentos.malha.internal";

/// A machine with files of its own, enrolled, whose agent is stopped: what it finds is found at its next start.
struct Site {
    garage: Garage,
    own: String,
    log: PathBuf,
}

impl Site {
    fn new(lab: &Lab) -> Result<Self> {
        let mut garage = lab.garage(1)?;
        garage
            .machine
            .namespace
            .take_own_files(&lab.file("files.log"))?;
        let token = lab.token_for(&garage)?;
        garage
            .machine
            .enrol(&token, &["--name", "servidor", "--engine", "userspace"])?;
        garage.machine.becomes_healthy()?;
        garage.machine.agent()?.stop()?;
        let words = ["record", "put", "garagens.example", "outra", "A", AGENCY];
        lab.hub.malha(&words)?;
        let node = lab.hub.node(&garage.node())?;
        let own = node["address_v4"]
            .as_str()
            .context("no address")?
            .to_owned();
        let site = Self {
            garage,
            own,
            log: lab.file("resolver.log"),
        };
        for sign in SIGNS {
            site.shell(&format!("rm -rf {sign}"))?;
        }
        Ok(site)
    }

    fn namespace(&self) -> &Namespace {
        &self.garage.machine.namespace
    }

    fn shell(&self, script: &str) -> Result<()> {
        let ended = output(self.namespace().command("sh").args(["-c", script]))?;
        ensure!(ended.status.success(), "{script}: {ended:?}");
        Ok(())
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let file = self.namespace().own_file(path)?;
        fs::create_dir_all(file.parent().context("no folder")?)?;
        fs::write(&file, text).with_context(|| file.display().to_string())
    }

    fn start(&self, words: &[&str]) -> Result<Process> {
        let (program, words) = words.split_first().context("no program")?;
        let mut command = self.namespace().command(program);
        Process::start(program, command.args(words), &self.log)
    }

    /// What the agent says to put where, word for word.
    fn hint(&mut self) -> Result<(String, String)> {
        self.garage.machine.boot(&["--engine", "userspace"])?;
        self.garage.machine.becomes_healthy()?;
        eventually("the agent says what to set up", PATIENCE, || {
            let page = output(&mut self.garage.machine.node(&["status", "--lang", "en"])?)?;
            let page = String::from_utf8_lossy(&page.stdout).into_owned();
            let mut lines = page
                .lines()
                .skip_while(|line| !line.contains("does not ask here"));
            let place = lines.next().with_context(|| page.clone())?;
            let place = place.rsplit(' ').next().and_then(|it| it.strip_suffix(':'));
            let entries = lines.take_while(|line| line.starts_with(INDENTED));
            let entries: Vec<&str> = entries.map(str::trim_start).collect();
            ensure!(!entries.is_empty(), "{page}");
            Ok((
                place.with_context(|| page.clone())?.to_owned(),
                entries.join("\n") + "\n",
            ))
        })
    }

    /// What a resolver answers for a name, asked as a program on the machine does it.
    fn answer(&self, server: &str, name: &str) -> Result<String> {
        let mut command = self.namespace().command("dig");
        let words = ["+short", "+time=2", "+tries=1", name, "A"];
        let said = output(command.arg(format!("@{server}")).args(words))?;
        Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    }

    fn answers(&self, server: &str, name: &str, expected: &str) -> Result<()> {
        eventually(&format!("{name} is {expected}"), PATIENCE, || {
            let said = self.answer(server, name)?;
            ensure!(said == expected, "{name}: {said}");
            Ok(())
        })
    }

    fn doctor_says(&self, code: &str) -> Result<()> {
        let said = output(&mut self.garage.machine.node(&["doctor", "--json"])?)?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        ensure!(said.contains(&format!("\"{code}\"")), "no {code}: {said}");
        Ok(())
    }

    /// Tries a resolver without the hint, and with it.
    fn tries(&mut self, sign: &str, base: (&str, &str), program: &[&str]) -> Result<()> {
        self.shell(&format!("mkdir -p {sign}"))?;
        self.write(base.0, base.1)?;
        let (place, hint) = self.hint()?;
        ensure!(place.starts_with("/etc/"), "{place}");
        self.shell(&format!("mkdir -p $(dirname {place})"))?;
        let without = self.start(program)?;
        self.answers(RESOLVER, ELSEWHERE, AGENCY)?;
        let said = self.answer(RESOLVER, NAME)?;
        ensure!(said != self.own, "{sign} needs no hint");
        drop(without);
        self.write(&place, &hint)?;
        let with = self.start(program)?;
        self.answers(RESOLVER, NAME, &self.own)?;
        self.answers(RESOLVER, ELSEWHERE, AGENCY)?;
        self.write("/etc/resolv.conf", &format!("nameserver {RESOLVER}\n"))?;
        let found = output(self.namespace().command("getent").args(["ahostsv4", NAME]))?;
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        ensure!(found.starts_with(&self.own), "{found}");
        drop(with);
        self.shell(&format!("rm -rf {sign} {place}"))?;
        self.garage.machine.agent()?.stop()
    }
}

fn is_missing(program: &str, package: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).any(|folder| folder.join(program).is_file());
    if !found {
        println!("skip: {program} is missing; install the package {package}");
    }
    !found
}

#[test]
fn with_the_lines_of_the_status_other_resolvers_ask_the_agent() {
    story("dnsmasq, NetworkManager's dnsmasq, unbound", |lab| {
        let mut site = Site::new(lab)?;
        if !is_missing("dnsmasq", "dnsmasq-base") {
            let base = ("/etc/dnsmasq.conf", DNSMASQ);
            let program = [
                "dnsmasq",
                "--keep-in-foreground",
                "--user=root",
                "--pid-file=",
            ];
            site.tries("/etc/dnsmasq.d", base, &program)?;
            // As NetworkManager starts it, which then names the upstream servers over D-Bus.
            let program: Vec<&str> = NETWORK_MANAGERS.split_whitespace().collect();
            let upstream = format!("--server={HUB}");
            let program = [&program[..], &[upstream.as_str()]].concat();
            site.tries("/run/NetworkManager", ("/etc/hosts", HOSTS), &program)?;
        }
        if !is_missing("unbound", "unbound") {
            let base = ("/etc/unbound/unbound.conf", UNBOUND);
            let program = ["unbound", "-d", "-c", "/etc/unbound/unbound.conf"];
            site.tries("/etc/unbound/unbound.conf.d", base, &program)?;
        }
        Ok(())
    });
}

#[test]
fn systemd_resolved_is_set_up_by_the_agent_and_forgets_it_afterwards() {
    story("systemd-resolved", |lab| {
        let Some(root) = resolved() else {
            println!("skip: systemd-resolved is missing; tests/run unpacks it to target/resolved");
            return Ok(());
        };
        if is_missing("dbus-daemon", "dbus") {
            return Ok(());
        }
        let mut site = Site::new(lab)?;
        site.shell(USER)?;
        site.write("/run/bus.conf", BUS)?;
        site.write("/run/systemd/resolved.conf.d/lab.conf", RESOLVED)?;
        site.write("/run/dbus/none", "")?;
        let _bus = site.start(&[
            "dbus-daemon",
            "--config-file=/run/bus.conf",
            "--nofork",
            "--nopidfile",
        ])?;
        eventually("the bus is there", PATIENCE, || {
            let socket = site.namespace().own_file("/run/dbus/system_bus_socket")?;
            ensure!(socket.exists(), "no bus");
            Ok(())
        })?;
        let program = root.join("lib/systemd/systemd-resolved");
        let _resolved = site.start(&[program.to_str().context("a path")?])?;
        site.write("/etc/resolv.conf", "nameserver 127.0.0.53\n")?;
        site.answers(STUB, ELSEWHERE, AGENCY)?;

        let folders = std::env::var("PATH").unwrap_or_default();
        let folders = format!("{}:{folders}", root.join("usr/bin").display());
        site.garage.machine.set_environment("PATH", &folders);
        site.garage.machine.boot(&["--engine", "userspace"])?;
        site.garage.machine.becomes_healthy()?;
        eventually("systemd-resolved asks the agent", PATIENCE, || {
            let status = site.garage.machine.status()?;
            let system = &status["names"]["system"];
            ensure!(system["state"] == "resolved", "{system}");
            Ok(())
        })?;
        site.answers(STUB, NAME, &site.own)?;
        site.answers(STUB, ELSEWHERE, AGENCY)?;
        // The agent resolves for nobody: what is not of the overlay was asked elsewhere.
        ensure!(
            site.answer(AGENT, ELSEWHERE)?.is_empty(),
            "the agent resolves"
        );
        site.doctor_says("names-answered")?;
        site.write("/etc/resolv.conf", &format!("nameserver {HUB}\n"))?;
        site.doctor_says("names-not-led")?;

        site.garage.machine.agent()?.stop()?;
        let gone = site.answer(STUB, NAME)?;
        ensure!(gone != site.own, "it is still answered: {gone}");
        site.answers(STUB, ELSEWHERE, AGENCY)
    });
}

/// The root of the tree that holds systemd-resolved.
fn resolved() -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/resolved");
    let roots = [Some(PathBuf::from("/")), unpacked.canonicalize().ok()];
    let mut roots = roots.into_iter().flatten();
    roots.find(|root| root.join("lib/systemd/systemd-resolved").exists())
}

/// What shows the agent who resolves on a machine.
const SIGNS: [&str; 4] = [
    "/run/NetworkManager",
    "/etc/dnsmasq.d",
    "/etc/unbound/unbound.conf.d",
    "/run/systemd/resolve",
];
const RESOLVER: &str = "127.0.0.1";
const STUB: &str = "127.0.0.53";
const AGENT: &str = "127.0.77.53";
/// Before each line of a hint.
const INDENTED: &str = "               ";
const HOSTS: &str = "127.0.0.1 localhost\n203.0.113.2 hub.malha.example\n";
const DNSMASQ: &str = "no-resolv
server=203.0.113.2
listen-address=127.0.0.1
bind-interfaces
conf-dir=/etc/dnsmasq.d
";
const NETWORK_MANAGERS: &str = "dnsmasq --no-resolv --keep-in-foreground --no-hosts --bind-interfaces --pid-file= --listen-address=127.0.0.1 --cache-size=400 --clear-on-reload --conf-file=/dev/null --proxy-dnssec --user=root --conf-dir=/etc/NetworkManager/dnsmasq.d";
/// It validates, as distributions have it; what nobody signs needs to be named.
const UNBOUND: &str = "server:
  interface: 127.0.0.1
  username: \"\"
  chroot: \"\"
  directory: \"/etc/unbound\"
  pidfile: \"/run/unbound.pid\"
  use-syslog: no
  module-config: \"validator iterator\"
  trust-anchor: \". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\"
  domain-insecure: \"garagens.example\"
stub-zone:
  name: \"garagens.example\"
  stub-addr: 203.0.113.2
include: \"/etc/unbound/unbound.conf.d/*.conf\"
";
const RESOLVED: &str =
    "[Resolve]\nDNS=203.0.113.2\nLLMNR=no\nMulticastDNS=no\nDNSSEC=no\nFallbackDNS=\n";
/// Its package makes it.
const USER: &str = "getent passwd systemd-resolve >/dev/null || { echo 'systemd-resolve:x:990:990::/:/usr/sbin/nologin' >> /etc/passwd; echo 'systemd-resolve:x:990:' >> /etc/group; }";
const BUS: &str = r#"<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"#;
