//! What the status says of this node's balancers.

use std::fmt::Display;

use malha_proto::{BackendCondition, BackendMode, BalancerTrouble, Exposure};

use super::Lang;

texts! {
    status_balancers() { "Balanceadores", "Balancers" }
    status_balancer(name, port, exposure) {
        "  {name} (porta {port}, {exposure})",
        "  {name} (port {port}, {exposure})"
    }
    exposure_tunnel() { "só na rede da Malha", "on the overlay only" }
    exposure_public() { "pública", "public" }
    status_balancer_trouble(why) { "    não aceita conexões: {why}", "    takes no connections: {why}" }
    trouble_port_taken() { "outro programa ocupa a porta", "another program has the port" }
    trouble_port_forbidden() {
        "falta o direito de usar a porta (CAP_NET_BIND_SERVICE)",
        "the right to bind the port is missing (CAP_NET_BIND_SERVICE)"
    }
    status_balancer_open(open, taken, rx, tx) {
        "    conexões: {open} abertas de {taken}, recebidos {rx}, enviados {tx}",
        "    connections: {open} open of {taken}, received {rx}, sent {tx}"
    }
    status_balancer_refused(over_limit, not_allowed, unserved) {
        "    recusadas: {over_limit} acima do limite, {not_allowed} de origem não listada, {unserved} sem servidor",
        "    refused: {over_limit} over a limit, {not_allowed} from a source not listed, {unserved} without a server"
    }
    status_backend(name, condition, mode, connections) {
        "    {name}: {condition}{mode}, {connections} conexões",
        "    {name}: {condition}{mode}, {connections} connections"
    }
    condition_unproven() { "ainda não verificado", "not checked yet" }
    condition_up() { "no ar", "up" }
    condition_suspect() { "suspeito", "suspect" }
    condition_down() { "fora do ar", "down" }
    condition_recovering() { "voltando", "recovering" }
    mode_drain() { " (esvaziando)", " (draining)" }
    mode_maintenance() { " (em manutenção)", " (in maintenance)" }
}

pub(crate) fn condition(lang: Lang, condition: BackendCondition) -> String {
    match condition {
        BackendCondition::Unproven => condition_unproven(lang),
        BackendCondition::Up => condition_up(lang),
        BackendCondition::Suspect => condition_suspect(lang),
        BackendCondition::Down => condition_down(lang),
        BackendCondition::Recovering => condition_recovering(lang),
    }
}

/// What only the system has words for stays as it is.
pub(crate) fn trouble(lang: Lang, trouble: &BalancerTrouble) -> String {
    match trouble {
        BalancerTrouble::PortTaken => trouble_port_taken(lang),
        BalancerTrouble::PortForbidden => trouble_port_forbidden(lang),
        BalancerTrouble::Other(why) => why.clone(),
    }
}

/// Nothing for a server that serves.
pub(crate) fn mode(lang: Lang, mode: BackendMode) -> String {
    match mode {
        BackendMode::Serve => String::new(),
        BackendMode::Drain => mode_drain(lang),
        BackendMode::Maintenance => mode_maintenance(lang),
    }
}

pub(crate) fn exposure(lang: Lang, exposure: Exposure) -> String {
    match exposure {
        Exposure::Tunnel => exposure_tunnel(lang),
        Exposure::Public => exposure_public(lang),
    }
}
