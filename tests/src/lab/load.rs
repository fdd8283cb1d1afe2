//! Clients that connect all the time, each with TLS and its own certificate, and a book of every attempt: when it began, and
//! who answered or what went wrong. Nothing is judged in here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned};

use super::namespace::Namespace;
use super::patience::{PATIENCE, eventually};
use super::security_server::{Certificates, SERVER_NAME};

/// One connection from its first packet to its answer.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub began: Instant,
    pub took: Duration,
    /// The name of the server, or what went wrong.
    pub met: Result<String, String>,
}

/// Clients at work in a namespace; they end when it is dropped.
pub struct Load {
    book: Arc<Mutex<Vec<Attempt>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

/// A connection that stays open.
pub struct Held {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    host: Arc<str>,
    path: Arc<str>,
}

/// Who connects, and where to.
#[derive(Clone)]
pub struct Caller {
    target: SocketAddr,
    config: Arc<ClientConfig>,
    /// The server's name, and what of it is asked for.
    name: Arc<str>,
    path: Arc<str>,
}

impl Caller {
    pub fn new(target: SocketAddr, certificates: &Certificates) -> Result<Self> {
        let certificate = CertificateDer::from_pem_slice(certificates.client.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(certificates.client_key.as_bytes())?;
        let config = trusting(&certificates.authority)?;
        let config = config.with_client_auth_cert(vec![certificate], key)?;
        Self::with(target, config)
    }

    /// One whom no server that demands a certificate answers.
    pub fn without_certificate(target: SocketAddr, certificates: &Certificates) -> Result<Self> {
        let config = trusting(&certificates.authority)?.with_no_client_auth();
        Self::with(target, config)
    }

    /// One who opens a public URL, and trusts the edge's authority (PEM).
    pub fn visitor(target: SocketAddr, authority: &str, host: &str, path: &str) -> Result<Self> {
        let config = trusting(authority)?.with_no_client_auth();
        Ok(Self {
            name: host.into(),
            path: path.into(),
            ..Self::with(target, config)?
        })
    }

    fn with(target: SocketAddr, mut config: ClientConfig) -> Result<Self> {
        // Every connection shakes hands in full.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            target,
            config: Arc::new(config),
            name: SERVER_NAME.into(),
            path: "/".into(),
        })
    }

    /// Connects from a namespace, and keeps the connection.
    pub fn hold(&self, from: &Namespace) -> Result<Held> {
        from.within(|| self.connect())?
    }

    fn connect(&self) -> Result<Held> {
        let tcp = TcpStream::connect_timeout(&self.target, ANSWER_LIMIT)?;
        tcp.set_read_timeout(Some(ANSWER_LIMIT))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(self.name.to_string())?;
        let tls = ClientConnection::new(Arc::clone(&self.config), name)?;
        Ok(Held {
            stream: BufReader::new(StreamOwned::new(tls, tcp)),
            host: Arc::clone(&self.name),
            path: Arc::clone(&self.path),
        })
    }
}

fn trusting(authority: &str) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    Ok(config
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots))
}

impl Held {
    /// Asks once; the name of the server.
    pub fn ask(&mut self) -> Result<String> {
        self.begin()?;
        self.end()
    }

    /// Says the first half of a request.
    pub fn begin(&mut self) -> Result<()> {
        let line = format!("GET {} HTTP/1.1\r\n", self.path);
        Ok(self.stream.get_mut().write_all(line.as_bytes())?)
    }

    /// Says the rest of it; what it is answered, which is the server's name where servers have one.
    pub fn end(&mut self) -> Result<String> {
        let line = format!("Host: {}\r\n\r\n", self.host);
        self.stream.get_mut().write_all(line.as_bytes())?;
        let status = self.line()?;
        let mut length = None;
        loop {
            let line = self.line()?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = Some(value.trim().parse::<usize>()?);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length.context("an answer without a length")?];
        self.stream.read_exact(&mut body)?;
        let body = String::from_utf8(body)?;
        match status.contains(" 200 ") {
            true => Ok(body),
            false => bail!(
                "{}: {}",
                status.trim(),
                body.chars().take(300).collect::<String>()
            ),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => bail!("the connection ended before its answer"),
            _ => Ok(line),
        }
    }
}

impl Load {
    /// So many clients, from this namespace.
    pub fn start(from: &Namespace, caller: &Caller, clients: usize) -> Result<Self> {
        let (book, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut load = Self {
            book,
            stop,
            clients: Vec::new(),
        };
        for _ in 0..clients {
            let (caller, book) = (caller.clone(), Arc::clone(&load.book));
            let stop = Arc::clone(&load.stop);
            // A thread inherits the namespace of the one that starts it.
            let client = from.within(move || {
                std::thread::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let attempt = attempt(&caller);
                        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                        book.push(attempt);
                    }
                })
            })?;
            load.clients.push(client);
        }
        Ok(load)
    }

    /// Waits until the attempts so far are such.
    pub fn until(&self, what: &str, enough: impl Fn(&[Attempt]) -> bool) -> Result<()> {
        eventually(what, PATIENCE, || {
            let so_far = self.attempts();
            let last = so_far.last().map(|it| &it.met);
            match enough(&so_far) {
                true => Ok(()),
                false => Err(anyhow!("{} attempts, the last: {last:?}", so_far.len())),
            }
        })
    }

    /// Every attempt that has ended, in the order of their ends.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            // One that panicked has said so.
            let _ = client.join();
        }
    }
}

fn attempt(caller: &Caller) -> Attempt {
    let began = Instant::now();
    let met = caller.connect().and_then(|mut held| held.ask());
    Attempt {
        began,
        took: began.elapsed(),
        met: met.map_err(|error| format!("{error:#}")),
    }
}

/// A connection that takes longer has failed.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
