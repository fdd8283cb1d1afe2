//! The words of refusals, Portuguese for operators and English. The one place where an error of the house is put in words
//! for the dashboard; what a text quotes from a form is shortened here and made visible by whoever shows it.

#[cfg(test)]
mod tests;

use malha_core::{Rejection, limits};
use malha_proto::{NameError, RefusalCode};
use malha_web::{Bilingual, Role};
use malha_zone::{
    DataError, MAX_SET_BYTES, MAX_SET_DATA, MAX_TTL_S, NameError as ZoneNameError, RecordType,
    SetError, UnknownRecordType, ZoneError,
};

use crate::coordinator::SubmitError;

/// A role that may not do this.
pub(super) fn not_allowed(role: Role) -> Bilingual {
    match role {
        Role::SiteTechnician => both(
            "Seu perfil é de técnico de campo: ele cria e revoga tokens e troca máquinas. Para esta alteração, fale com \
             um operador.",
            "Your role is site technician: it makes and revokes tokens and replaces machines. Ask an operator for this \
             change.",
        ),
        Role::Auditor => both(
            "Seu perfil é de auditor: ele vê tudo e não altera nada. Para esta alteração, fale com um operador.",
            "Your role is auditor: it sees everything and changes nothing. Ask an operator for this change.",
        ),
        Role::Operator | Role::Owner => both(
            "Seu perfil não permite esta alteração. Fale com o proprietário.",
            "Your role does not allow this change. Ask the owner.",
        ),
    }
}

/// A service that this version can't offer.
pub(super) fn no_udp() -> Bilingual {
    both(
        "Serviços UDP ainda não são oferecidos; escolha TCP.",
        "UDP services are not offered yet; choose TCP.",
    )
}

pub(super) fn port_zero() -> Bilingual {
    both(
        "Informe uma porta de 1 a 65535.",
        "Give a port from 1 to 65535.",
    )
}

pub(super) fn target(given: &str) -> Bilingual {
    let given = quoted(given);
    both(
        format!(
            "{given} não é um endereço IP com porta. Escreva como 127.0.0.1:8080 ou [::1]:8080."
        ),
        format!(
            "{given} is not an IP address with a port. Write it like 127.0.0.1:8080 or [::1]:8080."
        ),
    )
}

pub(super) fn no_controller_address() -> Bilingual {
    both(
        "O controlador ainda não tem um endereço que as máquinas alcancem, e sem ele o token não serviria. Preencha \
         control.addresses na configuração e reinicie o controlador.",
        "The controller has no address yet that machines can reach, and a token would be of no use without one. Set \
         control.addresses in the configuration and restart the controller.",
    )
}

pub(super) fn strange_answer() -> Bilingual {
    both(
        "O controlador respondeu de forma inesperada. Recarregue a página e veja se a alteração está lá.",
        "The controller gave an unexpected answer. Reload the page and see whether the change is there.",
    )
}

pub(super) fn hub_stays() -> Bilingual {
    both(
        "Este nó é o hub: ele faz parte do controlador e não pode ser removido.",
        "This node is the hub: it is part of the controller and can't be removed.",
    )
}

pub(super) fn not_quarantined() -> Bilingual {
    both(
        "Este nó não está mais em quarentena. Recarregue a página.",
        "This node is no longer in quarantine. Reload the page.",
    )
}

/// Something that was named and is not there.
pub(super) fn not_found(what: &str, name: &str) -> Bilingual {
    let name = quoted(name);
    let there_is_none = match what {
        "organization" => "Não existe a organização",
        "site" => "Não existe o local",
        "node" => "Não existe o nó",
        "token" => "Não existe o token",
        "service" => "Não existe o serviço",
        "route" => "Não existe a rota",
        "zone" => "Não existe a zona",
        "record set" => "Não existe o registro",
        _ => "Não existe",
    };
    both(
        format!("{there_is_none} {name}; talvez tenha sido removido por outra pessoa."),
        format!("There is no {what} {name}; perhaps somebody else removed it."),
    )
}

