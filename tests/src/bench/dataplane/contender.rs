//! Those that are compared: Malha's engines, other userspace WireGuards, and the bare cable as the ceiling.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::plan::Plan;
use crate::lab::output;
use crate::lab::process::on_path;

/// What runs on both machines.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What the program says of itself.
    pub(super) version: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No tunnel.
    Cable,
    /// Malha on both ends, over TUN devices.
    Userspace { program: PathBuf },
    /// Malha on both ends; the far one has TCP in the process too.
    Netstack { program: PathBuf },
    /// A program that makes the interface it is told to, and is configured by `wg`.
    Foreign {
        program: PathBuf,
        arguments: Vec<OsString>,
    },
}

/// All that can run here, and why the others can't.
pub(super) fn contenders(plan: &Plan) -> Result<(Vec<Contender>, Vec<String>)> {
    let mut found = vec![Contender {
        name: CABLE,
        kind: Kind::Cable,
        version: String::new(),
    }];
    let program = tunnel_end()?;
    let malha = |name, kind| Contender {
        name,
        kind,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    found.push(malha(
        MALHA,
        Kind::Userspace {
            program: program.clone(),
        },
    ));
    found.push(malha(NETSTACK, Kind::Netstack { program }));
    let mut notes = Vec::new();
    if plan.install_peers {
        notes.extend(install());
    }
    let wanted =
        |name: &str| plan.contenders.is_empty() || plan.contenders.iter().any(|it| it == name);
    for foreign in FOREIGN.iter().filter(|it| wanted(it.name)) {
        match foreign.find() {
            Ok(contender) => found.push(contender),
            Err(reason) => notes.push(format!("not run: {}: {reason:#}", foreign.name)),
        }
    }
    if let Some(name) = plan
        .contenders
        .iter()
        .find(|it| !ORDER.contains(&it.as_str()))
    {
        bail!("{name} is no contender; these are: {}", ORDER.join(", "));
    }
    found.retain(|it| wanted(it.name));
    ensure!(
        !found.is_empty(),
        "none of these can run here: {}",
        notes.join("; ")
    );
    Ok((found, notes))
}

/// Malha's end of a tunnel, built beside this program.
pub(super) fn tunnel_end() -> Result<PathBuf> {
    let program = folder()?.join("examples/tunnel_end");
    ensure!(
        program.is_file(),
        "{} is missing: tests/bench/dataplane builds it",
        program.display()
    );
    Ok(program)
}

struct Foreign {
    name: &'static str,
    /// Names a binary to be used instead.
    variable: Option<&'static str>,
    program: &'static str,
    arguments: &'static [&'static str],
    /// Its crate and the version that is compared with.
    package: Option<(&'static str, &'static str)>,
    /// Where people find it.
    origin: &'static str,
}

impl Foreign {
    fn find(&self) -> Result<Contender> {
        let named = self.variable.and_then(std::env::var_os).map(PathBuf::from);
        let installed = || Some(peers_folder().ok()?.join("bin").join(self.program));
        let program = named
            .or_else(|| on_path(self.program))
            .or_else(installed)
            .filter(|program| program.is_file())
            .with_context(|| format!("no such program; it is in {}", self.origin))?;
        ensure!(on_path("wg").is_some(), "wg is missing: wireguard-tools");
        let mut arguments: Vec<OsString> = self.arguments.iter().map(OsString::from).collect();
        if self.name == BORINGTUN {
            // Its default of 4 threads is slower where there are fewer processors.
            let cores = std::thread::available_parallelism()?;
            arguments.extend(["--threads".into(), cores.to_string().into()]);
        }
        Ok(Contender {
            name: self.name,
            version: version(&program)?,
            kind: Kind::Foreign { program, arguments },
        })
    }
}

fn version(program: &Path) -> Result<String> {
    let printed = output(Command::new(program).arg("--version"))?;
    let text = [printed.stdout, printed.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Builds the peers that are crates, and says which could not be.
fn install() -> Vec<String> {
    let wanted = FOREIGN.iter().filter_map(|foreign| foreign.package);
    let built = wanted.map(|(package, version)| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["install", "--locked", "--version", version, package])
            .arg("--root")
            .arg(peers_folder()?)
            .stdout(std::io::stderr())
            .status()?;
        ensure!(status.success(), "cargo install {package}: {status}");
        Ok(())
    });
    built
        .filter_map(Result::err)
        .map(|error| format!("not installed: {error:#}"))
        .collect()
}

fn peers_folder() -> Result<PathBuf> {
    let target = folder()?;
    let target = target.parent().context("the build folder has no parent")?;
    Ok(target.join("bench-peers"))
}

/// `target/PROFILE`.
fn folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().context("no folder")?.to_owned())
}

/// As they stand in the table.
pub(super) const ORDER: [&str; 6] = [CABLE, MALHA, NETSTACK, WIREGUARD_GO, BORINGTUN, GOTATUN];
pub(super) const CABLE: &str = "veth";
pub(super) const MALHA: &str = "malha";
pub(super) const NETSTACK: &str = "malha-netstack";
pub(super) const WIREGUARD_GO: &str = "wireguard-go";
pub(super) const BORINGTUN: &str = "boringtun-cli";
pub(super) const GOTATUN: &str = "gotatun-cli";

const FOREIGN: [Foreign; 3] = [
    Foreign {
        name: WIREGUARD_GO,
        variable: Some("WIREGUARD_GO"),
        program: "wireguard-go",
        arguments: &["--foreground"],
        package: None,
        origin: "Debian's package wireguard-go, or say where by WIREGUARD_GO=",
    },
    Foreign {
        name: BORINGTUN,
        variable: None,
        program: "boringtun-cli",
        arguments: &["--foreground", "--disable-drop-privileges"],
        package: Some(("boringtun-cli", "0.7.1")),
        origin: "the crate boringtun-cli: --install-peers",
    },
    Foreign {
        name: GOTATUN,
        variable: None,
        program: "gotatun",
        arguments: &["--foreground", "--disable-drop-privileges"],
        package: Some(("gotatun-cli", "0.10.2")),
        origin: "the crate gotatun-cli: --install-peers",
    },
];
