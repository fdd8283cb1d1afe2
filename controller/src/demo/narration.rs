//! What the demo says to the person in front of it, in both languages at once: it is the first thing anyone sees of Malha.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use malha_core::health::Diagnosis;
use malha_proto::{Hop, HopState};
use tokio_util::sync::CancellationToken;

use super::check::HopResult;
use super::world::{HOST, World};
use crate::clock::now_ms;

pub(super) const STARTING: &str = "Malha: iniciando a demonstração / starting the demo …";
pub(super) const LIVE: &str = "Ao vivo / live (Ctrl-C para sair / to leave):";
pub(super) const CLEANING: &str = "Encerrando e limpando / stopping and cleaning up …";

/// The addresses and lines to try.
#[must_use]
pub(super) fn welcome(world: &World) -> String {
    let ports = &world.ports;
    let authority = world.authority_file();
    let authority = authority.display();
    let https = ports.https_port;
    let password = match &world.password {
        Some(password) => format!("{} / {password}", world.operator),
        None => format!(
            "{} / (mostrada na primeira execução / shown at the first run)",
            world.operator
        ),
    };
    format!(
        "
  URL pública / public URL     https://{HOST}:{https}/
  Painel / dashboard           http://localhost:{dashboard}/    {password}
  DNS                          127.0.0.1:{dns} (UDP, TCP)
  Métricas / metrics           http://127.0.0.1:{metrics}/metrics
  Dados / data                 {data}

  curl --cacert {authority} https://{HOST}:{https}/
  dig @127.0.0.1 -p {dns} {HOST} A
  {cli} node list

  O navegador avisa do certificado: a autoridade é só desta demonstração.
  The browser warns of the certificate: its authority is this demo's alone.
",
        cli = world.cli(),
        dashboard = ports.dashboard_port,
        dns = ports.dns_port,
        metrics = ports.metrics_port,
        data = world.data.display(),
    )
}

/// One line for one hop.
#[must_use]
pub(super) fn hop_line(hop: &HopResult) -> String {
    let mark = if hop.ok { "ok  " } else { "FAIL" };
    format!(
        "  {mark} {:<10} {:>6} ms  {}",
        hop.hop, hop.millis, hop.detail
    )
}

/// Shows each hop's state until `stop`: one line that renews itself on a terminal, a new line at each change elsewhere.
pub(super) async fn live(world: &World, stop: &CancellationToken) {
    let mut changes = world.house.running.live.changes();
    let terminal = std::io::stdout().is_terminal();
    let mut shown = String::new();
    loop {
        let diagnosis = world
            .house
            .running
            .live
            .diagnosis(&world.house.running.handle.state(), world.node);
        let line = diagnosis
            .map(|diagnosis| state_line(world, &diagnosis, terminal))
            .unwrap_or_default();
        if line != shown {
            let mut out = std::io::stdout().lock();
            let _ = if terminal {
                write!(out, "\r\x1b[2K  {line}")
            } else {
                writeln!(out, "  {line}")
            };
            let _ = out.flush();
            shown = line;
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep(REDRAW) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// With `seconds` a line that is drawn anew each second; without, one that changes only with a verdict.
fn state_line(world: &World, diagnosis: &Diagnosis, seconds: bool) -> String {
    let service = diagnosis
        .services
        .get(&world.service)
        .copied()
        .unwrap_or(HopState::Unknown);
    let hops = [
        ("controle/control", diagnosis.control),
        ("túnel/tunnel", diagnosis.tunnel),
        ("serviço/service", service),
    ];
    let hops = hops.map(|(name, state)| format!("{name} {}", word(state, seconds)));
    let broken = diagnosis
        .broken
        .map(|broken| format!("   [{}]", culprit(broken.hop)))
        .unwrap_or_default();
    format!("{}{broken}", hops.join("  →  "))
}

fn culprit(hop: Hop) -> &'static str {
    match hop {
        Hop::Control => "a sessão de controle caiu / the control session is down",
        Hop::Link => "nada responde do nó / nothing of the node answers",
        Hop::Agent => "o agente do nó parou / the node's agent stopped",
        Hop::Tunnel => "o túnel não passa nada / the tunnel carries nothing",
        Hop::Service => "o serviço não responde / the service does not answer",
    }
}

fn word(state: HopState, seconds: bool) -> String {
    match state {
        HopState::Up(_) => "✔".to_owned(),
        HopState::Down(since_ms) if seconds => {
            format!("✘ ({} s)", now_ms().saturating_sub(since_ms) / 1_000)
        }
        HopState::Down(_) => "✘".to_owned(),
        HopState::Unknown => "?".to_owned(),
    }
}

const REDRAW: Duration = Duration::from_secs(1);