/// Why the coordinator did not do it.
pub(super) fn submit(error: &SubmitError) -> Bilingual {
    match error {
        SubmitError::Rejected(it) => rejection(it),
        SubmitError::Unavailable(_) => both(
            "O controlador não consegue gravar agora; nada foi alterado. Tente de novo em instantes e, se continuar, \
             veja o log do controlador.",
            "The controller can't write now; nothing was changed. Try again in a moment and, if it goes on, look at the \
             controller's log.",
        ),
        SubmitError::Closed => both(
            "O controlador está sendo encerrado; nada foi alterado. Tente de novo em instantes.",
            "The controller is shutting down; nothing was changed. Try again in a moment.",
        ),
    }
}

fn rejection(rejection: &Rejection) -> Bilingual {
    match rejection {
        Rejection::NotFound { what, name } => not_found(what, name),
        Rejection::Exists { what, name, hint } => exists(what, name, hint),
        Rejection::Invalid { field, problem } => both(invalid(field, problem), sentence(problem)),
        Rejection::InUse { name, by, .. } => both(
            format!(
                "{} ainda está em uso por {}. Remova isso antes.",
                quoted(name),
                user(by)
            ),
            format!(
                "{} is still in use by {by}. Remove that first.",
                quoted(name)
            ),
        ),
        Rejection::Refused { code, text } => both(refused(*code), sentence(text)),
        Rejection::Limit { what, limit } => both(
            format!("Limite atingido: no máximo {limit} {}.", plural(what)),
            format!("Limit reached: at most {limit} {what}."),
        ),
        Rejection::OtherRequest => both(
            "Esta chave de repetição já foi usada em outro pedido. Recarregue a página.",
            "This repetition key was used for another request. Reload the page.",
        ),
        Rejection::Zone(error) => zone(error),
        Rejection::Policy(it) => in_text(it.line, it.column, &it.problem),
        Rejection::Profile(it) => in_text(it.line, it.column, &it.problem),
    }
}

fn in_text(line: usize, column: usize, problem: &str) -> Bilingual {
    both(
        format!("Linha {line}, coluna {column}: {problem}"),
        format!("Line {line}, column {column}: {problem}"),
    )
}

fn exists(what: &str, name: &str, hint: &str) -> Bilingual {
    let name = quoted(name);
    let there_is_one = match what {
        "organization" => format!("Já existe uma organização com o nome {name}. Escolha outro."),
        "site" => format!("Já existe um local com o nome {name} nesta organização. Escolha outro."),
        "node" => format!("Já existe um nó com o nome {name} neste local. Escolha outro."),
        "service" => format!("Já existe um serviço com o nome {name} neste nó. Escolha outro."),
        "route" => format!("Já existe uma rota em {name}. Escolha outro host ou outro caminho."),
        "zone" => format!("Já existe a zona {name}."),
        _ => format!("{name} já existe. Escolha outro nome."),
    };
    both(
        there_is_one,
        format!("There is already a {what} {name}{hint}. Choose another."),
    )
}

/// What a field takes. The state's own words are English; this says the same for all its causes.
fn invalid(field: &str, problem: &str) -> String {
    match field {
        "display_name" => format!(
            "O nome de exibição tem até {} caracteres, numa só linha e sem caracteres invisíveis.",
            limits::MAX_DISPLAY_NAME_CHARS
        ),
        "uses" => format!("Um token vale para 1 a {} máquinas.", limits::MAX_TOKEN_USES),
        "ttl_s" => format!(
            "A validade vai de {} segundos a {} dias.",
            limits::MIN_TOKEN_TTL_S,
            limits::MAX_TOKEN_TTL_S / DAY_S
        ),
        "path" => format!(
            "O caminho começa com “/”, tem até {} caracteres e não contém “//”, “..”, “?” nem “#”. Escreva acentos e \
             espaços em código, como %20.",
            limits::MAX_PATH_CHARS
        ),
        "host" => "Este host não pode ser usado: ou é um nome interno da malha, ou a zona tem um registro de operador \
                   que aponta para outro lugar. Exclua o registro ou escolha outro host."
            .to_owned(),
        "services" => "Uma rota leva a um ou mais serviços HTTP de exposição pública.".to_owned(),
        "difference" => "O que este texto muda já não é o que foi visto. Veja a diferença de novo antes de salvar.".to_owned(),
        "approval" => format!("A aprovação não vale: {problem}."),
        "emergency" => "Escreva o motivo da emergência numa só linha, e só onde uma organização pede um segundo aprovador.".to_owned(),
        "test" => format!("Os testes da política não deixam: {problem}"),
        "grant" => "Há uma política em vigor, e as permissões estão no texto dela. Altere o texto na página Política.".to_owned(),
        "port" => "Outro serviço deste nó já usa esta porta. Escolha outra.".to_owned(),
        "target" => "O destino é um endereço IP com porta em que o programa atende, como 127.0.0.1:8080.".to_owned(),
        "id" => "Este nó é o hub: ele faz parte do controlador e não pode ser trocado.".to_owned(),
        "node" => not_quarantined().pt,
        "keep" => "A máquina escolhida não é mais nenhuma das duas. Recarregue a página e escolha de novo.".to_owned(),
        _ => format!("O valor de “{field}” não serve: {problem}."),
    }
}

