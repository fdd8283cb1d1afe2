//! `malha export …`: what the overlay knows, for programs that others run. It writes text and changes nothing.

mod unbalanced;

use std::net::{IpAddr, SocketAddr};

use clap::Subcommand;
use malha_proto::{Algorithm, BackendMode, Exposure, Port, ProxyProtocol};
use serde::de::DeserializeOwned;

use crate::api::{Balancer, BalancerBackend, BalancerSettings, Node, Site};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::{Session, parse};
use crate::cli::text;
use crate::client::part;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum ExportCommand {
    /// The balancers of a site, or of its security servers if it has none, as a configuration of HAProxy 2.6, for who keeps an own one
    Haproxy {
        /// `ORG/SITE`, its last name if it is the only one, or id
        site: String,
    },
}

impl ExportCommand {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self::Haproxy { site } = self;
        let path = format!("/sites/{}", part(&site));
        let site: Site = parse(session.client().read(&path).await?)?;
        let at_site = format!("{}/", site.path);
        let is_of_site = |it: &Balancer| {
            let servers = it.backends.iter().map(|it| &it.service);
            servers.chain([&it.path]).any(|it| it.starts_with(&at_site))
        };
        let balancers = every(session, "/balancers", &[], is_of_site).await?;
        let mut fronts = Vec::new();
        let mut note = String::new();
        for balancer in balancers {
            let addresses = addresses(session, &balancer).await?;
            fronts.push(Front::of(balancer, addresses));
        }
        if fronts.is_empty() {
            let unbalanced = unbalanced::read(session, &site).await?;
            (fronts, note) = (unbalanced.fronts(), unbalanced.note());
        }
        if fronts.is_empty() {
            let text = format!(
                "no balancer runs at {0} or leads there, and no security server of it offers a port that one could take; \
                 see malha service add",
                site.path
            );
            return Err(Failure::new(Exit::NotFound, text));
        }
        for line in note.lines().chain(haproxy(&fronts).lines()) {
            session.screen.line(line);
        }
        Ok(())
    }
}

/// A port that is spread over servers.
struct Front {
    path: String,
    port: Port,
    /// Where it listens; none: everywhere.
    addresses: Vec<IpAddr>,
    settings: BalancerSettings,
    backends: Vec<BalancerBackend>,
}

impl Front {
    fn of(it: Balancer, addresses: Vec<IpAddr>) -> Self {
        Self {
            path: it.path,
            port: it.port,
            addresses,
            settings: it.settings,
            backends: it.backends,
        }
    }
}

/// The items of a list of the API that are wanted, from all of its pages.
async fn every<T: DeserializeOwned>(
    session: &Session,
    path: &str,
    query: &[(&str, Option<&str>)],
    is_wanted: impl Fn(&T) -> bool,
) -> Result<Vec<T>, Failure> {
    let mut wanted = Vec::new();
    let mut after = None;
    for _ in 0..MAX_PAGES {
        let page = session.page(path, query, after.as_deref()).await?;
        for item in page.items {
            wanted.extend(Some(parse(item)?).filter(&is_wanted));
        }
        after = page.next;
        if after.is_none() {
            return Ok(wanted);
        }
    }
    Err(Failure::said(Exit::Internal, |lang| {
        text::list_endless(lang, path, MAX_PAGES)
    }))
}

/// Where it listens: a public one everywhere, another one on the overlay addresses of its node, so that what was for the
/// overlay alone is not open to the network in the file either.
async fn addresses(session: &Session, balancer: &Balancer) -> Result<Vec<IpAddr>, Failure> {
    if balancer.exposure == Exposure::Public {
        return Ok(Vec::new());
    }
    let path = format!("/nodes/{}", balancer.node_id);
    let node: Node = parse(session.client().read(&path).await?)?;
    Ok(vec![node.address_v4.into(), node.address_v6.into()])
}

/// Retry and redispatch stand for the attempt at another server. HAProxy counts what the machine's limit of descriptors allows by
/// itself, up to what these need: with a number of connections that is over the limit it does not start.
fn haproxy(fronts: &[Front]) -> String {
    let connections = fronts.iter().map(|it| u64::from(it.settings.connections));
    let mut file = format!(
        "# By malha export haproxy. The servers have overlay addresses: this machine must be a member with grants to them.\n\
         global\n    fd-hard-limit {}\n\n\
         defaults\n    mode tcp\n    retries 3\n    option redispatch 1\n",
        connections.sum::<u64>() * DESCRIPTORS + SPARE_DESCRIPTORS
    );
    for front in fronts {
        file += &frontend(front);
        file += &backend(front);
    }
    file
}

