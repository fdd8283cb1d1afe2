//! What the status says of names inside the overlay.

use std::fmt::Display;

use super::Lang;

texts! {
    off() { "Nomes        desligados na configuração", "Names        off in the configuration" }
    waiting() { "Nomes        espera o mapa da rede", "Names        waiting for the netmap" }
    answered(zone, nodes, listen) {
        "Nomes        {zone}: {nodes} máquinas, respondidas aqui em {listen}",
        "Names        {zone}: {nodes} nodes, answered here at {listen}"
    }
    unanswered(zone) {
        "Nomes        {zone}: NÃO respondidos nesta máquina",
        "Names        {zone}: NOT answered on this machine"
    }
    declared(names) { "             declarados pelos órgãos: {names}", "             declared by organizations: {names}" }
    closed(address, why) { "             não em {address}: {why}", "             not at {address}: {why}" }
    resolved(domains) {
        "             o systemd-resolved pergunta aqui por: {domains}",
        "             systemd-resolved asks here for: {domains}"
    }
    bypassed() {
        "             o systemd-resolved pergunta aqui, mas os programas não passam por ele: aponte o /etc/resolv.conf para /run/systemd/resolve/stub-resolv.conf",
        "             systemd-resolved asks here, but programs do not ask it: point /etc/resolv.conf to /run/systemd/resolve/stub-resolv.conf"
    }
    no_interface() {
        "             sem interface de rede, o resolvedor da máquina não é configurado; pergunte no endereço acima",
        "             without a network interface the machine's resolver is not set up; ask at the address above"
    }
    failed(why) {
        "             o systemd-resolved NÃO foi configurado: {why}",
        "             systemd-resolved was NOT set up: {why}"
    }
    hint_network_manager() {
        "             o resolvedor da máquina não pergunta aqui. NetworkManager: dns=dnsmasq, e em /etc/NetworkManager/dnsmasq.d/malha.conf:",
        "             the machine's resolver does not ask here. NetworkManager: dns=dnsmasq, and in /etc/NetworkManager/dnsmasq.d/malha.conf:"
    }
    hint_dnsmasq() {
        "             o resolvedor da máquina não pergunta aqui. Em /etc/dnsmasq.d/malha.conf:",
        "             the machine's resolver does not ask here. In /etc/dnsmasq.d/malha.conf:"
    }
    hint_unbound() {
        "             o resolvedor da máquina não pergunta aqui. Em /etc/unbound/unbound.conf.d/malha.conf:",
        "             the machine's resolver does not ask here. In /etc/unbound/unbound.conf.d/malha.conf:"
    }
    hint_unknown() {
        "             o resolvedor da máquina não pergunta aqui. Instale o systemd-resolved, ou o dnsmasq com:",
        "             the machine's resolver does not ask here. Install systemd-resolved, or dnsmasq with:"
    }
}