/// What the state says of a user of something: a kind and a name.
fn user(by: &str) -> String {
    match by.split_once(' ') {
        Some(("route", name)) => format!("a rota {}", quoted(name)),
        Some(("node", name)) => format!("o nó {}", quoted(name)),
        Some(("site", name)) => format!("o local {}", quoted(name)),
        _ => quoted(by),
    }
}

fn plural(what: &str) -> &str {
    match what {
        "organizations" => "organizações",
        "sites" => "locais",
        "nodes" => "nós",
        "tokens" => "tokens",
        "services on one node" => "serviços por nó",
        "routes" => "rotas",
        "services of one route" => "serviços por rota",
        "zones" => "zonas",
        "records changed by one command" => "registros alterados de uma só vez",
        other => other,
    }
}

fn refused(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::TokenUnknown => "Este token não existe.",
        RefusalCode::TokenExpired => "Este token expirou.",
        RefusalCode::TokenUsed => "Este token já foi usado.",
        RefusalCode::TokenRevoked => "Este token foi revogado.",
        RefusalCode::WrongController => "Este token é de outro controlador.",
        RefusalCode::NameTaken => "Este nome já é de outro nó.",
        RefusalCode::KeyTaken => "Esta chave já é de outro nó.",
        RefusalCode::Malformed => "O pedido não é válido.",
        RefusalCode::NodeRemoved => "Este nó foi removido.",
        RefusalCode::Cloned => {
            "Outra máquina apresenta a mesma identidade; as duas estão isoladas."
        }
        RefusalCode::Replaced => "Outra máquina já tomou o lugar desta.",
        RefusalCode::Busy => "Há pedidos demais agora. Tente de novo em instantes.",
        RefusalCode::PoolExhausted => "Não há mais endereços livres na malha.",
        RefusalCode::Unavailable => {
            "O controlador não consegue gravar agora. Tente de novo em instantes."
        }
    }
}

/// A name of an organization, site, node, service or host.
pub(super) fn name(error: &NameError) -> Bilingual {
    let pt = match error {
        NameError::Empty => {
            "Informe um nome: letras minúsculas sem acento, números e hífens.".to_owned()
        }
        NameError::LabelTooLong(name, chars) => {
            format!(
                "“{name}…” tem {chars} caracteres; cada parte de um nome tem até {LABEL_CHARS}."
            )
        }
        NameError::HostTooLong(chars) => {
            format!("O host tem {chars} caracteres; o máximo é {HOST_CHARS}.")
        }
        NameError::Character(name, wrong) => format!(
            "“{name}” tem o caractere “{wrong}”. Use letras minúsculas sem acento, números e hífens; um nome acentuado \
             vai na forma “xn--”."
        ),
        NameError::Hyphen(name) => format!("“{name}” começa ou termina com hífen; tire-o."),
        NameError::Punycode(name) => format!("“{name}” não é uma forma “xn--” válida."),
        NameError::EmptyLabel(name) => format!("“{name}” tem um ponto sobrando; tire-o."),
        NameError::OneLabel(name) => {
            format!("“{name}” precisa de um domínio, como garagem-01.exemplo.com.br.")
        }
        NameError::Wildcard(name) => {
            format!("“{name}”: o “*” só vale sozinho e no começo, como *.exemplo.com.br.")
        }
        NameError::Address(name) => format!("“{name}” é um endereço IP. Informe um nome de host."),
    };
    both(pt, sentence(&error.to_string()))
}

