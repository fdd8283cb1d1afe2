//! Two groups of machines that a grant joins: one opens connections, the other has a page.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use malha_tests::lab::{Access, Connected, GARAGE_WEB, Lab, Namespace, PATIENCE, eventually};
use serde_json::Value;

/// A machine that is enrolled.
pub(crate) struct Member {
    pub(crate) connected: Connected,
    /// `org/site/node`
    pub(crate) path: String,
    pub(crate) overlay: Ipv4Addr,
}

/// How a peer is reached, as `malha-node status` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    Relay,
    Carrier,
}

/// One organization with a site for callers and a site for those who are called.
pub(crate) struct Meeting<'a> {
    lab: &'a Lab,
}

impl<'a> Meeting<'a> {
    pub(crate) fn new(lab: &'a Lab) -> Result<Self> {
        lab.hub.malha(&["org", "add", ORGANIZATION])?;
        for site in [CALLERS, CALLED] {
            lab.hub.malha(&["site", "add", site])?;
        }
        Ok(Self { lab })
    }

    /// Builds the machines, enrols them all at once and waits until each is online.
    pub(crate) fn enrol(&self, site: &str, group: &[Access], first: u8) -> Result<Vec<Member>> {
        let machines = group.iter().zip(first..);
        let machines = machines.map(|(access, number)| self.lab.connected(*access, number));
        self.admit(site, machines.collect::<Result<_>>()?)
    }

    /// The same with machines that are there.
    pub(crate) fn admit(&self, site: &str, mut machines: Vec<Connected>) -> Result<Vec<Member>> {
        let uses = machines.len().to_string();
        let words = ["token", "add", site, "--profile", "garage", "--uses", &uses];
        let token = self.lab.hub.token(&words)?;
        for connected in &mut machines {
            let name = connected.name();
            if site == CALLED {
                connected.machine.start_web(GARAGE_WEB)?;
            }
            connected.machine.enrol(&token, &["--name", &name])?;
        }
        machines
            .into_iter()
            .map(|it| self.member(site, it))
            .collect()
    }

    pub(crate) fn enrol_one(&self, site: &str, access: Access, number: u8) -> Result<Member> {
        let enrolled = self.enrol(site, &[access], number)?.pop();
        enrolled.context("nobody enrolled")
    }

    fn member(&self, site: &str, connected: Connected) -> Result<Member> {
        let path = format!("{site}/{}", connected.name());
        let what = format!("{path} ({}) is online", connected.access());
        let node = eventually(&what, PATIENCE, || {
            let node = self.lab.hub.node(&path)?;
            ensure!(node["session"].is_object(), "session: {}", node["session"]);
            Ok(node)
        })?;
        let overlay = node["address_v4"].as_str().context("no overlay address")?;
        Ok(Member {
            overlay: overlay.parse()?,
            connected,
            path,
        })
    }

    /// Gives each of those who are called a page, and lets the callers read it.
    pub(crate) fn open(&self, called: &[Member]) -> Result<()> {
        for member in called {
            self.offer(member, "pagina", PORT, GARAGE_WEB)?;
        }
        let (from, to) = (format!("site:{CALLERS}"), format!("site:{CALLED}"));
        let words = [
            "grant", "add", "--from", &from, "--to", &to, "--ports", PORTS,
        ];
        self.lab.hub.malha(&words).map(drop)
    }

    /// Gives a machine one more service.
    pub(crate) fn offer(&self, to: &Member, name: &str, port: u16, target: &str) -> Result<()> {
        let port = port.to_string();
        let words = [
            "service", "add", &to.path, name, "--port", &port, "--target", target, "--kind", "tcp",
        ];
        self.lab.hub.malha(&words).map(drop)
    }
}

