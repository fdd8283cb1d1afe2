//! What the doctor says: of each look that what was seen is well, or why nothing could be seen. What it says of problems is beside.

use std::fmt::Display;

use super::Lang;
use crate::doctor::{Look, Verdict};

pub(crate) mod trouble;

/// A problem in words: what was seen, what it means, and what to do.
pub(crate) struct Trouble {
    pub(crate) observed: String,
    pub(crate) meaning: String,
    pub(crate) remedy: String,
}

texts! {
    verdict_ok() { "ok", "ok" }
    verdict_problem() { "PROBLEMA", "PROBLEM" }
    verdict_untested() { "não testado", "not tested" }
    look_agent() { "Agente", "Agent" }
    look_portal() { "Portal", "Portal" }
    look_clock() { "Relógio", "Clock" }
    look_certificate() { "Certificado", "Certificate" }
    look_tunnel() { "Túnel", "Tunnel" }
    look_services() { "Serviços", "Services" }
    look_names() { "Nomes", "Names" }
    look_engine() { "Motor", "Engine" }
    look_guard() { "Guarda", "Guard" }
    look_files() { "Arquivos", "Files" }
    look_disk() { "Disco", "Disk" }
    to_do(remedy) { "→ {remedy}", "→ {remedy}" }
    no_problem(untested) {
        "Nenhum problema encontrado; não testados: {untested}.",
        "No problem found; not tested: {untested}."
    }
    problems(count, untested) {
        "Problemas: {count}; não testados: {untested}.",
        "Problems: {count}; not tested: {untested}."
    }

    too_long() { "não terminou a tempo", "it did not end in time" }
    not_enrolled() { "esta máquina ainda não foi cadastrada", "this machine is not enrolled yet" }
    not_enrolled_no_token() {
        "esta máquina ainda não foi cadastrada; para testar o caminho até o controlador, use: malha-node doctor --token-file ARQUIVO",
        "this machine is not enrolled yet; to test the way to the controller, use: malha-node doctor --token-file FILE"
    }
    not_running() { "o malha-node não está rodando aqui", "malha-node does not run here" }
    unreadable(why) {
        "não pôde ser lido (use root ou o usuário do agente): {why}",
        "it could not be read (use root or the agent's user): {why}"
    }
    agent_online(age, controller, transport) {
        "roda há {age}, ligado a {controller} por {transport}",
        "it runs for {age}, connected to {controller} over {transport}"
    }

    dns_found(names) { "o resolvedor desta máquina responde: {names}", "this machine's resolver answers: {names}" }
    dns_by_proxy(name) {
        "{name} não é resolvido aqui; o proxy o resolve",
        "{name} is not resolved here; the proxy does it"
    }
    dns_not_needed() {
        "os controladores são dados por endereço, sem nome",
        "the controllers are given by address, without a name"
    }
    no_controller() { "nenhum controlador conhecido", "no controller is known" }
    no_address() { "nenhum endereço de controlador conhecido", "no controller's address is known" }

    udp_answers(address, ms) {
        "o controlador responde em {address}/udp, {ms} ms",
        "the controller answers at {address}/udp, {ms} ms"
    }
    udp_also_silent(addresses) { "sem resposta: {addresses}", "without an answer: {addresses}" }
    tcp_answers(controller) {
        "o controlador responde em {controller}/tcp, e aceita levar o túnel",
        "the controller answers at {controller}/tcp, and would carry the tunnel"
    }
    tcp_through_proxy(controller, proxy) {
        "o controlador responde em {controller}/tcp pelo proxy {proxy}, e aceita levar o túnel",
        "the controller answers at {controller}/tcp through the proxy {proxy}, and would carry the tunnel"
    }
    portal_none() {
        "quem responde é o próprio controlador: a conexão não é interceptada",
        "it is the controller itself that answers: nothing intercepts the connection"
    }
    portal_unknown() {
        "nada respondeu, nem o controlador nem um portal",
        "nothing answered, neither the controller nor a portal"
    }

    nat_none(local) {
        "sem tradução de endereços: o controlador vê {local}",
        "no address translation: the controller sees {local}"
    }
    nat_kept(local, seen) {
        "{local} aparece como {seen}: endereço traduzido, porta mantida",
        "{local} is seen as {seen}: the address is translated, the port is kept"
    }
    nat_changed(local, seen) {
        "{local} aparece como {seen}: endereço e porta traduzidos",
        "{local} is seen as {seen}: address and port are translated"
    }
    nat_same(local, seen) {
        "{local} aparece como {seen} para mais de um destino",
        "{local} is seen as {seen} by more than one destination"
    }
    nat_symmetric(local, seen, other) {
        "{local} aparece como {seen} para um destino e {other} para outro: NAT simétrico",
        "{local} is seen as {seen} by one destination and {other} by another: symmetric NAT"
    }
    nat_carrier(at) {
        "a operadora traduz mais uma vez (CGNAT, {at})",
        "the carrier translates once more (CGNAT, {at})"
    }
    nat_means_direct() {
        "O túnel funciona; outras máquinas também podem ligar-se diretamente a esta.",
        "The tunnel works; other nodes can meet this one directly, too."
    }
    nat_means_maybe() {
        "O túnel funciona; se as ligações diretas com outras máquinas não derem certo, vão pelo relé do hub.",
        "The tunnel works; where direct paths to other nodes do not come about, they go over the hub's relay."
    }
    nat_means_relay() {
        "O túnel funciona; ligações com outras máquinas atrás de NAT vão pelo relé do hub.",
        "The tunnel works; paths to other nodes behind NAT go over the hub's relay."
    }
    nat_no_answer() {
        "o controlador não disse por UDP como vê esta máquina",
        "the controller did not say over UDP how it sees this machine"
    }

    mtu_fits(packet, mtu, largest) {
        "pacotes de {packet} bytes passam inteiros; o túnel usa MTU {mtu} e caberia até {largest}",
        "packets of {packet} bytes pass in one piece; the tunnel's MTU is {mtu}, and up to {largest} would fit"
    }
    mtu_no_answer() {
        "sem resposta por UDP não há o que medir",
        "without an answer over UDP there is nothing to measure"
    }
    clock_right(ms) {
        "a diferença para o relógio do controlador é de {ms} ms",
        "the difference to the controller's clock is {ms} ms"
    }
    clock_no_answer() {
        "o controlador não respondeu com a hora dele",
        "the controller did not answer with its time"
    }
    certificate_valid(days) {
        "o certificado desta máquina vale por mais {days} dias",
        "this machine's certificate is valid for {days} more days"
    }

    just_started() {
        "o agente acabou de iniciar; tente de novo em alguns segundos",
        "the agent has just started; try again in some seconds"
    }
    tunnel_direct(hub, age) {
        "o hub {hub} responde por UDP, último aperto de mão há {age}",
        "the hub {hub} answers over UDP, last handshake {age} ago"
    }
    tunnel_carried(hub, age) {
        "o hub {hub} responde por TCP 443, último aperto de mão há {age}",
        "the hub {hub} answers over TCP 443, last handshake {age} ago"
    }
    tunnel_carried_means() {
        "Funciona, mais devagar do que por UDP; a volta ao UDP é automática.",
        "It works, slower than over UDP; it goes back to UDP by itself."
    }
    tunnel_carried_beside_udp() {
        "Funciona, mais devagar do que por UDP. O controlador responde por UDP: se durar mais de um minuto, os endereços em hub.endpoints, no controlador, não levam ao hub.",
        "It works, slower than over UDP. The controller answers over UDP: if this lasts for more than a minute, the addresses in the controller's hub.endpoints do not lead to the hub."
    }
    tunnel_no_hub() { "o agente ainda não viu nenhum hub", "the agent has not seen a hub yet" }
    service_answers(name, target) { "{name}: responde em {target}", "{name}: answers at {target}" }
    services_none() { "nenhum serviço declarado nesta máquina", "no service is declared on this machine" }

    names_answered(name, address, at) {
        "{name} → {address}, respondido em {at}",
        "{name} → {address}, answered at {at}"
    }
    names_and_system() {
        "Os programas desta máquina recebem a mesma resposta.",
        "Programs on this machine get the same answer."
    }
    names_not_led() {
        "Os programas desta máquina não perguntam ali; se precisarem dos nomes da rede, malha-node status mostra como.",
        "Programs on this machine do not ask there; if they need names of the overlay, malha-node status shows how."
    }
    names_off() { "desligados na configuração", "off in the configuration" }
    names_waiting() { "esperam o mapa da rede", "they wait for the netmap" }

    engine_runs(engine, why) { "roda {engine}: {why}", "{engine} runs: {why}" }
    ipv4_only(why) {
        "Só IPv4: esta máquina não deixa a rede ter IPv6 ({why}). Para tê-lo: sysctl net.ipv6.conf.INTERFACE.disable_ipv6=0 e reinicie o agente.",
        "IPv4 only: this machine lets the overlay have no IPv6 ({why}). To have it: sysctl net.ipv6.conf.INTERFACE.disable_ipv6=0, and restart the agent."
    }
    engine_would(engine, why) { "rodaria {engine}: {why}", "{engine} would run: {why}" }
    engine_ran(why, start) { "{start}; por quê: {why}", "{start}; why: {why}" }
    engine_ran_otherwise(would, start) {
        "{would}. O que foi pedido mudou desde o último início: {start}",
        "{would}. What is asked for has changed since the last start: {start}"
    }
    engine_start_unread(would, why) {
        "{would}. Como o agente foi iniciado não se sabe: {why}",
        "{would}. How the agent was started is not known: {why}"
    }
    engine_of_start(age, engine, offload, shards) {
        "o agente foi iniciado há {age} com {engine}, {offload}, threads do túnel: {shards}",
        "the agent was started {age} ago with {engine}, {offload}, threads: {shards}"
    }
    with_offload() { "com offload", "with offload" }
    without_offload() { "sem offload", "without offload" }
    guard_there() {
        "as portas estão fechadas fora da rede da Malha",
        "the ports are closed outside the overlay"
    }
    files_private(folder) {
        "só o dono lê e escreve em {folder}",
        "nobody but its owner can use {folder}"
    }
    disk_free(free, folder) { "{free} livres em {folder}", "{free} free at {folder}" }
}

pub(crate) fn verdict(lang: Lang, verdict: Verdict) -> String {
    match verdict {
        Verdict::Ok => verdict_ok(lang),
        Verdict::Problem => verdict_problem(lang),
        Verdict::CouldNotTest => verdict_untested(lang),
    }
}

pub(crate) fn look(lang: Lang, look: Look) -> String {
    match look {
        Look::Agent => look_agent(lang),
        Look::Dns => "DNS".into(),
        Look::Udp => "UDP".into(),
        Look::Tcp => "TCP".into(),
        Look::Portal => look_portal(lang),
        Look::Nat => "NAT".into(),
        Look::Mtu => "MTU".into(),
        Look::Clock => look_clock(lang),
        Look::Certificate => look_certificate(lang),
        Look::Tunnel => look_tunnel(lang),
        Look::Services => look_services(lang),
        Look::Names => look_names(lang),
        Look::Engine => look_engine(lang),
        Look::Guard => look_guard(lang),
        Look::Files => look_files(lang),
        Look::Disk => look_disk(lang),
    }
}
