//! The Portuguese words of every cause for which the state refuses a value; the English ones stand in core, beside its code.
//! A cause without words does not compile.

use malha_core::Reason;
use malha_core::limits::{
    MAX_AGENCY_NAME_CHARS, MAX_CONFIRM_WITHIN_MS, MAX_DISPLAY_NAME_CHARS, MAX_GRANTS,
    MAX_HEALTH_PATH_CHARS, MAX_PATH_CHARS, MAX_POLICY_TEST_TIMES, MAX_PORTS_PER_PROFILE,
    MAX_TOKEN_TTL_S, MAX_TOKEN_USES, MIN_CONFIRM_WITHIN_MS, MIN_TOKEN_TTL_S,
};
use malha_proto::MAX_PEERS;
use malha_web::Bilingual;

use super::{both, name, place, sentence};

/// A cause in words.
pub(crate) fn reason(reason: &Reason) -> Bilingual {
    match reason {
        Reason::Name { error } => name(error),
        Reason::Place { error } => place(error),
        Reason::TextSyntax { message } => both(syntax(message), sentence(message)),
        _ => both(portuguese(reason), sentence(&reason.to_string())),
    }
}

/// What the reader of TOML says most often; the rest stays in its words.
fn syntax(message: &str) -> String {
    let field = |start: &str| message.strip_prefix(start)?.split('`').next();
    if let Some(field) = field("unknown field `") {
        let (_, known) = message.split_once(", expected ").unwrap_or_default();
        let known = known.strip_prefix("one of ").unwrap_or(known);
        return format!("O campo `{field}` não existe aqui. Os que existem: {known}.");
    }
    if let Some(field) = field("missing field `") {
        return format!("Falta o campo `{field}`.");
    }
    format!("O texto não é o TOML esperado ({message}).")
}

macro_rules! portuguese {
    ($($name:ident $({ $($field:ident),+ })? $text:literal)*) => {
        fn portuguese(reason: &Reason) -> String {
            match reason {
                $(Reason::$name { $($($field,)+)? .. } => format!($text),)*
            }
        }
    };
}

const MAX_TOKEN_DAYS: u64 = MAX_TOKEN_TTL_S / 86_400;

