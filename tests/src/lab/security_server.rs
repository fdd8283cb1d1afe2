//! A production server as X-Road runs one, as far as a balancer can tell: TLS that demands the client's certificate, ports for the
//! agency's own systems, and a health port. The program is HAProxy, a real one that can be killed; what it answers is its own name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};

use super::access::Connected;
use super::patience::{PATIENCE, eventually};
use super::process::{Process, checked};

/// One server on a machine of its own.
pub struct SecurityServer {
    pub site: Connected,
    pub name: String,
    program: Option<Process>,
    config: PathBuf,
}

/// An authority, a certificate for all servers, and one for clients, as PEM.
pub struct Certificates {
    pub authority: String,
    pub server: String,
    pub client: String,
    pub client_key: String,
}

impl Certificates {
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([])?;
        params.distinguished_name = named("Autoridade");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let issue = |name: &str| -> Result<(String, String)> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new([name.to_owned()])?;
            params.distinguished_name = named(name);
            let certificate = params.signed_by(&key, &issuer)?;
            Ok((certificate.pem(), key.serialize_pem()))
        };
        let (certificate, key) = issue(SERVER_NAME)?;
        let (client, client_key) = issue("cliente.example")?;
        Ok(Self {
            authority,
            server: certificate + &key,
            client,
            client_key,
        })
    }
}

impl SecurityServer {
    pub(super) fn new(site: Connected, lab: &Path, certificates: &Certificates) -> Result<Self> {
        let name = site.name();
        let file = |what: &str| lab.join(format!("{name}-{what}"));
        let (authority, server) = (file("authority.pem"), file("server.pem"));
        fs::write(&authority, &certificates.authority)?;
        fs::write(&server, &certificates.server)?;
        let text = CONFIG
            .replace("SERVER", &server.display().to_string())
            .replace("AUTHORITY", &authority.display().to_string())
            .replace("NAME", &name);
        let config = file("haproxy.cfg");
        fs::write(&config, text)?;
        Ok(Self {
            site,
            name,
            program: None,
            config,
        })
    }

    /// Its health port is on loopback too, where the agent hands it over like the others, from its next start on.
    pub fn keep_to_loopback(&self) -> Result<()> {
        let text = fs::read_to_string(&self.config)?;
        ensure!(text.contains(HEALTH), "no {HEALTH:?} in {text}");
        Ok(fs::write(
            &self.config,
            text.replace(HEALTH, "bind 127.0.0.1:5588"),
        )?)
    }

    /// Starts it, or starts it again.
    pub fn start(&mut self) -> Result<()> {
        let namespace = &self.site.machine.namespace;
        let mut command = namespace.command("haproxy");
        command.args(["-db", "-f"]).arg(&self.config);
        let log = self.config.with_extension("log");
        self.program = Some(Process::start(&self.name, &mut command, &log)?);
        eventually("the server answers on its health port", PATIENCE, || {
            checked(namespace.command("curl").args([
                "--silent",
                "--fail",
                "http://127.0.0.1:5588/",
            ]))
            .map(drop)
        })
    }

    /// SIGKILL: its connections are reset and nothing listens any more.
    pub fn kill(&mut self) -> Result<()> {
        let mut program = self.program.take();
        ensure!(program.is_some(), "{} does not run", self.name);
        program.as_mut().map_or(Ok(()), Process::kill)
    }

    /// The machine loses its network: nothing refuses, nothing answers.
    pub fn unplug(&self) -> Result<()> {
        let router = &self.site.routers[0].namespace;
        router.ip("link set wan down")
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut it = DistinguishedName::new();
    it.push(DnType::CommonName, name);
    it
}

/// The name in every server's certificate.
pub const SERVER_NAME: &str = "servidor.xroad.example";
/// Where the balancer itself asks.
const HEALTH: &str = "bind :5588";
/// Everything but the health port is on loopback, where the agent hands it over.
const CONFIG: &str = "\
defaults
    mode http
    timeout client 90s
    timeout http-keep-alive 90s
frontend messages
    bind 127.0.0.1:5500 ssl crt SERVER ca-file AUTHORITY verify required
    http-request return status 200 content-type text/plain string NAME
frontend ocsp
    bind 127.0.0.1:5577
    http-request return status 200 content-type text/plain string NAME
frontend consumers
    bind 127.0.0.1:8080
    bind 127.0.0.1:8443 ssl crt SERVER
    http-request return status 200 content-type text/plain string NAME
frontend health
    bind :5588
    http-request return status 200
";