fn frontend(it: &Front) -> String {
    let (name, settings) = (section(it), &it.settings);
    let mut text = format!("\nfrontend {name}\n");
    if it.addresses.is_empty() {
        text += &format!("    bind :::{} v4v6\n", it.port);
    }
    for address in &it.addresses {
        let address = SocketAddr::new(*address, it.port.number());
        text += &format!("    bind {address}\n");
    }
    text += &format!(
        "    maxconn {}\n    timeout client {}s\n    timeout client-fin {HALF_OPEN_S}s\n",
        settings.connections, settings.idle_s
    );
    if !settings.allowed_sources.is_empty() {
        let sources = settings.allowed_sources.iter().map(ToString::to_string);
        let sources = sources.collect::<Vec<_>>().join(" ");
        text += &format!("    tcp-request connection reject unless {{ src {sources} }}\n");
    }
    text += &format!(
        "    stick-table type ipv6 size 100k expire 10m store conn_cur\n    \
         tcp-request connection track-sc0 src,ipmask(32,64)\n    \
         tcp-request connection reject if {{ sc0_conn_cur gt {} }}\n    \
         default_backend {name}\n",
        settings.connections_per_source
    );
    text
}

fn backend(it: &Front) -> String {
    let settings = &it.settings;
    let balance = match settings.algorithm {
        Algorithm::LeastConnections => "balance leastconn",
        Algorithm::SourceAffinity => "balance source\n    hash-type consistent",
    };
    let mut text = format!(
        "\nbackend {}\n    {balance}\n    timeout connect {}ms\n    timeout server {}s\n    \
         timeout server-fin {HALF_OPEN_S}s\n",
        section(it),
        settings.connect_ms,
        settings.idle_s
    );
    if let Some(health) = &settings.health {
        text += &format!(
            "    option httpchk GET {}\n    http-check expect status 200\n    timeout check 6s\n",
            quoted(&health.path)
        );
    }
    text += &format!("    default-server {}\n", defaults(settings));
    for backend in &it.backends {
        let mode = match backend.mode {
            BackendMode::Serve => "",
            BackendMode::Drain => " weight 0",
            BackendMode::Maintenance => " disabled",
        };
        let name = backend.service.replace('/', "_");
        text += &format!("    server {name} {}{mode}\n", backend.address);
    }
    text
}

fn defaults(settings: &BalancerSettings) -> String {
    let interval = settings.check_interval_ms;
    let mut text = format!("check inter {interval}ms observe layer4 on-error fastinter");
    match &settings.health {
        // X-Road repeats a failed result for 30 s: recovery is not called before 35 s.
        Some(health) => {
            let rise = RECOVERY_MS.div_ceil(interval.max(1)).max(2);
            text += &format!(" port {} fall 1 rise {rise}", health.port);
        }
        None => text += " fall 2 rise 2",
    }
    if settings.slow_start_s > 0 {
        text += &format!(" slowstart {}s", settings.slow_start_s);
    }
    match settings.proxy_protocol {
        None => {}
        Some(ProxyProtocol::V1) => text += " send-proxy",
        Some(ProxyProtocol::V2) => text += " send-proxy-v2",
    }
    text
}

/// A name of HAProxy's sections, which take letters, digits, `-`, `_`, `.` and `:`.
fn section(it: &Front) -> String {
    it.path.replace('/', "_")
}

/// Nothing inside such quotes means anything to HAProxy but their end.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

