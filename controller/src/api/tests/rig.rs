//! A controller's inside for tests, with a key of each scope, and requests as clients send them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use malha_core::{Answer, Command, Scope, Settings, State};
use malha_proto::{
    EnrolToken, Fingerprint, Lease, MachineFacts, MachineId, NodeId, OverlayPools, Revision, WgKey,
};
use malha_store::audit::AuditLog;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

use crate::accounts::api_key_text;
use crate::api::{ApiContext, HubStatus, limited};
use crate::checks::Checks;
use crate::clock::now_ms;
use crate::coordinator::{Accepted, Actor, Coordinator, Handle};
use crate::hub::HubPorts;
use crate::live::Live;
use crate::pairs::Pairs;
use crate::session::{Registry, SessionSummary, Transport};

pub(crate) const AUTHORITY: Fingerprint = Fingerprint([9; 32]);
/// Limits are one test file's business.
const NO_LIMIT: u64 = 1_000_000;
pub(crate) const NODE: &str = "sefaz/producao/ss-1";
pub(super) const NODE_IN_URL: &str = "sefaz%2Fproducao%2Fss-1";
/// A policy that lets security servers speak with each other.
pub(super) const OPEN: &str = r#"version = 1
[[grant]]
name = "mensagens"
from = ["profile:security-server"]
to = ["profile:security-server"]
protocol = "tcp"
ports = ["5500"]
[[test]]
from = "profile:security-server"
to = "profile:security-server"
protocol = "tcp"
port = 5500
expect = "allow"
"#;

pub(crate) struct Rig {
    pub(crate) context: ApiContext,
    pub(crate) router: Router,
    keys: BTreeMap<Scope, String>,
    _stop: DropGuard,
    _audit_dir: TempDir,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) bytes: Vec<u8>,
}

impl Rig {
    /// Empty but for the keys.
    pub(crate) async fn bare() -> Self {
        let audit_dir = tempfile::tempdir().unwrap();
        let audit = AuditLog::open(audit_dir.path()).unwrap();
        let store = malha_store::memory(&crate::folder::schema()).unwrap();
        let pools = OverlayPools::with_random_v6([1, 2, 3, 4, 5]);
        let zone = "malha.internal".parse().unwrap();
        let state = State::new(Settings::new(MachineId([7; 16]), pools, zone));
        let (coordinator, handle) = Coordinator::new(state, store.clone(), audit);
        let stop = CancellationToken::new();
        tokio::spawn(coordinator.run(stop.clone()));
        let registry = Arc::new(Registry::default());
        let live = Arc::new(Live::new());
        let (sessions, folder) = (registry.clone(), audit_dir.path());
        let context = ApiContext {
            handle: handle.clone(),
            checks: Checks::alone(handle.clone(), sessions, live.clone(), folder, None),
            live,
            pairs: Pairs::alone(handle.clone(), registry.clone()),
            registry,
            store,
            audit_dir: audit_dir.path().to_owned(),
            authority: AUTHORITY,
            hub: HubStatus::default(),
            started_ms: now_ms(),
            hub_ports: Arc::default(),
        };
        let mut keys = BTreeMap::new();
        for scope in SCOPES {
            keys.insert(scope, key(&handle, scope, None).await);
        }
        Self {
            router: limited(context.clone(), NO_LIMIT, NO_LIMIT),
            context,
            keys,
            _stop: stop.drop_guard(),
            _audit_dir: audit_dir,
        }
    }

