//! Every sentence that the agent says to people, in Portuguese and English side by side. Log lines are not here: they are for
//! operators and are in English.

use std::fmt::Display;

use crate::agent::LinkFault;

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
pub(crate) mod doctor;
pub(crate) mod drops;
mod guard;
pub(crate) mod names;
mod refusals;
mod status;

pub(crate) use guard::*;
pub(crate) use refusals::*;
pub(crate) use status::*;

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
    about_doctor() {
        "Examina esta máquina e a rede: UDP, TCP 443, NAT, MTU, relógio, DNS, portal, serviços; um token permite antes do cadastro",
        "Examine this machine and the network: UDP, TCP 443, NAT, MTU, clock, DNS, portal, services; a token allows it before enrolment"
    }
    about_guard() {
        "A guarda: fecha as portas desta máquina fora da rede da Malha",
        "The guard: closes this machine's ports outside the overlay"
    }
    about_guard_status() { "Diz se a guarda está no lugar", "Say whether the guard is in place" }
    about_guard_remove() {
        "Retira a guarda, ao desinstalar; o agente em execução a repõe",
        "Take the guard away, when uninstalling; a running agent puts it back"
    }
    about_guard_restore() {
        "Fecha, sem o agente, as portas do último mapa da rede, como ao ligar a máquina",
        "Close the ports of the last netmap without the agent, as at the boot"
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

    slow_lookup(host, took_s) {
        "Aviso: os servidores de DNS respondem devagar: {host} levou {took_s} s. O primeiro servidor do /etc/resolv.conf ainda responde?",
        "Warning: name servers answer slowly: {host} took {took_s} s. Is the first server of /etc/resolv.conf alive?"
    }
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
    impostor() {
        "Algo responde no endereço do controlador, mas não é o controlador do token. Pode haver um portal de acesso ou um filtro no caminho, ou o token é antigo.",
        "Something answers at the controller's address, but it is not the token's controller. A captive portal or a filter may be in the way, or the token is old."
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
    engine_argument() { "pedido por --engine ou MALHA_NODE_ENGINE", "asked for by --engine or MALHA_NODE_ENGINE" }
    engine_chosen() { "escolhido na configuração", "chosen in the configuration" }

    age_s(s) { "{s} s", "{s} s" }
    age_min(min, s) { "{min} min {s} s", "{min} min {s} s" }
    age_h(h, min) { "{h} h {min} min", "{h} h {min} min" }
    age_d(d, h) { "{d} d {h} h", "{d} d {h} h" }
}

pub(crate) fn fault(lang: Lang, fault: LinkFault) -> String {
    match fault {
        LinkFault::Name => fault_name(lang),
        LinkFault::Unreachable => fault_unreachable(lang),
        LinkFault::Proxy | LinkFault::ProxyRefused => fault_proxy(lang),
        LinkFault::WrongController => fault_wrong_controller(lang),
        LinkFault::Clock => fault_clock(lang),
        LinkFault::Tls => fault_tls(lang),
        LinkFault::Protocol => fault_protocol(lang),
        LinkFault::Closed => fault_closed(lang),
        LinkFault::Silent => fault_silent(lang),
        LinkFault::Refused => fault_refused(lang),
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
    fn ages_have_two_units_at_most() {
        let say = |s: u64| age(Lang::En, s * 1_000);
        assert_eq!(say(59), "59 s");
        assert_eq!(say(61), "1 min 1 s");
        assert_eq!(say(7_260), "2 h 1 min");
        assert_eq!(say(90_000), "1 d 1 h");
    }
}
