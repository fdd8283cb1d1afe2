//! A controller's inside for tests: coordinator, live observations, sessions. Commits ring the sessions, as in production.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use malha_core::{Answer, Command, Settings, State};
use malha_proto::{
    Fingerprint, Lease, MachineFacts, MachineId, NodeId, OverlayPools, PathProbe, Revision,
    ServiceId, WgKey,
};
use malha_store::Store;
use malha_store::audit::AuditLog;
use malha_web::model::{self, Exposure, NewRoute, NewService, Protocol, RefusalKind, Refused};
use malha_web::{Console, Role, Viewer};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::accounts::{Sessions, hash_password};
use crate::api::{ApiContext, HubStatus};
use crate::checks::Checks;
use crate::clock::now_ms;
use crate::console::ControllerConsole;
use crate::coordinator::{Accepted, Actor, Coordinator, Handle};
use crate::live::Live;
use crate::pairs::Pairs;
use crate::session::{Registry, SessionSummary, Transport};

pub(super) const AUTHORITY: Fingerprint = Fingerprint([9; 32]);
pub(super) const CONTROLLER: &str = "hub.example:443";
pub(super) const PASSWORD: &str = "correct horse battery";
pub(super) const SITE: &str = "prefeitura/garagem-01";

pub(super) struct Rig {
    pub(super) console: Arc<ControllerConsole>,
    pub(super) handle: Handle,
    pub(super) live: Arc<Live>,
    pub(super) registry: Arc<Registry>,
    pub(super) store: Arc<dyn Store>,
    pub(super) checks: Arc<Checks>,
    pub(super) stop: CancellationToken,
    _stop: DropGuard,
    _audit_dir: TempDir,
}

/// An enrolled node that may open sessions.
pub(super) struct Machine {
    pub(super) id: NodeId,
    pub(super) lease: Lease,
    pub(super) tls_key: Fingerprint,
    pub(super) facts: MachineFacts,
}

impl Rig {
    /// With one organization, one site, edge addresses and a public zone.
    pub(super) async fn new() -> Self {
        let rig = Self::bare().await;
        rig.does(Command::SetControllers {
            controllers: vec![CONTROLLER.to_owned()],
        })
        .await;
        rig.does(Command::SetEdgeAddresses {
            addresses: vec![IpAddr::from([192, 0, 2, 1])],
        })
        .await;
        rig.does(Command::CreateOrganization {
            name: parsed("prefeitura"),
            display_name: String::new(),
        })
        .await;
        let organization = rig.state().organization_by_name("prefeitura").unwrap().id;
        rig.does(Command::CreateSite {
            organization,
            name: parsed("garagem-01"),
            display_name: String::new(),
        })
        .await;
        let add_zone = Command::AddZone {
            origin: parsed("example.org"),
            name_servers: vec![parsed("ns1.example.org")],
            contact: parsed("hostmaster.example.org"),
        };
        rig.does(add_zone).await;
        rig
    }

    /// A controller that knows nothing yet, not even its own address.
    pub(super) async fn bare() -> Self {
        let audit_dir = tempfile::tempdir().unwrap();
        let audit = AuditLog::open(audit_dir.path()).unwrap();
        let store = malha_store::memory(&crate::folder::schema()).unwrap();
        let pools = OverlayPools::with_random_v6([1, 2, 3, 4, 5]);
        let state = State::new(Settings::new(
            MachineId([7; 16]),
            pools,
            parsed("malha.internal"),
        ));
        let (coordinator, handle) = Coordinator::new(state, store.clone(), audit);
        let stop = CancellationToken::new();
        tokio::spawn(coordinator.run(stop.clone()));
        let registry = Arc::new(Registry::default());
        tokio::spawn(ring(handle.clone(), registry.clone()));
        let live = Arc::new(Live::new());
        let context = ApiContext {
            handle: handle.clone(),
            checks: Checks::alone(
                handle.clone(),
                registry.clone(),
                live.clone(),
                audit_dir.path(),
                None,
            ),
            live: live.clone(),
            pairs: Pairs::alone(handle.clone(), registry.clone()),
            registry: registry.clone(),
            store: store.clone(),
            audit_dir: audit_dir.path().to_owned(),
            authority: AUTHORITY,
            hub: HubStatus::default(),
            started_ms: now_ms(),
            hub_ports: Arc::default(),
        };
        let checks = context.checks.clone();
        let console = Arc::new(ControllerConsole::new(
            &context,
            Arc::new(Sessions::new().unwrap()),
            8443,
        ));
        let _stop = stop.clone().drop_guard();
        Self {
            console,
            handle,
            live,
            registry,
            store,
            checks,
            stop,
            _stop,
            _audit_dir: audit_dir,
        }
    }

    pub(super) fn state(&self) -> Arc<State> {
        self.handle.state()
    }

    pub(super) fn revision(&self) -> Revision {
        self.state().revision()
    }

    pub(super) async fn does(&self, command: Command) -> Accepted {
        self.handle
            .submit(command, Actor::controller(), None)
            .await
            .unwrap()
    }

    /// An operator with [`PASSWORD`].
    pub(super) async fn operator(&self, name: &str, role: malha_core::Role) {
        let password_hash = hash_password(PASSWORD).unwrap();
        self.does(Command::AddOperator {
            name: parsed(name),
            password_hash,
            role,
        })
        .await;
    }

