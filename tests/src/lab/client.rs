//! Somebody on the internet who opens a public URL: names through our DNS, TLS checked, as a browser would.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::internet::{CLIENT, HUB, Internet};
use super::namespace::Namespace;
use super::patience::{PATIENCE, eventually};
use super::process::{checked, output};

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// A machine without anything of Malha.
pub struct Client {
    pub namespace: Namespace,
    authority: Option<PathBuf>,
}

impl Client {
    pub(super) fn new(internet: &Internet) -> Result<Self> {
        let namespace = Namespace::new("client")?;
        internet.attach(&namespace, "wan", CLIENT)?;
        namespace.set_etc("resolv.conf", &format!("nameserver {HUB}\n"))?;
        namespace.set_etc("hosts", "127.0.0.1 localhost\n")?;
        Ok(Self {
            namespace,
            authority: None,
        })
    }

    /// Trusts the edge's certificates from now on.
    pub fn trust(&mut self, authority: &Path) {
        self.authority = Some(authority.to_owned());
    }

    /// Opens a URL once.
    pub fn open(&self, url: &str, words: &[&str]) -> Result<Answer> {
        let mut command = self.namespace.command("curl");
        command.args([
            "--silent",
            "--show-error",
            "--max-time",
            "10",
            "--write-out",
            "\n%{http_code}",
        ]);
        if let Some(authority) = &self.authority {
            command.arg("--cacert").arg(authority);
        }
        let text = checked(command.args(words).arg(url))?;
        let (body, status) = text.rsplit_once('\n').context("curl gave no status")?;
        Ok(Answer {
            status: status.parse()?,
            body: body.to_owned(),
        })
    }

    /// Opens a URL until it answers 200.
    pub fn reads(&self, url: &str) -> Result<String> {
        eventually(&format!("{url} answers"), PATIENCE, || {
            let answer = self.open(url, &[])?;
            match answer.status {
                200 => Ok(answer.body),
                status => bail!("status {status}: {}", answer.body),
            }
        })
    }

    /// Every address that our DNS gives for a name.
    pub fn resolve(&self, name: &str) -> Result<Vec<String>> {
        let server = format!("@{HUB}");
        let answer = output(
            self.namespace
                .command("dig")
                .args([&server, "+short", "+time=2", "+tries=1", name, "A"]),
        )?;
        Ok(String::from_utf8_lossy(&answer.stdout)
            .lines()
            .map(str::to_owned)
            .collect())
    }
}
