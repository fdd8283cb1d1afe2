//! Every word and sentence that the CLI says to people beside its `--help`, in Portuguese and English side by side.

use std::fmt::Display;

/// The language of what is said to people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lang {
    Pt,
    #[default]
    En,
}

impl Lang {
    /// The language of a tag or locale, like `pt-BR` or `pt_BR.UTF-8`. English where it is none of ours.
    #[must_use]
    pub(super) fn of(tag: &str) -> Self {
        if tag.to_ascii_lowercase().starts_with("pt") {
            Self::Pt
        } else {
            Self::En
        }
    }

    /// What was given, else what the locale says.
    #[must_use]
    pub(super) fn choose(given: Option<&str>) -> Self {
        let variable = |name| std::env::var(name).ok().filter(|tag| !tag.is_empty());
        let given = given.map(str::to_owned);
        given
            .or_else(|| variable("LC_ALL"))
            .or_else(|| variable("LANG"))
            .map_or(Self::default(), |tag| Self::of(&tag))
    }
}

macro_rules! sentences {
    ($($name:ident($($value:ident),*) { $pt:literal, $en:literal })*) => {$(
        pub(crate) fn $name(lang: Lang $(, $value: impl Display)*) -> String {
            match lang {
                Lang::Pt => format!($pt),
                Lang::En => format!($en),
            }
        }
    )*};
}

mod agencies;
mod checks;
mod failures;
mod folder;
mod policy;
mod stored;
mod trace;
mod word;

pub(super) use agencies::*;
pub(super) use checks::*;
pub(super) use failures::portuguese as failure;
pub(super) use folder::*;
pub(super) use policy::*;
pub(super) use stored::{audit, config, file, folder, history, pki, store};
pub(super) use trace::*;
pub(super) use word::Word;

sentences! {
    ago(span) { "há {span}", "{span} ago" }
    ahead(span) { "em {span}", "in {span}" }
    since(state, span) { "{state} há {span}", "{state} for {span}" }
    broken_since(hop, span) { "{hop}, há {span}", "{hop}, for {span}" }
    broken_service(hop, service, span) { "{hop} {service}, há {span}", "{hop} {service}, for {span}" }
    removed(what, revision) { "{what} removido (revisão {revision})", "{what} removed (revision {revision})" }
    written(revision) { "gravado na revisão {revision}", "written at revision {revision}" }
    applied(nodes, of, millis) {
        "aplicado por {nodes} de {of} nós em {millis} ms", "applied by {nodes} of {of} nodes in {millis} ms"
    }
    balanced(taken, received, sent) {
        "{taken} conexões desde que abriu, {received} recebidos, {sent} enviados",
        "{taken} connections since it was opened, {received} received, {sent} sent"
    }
    turned(over_limit, not_allowed, unserved) {
        "{over_limit} acima do limite, {not_allowed} de origem não listada, {unserved} sem servidor",
        "{over_limit} over a limit, {not_allowed} from a source not listed, {unserved} without a server"
    }
    zone_elsewhere(host, records) {
        "Atenção: {host} não está em nenhuma zona daqui. Crie no DNS desse nome: {records}",
        "Warning: {host} lies in no zone of this controller. Make in that name's own DNS: {records}"
    }
    zone_and_edges_elsewhere(host) {
        "Atenção: {host} não está em nenhuma zona daqui, e a borda não tem endereços (edge.addresses). Crie no DNS desse nome registros A ou AAAA que levem a ela",
        "Warning: {host} lies in no zone of this controller, and the edge has no addresses (edge.addresses). Make A or AAAA records in that name's own DNS that lead to it"
    }
    nobody_serves(balancer) {
        "Atenção: todos os servidores de {balancer} esvaziam ou estão em manutenção, e toda conexão nova é recusada. Para um voltar: malha balancer resume {balancer} SERVIÇO",
        "Warning: all servers of {balancer} drain or are in maintenance, and every new connection is refused. To bring one back: malha balancer resume {balancer} SERVICE"
    }
    list_cut(count) {
        "Atenção: são mostrados os primeiros {count}; há mais. Restrinja a lista, ou leia-a por páginas pela API.",
        "Warning: these are the first {count}; there are more. Narrow the list, or read it page by page from the API."
    }
    list_endless(path, pages) {
        "{path} não terminou em {pages} páginas; nada foi exportado", "{path} did not end within {pages} pages; nothing was exported"
    }
    open_connections(count) { "{count} conexões", "{count} connections" }
    hub_interface_mended(times) {
        "a interface foi alterada por outros; vezes em que foi reposta: {times}",
        "others changed the interface; times that it was set again: {times}"
    }
    hub_interface_trouble(why) {
        "a interface foi alterada por outros e ainda não pôde ser reposta: {why}",
        "others changed the interface, and it can't be set again yet: {why}"
    }
    hub_ipv4_only(why) {
        "só IPv4; esta máquina não deixa a rede ter IPv6: {why}",
        "IPv4 only; this machine lets the overlay have no IPv6: {why}"
    }
    lagging(names) { "ainda não aplicaram: {names}", "not applied yet by: {names}" }
    offline(names) { "desconectados, aplicam ao voltar: {names}", "not connected, will apply when back: {names}" }
    token_made(id, site, expires) {
        "Token {id} para {site}, validade {expires}. É mostrado só agora; na máquina: malha-node up TOKEN",
        "Token {id} for {site}, expires {expires}. It is shown only now; on the machine: malha-node up TOKEN"
    }
    key_made(id, name) {
        "Chave {id} ({name}). É mostrada só agora; guarde-a num arquivo com modo 0600.",
        "Key {id} ({name}). It is shown only now; keep it in a file of mode 0600."
    }
    password_made(name) {
        "Senha de {name}. É mostrada só agora.", "Password of {name}. It is shown only now."
    }
    rotated(epoch) {
        "chaves novas (época {epoch}): os nós ligados as recebem em segundos, os outros quando voltarem; nenhuma conexão cai",
        "new keys (epoch {epoch}): connected nodes get them within seconds, the others when they come back; no connection breaks"
    }
    node_policy_waiting(version, deadline) {
        "a versão {version} aguarda confirmação; sem ela o filtro anterior volta {deadline}",
        "version {version} waits for its confirmation; without it the former filter comes back {deadline}"
    }
    node_policy_returned(version) {
        "ninguém confirmou a versão {version}: o nó voltou ao filtro anterior",
        "nobody confirmed version {version}: the node went back to the former filter"
    }
    node_too_many_peers(peers, limit) {
        "o nó teria {peers} pares e aceita no máximo {limit}: segue com o mapa anterior; permita menos na política",
        "the node would have {peers} peers and takes at most {limit}: it keeps its former netmap; grant less in the policy"
    }
    balancer_opens(from, to, ports) { "{from} → {to}: {ports}", "{from} → {to}: {ports}" }
    profile_edited(name, since) {
        "Perfil editado {since}; o original volta com: malha profile reset {name}",
        "This profile was edited {since}; the shipped one comes back with: malha profile reset {name}"
    }
    replaces_note(node) {
        "A máquina que usar este token fica com o lugar de {node}.", "The machine that uses this token takes the place of {node}."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_chooses_the_language() {
        assert_eq!(Lang::of("pt_BR.UTF-8"), Lang::Pt);
        assert_eq!(Lang::of("C.UTF-8"), Lang::En);
        assert_eq!(Lang::choose(Some("pt-BR")), Lang::Pt);
    }
}