    /// With one of everything: organization, site, node, public service, route, zone, record set, grant, token, operator.
    pub(crate) async fn furnished() -> Self {
        let rig = Self::bare().await;
        let controllers = vec!["hub.example:443".to_owned()];
        rig.does(Command::SetControllers { controllers }).await;
        let addresses = vec!["192.0.2.1".parse().unwrap()];
        rig.does(Command::SetEdgeAddresses { addresses }).await;
        rig.post("/organizations", json!({"name": "sefaz"})).await;
        rig.post(
            "/sites",
            json!({"organization": "sefaz", "name": "producao"}),
        )
        .await;
        rig.enrol("ss-1").await;
        let service = json!({"node": NODE, "name": "web", "port": 80, "target": "127.0.0.1:8080", "kind": "http", "exposure": "public"});
        rig.post("/services", service).await;
        let zone = json!({"origin": "example.org", "name_servers": ["ns1.example.org"], "contact": "hostmaster.example.org"});
        rig.post("/zones", zone).await;
        rig.post(
            "/routes",
            json!({"host": "a.example.org", "services": [format!("{NODE}/web")]}),
        )
        .await;
        let grant = json!({"from": "organization:sefaz", "to": format!("node:{NODE}"), "protocol": "tcp", "from_port": 5500});
        rig.post("/grants", grant).await;
        rig.post(
            "/tokens",
            json!({"site": "sefaz/producao", "profile": "garage"}),
        )
        .await;
        let ana = json!({"name": "ana", "role": "auditor", "password": "correct horse battery"});
        rig.post("/operators", ana).await;
        let txt = json!({"data": ["\"v=spf1 -all\""]});
        rig.call(Method::PUT, "/zones/example.org/records/@/TXT", Some(txt))
            .await
            .ok();
        rig
    }

    /// A hub beside this controller, on a machine with these ports.
    pub(crate) async fn has_hub(&mut self, ports: HubPorts) {
        for (path, body) in [
            ("/organizations", json!({"name": "malha"})),
            ("/sites", json!({"organization": "malha", "name": "hub"})),
        ] {
            self.post(path, body).await;
        }
        let site = self.state().site_by_path("malha/hub").unwrap().id;
        self.does(Command::AdoptHub {
            site,
            name: "hub".parse().unwrap(),
            wg_key: WgKey([200; 32]),
            tls_key: AUTHORITY,
            endpoints: vec!["192.0.2.1:51820".parse().unwrap()],
            facts: facts("hub", 200),
        })
        .await;
        self.context.hub_ports = Arc::new(ports);
        self.router = limited(self.context.clone(), NO_LIMIT, NO_LIMIT);
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.context.handle.state()
    }

    pub(crate) fn revision(&self) -> Revision {
        self.state().revision()
    }

    pub(crate) fn key(&self, scope: Scope) -> &str {
        &self.keys[&scope]
    }

    pub(crate) async fn does(&self, command: Command) -> Accepted {
        self.context
            .handle
            .submit(command, Actor::controller(), None)
            .await
            .unwrap()
    }