/// A type that no record has here.
pub(super) fn record_type(error: &UnknownRecordType) -> Bilingual {
    let writable = RecordType::ALL
        .into_iter()
        .filter(|rtype| *rtype != RecordType::Soa);
    let types: Vec<&str> = writable.map(RecordType::as_str).collect();
    both(
        format!(
            "Este tipo de registro não existe aqui. Use um destes: {}.",
            types.join(", ")
        ),
        sentence(&error.to_string()),
    )
}

/// A name of a record set, or in its data.
pub(super) fn zone_name(error: &ZoneNameError) -> Bilingual {
    let pt = match error {
        ZoneNameError::Empty => {
            "Informe um nome como “www”, ou “@” para a própria zona.".to_owned()
        }
        ZoneNameError::NotAscii {
            name,
            a_label: Some(a_label),
        } => {
            format!("“{name}” tem caracteres fora do ASCII. Escreva “{a_label}”.")
        }
        ZoneNameError::NotAscii {
            name,
            a_label: None,
        } => {
            format!("“{name}” tem caracteres fora do ASCII. Use a forma “xn--”.")
        }
        ZoneNameError::EmptyLabel { name } => format!("“{name}” tem um ponto sobrando; tire-o."),
        ZoneNameError::LabelTooLong { label, bytes } => {
            format!(
                "“{label}” tem {bytes} caracteres; cada parte de um nome tem até {LABEL_CHARS}."
            )
        }
        ZoneNameError::TooLong { name } => {
            format!(
                "O nome que começa com “{name}” é longo demais; um nome inteiro tem até {HOST_CHARS} caracteres."
            )
        }
        ZoneNameError::BadCharacter { name, found } => {
            format!(
                "“{name}” tem o caractere “{found}”. Use letras sem acento, números, hífens e sublinhados."
            )
        }
        ZoneNameError::HyphenAtEdge { label } => {
            format!("“{label}” começa ou termina com hífen; tire-o.")
        }
        ZoneNameError::MisplacedWildcard { name } => {
            format!("“{name}”: o “*” só vale sozinho, como primeira parte do nome.")
        }
        ZoneNameError::NotAbsolute { name } => {
            format!("“{name}” não termina com ponto. Se este é o nome inteiro, escreva “{name}.”.")
        }
        ZoneNameError::Address { name } => {
            format!("“{name}” é um endereço. Aqui vai um nome, que por sua vez tem um registro A.")
        }
        ZoneNameError::Root => {
            "A raiz do DNS não serve aqui. Informe um nome como exemplo.com.br.".to_owned()
        }
        ZoneNameError::OutsideZone { name, zone } => format!("“{name}” não está na zona “{zone}”."),
        ZoneNameError::ZoneRepeated {
            name,
            zone,
            relative,
        } => {
            format!(
                "“{name}” sem ponto no fim viraria “{name}.{zone}”. Escreva “{relative}” ou “{name}.”."
            )
        }
    };
    both(pt, sentence(&error.to_string()))
}

/// What a zone refuses.
pub(super) fn zone(error: &ZoneError) -> Bilingual {
    let pt = match error {
        ZoneError::Name(error) => return zone_name(error),
        ZoneError::Set(error) => return record_set(error),
        ZoneError::SoaIsDerived { .. } => {
            "O registro SOA é feito dos dados da própria zona e não se edita aqui.".to_owned()
        }
        ZoneError::ManagedByRoute { name, rtype } => format!(
            "O registro {rtype} de “{name}” segue uma rota. Altere ou remova a rota, e o registro acompanha."
        ),
        ZoneError::KeptByOperator { name, rtype } => format!(
            "O registro {rtype} de “{name}” é mantido por um operador. Exclua-o ou dê outro host à rota."
        ),
        ZoneError::CnameAtApex => {
            "A própria zona não pode ser um CNAME, pois já tem SOA e NS. Use registros A e AAAA."
                .to_owned()
        }
        ZoneError::CnameNotAlone { name, other } => format!(
            "“{name}” ficaria com um CNAME e um {other}, e um CNAME fica sozinho no seu nome. Exclua um dos dois antes."
        ),
        ZoneError::ApexNsRequired => {
            "A zona precisa do seu registro NS. Grave outro no lugar em vez de excluir.".to_owned()
        }
        ZoneError::WildcardDelegation { name } => {
            format!("“{name}” não pode ter NS: um curinga não se delega.")
        }
        ZoneError::BelowDelegation { name, rtype, cut } => format!(
            "O registro {rtype} de “{name}” fica abaixo da delegação de “{cut}”, onde só cabem A e AAAA dos servidores \
             de nomes."
        ),
        ZoneError::TooManySets => "A zona chegou ao máximo de registros.".to_owned(),
        ZoneError::SoaTime { .. }
        | ZoneError::SoaRoot { .. }
        | ZoneError::TooManyEdits { .. }
        | ZoneError::StoredTwice { .. }
        | ZoneError::OtherZone { .. }
        | ZoneError::JournalGap { .. }
        | ZoneError::JournalMismatch { .. } => format!("A zona recusou a alteração: {error}."),
    };
    both(pt, sentence(&error.to_string()))
}

