//! Every word and sentence that the CLI says to people beside its `--help`, in Portuguese and English side by side.

mod failures;

use std::fmt::Display;

pub(super) use failures::portuguese as failure;

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

macro_rules! words {
    ($($name:ident { $pt:literal, $en:literal })*) => {
        /// A word or a fixed sentence.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Word {
            $($name,)*
        }

        impl Word {
            pub(crate) fn text(self, lang: Lang) -> &'static str {
                match (self, lang) {
                    $((Self::$name, Lang::Pt) => $pt, (Self::$name, Lang::En) => $en,)*
                }
            }

            /// For the test that no two words of a language are empty.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

words! {
    Algorithm { "escolha", "algorithm" }
    Backends { "servidores no ar", "servers up" }
    Server { "servidor", "server" }
    Connections { "conexões", "connections" }
    Traffic { "tráfego", "traffic" }
    Turned { "recusadas", "refused" }
    Sources { "origens", "sources" }
    Draining { "esvaziando", "draining" }
    InMaintenance { "em manutenção", "in maintenance" }
    ConditionUnproven { "ainda não verificado", "not checked yet" }
    ConditionSuspect { "suspeito", "suspect" }
    ConditionRecovering { "voltando", "recovering" }
    Id { "id", "id" }
    Name { "nome", "name" }
    Title { "descrição", "title" }
    Site { "local", "site" }
    Sites { "locais", "sites" }
    Node { "nó", "node" }
    Nodes { "nós", "nodes" }
    Created { "criado", "created" }
    Enrolled { "cadastrado", "enrolled" }
    Expires { "validade", "expires" }
    State { "estado", "state" }
    Profile { "perfil", "profile" }
    Uses { "usos", "uses" }
    Replaces { "substitui", "replaces" }
    Addresses { "endereços", "addresses" }
    OverlayName { "nome na rede", "overlay name" }
    Endpoints { "pontos públicos", "endpoints" }
    Machine { "máquina", "machine" }
    Control { "controle", "control" }
    Tunnel { "túnel", "tunnel" }
    Services { "serviços", "services" }
    Broken { "problema", "broken" }
    Handshake { "negociação", "handshake" }
    Psk { "chave pós-quântica", "post-quantum key" }
    PathDirect { "direto", "direct" }
    PathRelay { "relé", "relay" }
    PathCarrier { "TCP 443", "TCP 443" }
    Received { "recebido", "received" }
    Sent { "enviado", "sent" }
    Port { "porta", "port" }
    Target { "destino", "target" }
    Kind { "tipo", "kind" }
    Exposure { "exposição", "exposure" }
    Host { "endereço", "host" }
    Path { "caminho", "path" }
    From { "de", "from" }
    To { "para", "to" }
    Allow { "permite", "allows" }
    Zone { "zona", "zone" }
    Serial { "série", "serial" }
    NameServers { "servidores", "name servers" }
    Contact { "contato", "contact" }
    RecordSets { "registros", "record sets" }
    Type { "tipo", "type" }
    Ttl { "ttl", "ttl" }
    Data { "dados", "data" }
    Source { "origem", "source" }
    Role { "papel", "role" }
    Scopes { "escopos", "scopes" }
    When { "quando", "when" }
    Actor { "quem", "who" }
    Action { "ação", "action" }
    Outcome { "resultado", "outcome" }
    Version { "versão", "version" }
    Revision { "revisão", "revision" }
    Started { "iniciado", "started" }
    Store { "armazenamento", "store" }
    Routes { "rotas", "routes" }
    Zones { "zonas", "zones" }
    Organizations { "organizações", "organizations" }
    Quarantine { "quarentena", "quarantine" }
    Up { "no ar", "up" }
    Down { "fora", "down" }
    Unknown { "sem sinal ainda", "not seen yet" }
    CauseUp { "responde no próprio nó", "it answers on its own node" }
    CauseRefused { "conexão recusada", "connection refused" }
    CauseTimeout { "não responde", "no answer" }
    CauseBroken { "resposta inválida", "not a valid answer" }
    HopControl { "canal de controle", "control channel" }
    HopLink { "rede da máquina", "the machine's network" }
    HopAgent { "agente na máquina", "the agent on the machine" }
    HopTunnel { "túnel", "tunnel" }
    HopService { "serviço local", "the local service" }
    Active { "ativo", "active" }
    Quarantined { "em quarentena", "quarantined" }
    Rekeying { "trocando chaves", "changing keys" }
    Used { "usado", "used" }
    Expired { "vencido", "expired" }
    Revoked { "revogado", "revoked" }
    Never { "nunca", "never" }
    Now { "agora", "now" }
    Nothing { "Nada aqui ainda.", "Nothing here yet." }
    Serving { "gravando", "takes writes" }
    Hub { "central", "hub" }
    Holder { "titular", "holder" }
    Rival { "rival", "rival" }
    Accepted { "aceito", "accepted" }
    Refused { "recusado", "refused" }
    Failed { "falhou", "failed" }
    Packet { "pacote", "packet" }
    Opens { "abre", "opens" }
    Policy { "política", "policy" }
    SecondApprover { "segundo aprovador", "second approver" }
    Waiting { "aguarda", "waits" }
    Number { "número", "number" }
    Yes { "sim", "yes" }
    No { "não", "no" }
    Operator { "operador", "operator" }
    Hash { "hash", "hash" }
    NewText { "texto novo", "new text" }
    AnotherConfirms {
        "Quem confirma é outro operador.",
        "Another operator confirms it."
    }
    Rule { "regra", "rule" }
    OtherRules { "outras regras", "other rules" }
    Answers { "respostas", "answers" }
    OtherWay { "sentido contrário", "other way" }
    Way { "caminho", "way" }
    Service { "serviço", "service" }
    Allowed { "permitido", "allowed" }
    DeniedSameNode {
        "negado: os dois são o mesmo nó, nada entra num túnel",
        "denied: both are one node, nothing enters a tunnel"
    }
    DeniedNotPeers {
        "negado: não se conhecem; nenhum deles é central ou edge, e nenhuma permissão os liga",
        "denied: they don't know each other; neither is a hub or an edge, and no grant joins them"
    }
    DeniedNoRule {
        "negado: nenhuma regra cobre isto, e o que ninguém permite é negado",
        "denied: no rule covers it, and what nobody allows is denied"
    }
    NoEndpoints {
        "nenhum dos dois tem ponto público declarado", "neither has a declared public endpoint"
    }
    NoService { "nenhum declarado nesta porta", "none is declared at this port" }
    Tags { "etiquetas", "tags" }
    Gaining { "ganham", "gain" }
    Losing { "perdem", "lose" }
    Origin { "origem", "origin" }
    OriginGrants { "permissões de antes", "the grants before" }
    OriginApplied { "aplicada", "applied" }
    InForce { "em vigor", "in force" }
    PolicyRight { "Pode entrar em vigor.", "It may come in force." }
    TestsNobody { "ninguém de um dos lados ainda", "nobody on one of its sides yet" }
    RuleOpens { "abre", "opens it" }
    RuleOtherPorts { "abre outras portas", "opens other ports" }
    RuleOutsideSchedule { "abriria, mas não neste horário", "would open it, but not at this hour" }
    RuleExpired { "abriria, mas venceu", "would open it, but has expired" }
    NoRules { "Nenhuma regra liga os dois nós.", "No grant joins the two nodes." }
    ApplyThis { "Aplicar? [s/N]", "Apply this? [y/N]" }
    NothingChanged { "Nada foi alterado.", "Nothing was changed." }
    NobodyToAsk {
        "sem terminal para perguntar: use --difference HASH com o que \"malha policy diff\" mostrou, ou --yes",
        "no terminal to ask at: give --difference HASH with what \"malha policy diff\" showed, or --yes"
    }
    Protocol { "protocolo", "protocol" }
    Direction { "sentido", "direction" }
    Inbound { "entrada", "in" }
    Outbound { "saída", "out" }
    Partner { "com quem", "with" }
    Probe { "verificação", "probe" }
    XRoad { "X-Road", "X-Road" }
    Edited { "editado", "edited" }
    LeftOpen { "a guarda deixa", "left by the guard" }
    Finding { "diferença", "difference" }
    Declared { "declarado", "declared" }
    NetworkInternal { "rede interna", "internal network" }
    NetworkExternal { "rede externa", "external network" }
    TooOpen { "declarado aberto demais", "declared too open" }
    NotInProfile { "não está no perfil", "not in the profile" }
    NotDeclared { "não foi declarado", "not declared" }
    DryRun { "Nada foi criado. Seria assim:", "Nothing was made. It would be:" }
    AgencyUnplaced {
        "Estes servidores do órgão estão em outros locais; diga de que ambiente são:",
        "These servers of the agency stand in other sites; say of which stage they are:"
    }
    AgencyListen {
        "Em cada servidor, os programas devem escutar em 127.0.0.1: o agente ocupa essas portas no endereço da rede.",
        "On each server the programs must listen on 127.0.0.1: the agent takes these ports of the overlay address."
    }
    Checking { "Verificando…", "Checking…" }
    CheckLost {
        "a verificação sumiu: o controlador foi reiniciado? Peça de novo.",
        "the check is lost: was the controller restarted? Ask again."
    }
    CheckLong {
        "a verificação não terminou em 20 min; veja depois com \"malha check ORG --last\"",
        "the check was not over within 20 min; look later with \"malha check ORG --last\""
    }
    Run { "verificação", "check" }
    Findings { "divergências", "findings" }
    Untested { "sem teste", "not tested" }
    InOrder { "em ordem", "in order" }
    Took { "duração", "took" }
    Schedule { "agenda", "schedule" }
    Observed { "observado", "observed" }
    Serious { "grave", "serious" }
    Warning { "atenção", "warning" }
    Notice { "aviso", "notice" }
    HintKey {
        "Use --key-file ARQUIVO ou a variável MALHA_API_KEY; a primeira chave está em admin.key na pasta de dados.",
        "Use --key-file FILE or the variable MALHA_API_KEY; the first key is in admin.key in the data folder."
    }
    HintScope {
        "Use uma chave com esse escopo, ou crie uma com \"malha key add\".",
        "Use a key with that scope, or make one with \"malha key add\"."
    }
    HintUnreachable {
        "O \"malha serve\" está no ar? Informe o endereço com --api.",
        "Is \"malha serve\" running? Name its address with --api."
    }
    HintLater { "Tente de novo em alguns segundos.", "Try again in a few seconds." }
    HintLook { "Veja o que existe com \"list\" no lugar deste comando.", "See what there is with \"list\" in place of this command." }
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

mod checks;

pub(super) use checks::*;

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
    open_connections(count) { "{count} conexões", "{count} connections" }
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
    initialized(config, data) {
        "Controlador criado: configuração {config}, dados em {data}.",
        "Controller made: configuration {config}, data in {data}."
    }
    first_operator(name) {
        "Primeiro operador: {name}. A senha é mostrada só agora:", "First operator: {name}. The password is shown only now:"
    }
    master_key(path) {
        "Guarde uma cópia de {path} longe daqui: sem ela um backup não abre as chaves das autoridades.",
        "Keep a copy of {path} elsewhere: without it a backup can't open the keys of the authorities."
    }
    next_step(config) { "Agora: malha serve --config {config}", "Now: malha serve --config {config}" }
    config_right(config) { "{config}: tudo certo", "{config}: all right" }
    backup_written(path, bytes, revision) {
        "{path}: {bytes} bytes, revisão {revision} do armazenamento, conferido",
        "{path}: {bytes} bytes, store revision {revision}, verified"
    }
    backup_right(path, keys, taken, sha256) {
        "{path}: inteiro, {keys} registros, feito {taken}, SHA-256 {sha256}",
        "{path}: whole, {keys} records, taken {taken}, SHA-256 {sha256}"
    }
    rotated(epoch) {
        "chaves novas (época {epoch}): os nós ligados as recebem em segundos, os outros quando voltarem; nenhuma conexão cai",
        "new keys (epoch {epoch}): connected nodes get them within seconds, the others when they come back; no connection breaks"
    }
    restored(data, keys) {
        "{data}: {keys} registros restaurados. A chave mestra não está no backup: ponha o arquivo dela no lugar antes de iniciar.",
        "{data}: {keys} records restored. The master key is not in the backup: put its file in place before you start."
    }
    checks_kept(folder) {
        "{folder}: já existia e ficou como estava; o que o backup tem das verificações não foi restaurado.",
        "{folder}: was there already and stays as it is; what the backup has of checks was not restored."
    }
    store_right(keys, revision, bytes) {
        "inteiro: {keys} registros, revisão {revision}, {bytes} bytes", "whole: {keys} records, revision {revision}, {bytes} bytes"
    }
    store_damaged(damages) { "{damages} registros danificados:", "{damages} damaged records:" }
    audit_right(lines, segments, hash) {
        "inteiro: {lines} linhas em {segments} arquivos, última {hash}", "whole: {lines} lines in {segments} files, last {hash}"
    }
    denied_apart(node) {
        "negado: {node} está isolado até que o operador escolha e a máquina troque as chaves",
        "denied: {node} is held apart until the operator chooses and the machine changes its keys"
    }
    rule_grant(grant, from, to, allow) { "{grant}: {from} → {to}, {allow}", "{grant}: {from} → {to}, {allow}" }
    rule_public(service, allow) {
        "serviço público {service}, {allow}: o edge leva pedidos a ele",
        "public service {service}, {allow}: edges bring requests to it"
    }
    rule_probe(service, allow) {
        "serviço {service}, {allow}: a central verifica a saúde dele",
        "service {service}, {allow}: the hub probes its health"
    }
    rule_balancer(balancer, allow) {
        "balanceador {balancer}, {allow}: leva conexões a este servidor e verifica a saúde dele",
        "balancer {balancer}, {allow}: carries connections to this server and checks its health"
    }
    answers_pass(from) { "passam, porque {from} abre a conexão", "pass, because {from} opens" }
    may_open_too(to, from) { "{to} pode abrir o mesmo em {from}", "{to} may open the same on {from}" }
    dials(from, to, endpoints) { "{from} procura {to} em {endpoints}", "{from} dials {to} at {endpoints}" }
    end_tunnel(node, state) { "{node} com a central: {state}", "{node} to the hub: {state}" }
    heard_at(state, endpoint) { "{state}, ouvido em {endpoint}", "{state}, heard at {endpoint}" }
    service_at(service, target, state) { "{service} → {target}: {state}", "{service} → {target}: {state}" }
    path_now(path) { "os pacotes vão agora: {path}", "packets travel now: {path}" }
    node_policy_waiting(version, deadline) {
        "a versão {version} aguarda confirmação; sem ela o filtro anterior volta {deadline}",
        "version {version} waits for its confirmation; without it the former filter comes back {deadline}"
    }
    node_policy_returned(version) {
        "ninguém confirmou a versão {version}: o nó voltou ao filtro anterior",
        "nobody confirmed version {version}: the node went back to the former filter"
    }
    balancer_opens(from, to, ports) { "{from} → {to}: {ports}", "{from} → {to}: {ports}" }
    policy_pairs(pairs) { "{pairs} pares", "{pairs} pairs" }
    policy_side(names, more) { "{names} e mais {more}", "{names} and {more} more" }
    policy_more(rows) { "… e mais {rows} linhas", "… and {rows} more rows" }
    policy_counts(gaining, losing, base) {
        "{gaining} pares de nós ganham portas, {losing} perdem, a partir da versão {base}",
        "{gaining} pairs of nodes gain ports, {losing} lose some, from version {base}"
    }
    policy_hash(hash) { "aplicar com: --difference {hash}", "apply with: --difference {hash}" }
    policy_mistake(line, column, problem) {
        "linha {line}, coluna {column}: {problem}", "line {line}, column {column}: {problem}"
    }
    policy_holds(pairs) { "vale para {pairs} pares", "holds for {pairs} pairs" }
    policy_fails(from, to) { "NÃO vale de {from} para {to}", "does NOT hold from {from} to {to}" }
    policy_unresolved(line, place, name) {
        "linha {line}: {place}: {name} não existe agora e não significa ninguém",
        "line {line}: {place}: {name} does not exist now and means nobody"
    }
    policy_refused(why) { "Não pode entrar em vigor: {why}", "It may not come in force: {why}" }
    policy_rule(name, line, reason) { "{name} (linha {line}): {reason}", "{name} (line {line}): {reason}" }
    policy_proposed(organizations, number, until) {
        "{organizations} pede um segundo aprovador: a mudança aguarda e é esquecida {until}; outro operador usa: malha policy approve {number}",
        "{organizations} asks for a second approver: the change waits and is forgotten {until}; another operator uses: malha policy approve {number}"
    }
    policy_outdated(number) {
        "o que a proposta {number} mudaria já não é o que o autor viu: rejeite-a e proponha de novo",
        "what proposal {number} would change is not what its author saw: reject it and propose it anew"
    }
    policy_approved(author, approver) { "{author}, aprovada por {approver}", "{author}, approved by {approver}" }
    policy_alone(author, reason) { "{author}, emergência: {reason}", "{author}, emergency: {reason}" }
    proposed(number) {
        "a proposta {number}; outro operador usa: malha policy approve {number}",
        "proposal {number}; another operator uses: malha policy approve {number}"
    }
    one_approver(organization) {
        "{organization} deixa de pedir um segundo aprovador",
        "{organization} asks for no second approver any longer"
    }
    policy_returned(version) { "volta à versão {version}", "back to version {version}" }
    policy_in_force(version, revision) {
        "versão {version} da política em vigor (revisão {revision})", "policy version {version} is in force (revision {revision})"
    }
    policy_pending(former, deadline, version) {
        "A versão {former} volta {deadline} se não vier: malha policy confirm {version}",
        "Version {former} comes back {deadline} unless this comes: malha policy confirm {version}"
    }
    profile_edited(name, since) {
        "Perfil editado {since}; o original volta com: malha profile reset {name}",
        "This profile was edited {since}; the shipped one comes back with: malha profile reset {name}"
    }
    agency_made(name, sites, revision) {
        "Órgão {name} criado (revisão {revision}): {sites}. Os tokens são mostrados só agora.",
        "Agency {name} made (revision {revision}): {sites}. Tokens are shown only now."
    }
    agency_services(ports) { "portas na rede: {ports} → 127.0.0.1", "ports on the overlay: {ports} → 127.0.0.1" }
    agency_adopted(node) { "{node}: já inscrito; recebeu a etiqueta e os serviços", "{node}: enrolled before; it got the tag and the services" }
    agency_tag(node, production, development) {
        "  malha node tag {node} {production}   (ou {development})", "  malha node tag {node} {production}   (or {development})"
    }
    agency_name(name, addresses) { "{name} → {addresses}", "{name} → {addresses}" }
    agency_name_elsewhere(name, addresses) {
        "{name} → {addresses}: crie este registro onde a zona é mantida",
        "{name} → {addresses}: make this record where the zone is kept"
    }
    agency_name_missing(name) {
        "{name}: sem registro, nenhum endereço foi informado", "{name}: no record, no address was given"
    }
    agency_policy(version) {
        "As portas estão na versão {version} da política, com os testes delas.",
        "The ports stand in version {version} of the policy, with their tests."
    }
    agency_proposal(proposal) {
        "As portas esperam outra pessoa: malha policy approve {proposal}", "The ports wait for another person: malha policy approve {proposal}"
    }
    replaces_note(node) {
        "A máquina que usar este token fica com o lugar de {node}.", "The machine that uses this token takes the place of {node}."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_in_both_languages() {
        for word in Word::ALL {
            assert!(
                !word.text(Lang::Pt).is_empty() && !word.text(Lang::En).is_empty(),
                "{word:?}"
            );
        }
    }

    #[test]
    fn the_locale_chooses_the_language() {
        assert_eq!(Lang::of("pt_BR.UTF-8"), Lang::Pt);
        assert_eq!(Lang::of("C.UTF-8"), Lang::En);
        assert_eq!(Lang::choose(Some("pt-BR")), Lang::Pt);
    }
}
