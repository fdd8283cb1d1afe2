//! Every sentence that the agent says to people, in Portuguese and English side by side. Log lines are not here: they are for
//! operators and are in English.

use std::fmt::Display;

use malha_proto::{PathKind, RefusalCode, ServiceState};

use crate::agent::{ControlState, LinkFault};

/// The language of what is said to people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    Pt,
    #[default]
    En,
}

impl Lang {
    /// The language of a tag or locale, like `pt-BR` or `pt_BR.UTF-8`. English where it is none of ours.
    #[must_use]
    pub fn of(tag: &str) -> Self {
        match tag.to_ascii_lowercase().starts_with("pt") {
            true => Self::Pt,
            false => Self::En,
        }
    }
}

/// One function per sentence: `name(values) { Portuguese, English }`.
macro_rules! texts {
    ($($name:ident($($value:ident),*) { $pt:literal, $en:literal })*) => {$(
        pub(crate) fn $name(lang: Lang $(, $value: impl Display)*) -> String {
            match lang {
                Lang::Pt => format!($pt),
                Lang::En => format!($en),
            }
        }
    )*};
}

pub(crate) mod balancers;
pub(crate) mod names;

texts! {
    about() {
        "Agente da Malha: liga esta máquina à rede",
        "Malha's agent: joins this machine to the overlay"
    }
    about_up() {
        "Cadastra esta máquina com um token e a mantém ligada",
        "Enrol this machine with a token and keep it joined"
    }
    about_run() { "Mantém ligada uma máquina já cadastrada", "Keep an enrolled machine joined" }
    about_status() { "Mostra o que funciona e o que não funciona", "Show what works and what does not" }
    about_guard() {
        "A guarda: fecha as portas desta máquina fora da rede da Malha",
        "The guard: closes this machine's ports outside the overlay"
    }
    about_guard_status() { "Diz se a guarda está no lugar", "Say whether the guard is in place" }
    about_guard_remove() {
        "Retira a guarda, ao desinstalar; o agente em execução a repõe",
        "Take the guard away, when uninstalling; a running agent puts it back"
    }
    about_check_config() { "Confere a configuração e termina", "Check the configuration and exit" }
    about_completions() { "Escreve as sugestões para o seu shell", "Print completions for your shell" }
    about_man() { "Escreve a página de manual", "Print the manual page" }
    help_state() {
        "Pasta de estado [padrão: /var/lib/malha-node como root, senão $XDG_STATE_HOME/malha-node]",
        "State folder [default: /var/lib/malha-node as root, else $XDG_STATE_HOME/malha-node]"
    }
    help_config() {
        "Arquivo de configuração TOML [padrão: /etc/malha/node.toml, se existir]",
        "Configuration file, TOML [default: /etc/malha/node.toml, if it is there]"
    }
    help_engine() {
        "Onde roda o WireGuard: auto escolhe userspace se puder criar uma interface, e kernel se plain-udp também for declarado",
        "Where WireGuard runs: auto takes userspace where it may make an interface, and kernel if plain-udp is declared too"
    }
    help_no_offload() {
        "Não deixa ao kernel cortar e juntar pacotes; para kernels que erram nisso",
        "Leaves no packets for the kernel to cut and join; for kernels that get it wrong"
    }
    help_tunnel_shards() {
        "Threads do túnel userspace, 1 a 16 [padrão: metade dos núcleos, no máximo 8; 1 com menos de quatro núcleos]",
        "Threads of the userspace tunnel, 1 to 16 [default: half of the cores, 8 at most; 1 with fewer than four cores]"
    }
    help_log_format() { "Formato do registro", "Format of the log" }
    help_log() {
        "Nível do registro: error, warn, info, debug, trace",
        "Level of the log: error, warn, info, debug, trace"
    }
    help_lang() { "Idioma: pt-BR ou en", "Language: pt-BR or en" }
    help_token() {
        "Token de cadastro. Fica visível na lista de processos: prefira --token-file ou MALHA_TOKEN",
        "Enrolment token. Others can see it in the process list: prefer --token-file or MALHA_TOKEN"
    }
    help_token_file() { "Lê o token deste arquivo; - é a entrada padrão", "Read the token from this file; - is standard input" }
    help_name() { "Nome desejado para a máquina [padrão: o nome do host]", "Wished name of the node [default: from the host name]" }
    help_replace() {
        "Troca a identidade atual desta máquina pela do token",
        "Give up this machine's present identity for the token's"
    }
    help_json() { "Escreve JSON", "Print JSON" }
    help_shell() { "Shell", "Shell" }

    enrolled(name, v4, v6) {
        "Cadastrada como {name}, com os endereços {v4} e {v6}.",
        "Enrolled as {name}, with the addresses {v4} and {v6}."
    }
    already_this_token(name) {
        "Esta máquina já é {name}: o token não é necessário.",
        "This machine is {name} already: the token is not needed."
    }
    config_fine() { "A configuração está correta.", "The configuration is right." }

    not_enrolled(state) {
        "Esta máquina ainda não foi cadastrada (pasta {state}). Peça um token ao operador e use: malha-node up TOKEN",
        "This machine is not enrolled yet (folder {state}). Ask the operator for a token and use: malha-node up TOKEN"
    }
    already_enrolled(node) {
        "Esta máquina já está cadastrada ({node}) e o token é outro. Para abandonar a identidade atual, acrescente --replace.",
        "This machine is enrolled already ({node}) and the token is another one. To give up its present identity, add --replace."
    }
    token_text(why) { "O token não pode ser lido: {why}", "The token can't be read: {why}" }
    token_file(path, why) { "O arquivo do token {path}: {why}", "The token file {path}: {why}" }
    two_tokens() {
        "Dê o token de uma só forma: como argumento ou com --token-file.",
        "Give the token in one way only: as an argument or with --token-file."
    }
    wrong_name(why) { "O nome desejado não serve: {why}", "The wished name can't be used: {why}" }
    state_folder(why) { "Pasta de estado: {why}", "State folder: {why}" }
    socket_path(path) {
        "O caminho {path} é longo demais para um soquete; use uma pasta de estado com caminho mais curto.",
        "The path {path} is too long for a socket; use a state folder with a shorter path."
    }
    config(why) { "Configuração: {why}", "Configuration: {why}" }
    internal(why) { "Falha interna: {why}", "Internal failure: {why}" }
    token_unknown() {
        "O controlador não conhece este token. Confira se ele é deste controlador e se foi copiado inteiro.",
        "The controller does not know this token. Check that it is this controller's and was copied whole."
    }
    token_expired() { "O token venceu. Peça um novo ao operador.", "The token has expired. Ask the operator for a new one." }
    token_used() {
        "O token já foi usado. Peça um novo ao operador; cada máquina precisa do seu.",
        "The token has been used. Ask the operator for a new one; each machine needs its own."
    }
    token_revoked() { "O token foi cancelado pelo operador. Peça um novo.", "The operator has revoked the token. Ask for a new one." }
    wrong_controller() {
        "O token é de outro controlador.",
        "The token belongs to another controller."
    }
    impostor() {
        "Algo responde no endereço do controlador, mas não é o controlador do token. Pode haver um portal de acesso ou um filtro no caminho, ou o token é antigo.",
        "Something answers at the controller's address, but it is not the token's controller. A captive portal or a filter may be in the way, or the token is old."
    }
    name_taken() {
        "Já existe uma máquina com este nome neste local. Escolha outro com --name, ou use o token de \"malha node replace\".",
        "A node of this name exists at this site. Choose another with --name, or use the token of \"malha node replace\"."
    }
    key_taken() {
        "A chave desta máquina já é de outra. A pasta de estado foi copiada? Apague-a e cadastre de novo.",
        "This machine's key is another node's. Was the state folder copied? Delete it and enrol again."
    }
    malformed() {
        "O controlador não entendeu o pedido. Atualize o malha-node.",
        "The controller did not understand the request. Update malha-node."
    }
    removed() {
        "Esta máquina foi removida da rede. Para voltar, peça um token novo.",
        "This node was removed from the overlay. To come back, ask for a new token."
    }
    cloned() {
        "Outra máquina se apresenta com a mesma identidade. As duas ficam isoladas até o operador escolher.",
        "Another machine shows the same identity. Both are held apart until the operator chooses."
    }
    replaced() {
        "Outra máquina tomou o lugar desta. Para usar esta de novo, peça um token novo.",
        "Another machine took this one's place. To use this one again, ask for a new token."
    }
    busy() {
        "O controlador recebe pedidos demais deste endereço. Tente de novo em alguns minutos.",
        "The controller gets too many requests from this address. Try again in some minutes."
    }
    pool_exhausted() {
        "Não há endereço livre na rede. Avise o operador.",
        "The overlay has no free address. Tell the operator."
    }
    unavailable() {
        "O controlador não consegue gravar agora. Nada foi feito; tente de novo.",
        "The controller can't write now. Nothing was done; try again."
    }
    controller_says(text) { "O controlador diz: {text}", "The controller says: {text}" }
    unreachable() {
        "Nenhum controlador pôde ser alcançado. Confira a internet desta máquina e se a porta é liberada em UDP ou TCP:",
        "No controller could be reached. Check this machine's internet and that the port is open for UDP or TCP:"
    }
    clock() {
        "O relógio desta máquina e o certificado do controlador não combinam. Acerte a data e a hora desta máquina.",
        "This machine's clock and the controller's certificate do not fit. Set this machine's date and time."
    }
    failed_way(controller, transport, fault, detail) {
        "  {controller} por {transport}: {fault} ({detail})",
        "  {controller} over {transport}: {fault} ({detail})"
    }
    bad_answer(why) {
        "A resposta do controlador não serve: {why}",
        "The controller's answer can't be used: {why}"
    }

    fault_name() { "o nome não tem endereço", "the name has no address" }
    fault_unreachable() { "ninguém responde", "nothing answers" }
    fault_proxy() { "o proxy não deixa passar", "the proxy does not let it pass" }
    fault_wrong_controller() { "não é o controlador certo", "not the right controller" }
    fault_clock() { "relógio errado", "wrong clock" }
    fault_tls() { "falha de TLS", "TLS failed" }
    fault_protocol() { "falha de protocolo", "protocol broken" }
    fault_closed() { "conexão encerrada", "connection closed" }
    fault_silent() { "ficou em silêncio", "fell silent" }
    fault_refused() { "recusado", "refused" }

    not_running(state) {
        "O malha-node não está rodando aqui (pasta {state}).",
        "malha-node does not run here (folder {state})."
    }
    status_unreadable(why) { "A situação não pôde ser lida: {why}", "The status could not be read: {why}" }
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
    status_drops(count, reasons) {
        "    pacotes descartados: {count} ({reasons})", "    packets dropped: {count} ({reasons})"
    }
    drop_no_rule() { "sem permissão", "no permission" }
    drop_not_ours() { "para outro destino", "not for this node" }
    drop_malformed() { "malformados", "malformed" }
    drop_fragment() { "fragmentos", "fragments" }
    drop_extension() { "com opções de IP", "with IP options" }
    drop_spoofed() { "endereço de origem de outra", "source address of another" }
    drop_unopened() { "não decifrados", "not opened" }
    drop_no_endpoint() { "sem endereço para enviar", "nowhere to send" }
    drop_too_large() { "grandes demais", "too large" }
    handshake_age(age) { "último aperto de mão há {age}", "last handshake {age} ago" }
    handshake_none() { "sem aperto de mão", "no handshake" }
    endpoint_none() { "endereço desconhecido", "endpoint unknown" }

    engine_may() {
        "pode criar interfaces: CAP_NET_ADMIN e /dev/net/tun",
        "may make interfaces: CAP_NET_ADMIN and /dev/net/tun"
    }
    engine_plain_udp() {
        "UDP livre declarado, e o kernel tem WireGuard",
        "UDP is declared to pass, and the kernel has WireGuard"
    }
    engine_no_kernel(why) {
        "UDP livre declarado, mas o kernel não pode ser usado: {why}",
        "UDP is declared to pass, but the kernel can't be used: {why}"
    }
    engine_no_capability() { "sem CAP_NET_ADMIN", "no CAP_NET_ADMIN" }
    engine_no_tun(why) { "/dev/net/tun não abre: {why}", "/dev/net/tun does not open: {why}" }
    engine_chosen() { "escolhido na configuração", "chosen in the configuration" }

    status_guard(state) { "Guarda       {state}", "Guard        {state}" }
    guard_waiting() { "espera o mapa da rede", "waiting for the netmap" }
    guard_in_place(ports) { "fecha fora da rede as portas: {ports}", "closes outside the overlay the ports: {ports}" }
    guard_restored(ports, times) {
        "fecha fora da rede as portas: {ports}; reposta {times} vezes",
        "closes outside the overlay the ports: {ports}; put back {times} times"
    }
    guard_off() { "desligada na configuração", "off in the configuration" }
    guard_no_interface() { "sem privilégio para regras de firewall", "no privilege for firewall rules" }
    guard_failed(why) { "NÃO está no lugar: {why}", "NOT in place: {why}" }
    guard_is_in_place() { "A guarda está no lugar.", "The guard is in place." }
    guard_is_not_in_place() { "A guarda não está no lugar.", "The guard is not in place." }
    guard_removed() { "A guarda foi retirada.", "The guard was taken away." }
    guard_unreadable(why) {
        "A guarda não pôde ser lida ou mudada (precisa de root e do nft): {why}",
        "The guard could not be read or changed (needs root and nft): {why}"
    }

    control_offline() { "desligado", "offline" }
    control_dialing() { "procurando", "dialing" }
    control_greeting() { "apresentando-se", "greeting" }
    control_online() { "ligado", "online" }
    service_up() { "responde", "up" }
    service_refused() { "recusado: nada escuta no destino", "refused: nothing listens at the target" }
    service_timeout() { "sem resposta a tempo", "no answer in time" }
    service_broken() { "com defeito: fecha ou responde errado", "broken: closes or answers wrongly" }
    service_unknown() { "ainda não verificado", "not probed yet" }

    age_s(s) { "{s} s", "{s} s" }
    age_min(min, s) { "{min} min {s} s", "{min} min {s} s" }
    age_h(h, min) { "{h} h {min} min", "{h} h {min} min" }
    age_d(d, h) { "{d} d {h} h", "{d} d {h} h" }
}

