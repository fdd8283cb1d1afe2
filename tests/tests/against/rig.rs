//! An organization whose servers are the machines of a test, and a run of its checks.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use malha_check::{
    Dial, Exposure, Fault, Node, Observation, Port, PortProbe, Protocol, Report, Server, Stream,
    Subject, SystemDial, Verdict, judge, look_all, plan,
};
use malha_proto::NodeId;
use time::OffsetDateTime;

use crate::authority::Issued;
use crate::net::{Host, Net};
use crate::parts::start_openssl;

/// The machine that looks, with names that resolve as a test says.
#[derive(Default)]
pub(crate) struct Looker {
    pub(crate) names: BTreeMap<String, IpAddr>,
    pub(crate) has_no_udp: bool,
}

#[async_trait]
impl Dial for Looker {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(self.names.get(host).copied().into_iter().collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        SystemDial.connect(address).await
    }

    fn has_udp(&self, _: IpAddr) -> bool {
        !self.has_no_udp
    }
}

/// One run: what was seen, and the subject to judge it by.
pub(crate) struct Run {
    pub(crate) subject: Subject,
    pub(crate) observations: Vec<Observation>,
    pub(crate) ended: OffsetDateTime,
}

impl Run {
    pub(crate) async fn of(subject: Subject, dial: &dyn Dial) -> Self {
        let observations = look_all(&plan(&subject), &subject, dial).await;
        Self {
            subject,
            observations,
            ended: OffsetDateTime::now_utc(),
        }
    }

    #[track_caller]
    pub(crate) fn verdict(&self, id: &str) -> Verdict {
        self.verdict_at(id, self.ended)
    }

    /// The verdict had it been judged at another time.
    #[track_caller]
    pub(crate) fn verdict_at(&self, id: &str, now: OffsetDateTime) -> Verdict {
        let checks = plan(&self.subject);
        let Some(check) = checks.iter().find(|it| it.id == id) else {
            let ids: Vec<&String> = checks.iter().map(|it| &it.id).collect();
            panic!("no check {id} among {ids:#?}");
        };
        judge(check, &self.subject, &self.observations, now)
    }

    #[track_caller]
    pub(crate) fn assert_ok(&self, id: &str) {
        let verdict = self.verdict(id);
        assert!(verdict.is_ok(), "{id}: {verdict:#?}");
    }

    #[track_caller]
    pub(crate) fn assert_fault(&self, id: &str, fault: Fault) {
        let verdict = self.verdict(id);
        assert_eq!(verdict.fault(), Some(fault), "{id}: {verdict:#?}");
    }

    pub(crate) fn report(&self) -> Report {
        Report::new(&self.subject, &self.observations, self.ended, self.ended)
    }
}

/// X-Road's ports, and those of its test authority.
pub(crate) const MESSAGES: u16 = 5_500;
pub(crate) const OCSP_CACHE: u16 = 5_577;
pub(crate) const HEALTH: u16 = 5_588;
pub(crate) const OCSP: u16 = 8_888;
pub(crate) const TIME_STAMPS: u16 = 8_899;
pub(crate) const HTTPS: u16 = 443;

/// A subject whose production servers have these ports, each named like its address.
pub(crate) fn subject(ports: &[(SocketAddr, PortProbe)]) -> Subject {
    let mut servers = Vec::<Server>::new();
    for (address, probe) in ports {
        let port = Port {
            number: address.port(),
            protocol: Protocol::Tcp,
            exposure: Exposure::Tunnel,
            probe: probe.clone(),
            granted: None,
            ungranted: None,
            allow_list: None,
        };
        let ip = address.ip();
        match servers.iter_mut().find(|it| it.overlay_addresses == [ip]) {
            Some(server) => server.ports.push(port),
            None => servers.push(Server {
                node: Node {
                    id: NodeId(servers.len() as u64 + 1),
                    name: ip.to_string(),
                },
                overlay_addresses: vec![ip],
                ports: vec![port],
                egress: Vec::new(),
            }),
        }
    }
    let mut subject = Subject {
        organization: "sedec".to_owned(),
        ..Subject::default()
    };
    subject.production.servers = servers;
    subject
}

/// The id of a check of one server's port.
pub(crate) fn service(address: SocketAddr, what: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!("production/service/{port}/{ip}/{what}")
}

/// `openssl s_server` with a certificate, and these options.
pub(crate) async fn tls_server(
    net: &Net,
    (host, port): (&Host, u16),
    issued: &Issued,
    options: &[&str],
) -> SocketAddr {
    let address = host.at(port);
    let (accept, certificate, key) = (address.to_string(), issued.certificate(), issued.key());
    let fixed = ["s_server", "-accept", &accept, "-www"];
    let shown = ["-cert", &certificate, "-key", &key];
    let arguments = [&fixed[..], &shown, options].concat();
    start_openssl(net, host, &arguments, issued.folder()).await;
    address
}