const RECOVERY_MS: u32 = 35_000;
const HALF_OPEN_S: u64 = malha_proxy::balance::DEFAULT_HALF_OPEN.as_secs();
/// A connection has two ends.
const DESCRIPTORS: u64 = 2;
/// Listeners, checks, logs.
const SPARE_DESCRIPTORS: u64 = 1_000;
/// Of a list, each of a thousand items: more than a controller can have balancers.
const MAX_PAGES: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::api::BalancerHealth;

    fn front(name: &str, port: u16) -> Front {
        let server = |number: u8, mode| BalancerBackend {
            service: format!("sefaz/producao/ss-{number}/mensagens"),
            service_id: malha_proto::ServiceId(number.into()),
            address: ([100, 64, 0, number], 5_500).into(),
            mode,
            condition: None,
            connections: None,
        };
        Front {
            path: format!("sefaz/producao/bal-1/{name}"),
            port: Port::new(port).unwrap(),
            addresses: vec![],
            backends: vec![
                server(2, BackendMode::Serve),
                server(3, BackendMode::Maintenance),
                server(4, BackendMode::Drain),
            ],
            settings: BalancerSettings::default(),
        }
    }

    /// A public one with every setting, one in the overlay with none.
    fn fronts() -> Vec<Front> {
        let mut full = front("mensagens", 5_500);
        full.settings = BalancerSettings {
            algorithm: Algorithm::SourceAffinity,
            health: Some(BalancerHealth {
                port: Port::new(5_588).unwrap(),
                path: r#"/it's"$HOME\#well"#.to_owned(),
            }),
            proxy_protocol: Some(ProxyProtocol::V2),
            allowed_sources: ["198.51.100.0/24", "2001:db8::/32"]
                .map(|it| it.parse().unwrap())
                .into(),
            ..full.settings
        };
        let overlay = ["100.64.0.9", "fd00::9"].map(|it| it.parse().unwrap());
        let inside = Front {
            addresses: overlay.to_vec(),
            ..front("ocsp", 5_577)
        };
        vec![full, inside]
    }

    #[test]
    fn haproxy_takes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, haproxy(&fronts())).unwrap();
        let checked = Command::new("haproxy")
            .arg("-c")
            .arg("-f")
            .arg(&path)
            .output();
        match checked {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{said}");
                assert!(!said.contains("[WARNING]"), "{said}");
                let wrong = haproxy(&fronts()).replace("default_backend ", "default_backend x");
                std::fs::write(&path, wrong).unwrap();
                let mut again = Command::new("haproxy");
                let refused = again.arg("-c").arg("-f").arg(&path).output().unwrap();
                assert!(!refused.status.success(), "it takes anything");
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("skipped: haproxy is not installed (package haproxy)");
            }
            Err(error) => panic!("haproxy did not run: {error}"),
        }
    }

    /// Few machines let every program have as many descriptors as all connections of a large site need.
    #[test]
    fn haproxy_starts_where_descriptors_are_scarce() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("haproxy.cfg");
        let inside = Front {
            addresses: vec![std::net::Ipv4Addr::LOCALHOST.into()],
            port: free_port(),
            ..front("mensagens", 5_500)
        };
        std::fs::write(&path, haproxy(&[inside])).unwrap();
        let script = "ulimit -n 1500; exec haproxy -D -f \"$0\" -p \"$0.pid\"";
        let mut shell = Command::new("sh");
        let started = shell.args(["-c", script]).arg(&path).output().unwrap();
        if started.status.code() == Some(127) {
            println!("skipped: haproxy is not installed (package haproxy)");
            return;
        }
        let said = String::from_utf8_lossy(&started.stderr);
        assert!(started.status.success(), "{said}");
        let script = "kill \"$(cat \"$0.pid\")\"";
        let mut shell = Command::new("sh");
        let ended = shell.args(["-c", script]).arg(&path).status().unwrap();
        assert!(ended.success());
    }

    fn free_port() -> Port {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Port::new(listener.local_addr().unwrap().port()).unwrap()
    }

    #[test]
    fn the_file_says_what_the_balancer_does() {
        let file = haproxy(&fronts());
        for line in [
            "    mode tcp",
            "    fd-hard-limit 41000",
            "    bind :::5500 v4v6",
            "    bind 100.64.0.9:5577",
            "    bind [fd00::9]:5577",
            "    option httpchk GET '/it'\\''s\"$HOME\\#well'",
            "    tcp-request connection track-sc0 src,ipmask(32,64)",
            "    tcp-request connection reject unless { src 198.51.100.0/24 2001:db8::/32 }",
            "    balance source",
            "    http-check expect status 200",
            "    timeout client 300s",
            "    timeout client-fin 60s",
            "    timeout server 300s",
            "    timeout server-fin 60s",
            "    server sefaz_producao_ss-3_mensagens 100.64.0.3:5500 disabled",
            "    server sefaz_producao_ss-4_mensagens 100.64.0.4:5500 weight 0",
        ] {
            assert!(file.lines().any(|it| it == line), "{line} in\n{file}");
        }
        let x_road = file.lines().find(|it| it.contains("port 5588")).unwrap();
        assert!(x_road.contains("inter 2000ms") && x_road.contains("rise 18"));
        assert!(x_road.ends_with("send-proxy-v2"));
        let plain = file.split("\nbackend ").nth(2).unwrap();
        assert!(
            !plain.contains("send-proxy"),
            "X-Road does not understand it"
        );
    }
}