pub(crate) fn refusal(lang: Lang, code: RefusalCode) -> String {
    match code {
        RefusalCode::TokenUnknown => token_unknown(lang),
        RefusalCode::TokenExpired => token_expired(lang),
        RefusalCode::TokenUsed => token_used(lang),
        RefusalCode::TokenRevoked => token_revoked(lang),
        RefusalCode::WrongController => wrong_controller(lang),
        RefusalCode::NameTaken => name_taken(lang),
        RefusalCode::KeyTaken => key_taken(lang),
        RefusalCode::Malformed => malformed(lang),
        RefusalCode::NodeRemoved => removed(lang),
        RefusalCode::Cloned => cloned(lang),
        RefusalCode::Replaced => replaced(lang),
        RefusalCode::Busy => busy(lang),
        RefusalCode::PoolExhausted => pool_exhausted(lang),
        RefusalCode::Unavailable => unavailable(lang),
    }
}

pub(crate) fn path(lang: Lang, path: Option<PathKind>) -> String {
    match path {
        Some(PathKind::Direct) => path_direct(lang),
        Some(PathKind::Relay) => path_relay(lang),
        Some(PathKind::Carrier) => path_carrier(lang),
        None => path_none(lang),
    }
}

pub(crate) fn fault(lang: Lang, fault: LinkFault) -> String {
    match fault {
        LinkFault::Name => fault_name(lang),
        LinkFault::Unreachable => fault_unreachable(lang),
        LinkFault::Proxy => fault_proxy(lang),
        LinkFault::WrongController => fault_wrong_controller(lang),
        LinkFault::Clock => fault_clock(lang),
        LinkFault::Tls => fault_tls(lang),
        LinkFault::Protocol => fault_protocol(lang),
        LinkFault::Closed => fault_closed(lang),
        LinkFault::Silent => fault_silent(lang),
        LinkFault::Refused => fault_refused(lang),
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

/// How long something lasts, in two units at most.
pub(crate) fn age(lang: Lang, ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => age_s(lang, s),
        60..3_600 => age_min(lang, s / 60, s % 60),
        3_600..86_400 => age_h(lang, s / 3_600, s % 3_600 / 60),
        _ => age_d(lang, s / 86_400, s % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales_choose_the_language() {
        for tag in ["pt-BR", "pt_BR.UTF-8", "PT"] {
            assert_eq!(Lang::of(tag), Lang::Pt);
        }
        for tag in ["en_US.UTF-8", "C", "", "de"] {
            assert_eq!(Lang::of(tag), Lang::En);
        }
    }

    #[test]
    fn each_refusal_has_its_own_sentence_in_both_languages() {
        let codes = [
            RefusalCode::TokenUnknown,
            RefusalCode::TokenExpired,
            RefusalCode::TokenUsed,
            RefusalCode::TokenRevoked,
            RefusalCode::WrongController,
            RefusalCode::NameTaken,
            RefusalCode::KeyTaken,
            RefusalCode::Malformed,
            RefusalCode::NodeRemoved,
            RefusalCode::Cloned,
            RefusalCode::Replaced,
            RefusalCode::Busy,
            RefusalCode::PoolExhausted,
            RefusalCode::Unavailable,
        ];
        let said: std::collections::BTreeSet<_> = codes
            .iter()
            .flat_map(|code| [refusal(Lang::Pt, *code), refusal(Lang::En, *code)])
            .collect();
        assert_eq!(said.len(), 2 * codes.len());
    }

    #[test]
    fn ages_have_two_units_at_most() {
        let say = |s: u64| age(Lang::En, s * 1_000);
        assert_eq!(say(59), "59 s");
        assert_eq!(say(61), "1 min 1 s");
        assert_eq!(say(7_260), "2 h 1 min");
        assert_eq!(say(90_000), "1 d 1 h");
    }
}