    /// A machine enrolled at [`SITE`] that has not opened a session.
    pub(super) async fn enrolled(&self, name: &str) -> Machine {
        let site = self.state().site_by_path(SITE).unwrap().id;
        let token = Command::CreateToken {
            site,
            profile: malha_proto::Profile::Garage,
            uses: 1,
            ttl_s: 3_600,
        };
        let Answer::Token { id, secret } = self.does(token).await.answer else {
            panic!("no token")
        };
        let number = u8::try_from(self.state().nodes().len() + 1).unwrap();
        let facts = facts(name, number);
        let tls_key = Fingerprint([number; 32]);
        let enrol = Command::Enrol {
            token: id,
            secret,
            wg_key: WgKey([number; 32]),
            tls_key,
            name: Some(parsed(name)),
            facts: facts.clone(),
        };
        match self.does(enrol).await.answer {
            Answer::Enrolled { node, lease, .. } => Machine {
                id: node,
                lease,
                tls_key,
                facts,
            },
            other => panic!("{other:?}"),
        }
    }

    /// A machine whose session is open and which says of each map that it runs with it.
    pub(super) async fn online(&self, name: &str) -> Machine {
        let machine = self.silent(name).await;
        let seat = self
            .registry
            .sit(machine.id, self.summary(&machine, self.revision()));
        let (handle, registry) = (self.handle.clone(), self.registry.clone());
        tokio::spawn(async move {
            loop {
                seat.bell.notified().await;
                registry.applied(&seat, handle.state().revision());
            }
        });
        machine
    }

    /// A machine whose session is open and which never says that it applied anything.
    pub(super) async fn silent(&self, name: &str) -> Machine {
        let machine = self.enrolled(name).await;
        self.hello(&machine, 1).await;
        self.live.session_opened(machine.id, now_ms());
        self.registry
            .sit(machine.id, self.summary(&machine, Revision(0)));
        machine
    }

    /// A process of this machine shows its lease.
    pub(super) async fn hello(&self, machine: &Machine, instance: u64) -> Answer {
        let hello = Command::OpenSession {
            node: machine.id,
            tls_key: machine.tls_key,
            lease: machine.lease.clone(),
            instance,
            facts: machine.facts.clone(),
            source: Some("203.0.113.9:40000".parse().unwrap()),
            live: None,
        };
        self.does(hello).await.answer
    }

    /// The controller's own node.
    pub(super) async fn hub(&self) -> NodeId {
        let adopt = Command::AdoptHub {
            site: self.state().site_by_path(SITE).unwrap().id,
            name: parsed("hub"),
            wg_key: WgKey([200; 32]),
            tls_key: Fingerprint([200; 32]),
            endpoints: Vec::new(),
            facts: facts("hub", 200),
        };
        match self.does(adopt).await.answer {
            Answer::Node(id) => id,
            other => panic!("{other:?}"),
        }
    }

    /// Adds a service through the console.
    pub(super) async fn service(
        &self,
        node: NodeId,
        name: &str,
        port: u16,
        exposure: Exposure,
    ) -> ServiceId {
        self.console
            .add_service(&owner(), new_service(node, name, port, exposure))
            .await
            .unwrap();
        self.state()
            .service_by_name(node, &parsed(name))
            .unwrap()
            .id
    }

    /// A probe of the service came back just now.
    pub(super) fn probed(&self, node: NodeId, service: ServiceId, met: PathProbe) {
        self.live.probed(node, service, met, now_ms(), now_ms());
        self.console.forget_census();
    }

    fn summary(&self, machine: &Machine, applied: Revision) -> SessionSummary {
        SessionSummary {
            instance: 1,
            tls_key: Fingerprint([2; 32]),
            transport: Transport::Quic,
            remote: "203.0.113.9:40000".parse().unwrap(),
            since_ms: now_ms(),
            facts: machine.facts.clone(),
            version: malha_proto::PROTOCOL_VERSION,
            applied,
        }
    }
}

pub(super) fn owner() -> Viewer {
    viewer(Role::Owner)
}

pub(super) fn viewer(role: Role) -> Viewer {
    Viewer {
        user: "ana".into(),
        role,
        csrf: "csrf".into(),
    }
}

pub(super) fn parsed<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: Debug,
{
    text.parse().unwrap()
}

pub(super) fn new_service(node: NodeId, name: &str, port: u16, exposure: Exposure) -> NewService {
    NewService {
        node: shown(node),
        name: name.to_owned(),
        port,
        protocol: Protocol::Tcp,
        target: "127.0.0.1:8080".to_owned(),
        exposure,
    }
}

pub(super) fn new_route(host: &str, path: &str, services: &[ServiceId]) -> NewRoute {
    NewRoute {
        host: host.to_owned(),
        path: path.to_owned(),
        services: services.iter().map(|id| id.to_string().into()).collect(),
    }
}

/// An id as pages hold it.
pub(super) fn shown(id: NodeId) -> model::NodeId {
    id.to_string().into()
}

/// The refusal of a write, which says something in both languages.
pub(super) fn refusal<T: Debug>(result: Result<T, Refused>) -> (Option<String>, RefusalKind) {
    let refused = result.unwrap_err();
    let (pt, en) = (&refused.text.pt, &refused.text.en);
    assert!(
        pt.len() > 10 && en.len() > 10 && pt != en,
        "{pt:?} / {en:?}"
    );
    assert!(pt.len() < 1_000 && en.len() < 1_000, "{pt:?} / {en:?}");
    (refused.field, refused.kind)
}

/// The refusal that blames a field.
pub(super) fn at(field: &str, kind: RefusalKind) -> (Option<String>, RefusalKind) {
    (Some(field.to_owned()), kind)
}

fn facts(host_name: &str, number: u8) -> MachineFacts {
    MachineFacts {
        host_name: host_name.to_owned(),
        machine: MachineId([number; 16]),
        agent_version: "1.2.3".to_owned(),
        os: "Debian".to_owned(),
        engine: None,
    }
}

async fn ring(handle: Handle, registry: Arc<Registry>) {
    let mut committed = handle.committed();
    while let Ok(change) = committed.recv().await {
        registry.ring(&change.affected.nodes);
    }
}
