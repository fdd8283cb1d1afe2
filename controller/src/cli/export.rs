//! `malha export …`: what the overlay knows, for programs that others run. It writes text and changes nothing.

use std::net::{IpAddr, SocketAddr};

use clap::Subcommand;
use malha_proto::{Algorithm, BackendMode, Exposure, ProxyProtocol};
use serde_json::Value;

use crate::api::{Balancer, BalancerSettings, Node, Page, Site};
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::{Session, parse};
use crate::client::part;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum ExportCommand {
    /// The balancers of a site as a configuration of HAProxy 2.6, for who keeps an own one
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
        let mut balancers = every_balancer(session).await?;
        balancers.retain(|it| {
            let servers = it.backends.iter().map(|it| &it.service);
            servers.chain([&it.path]).any(|it| it.starts_with(&at_site))
        });
        if balancers.is_empty() {
            let text = format!(
                "no balancer runs at {0} or leads there; add one with malha balancer add",
                site.path
            );
            return Err(Failure::new(Exit::NotFound, text));
        }
        let mut bound = Vec::new();
        for balancer in balancers {
            let addresses = addresses(session, &balancer).await?;
            bound.push((balancer, addresses));
        }
        for line in haproxy(&bound).lines() {
            session.screen.line(line);
        }
        Ok(())
    }
}

async fn every_balancer(session: &Session) -> Result<Vec<Balancer>, Failure> {
    let mut balancers = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/balancers?limit=1000{after}");
        let page: Page<Value> = parse(session.client().read(&path).await?)?;
        for item in page.items {
            balancers.push(parse(item)?);
        }
        match page.next {
            Some(next) if balancers.len() < MAX_BALANCERS => {
                after = format!("&after={}", part(&next));
            }
            _ => return Ok(balancers),
        }
    }
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

/// Retry and redispatch stand for the attempt at another server. Each balancer comes with its addresses; none: all.
fn haproxy(balancers: &[(Balancer, Vec<IpAddr>)]) -> String {
    let connections = balancers
        .iter()
        .map(|(it, _)| u64::from(it.settings.connections));
    let mut file = format!(
        "# By malha export haproxy. The servers have overlay addresses: this machine must be a member with grants to them.\n\
         global\n    maxconn {}\n\n\
         defaults\n    mode tcp\n    retries 3\n    option redispatch 1\n",
        connections.sum::<u64>()
    );
    for (balancer, addresses) in balancers {
        file += &frontend(balancer, addresses);
        file += &backend(balancer);
    }
    file
}

fn frontend(it: &Balancer, addresses: &[IpAddr]) -> String {
    let (name, settings) = (section(it), &it.settings);
    let mut text = format!("\nfrontend {name}\n");
    if addresses.is_empty() {
        text += &format!("    bind :::{} v4v6\n", it.port);
    }
    for address in addresses {
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

fn backend(it: &Balancer) -> String {
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
fn section(it: &Balancer) -> String {
    it.path.replace('/', "_")
}

/// Nothing inside such quotes means anything to HAProxy but their end.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

const RECOVERY_MS: u32 = 35_000;
const HALF_OPEN_S: u64 = malha_proxy::balance::DEFAULT_HALF_OPEN.as_secs();
/// More than one file should hold.
const MAX_BALANCERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::api::{BalancerBackend, BalancerHealth};

    fn balancer(name: &str, port: u16) -> Balancer {
        let server = |number: u8, mode| BalancerBackend {
            service: format!("sefaz/producao/ss-{number}/mensagens"),
            service_id: malha_proto::ServiceId(number.into()),
            address: ([100, 64, 0, number], 5_500).into(),
            mode,
            condition: None,
            connections: None,
        };
        Balancer {
            id: malha_proto::BalancerId(1),
            path: format!("sefaz/producao/bal-1/{name}"),
            name: name.parse().unwrap(),
            node: "sefaz/producao/bal-1".to_owned(),
            node_id: malha_proto::NodeId(1),
            port: malha_proto::Port::new(port).unwrap(),
            exposure: malha_proto::Exposure::Public,
            backends: vec![
                server(2, BackendMode::Serve),
                server(3, BackendMode::Maintenance),
                server(4, BackendMode::Drain),
            ],
            opens: vec![],
            settings: BalancerSettings::default(),
            live: None,
        }
    }

    /// A public one with every setting, one in the overlay with none.
    fn balancers() -> Vec<(Balancer, Vec<IpAddr>)> {
        let mut full = balancer("mensagens", 5_500);
        full.settings = BalancerSettings {
            algorithm: Algorithm::SourceAffinity,
            health: Some(BalancerHealth {
                port: malha_proto::Port::new(5_588).unwrap(),
                path: r#"/it's"$HOME\#well"#.to_owned(),
            }),
            proxy_protocol: Some(ProxyProtocol::V2),
            allowed_sources: ["198.51.100.0/24", "2001:db8::/32"]
                .map(|it| it.parse().unwrap())
                .into(),
            ..full.settings
        };
        let overlay = ["100.64.0.9", "fd00::9"].map(|it| it.parse().unwrap());
        vec![(full, vec![]), (balancer("ocsp", 5_577), overlay.to_vec())]
    }

    #[test]
    fn haproxy_takes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, haproxy(&balancers())).unwrap();
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
                let wrong = haproxy(&balancers()).replace("default_backend ", "default_backend x");
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

    #[test]
    fn the_file_says_what_the_balancer_does() {
        let file = haproxy(&balancers());
        for line in [
            "    mode tcp",
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
