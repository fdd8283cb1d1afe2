//! What is said of the guard.

use std::fmt::Display;

use super::Lang;

texts! {
    status_guard(state) { "Guarda       {state}", "Guard        {state}" }
    status_guard_left(table) {
        "             em vigor, sem que esta configuração a queira: a tabela inet {table}",
        "             in force, though this configuration does not want it: the table inet {table}"
    }
    guard_waiting() { "espera o mapa da rede", "waiting for the netmap" }
    guard_nothing() {
        "no lugar; esta máquina não tem porta a fechar", "in place; this machine has no port to close"
    }
    guard_in_place(ports) { "fecha fora da rede as portas: {ports}", "closes outside the overlay the ports: {ports}" }
    guard_restored(ports, times) {
        "fecha fora da rede as portas: {ports}; reposta {times} vezes",
        "closes outside the overlay the ports: {ports}; put back {times} times"
    }
    guard_in_trouble(state, why) {
        "{state}; o que fecha não pôde ser atualizado, tenta-se de novo a cada segundo: {why}",
        "{state}; what it closes could not be brought up to date, tried again each second: {why}"
    }
    guard_off() { "desligada na configuração", "off in the configuration" }
    guard_still_in_force(why) {
        "desligada na configuração, mas a tabela dela continua em vigor: {why}",
        "off in the configuration, but its table stays in force: {why}"
    }
    guard_no_interface() { "sem privilégio para regras de firewall", "no privilege for firewall rules" }
    guard_idle(why) {
        "não pôde ser posta no lugar, mas esta máquina não tem porta a fechar: {why}",
        "could not be put in place, but this machine has no port to close: {why}"
    }
    guard_failed(why) {
        "NÃO está no lugar (instale o nftables, ou ponha guard = \"off\" se as portas devem ficar abertas): {why}",
        "NOT in place (install nftables, or put guard = \"off\" if the ports are meant to be open): {why}"
    }
    guard_is_in_place() { "A guarda está no lugar.", "The guard is in place." }
    guard_is_not_in_place() { "A guarda não está no lugar.", "The guard is not in place." }
    guard_is_left(table) {
        "Em vigor, sem que esta configuração a queira: retire-a com: nft delete table inet {table}",
        "In force, though this configuration does not want it: remove it with: nft delete table inet {table}"
    }
    guard_removed() { "A guarda foi retirada.", "The guard was taken away." }
    guard_is_the_agents() {
        "O agente está rodando aqui e mantém a guarda.",
        "The agent runs here and keeps the guard."
    }
    guard_unreadable(why) {
        "A guarda não pôde ser lida ou mudada (precisa de root e do nft): {why}",
        "The guard could not be read or changed (needs root and nft): {why}"
    }
}