    /// A request with the admin key.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.call_as(Some(self.key(Scope::Admin)), method, path, body, &[])
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, None).await.ok()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let reply = self.call(Method::POST, path, Some(body)).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{path}: {}", reply.body);
        reply.body
    }

    pub(crate) async fn call_as(
        &self,
        key: Option<&str>,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let body = body.map(|body| body.to_string());
        self.send(key, method, &format!("/api/v1{path}"), body, headers)
            .await
    }

    /// A request as it is, from `192.0.2.77`.
    pub(crate) async fn send(
        &self,
        key: Option<&str>,
        method: Method,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request
            .body(body.map_or_else(Body::empty, Body::from))
            .unwrap();
        let source: SocketAddr = "192.0.2.77:1000".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(source));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Reply {
            status,
            headers,
            body,
            bytes,
        }
    }

    /// Asks with the admin key, and goes away when the answer begins.
    pub(crate) async fn begin_and_drop(&self, path: &str) -> u16 {
        let authorization = format!("Bearer {}", self.key(Scope::Admin));
        let request = Request::builder()
            .uri(path)
            .header(header::AUTHORIZATION, authorization);
        let request = request.body(Body::empty()).unwrap();
        self.router
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    /// A node at `sefaz/producao`, enrolled and not connected.
    pub(crate) async fn enrol(&self, name: &str) -> NodeId {
        self.enrolled(name).await.0
    }

    /// A new node, and the lease that it must show at its first hello.
    pub(crate) async fn enrolled(&self, name: &str) -> (NodeId, Lease) {
        let created = self
            .post(
                "/tokens",
                json!({"site": "sefaz/producao", "profile": "security-server"}),
            )
            .await;
        let number = u8::try_from(self.state().nodes().len() + 1).unwrap();
        self.enrols(&created, Some(name), number).await
    }

    /// Another machine takes a node's place.
    pub(crate) async fn replaced(&self, name: &str) {
        let created = self
            .post(&format!("/nodes/{name}/replace"), json!({}))
            .await;
        self.enrols(&created, None, 200).await;
    }

    async fn enrols(&self, created: &Value, name: Option<&str>, number: u8) -> (NodeId, Lease) {
        let token: EnrolToken = created["token"].as_str().unwrap().parse().unwrap();
        let enrol = Command::Enrol {
            token: token.id,
            secret: token.secret,
            wg_key: WgKey([number; 32]),
            tls_key: Fingerprint([number; 32]),
            name: name.map(|name| name.parse().unwrap()),
            facts: facts(name.unwrap_or("machine"), number),
        };
        match self.does(enrol).await.answer {
            Answer::Enrolled { node, lease, .. } => (node, lease),
            other => panic!("{other:?}"),
        }
    }

    /// An open session of a node; what is called says which revision the node runs with.
    pub(crate) fn connect(&self, node: NodeId) -> impl Fn(Revision) + use<> {
        let registry = self.context.registry.clone();
        let seat = registry.sit(
            node,
            SessionSummary {
                instance: 1,
                tls_key: Fingerprint([2; 32]),
                transport: Transport::Quic,
                remote: "203.0.113.9:40000".parse().unwrap(),
                since_ms: now_ms(),
                facts: facts("machine", 1),
                version: malha_proto::PROTOCOL_VERSION,
                applied: Revision(0),
            },
        );
        move |revision| registry.applied(&seat, revision)
    }
}

impl Reply {
    /// The body of a success.
    pub(crate) fn ok(self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, self.body);
        self.body
    }

    /// Checks that it is a problem document of this status, and gives it.
    pub(crate) fn problem(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(
            self.headers[header::CONTENT_TYPE],
            "application/problem+json"
        );
        assert_eq!(self.body["status"], status);
        for field in ["type", "title", "detail", "instance"] {
            let text = self.body[field].as_str().unwrap_or_default();
            assert!(
                !text.is_empty() && text.len() < 4_000,
                "{field}: {}",
                self.body
            );
            assert!(
                !text.chars().any(char::is_control),
                "{field}: {}",
                self.body
            );
        }
        let id = self.headers["x-request-id"].to_str().unwrap();
        assert!(self.body["instance"].as_str().unwrap().ends_with(id));
        self.body
    }
}

/// A key with one scope, as text.
pub(crate) async fn key(handle: &Handle, scope: Scope, expires_ms: Option<u64>) -> String {
    let name = format!("{scope:?}-{}", handle.state().api_keys().len()).to_lowercase();
    let command = Command::AddApiKey {
        name: name.parse().unwrap(),
        scopes: [scope].into(),
        expires_ms,
        operator: None,
    };
    match handle
        .submit(command, Actor::controller(), None)
        .await
        .unwrap()
        .answer
    {
        Answer::ApiKey { secret, .. } => api_key_text(&secret),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn facts(host_name: &str, number: u8) -> MachineFacts {
    MachineFacts {
        host_name: host_name.to_owned(),
        machine: MachineId([number; 16]),
        agent_version: "1.2.3".to_owned(),
        os: "Debian".to_owned(),
        engine: Some("netstack".to_owned()),
    }
}

pub(crate) const SCOPES: [Scope; 5] = [
    Scope::Read,
    Scope::Enrol,
    Scope::Write,
    Scope::Dns,
    Scope::Admin,
];
