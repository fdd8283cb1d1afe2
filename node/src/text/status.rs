//! What the status says of the node, its controller, its services and its peers.

use std::fmt::Display;

use malha_proto::{PathKind, ServiceState};

use super::Lang;
use crate::agent::ControlState;

texts! {
    status_node(name, node) { "Máquina      {name} ({node})", "Node         {name} ({node})" }
    status_node_nameless(node) { "Máquina      {node}, ainda sem mapa da rede", "Node         {node}, without a netmap yet" }
    status_healthy() { "Situação     tudo funciona", "State        everything works" }
    status_degraded() { "Situação     há algo errado", "State        something is wrong" }
    status_quarantined() {
        "ISOLADA      outra máquina se apresenta com esta identidade; o operador precisa escolher",
        "HELD APART   another machine shows this identity; the operator must choose"
    }
    status_control(state, age) { "Controlador  {state} há {age}", "Controller   {state} for {age}" }
    status_control_via(state, age, controller, transport) {
        "Controlador  {state} há {age}, {controller} por {transport}",
        "Controller   {state} for {age}, {controller} over {transport}"
    }
    status_last_error(error) { "             última falha: {error}", "             last failure: {error}" }
    status_engine(engine, why) { "Túnel        {engine} ({why})", "Tunnel       {engine} ({why})" }
    status_shards(count) { "             {count} threads", "             {count} threads" }
    status_interface_mended(times) {
        "             a interface foi alterada por outros; vezes em que foi reposta: {times}",
        "             others changed the interface; times that it was set again: {times}"
    }
    status_interface_trouble(why) {
        "             a interface foi alterada por outros e ainda não pôde ser reposta: {why}",
        "             others changed the interface, and it can't be set again yet: {why}"
    }
    status_ipv4_only(why) {
        "             só IPv4; esta máquina não deixa a rede ter IPv6: {why}",
        "             IPv4 only; this machine lets the overlay have no IPv6: {why}"
    }
    status_netmap(revision) { "Mapa         revisão {revision}", "Netmap       revision {revision}" }
    status_netmap_behind(revision, newest) {
        "Mapa         revisão {revision}, a nova é {newest}",
        "Netmap       revision {revision}, the newest is {newest}"
    }
    status_netmap_none() { "Mapa         nenhum", "Netmap       none" }
    status_streams_quic(age, came) {
        "Conexões     QUIC pronto há {age} ao lado do túnel, para caminhos que perdem pacotes; {came}",
        "Streams      QUIC ready for {age} beside the tunnel, for paths that lose packets; {came}"
    }
    status_streams_tunnel(came) {
        "Conexões     pelo túnel; {came}",
        "Streams      through the tunnel; {came}"
    }
    status_streams_came(count, last) {
        "{count} vieram por QUIC, a última há {last}",
        "{count} came by QUIC, the last one {last} ago"
    }
    status_streams_none() { "nenhuma veio por QUIC", "none came by QUIC" }
    status_policy_waiting(version, left) {
        "             a versão {version} da política aguarda confirmação; sem ela o filtro anterior volta em {left}",
        "             policy version {version} waits for its confirmation; without it the former filter comes back in {left}"
    }
    status_policy_returned(version, age) {
        "             ninguém confirmou a versão {version} da política: o filtro anterior voltou há {age}",
        "             nobody confirmed policy version {version}: the former filter came back {age} ago"
    }
    status_policy_was_returned(version, age) {
        "             ninguém confirmou a versão {version} da política a tempo (há {age}); vale de novo o que o controlador diz",
        "             nobody confirmed policy version {version} in time ({age} ago); what the controller says holds again"
    }
    status_last_known_good() {
        "             da última vez: o controlador ainda não o confirmou",
        "             from last time: no controller has confirmed it yet"
    }
    status_apply_error(why) { "             não entrou em vigor: {why}", "             not in force: {why}" }
    status_save_error(why) { "Disco        {why}", "Disk         {why}" }
    status_services() { "Serviços", "Services" }
    status_service(name, port, target, state, age) {
        "  {name} (porta {port} → {target}): {state} há {age}",
        "  {name} (port {port} → {target}): {state} for {age}"
    }
    status_service_over_limit(count, limit) {
        "    recusadas acima do limite de {limit} conexões: {count}",
        "    refused over the limit of {limit} connections: {count}"
    }
    status_peers() { "Vizinhos", "Peers" }
    status_peer(name, handshake, endpoint, rx, tx) {
        "  {name}: {handshake}, {endpoint}, recebidos {rx}, enviados {tx}",
        "  {name}: {handshake}, {endpoint}, received {rx}, sent {tx}"
    }
    status_path(path, key) { "    caminho: {path}; {key}", "    path: {path}; {key}" }
    path_direct() { "direto", "direct" }
    path_relay() { "relé", "relay" }
    path_carrier() { "TCP 443", "TCP 443" }
    path_none() { "nenhum", "none" }
    key_age(age) { "chave pós-quântica de {age} atrás", "post-quantum key of {age} ago" }
    key_none() { "sem chave pós-quântica", "no post-quantum key" }
    status_allowed(allowed) { "    pode abrir (pacotes): {allowed}", "    may open (packets): {allowed}" }
    status_answers(count) { "respostas: {count}", "answers: {count}" }
    status_more(count) { "mais {count}", "{count} more" }
    handshake_age(age) { "último aperto de mão há {age}", "last handshake {age} ago" }
    handshake_none() { "sem aperto de mão", "no handshake" }
    endpoint_none() { "endereço desconhecido", "endpoint unknown" }
    control_offline() { "desligado", "offline" }
    control_dialing() { "procurando", "dialing" }
    control_greeting() { "apresentando-se", "greeting" }
    control_online() { "ligado", "online" }
    service_up() { "responde", "up" }
    service_refused() { "recusado: nada escuta no destino", "refused: nothing listens at the target" }
    service_timeout() { "sem resposta a tempo", "no answer in time" }
    service_broken() { "com defeito: fecha ou responde errado", "broken: closes or answers wrongly" }
    service_unknown() { "ainda não verificado", "not probed yet" }
}

pub(crate) fn path(lang: Lang, path: Option<PathKind>) -> String {
    match path {
        Some(PathKind::Direct) => path_direct(lang),
        Some(PathKind::Relay) => path_relay(lang),
        Some(PathKind::Carrier) => path_carrier(lang),
        None => path_none(lang),
    }
}

pub(crate) fn control(lang: Lang, state: ControlState) -> String {
    match state {
        ControlState::Offline => control_offline(lang),
        ControlState::Dialing => control_dialing(lang),
        ControlState::Greeting => control_greeting(lang),
        ControlState::Online => control_online(lang),
    }
}

pub(crate) fn service(lang: Lang, state: ServiceState) -> String {
    match state {
        ServiceState::Up => service_up(lang),
        ServiceState::Refused => service_refused(lang),
        ServiceState::Timeout => service_timeout(lang),
        ServiceState::Broken => service_broken(lang),
        ServiceState::Unknown => service_unknown(lang),
    }
}
