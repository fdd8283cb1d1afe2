//! Prometheus: counts and gauges of this controller, read where they live at each scrape. No name, address or key is a label.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use malha_core::health::Diagnosis;
use malha_dns::{DnsCounters, DnsEvent};
use malha_proto::{BackendCondition, HopState};
use malha_proxy::{EdgeCounters, Hop};
use malha_store::Store;
use malha_tunnel::{Tunnel, TunnelStats};
use malha_zone::{Rcode, Transport};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry as Exposition;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::coordinator::Handle;
use crate::live::Live;
use crate::session::Registry;

/// Where the figures come from.
#[derive(Clone)]
pub struct Metrics {
    pub handle: Handle,
    pub live: Arc<Live>,
    pub registry: Arc<Registry>,
    pub edge: Arc<EdgeCounters>,
    pub dns: Option<Arc<DnsCounters>>,
    pub store: Arc<dyn Store>,
    /// The hub's.
    pub tunnel: Arc<dyn Tunnel>,
}

impl Metrics {
    /// Serves `/metrics` until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let router = Router::new()
            .route("/metrics", get(scrape))
            .with_state(self);
        if let Err(error) = axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
        {
            tracing::error!(%error, "the metrics listener ended");
        }
    }
}

async fn scrape(State(metrics): State<Metrics>) -> Response {
    let store = metrics.store.health().await;
    let mut figures = Figures::gather(&metrics, &store);
    figures.hub(&metrics.tunnel.stats().await);
    let mut registry = Exposition::with_prefix("malha");
    registry.register_collector(Box::new(figures));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// One scrape's figures.
#[derive(Debug)]
struct Figures(Vec<Figure>);

#[derive(Debug)]
struct Figure {
    name: &'static str,
    help: &'static str,
    label: Option<(&'static str, String)>,
    value: Value,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Gauge(i64),
    Counter(u64),
}

impl Figures {
    fn gather(metrics: &Metrics, store: &malha_store::Health) -> Self {
        let mut figures = Self(Vec::new());
        let state = metrics.handle.state();
        figures.gauge("revision", "Newest committed revision", state.revision().0);
        figures.gauge("nodes", "Enrolled nodes", state.nodes().len() as u64);
        figures.gauge(
            "sessions",
            "Open control sessions",
            metrics.registry.count() as u64,
        );
        figures.gauge("services", "Services", state.services().len() as u64);
        figures.gauge("routes", "Public routes", state.routes().len() as u64);
        figures.gauge(
            "store_file_bytes",
            "Size of the store's file",
            store.file_bytes.unwrap_or(0),
        );
        figures.gauge(
            "store_queued_commits",
            "Commits that wait for the disk",
            store.queued_commits as u64,
        );
        figures.hops(metrics);
        figures.balancers(metrics);
        figures.edge(&metrics.edge);
        if let Some(dns) = &metrics.dns {
            figures.dns(dns);
        }
        figures
    }

    /// How many nodes have which hop up: what a health alert watches.
    fn hops(&mut self, metrics: &Metrics) {
        let state = metrics.handle.state();
        let diagnoses: Vec<Diagnosis> = state
            .nodes()
            .filter(|node| !node.hub)
            .filter_map(|node| metrics.live.diagnosis(&state, node.id))
            .collect();
        let up = |hop: fn(&Diagnosis) -> HopState| {
            diagnoses
                .iter()
                .filter(|diagnosis| matches!(hop(diagnosis), HopState::Up(_)))
                .count() as u64
        };
        let (control, tunnel) = (
            up(|diagnosis| diagnosis.control),
            up(|diagnosis| diagnosis.tunnel),
        );
        let services = diagnoses
            .iter()
            .flat_map(|diagnosis| diagnosis.services.values());
        let services = services
            .filter(|state| matches!(state, HopState::Up(_)))
            .count() as u64;
        for (hop, count) in [
            ("control", control),
            ("tunnel", tunnel),
            ("service", services),
        ] {
            self.push(
                "hops_up",
                "Hops that work now",
                Some(("hop", hop.to_owned())),
                Value::Gauge(signed(count)),
            );
        }
        let broken = diagnoses
            .iter()
            .filter(|diagnosis| diagnosis.broken.is_some())
            .count() as u64;
        self.gauge("nodes_broken", "Nodes with a broken hop", broken);
    }

    /// The sockets that WireGuard and QUIC share.
    fn hub(&mut self, stats: &TunnelStats) {
        let underlay = stats.underlay;
        for (name, help, count) in [
            (
                "hub_datagrams_received",
                "Datagrams on the hub's UDP sockets",
                underlay.datagrams_received,
            ),
            (
                "hub_datagrams_sent",
                "Datagrams from the hub's UDP sockets",
                underlay.datagrams_sent,
            ),
            (
                "hub_quic_received",
                "Those received that are QUIC",
                underlay.quic_received,
            ),
            (
                "hub_quic_dropped",
                "QUIC datagrams that found their queue full",
                underlay.quic_dropped,
            ),
            (
                "hub_handed_over",
                "Packets that one thread of the hub's tunnel handed to another",
                underlay.handed_over,
            ),
            (
                "hub_handover_dropped",
                "Packets that found the other thread's queue full",
                underlay.handover_dropped,
            ),
        ] {
            self.counter(name, help, count);
        }
        self.hub_dropped(stats);
    }

    /// What went no further in the hub's tunnel and relay, apart from what the sockets and threads count for themselves.
    fn hub_dropped(&mut self, stats: &TunnelStats) {
        let TunnelStats {
            device,
            filter,
            relay,
            underlay,
            stack,
        } = stats;
        let refused = filter.refused;
        let strangers =
            device.malformed + device.quic + device.unknown_session + device.unknown_peer;
        let full_queues = device.transmits_dropped
            + device.packets_dropped
            + device.events_dropped
            + stack.packets_dropped;
        for (reason, count) in [
            ("stranger", strangers),
            ("flooded", device.flooded),
            ("relay_refused", relay.refused),
            ("relay_limited", relay.limited),
            ("relay_unbound", relay.unbound),
            ("carrier_full", underlay.carrier_dropped),
            ("full_queue", full_queues),
            ("unsent", underlay.send_errors),
            ("receive_error", underlay.receive_errors),
            ("no_peer", device.no_peer),
            ("contradictory", device.malformed_packets),
            ("no_room", stack.refused_full),
            ("damaged", stack.damaged),
            ("forgotten", filter.flows_evicted),
            ("no_rule", refused.no_rule),
            ("not_ours", refused.not_ours),
            ("malformed", refused.malformed),
            ("fragment", refused.fragment),
            ("extension", refused.extension),
            ("spoofed", device.spoofed),
            ("unopened", device.unopened),
            ("no_endpoint", device.no_endpoint),
            ("too_large", device.too_large),
        ] {
            self.push(
                "hub_dropped",
                "What the hub's tunnel and relay let go no further, by reason",
                Some(("reason", reason.to_owned())),
                Value::Counter(count),
            );
        }
    }

    /// How the balancers of all nodes are, and what they counted since this controller began.
    fn balancers(&mut self, metrics: &Metrics) {
        let state = metrics.handle.state();
        let balancing = &metrics.live.balancing;
        let takes = |it: &&malha_core::Balancer| {
            let report = balancing.balancer(it.node, it.id);
            report.is_some_and(|report| report.trouble.is_none())
        };
        self.gauge("balancers", "Balancers", state.balancers().count() as u64);
        let open = state.balancers().filter(takes).count() as u64;
        self.gauge("balancers_open", "Balancers that take connections", open);
        let servers = state.balancers().flat_map(|balancer| {
            let services = balancer.backends.keys();
            services.filter_map(|id| balancing.backend(balancer.node, balancer.id, *id))
        });
        let conditions: Vec<BackendCondition> = servers.map(|it| it.condition).collect();
        for (condition, name) in CONDITIONS {
            let count = conditions.iter().filter(|it| **it == condition).count();
            self.push(
                "balancer_servers",
                "Servers behind balancers by condition",
                Some(("condition", name.to_owned())),
                Value::Gauge(signed(count as u64)),
            );
        }
        let totals = balancing.totals();
        let outcomes = [
            ("taken", totals.taken),
            ("over_limit", totals.over_limit),
            ("not_allowed", totals.not_allowed),
            ("unserved", totals.unserved),
            ("retried", totals.retried),
        ];
        for (outcome, count) in outcomes {
            self.push(
                "balancer_connections",
                "Connections to balancers by what became of them",
                Some(("outcome", outcome.to_owned())),
                Value::Counter(count),
            );
        }
        let help = "Connections that balancers carry now";
        self.gauge("balancer_open_connections", help, totals.open);
        let (bytes_in, bytes_out) = (totals.bytes_in, totals.bytes_out);
        self.counter("balancer_bytes_in", "Bytes from balanced clients", bytes_in);
        self.counter("balancer_bytes_out", "Bytes to balanced clients", bytes_out);
    }

    fn edge(&mut self, edge: &EdgeCounters) {
        self.gauge(
            "edge_open_connections",
            "Open client connections of the edge",
            edge.open_connections.value(),
        );
        self.counter("edge_bytes_in", "Bytes from clients", edge.bytes_in.value());
        self.counter("edge_bytes_out", "Bytes to clients", edge.bytes_out.value());
        for class in 1..=5 {
            let label = Some(("class", format!("{class}xx")));
            self.push(
                "edge_responses",
                "Responses by class",
                label,
                Value::Counter(edge.responses(class)),
            );
        }
        for hop in Hop::ALL {
            let label = Some(("hop", hop.to_string()));
            self.push(
                "edge_failures",
                "Failed requests by hop",
                label,
                Value::Counter(edge.failures(hop)),
            );
        }
    }

    fn dns(&mut self, dns: &DnsCounters) {
        for transport in [Transport::Udp, Transport::Tcp] {
            for rcode in Rcode::ALL {
                let label = Some((
                    "transport_rcode",
                    format!("{transport:?}_{rcode:?}").to_lowercase(),
                ));
                self.push(
                    "dns_answers",
                    "DNS answers",
                    label,
                    Value::Counter(dns.answers(transport, rcode)),
                );
            }
        }
        for event in DnsEvent::ALL {
            let label = Some(("event", event.as_str().to_owned()));
            self.push(
                "dns_events",
                "What happened beside DNS answers",
                label,
                Value::Counter(dns.events(event)),
            );
        }
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, help, None, Value::Gauge(signed(value)));
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, help, None, Value::Counter(value));
    }

    fn push(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: Option<(&'static str, String)>,
        value: Value,
    ) {
        self.0.push(Figure {
            name,
            help,
            label,
            value,
        });
    }
}

impl prometheus_client::collector::Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for family in self.0.chunk_by(|a, b| a.name == b.name) {
            let Some(first) = family.first() else {
                continue;
            };
            let kind = match first.value {
                Value::Gauge(_) => MetricType::Gauge,
                Value::Counter(_) => MetricType::Counter,
            };
            let mut metric = encoder.encode_descriptor(first.name, first.help, None, kind)?;
            let labelled = family
                .iter()
                .filter_map(|figure| Some((figure.label.clone()?, figure.value)));
            for (label, value) in labelled {
                value.encode(metric.encode_family(&[label])?)?;
            }
            if first.label.is_none() {
                first.value.encode(metric)?;
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(
        self,
        encoder: prometheus_client::encoding::MetricEncoder<'_>,
    ) -> Result<(), fmt::Error> {
        match self {
            Self::Gauge(value) => ConstGauge::new(value).encode(encoder),
            Self::Counter(value) => ConstCounter::new(value).encode(encoder),
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

const CONDITIONS: [(BackendCondition, &str); 5] = [
    (BackendCondition::Unproven, "unproven"),
    (BackendCondition::Up, "up"),
    (BackendCondition::Suspect, "suspect"),
    (BackendCondition::Down, "down"),
    (BackendCondition::Recovering, "recovering"),
];
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
