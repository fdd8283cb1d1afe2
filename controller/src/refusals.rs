//! The words of refusals, Portuguese for operators and English: the one place where a no of the house is put in words for
//! the dashboard, the API and its CLI. What a text quotes is shortened here and made visible by whoever shows it.

mod check;
mod name;
mod noun;
mod reason;
mod refusal;
mod request;
#[cfg(test)]
mod tests;
mod zone;

use malha_core::{Rejection, TextError};
use malha_proto::RefusalCode;
use malha_web::Bilingual;

use crate::coordinator::SubmitError;

pub(crate) use check::{check, history};
pub(crate) use name::{name, place};
pub(crate) use noun::not_found;
pub(crate) use reason::reason;
pub(crate) use refusal::Refusal;
pub(crate) use request::{
    agency_name, ambiguous, another_scope, icmp_port, no_key, port_missing, port_zero,
    profile_word, selector, service_port, service_protocol, tag,
};
pub(crate) use zone::{record_set, record_type, zone, zone_name};

/// Why the coordinator did not do it.
pub(crate) fn submit(error: &SubmitError) -> Bilingual {
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

/// What the state says no to. Where a value is wrong, its field is not repeated: it is shown beside it.
pub(crate) fn rejection(rejection: &Rejection) -> Bilingual {
    match rejection {
        Rejection::NotFound { what, name } => not_found(*what, name),
        Rejection::Exists { what, name } => noun::exists(*what, name),
        Rejection::Invalid { reason: it, .. } => reason(it),
        Rejection::InUse { name, by, .. } => noun::in_use(name, by),
        Rejection::Refused { code, text } => both(refused(*code), sentence(text)),
        Rejection::Limit { what, limit } => both(
            format!(
                "Limite atingido: no máximo {limit} {}.",
                noun::plenty(*what)
            ),
            format!("Limit reached: at most {limit} {what}."),
        ),
        Rejection::OtherRequest => both(
            "Este pedido repete a chave de outro pedido diferente (Idempotency-Key). Recarregue a página e envie de novo.",
            "This request repeats the key of a different one (Idempotency-Key). Reload the page and send it again.",
        ),
        Rejection::Text(error) => text(error),
        Rejection::Zone(error) => zone(error),
    }
}

/// Names a refusal for programs; the same between releases.
pub(crate) fn code(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::NotFound { .. } => "not-found",
        Rejection::Exists { .. } => "exists",
        Rejection::Invalid { reason, .. } => reason.code(),
        Rejection::InUse { .. } => "in-use",
        Rejection::Refused { code, .. } => refusal_code(*code),
        Rejection::Limit { .. } => "limit",
        Rejection::OtherRequest => "other-request",
        Rejection::Text(error) => error.reason.code(),
        Rejection::Zone(error) => zone::code(error),
    }
}

/// What is wrong in a text, and where.
pub(crate) fn text(error: &TextError) -> Bilingual {
    let TextError { line, column, .. } = error;
    let problem = problem(error);
    both(
        format!("Linha {line}, coluna {column}: {}", problem.pt),
        format!("Line {line}, column {column}: {}", problem.en),
    )
}

/// What is wrong in a text, for whoever shows the place beside it.
pub(crate) fn problem(error: &TextError) -> Bilingual {
    let words = reason(&error.reason);
    match error.field.as_str() {
        "" => words,
        field => both(
            format!("{field}: {}", words.pt),
            format!("{field}: {}", words.en),
        ),
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

fn refusal_code(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::TokenUnknown => "token-unknown",
        RefusalCode::TokenExpired => "token-expired",
        RefusalCode::TokenUsed => "token-used",
        RefusalCode::TokenRevoked => "token-revoked",
        RefusalCode::WrongController => "wrong-controller",
        RefusalCode::NameTaken => "name-taken",
        RefusalCode::KeyTaken => "key-taken",
        RefusalCode::Malformed => "malformed",
        RefusalCode::NodeRemoved => "node-removed",
        RefusalCode::Cloned => "cloned",
        RefusalCode::Replaced => "replaced",
        RefusalCode::Busy => "busy",
        RefusalCode::PoolExhausted => "pool-exhausted",
        RefusalCode::Unavailable => "unavailable",
    }
}

fn both(pt: impl Into<String>, en: impl Into<String>) -> Bilingual {
    Bilingual {
        pt: pt.into(),
        en: en.into(),
    }
}

/// Foreign text in quotation marks, cut where it is too long to read.
pub(crate) fn quoted(text: &str) -> String {
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
/// How much of what was typed a text repeats.
const MAX_QUOTED_CHARS: usize = 80;
