//! The words and fixed sentences of the CLI, in Portuguese and English side by side.

use super::Lang;

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
    NoServer { "nenhum servidor em serviço", "no server in service" }
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
    HintLook {
        "O \"list\" de cada coisa mostra o que existe: malha org list, malha zone list, malha node list, malha policy history.",
        "The \"list\" of each kind shows what there is: malha org list, malha zone list, malha node list, malha policy history."
    }
    WriteSite { "escreva ORG/LOCAL, como sefaz/producao", "write ORG/SITE, like sefaz/producao" }
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
}
