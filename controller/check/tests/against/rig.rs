//! An organization whose servers are on loopback, and a run of its checks.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use async_trait::async_trait;
use malha_check::{
    Dial, Exposure, Fault, Node, Observation, Port, PortProbe, Protocol, Report, Server, Stream,
    Subject, SystemDial, Verdict, judge, look_all, plan,
};
use malha_proto::NodeId;
use time::OffsetDateTime;

use crate::parts::{Part, free_address, start_until};

/// Loopback, with names that resolve as a test says.
#[derive(Default)]
pub(crate) struct Loopback {
    pub(crate) names: BTreeMap<String, IpAddr>,
    pub(crate) has_no_udp: bool,
}

#[async_trait]
impl Dial for Loopback {
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

/// A subject with one production server on loopback that has these ports.
pub(crate) fn subject(ports: &[(SocketAddr, PortProbe)]) -> Subject {
    let ports = ports.iter().map(|(address, probe)| Port {
        number: address.port(),
        protocol: Protocol::Tcp,
        exposure: Exposure::Tunnel,
        probe: probe.clone(),
        granted: None,
        ungranted: None,
    });
    let mut subject = Subject {
        organization: "sedec".to_owned(),
        ..Subject::default()
    };
    subject.production.servers = vec![Server {
        node: Node {
            id: NodeId(1),
            name: "servidor-1".to_owned(),
        },
        overlay_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        ports: ports.collect(),
        has_egress: false,
    }];
    subject
}

/// The id of a check of one of the server's ports.
pub(crate) fn service(address: SocketAddr, what: &str) -> String {
    format!("production/service/{}/servidor-1/{what}", address.port())
}

/// `openssl s_server` with a certificate, and these options.
pub(crate) async fn tls_server(
    folder: &Path,
    certificate: &str,
    key: &str,
    options: &[&str],
) -> Option<Part> {
    let address = free_address();
    let accept = address.to_string();
    let fixed = [
        "s_server",
        "-accept",
        &accept,
        "-cert",
        certificate,
        "-key",
        key,
        "-www",
    ];
    let arguments = fixed.iter().chain(options).map(|it| (*it).to_owned());
    let arguments: Vec<String> = arguments.collect();
    start_until("openssl", &arguments, folder, "ACCEPT", address).await
}