fn record_set(error: &SetError) -> Bilingual {
    let pt = match error {
        SetError::Data(DataError { rtype, text, .. }) => {
            format!(
                "“{text}” não é o valor de um registro {rtype}. Escreva como {}",
                example(*rtype)
            )
        }
        SetError::Empty { .. } => "Informe ao menos um valor, ou exclua o registro.".to_owned(),
        SetError::TooMany { count, .. } => {
            format!("São {count} valores; o máximo é {MAX_SET_DATA}.")
        }
        SetError::TooLarge { bytes, .. } => {
            format!("São {bytes} bytes de valores; o máximo é {MAX_SET_BYTES}.")
        }
        SetError::Duplicate { data, .. } => format!("“{data}” está repetido; deixe um só."),
        SetError::MixedTypes { rtype, found, .. } => {
            format!("Há um valor de {found} num registro {rtype}.")
        }
        SetError::NotSingle { rtype, count, .. } => {
            format!("São {count} valores, e um registro {rtype} tem exatamente um.")
        }
        SetError::Ttl { ttl_s } => {
            format!("Um TTL de {ttl_s} s é longo demais; o máximo é {MAX_TTL_S} s, uma semana.")
        }
    };
    both(pt, sentence(&error.to_string()))
}

/// A value as an operator would write it, with names of this country.
fn example(rtype: RecordType) -> &'static str {
    match rtype {
        RecordType::A => "192.0.2.1",
        RecordType::Aaaa => "2001:db8::1",
        RecordType::Cname => "www.exemplo.com.br.",
        RecordType::Txt => "\"v=spf1 -all\"",
        RecordType::Mx => "10 mail.exemplo.com.br.",
        RecordType::Srv => "0 5 8883 mqtt.exemplo.com.br.",
        RecordType::Caa => "0 issue \"letsencrypt.org\"",
        RecordType::Ns => "ns1.exemplo.com.br.",
        RecordType::Soa => "ns1.exemplo.com.br. hostmaster.exemplo.com.br. 1 3600 600 1209600 300",
    }
}

fn both(pt: impl Into<String>, en: impl Into<String>) -> Bilingual {
    Bilingual {
        pt: pt.into(),
        en: en.into(),
    }
}

/// Foreign text in quotation marks, cut where it is too long to read.
fn quoted(text: &str) -> String {
    let cut = text.chars().nth(MAX_QUOTED_CHARS).map_or("", |_| "…");
    format!(
        "“{}{cut}”",
        text.chars().take(MAX_QUOTED_CHARS).collect::<String>()
    )
}

/// An error's words, which start small and have no full stop, as a sentence.
fn sentence(words: &str) -> String {
    let mut rest = words.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    let sentence: String = first.into_iter().chain(rest).collect();
    if sentence.ends_with(['.', '?', '!']) {
        sentence
    } else {
        sentence + "."
    }
}

/// RFC 1035 section 2.3.4, without the dots' bytes.
const LABEL_CHARS: usize = 63;
const HOST_CHARS: usize = 253;
const DAY_S: u64 = 86_400;
/// How much of what was typed a text repeats.
const MAX_QUOTED_CHARS: usize = 80;