impl Member {
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.connected.machine.namespace
    }

    /// Reads the other's page over a connection of its own.
    pub(crate) fn reads(&self, other: &Self) -> Result<()> {
        let address = SocketAddr::from((other.overlay, PORT));
        let read = || -> Result<()> {
            let mut stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
            stream.set_read_timeout(Some(CONNECT_LIMIT))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut page = String::new();
            stream.read_to_string(&mut page)?;
            ensure!(
                page.starts_with("HTTP/1.1 200") || page.starts_with("HTTP/1.0 200"),
                "{page}"
            );
            Ok(())
        };
        self.namespace().within(read)?
    }

    /// By which way this machine reaches the other; none before they have a session.
    pub(crate) fn way_to(&self, other: &Self) -> Result<Option<Way>> {
        Ways::of(self)?.to(other)
    }

    /// An error unless it reaches the other in this way.
    pub(crate) fn goes_to(&self, other: &Self, wanted: Way) -> Result<()> {
        let way = self.way_to(other)?;
        ensure!(way == Some(wanted), "the other is reached by {way:?}");
        Ok(())
    }

    /// An error unless it shares a preshared key with the other: the relay between them comes with it.
    pub(crate) fn shares_key_with(&self, other: &Self) -> Result<()> {
        let ways = Ways::of(self)?;
        let key = ways.peer(other).map(|peer| &peer["key"]);
        ensure!(key.is_some_and(Value::is_object), "the key: {key:?}");
        Ok(())
    }

    pub(crate) fn way_to_hub(&self) -> Result<Option<Way>> {
        let ways = Ways::of(self)?;
        Way::of(&ways.hub().context("no hub among the peers")?["path"])
    }
}

/// What `malha-node status` says of a machine's peers at one moment.
pub(crate) struct Ways(Vec<Value>);

impl Ways {
    pub(crate) fn of(member: &Member) -> Result<Self> {
        let status = member.connected.machine.status()?;
        let peers = status["peers"].as_array().context("no peers")?;
        Ok(Self(peers.clone()))
    }

    pub(crate) fn to(&self, other: &Member) -> Result<Option<Way>> {
        match self.peer(other) {
            Some(peer) => Way::of(&peer["path"]),
            None => Ok(None),
        }
    }

    /// How old the session with the other is, and that with the hub; `None` before the first.
    pub(crate) fn session_ages(&self, other: &Member) -> [Option<Duration>; 2] {
        [self.peer(other), self.hub()].map(|peer| {
            let age_ms = peer?["handshake_age_ms"].as_u64()?;
            Some(Duration::from_millis(age_ms))
        })
    }

    /// Where the other's packets come from.
    pub(crate) fn endpoint_of(&self, other: &Member) -> Option<&str> {
        self.peer(other)?["endpoint"].as_str()
    }

    fn hub(&self) -> Option<&Value> {
        let Self(peers) = self;
        peers.iter().find(|peer| peer["hub"] == Value::Bool(true))
    }

    fn peer(&self, other: &Member) -> Option<&Value> {
        let Self(peers) = self;
        let label = other.connected.name();
        peers.iter().find(|peer| {
            let name = peer["name"].as_str().unwrap_or_default();
            name.split('.').next() == Some(&label)
        })
    }
}

impl Way {
    pub(crate) fn of(path: &Value) -> Result<Option<Self>> {
        Ok(match path.as_str() {
            None => None,
            Some("direct") => Some(Self::Direct),
            Some("relay") => Some(Self::Relay),
            Some("carrier") => Some(Self::Carrier),
            Some(other) => bail!("an unknown kind of path: {other}"),
        })
    }
}

pub(crate) const CALLERS: &str = "grade/de";
pub(crate) const CALLED: &str = "grade/para";
const ORGANIZATION: &str = "grade";
const PORT: u16 = 5500;
/// Of a service beside the page.
pub(crate) const STREAM_PORT: u16 = 5501;
/// [`PORT`] and [`STREAM_PORT`].
const PORTS: &str = "5500-5501";
/// Short, since a story measures with it how soon a connection is possible again.
const CONNECT_LIMIT: Duration = Duration::from_millis(1500);