portuguese! {
    Name { error } "{error}"
    Place { error } "{error}"
    OutOfBounds { least, most, given } "O valor vai de {least} a {most}; {given} não serve."
    DisplayNameLong { chars } "O texto tem {chars} caracteres; o máximo é {MAX_DISPLAY_NAME_CHARS}."
    DisplayNameCharacter { character }
        "O texto tem o caractere {character}; use letras, números e sinais visíveis, numa só linha."
    PathLong { bytes } "O caminho tem {bytes} bytes; o máximo é {MAX_PATH_CHARS}."
    PathStart "O caminho começa com “/”, como “/” ou “/painel”."
    PathCharacter { character }
        "O caminho tem {character}; escreva acentos, espaços e outros sinais em código, como %20."
    PathDots "O caminho tem “//”, “.” ou “..”; escreva-o como os servidores o veem."
    PathEncoding "Um “%” inicia o código de um caractere que não é “/”, “.”, “\\” nem de controle."
    ControllerAddress { address } "“{address}” não é host:porta, como malha.exemplo.gov.br:443."
    ControllersFitNoToken "Informe ao menos um endereço; se juntos não couberem num token, use nomes mais curtos."
    EdgeAddress { address } "{address} não é um endereço em que um cliente se conecta."
    TokenUses { given } "Um token vale para 1 a {MAX_TOKEN_USES} máquinas, e não para {given}."
    TokenLifetime { given_s }
        "A validade vai de {MIN_TOKEN_TTL_S} segundos a {MAX_TOKEN_DAYS} dias; {given_s} segundos não servem."
    HubStays { node } "O nó {node} é o hub: ele faz parte do controlador e não pode ser removido nem trocado."
    EndpointUnreachable { endpoint }
        "{endpoint} não pode ser alcançado; escreva endereço e porta, como 198.51.100.7:51820."
    NotQuarantined { node } "O nó {node} não está mais em quarentena. Recarregue a página."
    NeitherContender "A máquina escolhida não é mais nenhuma das duas. Recarregue a página e escolha de novo."
    ServiceTarget { target } "{target} não é um endereço em que um programa atende; escreva como 127.0.0.1:8080."
    PortTaken { name, port } "A porta {port} deste nó já é de “{name}”; escolha outra."
    RouteInsideOverlay { host, zone } "{host} é um nome interno, e {zone} não é pública; escolha um nome público."
    RouteWithoutService "Uma rota leva a um ou mais serviços."
    ServiceNotPublic { service } "O serviço {service} só atende dentro do túnel; crie-o com exposição pública."
    ServiceNotHttp { service } "O serviço {service} não fala HTTP; uma rota leva a serviços HTTP."
    RecordLeadsElsewhere { zone, rtype, host }
        "A zona {zone} tem um registro {rtype} de operador em {host} que leva a outro lugar. Exclua o registro ou escolha outro host."
    ZoneIsOverlay { zone } "{zone} guarda os nomes internos da malha e não é pública; escolha outra zona."
    ZoneWithoutServers "Uma zona tem ao menos um servidor de nomes, como ns1.exemplo.gov.br."
    WildcardIsNoHost { name } "{name} não é o nome de uma máquina."
    BalancerWithoutServer "Um balanceador tem ao menos um serviço."
    BalancerLacksServer { balancer, service } "O balanceador {balancer} não tem o servidor {service}."
    BalancerNode { node } "O nó {node} não tem o perfil balancer nem edge; cadastre um nó com um deles ou use o hub."
    ServerOnBalancerNode { service }
        "O serviço {service} está no próprio nó do balanceador, que alcança seus servidores pelo túnel."
    HealthPath "O caminho de saúde começa com “/” e tem até {MAX_HEALTH_PATH_CHARS} caracteres ASCII visíveis."
    BalancerNeedsGrant { organization, ports, node }
        "A organização {organization} pede um segundo aprovador, e isto abriria {ports} em {node}: permita isso antes ao nó do balanceador na política, que pode ser aprovada."
    AgencyNameLong { name }
        "{name} é longo demais; com até {MAX_AGENCY_NAME_CHARS} caracteres ainda cabem os nomes que são feitos dele."
    AgencyAddress { address } "{address} não é um endereço público: a internet não leva a ele. Informe aquele em que os outros alcançam o órgão, como 203.0.113.10."
    AgencyAddressTwice { address }
        "{address} já é endereço da produção; cada ambiente tem o seu, ou os pedidos de um chegam ao outro."
    AgencyWithoutDevelopment "Não há servidor de homologação que receba estes endereços."
    KeyWithoutScopes "Uma chave sem escopos não faz nada; dê ao menos um."
    KeyExpiredAlready "A chave nasceria vencida; informe um momento no futuro."
    PasswordHash "Não é um hash argon2id na forma PHC."
    IcmpPorts "ICMP não tem portas; escreva de 0 a 0."
    PortsBackwards { from, to } "A primeira porta, {from}, é maior que a última, {to}; troque as duas."
    GrantBesidePolicy { version }
        "A versão {version} da política está em vigor, e as permissões ficam no texto dela. Altere o texto na página Política, ou com `malha policy show > ARQUIVO` e `malha policy apply ARQUIVO`."
    GrantNeedsApproval { organization }
        "A organização {organization} pede um segundo aprovador: escreva as permissões como política, que pode ser aprovada (`malha policy show > ARQUIVO`, `malha policy apply ARQUIVO`)."
    TooManyPeers { node, peers }
        "O nó {node} teria {peers} pares, e um nó aceita no máximo {MAX_PEERS}: permita a menos nós, ou entre menos grupos de cada vez."
    DifferenceHash "Informe o hash da diferença que foi vista."
    DifferenceChanged { gaining, losing }
        "O que este texto muda já não é o que foi visto (agora {gaining} pares ganham e {losing} perdem). Veja a diferença de novo antes de salvar."
    TestsFail { count, cases } "{count} testes da política não valem: {cases}."
    TestsMissing { profiles, first }
        "Nenhum [[test]] fala de {profiles}, em que permissões tocam ou tocavam até agora: escreva ao menos um para cada, como from = \"profile:{first}\"."
    ConfirmWithin { given_ms }
        "O prazo para confirmar vai de {MIN_CONFIRM_WITHIN_MS} a {MAX_CONFIRM_WITHIN_MS} ms; {given_ms} não serve."
    PolicyPending { version } "A versão {version} aguarda confirmação: confirme-a ou volte à anterior antes."
    PolicyNotPending { version, in_force }
        "A versão {version} não aguarda confirmação; em vigor está a versão {in_force}."
    PolicyConfirmLate "O prazo da confirmação acabou, e a política anterior volta: aplique de novo."
    EmergencyReason
        "Escreva o motivo da emergência em 1 a {MAX_DISPLAY_NAME_CHARS} caracteres, numa só linha, como “ss-1 foi invadido”."
    EmergencyNeedless "Esta mudança não pede segundo aprovador: deixe a emergência em branco."
    EmergencyNotOwner
        "Só um proprietário age sozinho numa emergência; com chave de API, só se ela tiver o escopo admin."
    EmergencyOwn { operator } "Foi {operator} quem pôs esta versão em vigor sozinho; outro operador a confirma."
    AuthorUnknown
        "Uma organização pede um segundo aprovador, e por isso os dois precisam ser conhecidos; esta chave de API não é de ninguém. Use o painel, ou uma chave feita com `malha key add NOME --scope write --operator OPERADOR`."
    AuthorRole { operator } "{operator} não pode mudar a política; é preciso o papel de operador ou de proprietário."
    SecondApproverNobody
        "São precisas duas pessoas com o papel de operador ou de proprietário, e só há uma. Crie outra com `malha operator add NOME --role operator`."
    ProposalExpired { number } "A proposta {number} venceu: proponha de novo."
    ProposalOwn { operator } "Foi {operator} quem propôs; outro operador aprova."
    ProposalOlder { operator }
        "{operator} entrou depois da proposta. Aprova quem já estava aqui, ou propõe-se de novo."
    ProposalOutdated { number }
        "O que a proposta {number} muda já não é o que foi visto. Veja de novo; se ela estiver desatualizada, rejeite-a e proponha outra vez."
    TextLong { bytes, most } "O texto tem {bytes} bytes; o máximo é {most}."
    TextSyntax { message } "{message}"
    TextVersion { version } "Este programa lê a versão {version}."
    EmptyList "A lista está vazia; escreva ao menos um."
    StandsTwice { text } "{text} está repetido."
    NameTaken { name } "Outra entrada já se chama {name}; cada uma tem um nome só seu."
    AtMost { most } "O máximo é {most}."
    UnknownWord { text, words } "“{text}” não é conhecido; escreva um destes: {words}."
    NoPort { text } "“{text}” não é uma porta; escreva como \"5500\", ou uma faixa como \"8000-8010\"."
    PortRangeBackwards { text, right } "“{text}” termina antes de começar; escreva \"{right}\"."
    PortZero "0 não é uma porta; escreva de 1 a 65535."
    IcmpHasNoPorts "icmp não tem portas; remova a linha."
    TagLong { text } "A etiqueta “{text}” é longa demais."
    PolicyTooWide { grants }
        "O texto faz {grants} permissões (cada origem, com cada destino, com cada porta), e o máximo é {MAX_GRANTS}: diga mais de uma vez com org:, profile: ou tag:."
    NamesNobody { text }
        "“{text}” não nomeia ninguém; escreva \"org:NOME\", \"site:ORG/LOCAL\", \"node:ORG/LOCAL/NÓ\", \"profile:PERFIL\", \"tag:ETIQUETA\", \"edge\" ou \"operator\"."
    ServiceProtocol "Um serviço é alcançado por \"tcp\"; remova a linha."
    ServiceAndPorts "Há portas também; fique com um dos dois."
    ProtocolMissing "Falta o protocolo; escreva \"tcp\", \"udp\" ou \"icmp\", ou um serviço."
    PortsMissing "Faltam as portas; escreva uma lista como [\"5500\", \"8000-8010\"], ou um serviço."
    ScheduleEmpty "O fim é diferente do começo; um dia inteiro vai de \"00:00\" a \"24:00\"."
    TestTimes "O máximo é de {MAX_POLICY_TEST_TIMES} momentos diferentes."
    TestPortMissing "Falta a porta; escreva uma, como 5500."
    NoDay { text, days } "“{text}” não é um dia; escreva {days}."
    NoTimeOfDay { text } "“{text}” não é uma hora; escreva HH:MM, como 08:00."
    NoTimeZone { text, zones } "“{text}” não é um fuso; escreva a diferença, como -04:00, ou um destes: {zones}."
    NoMoment { text }
        "{text} não é um momento depois de 1970; escreva data, hora e diferença, como 2027-01-31T23:59:00-04:00."
    NoRelease { text } "“{text}” não é uma versão do X-Road; escreva como \"7.4\"."
    NoReleaseBetween { since, before } "Nenhuma versão está a partir de {since} e antes de {before}."
    ProfileIcmp "icmp não tem portas; escreva \"tcp\" ou \"udp\"."
    NobodyOpen "\"nobody\" vai com a exposição \"loopback\" ou \"never\", e com mais nenhuma."
    NobodyAlone "\"nobody\" fica sozinho."
    OutboundClosed "Na saída, a exposição diz onde o outro lado atende: \"tunnel\" ou \"public\"."
    UdpProbe "UDP não é sondado; escreva \"none\"."
    PortInboundTwice { other, port }
        "A entrada {other} também recebe na porta {port}; fique com uma das duas, ou dê a elas \"since\" e \"before\"."
    PortRangeWide { text } "“{text}” tem mais de {MAX_PORTS_PER_PROFILE} portas."
    StageMissing "Falta o ambiente; declare [production], [development] ou os dois."
    AddressForName { text } "“{text}” é um endereço; escreva um nome de host."
    NoAddress { text } "“{text}” não é um endereço; escreva como \"203.0.113.10\" ou \"2001:db8::10\"."
    AddressOfNobody { address } "{address} não é um endereço em que outros alcançam um servidor."
    AddressNotPublic { address }
        "{address} não é um endereço público: a internet não leva a ele. Informe aquele em que os outros alcançam os servidores, como 203.0.113.10."
    NameDeclared { organization, name }
        "A organização {organization} já declarou {name}; um nome é de uma organização só."
    NoCertificate
        "Escreva cada certificado em PEM, de \"-----BEGIN CERTIFICATE-----\" a \"-----END CERTIFICATE-----\"."
}
