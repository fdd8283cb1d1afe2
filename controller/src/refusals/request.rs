//! The words of what the API itself refuses before the state is asked: keys, scopes, references.

use malha_core::TagError;
use malha_web::Bilingual;

use super::{both, name, quoted, sentence};

/// No key, or none that is known.
pub(crate) fn no_key() -> Bilingual {
    both(
        "Envie uma chave de API válida (Authorization: Bearer malha_key_…).",
        "send a valid key as \"Authorization: Bearer malha_key_…\"",
    )
}

/// A key that may not do this.
pub(crate) fn another_scope(scope: &str) -> Bilingual {
    both(
        format!("Isto exige uma chave de API com o escopo {scope}."),
        format!("this needs an API key with the scope {scope}"),
    )
}

/// A name that several have. `path` is how one of them is written.
pub(crate) fn ambiguous(name: &str, path: &str) -> Bilingual {
    both(
        format!("Vários têm o nome {}; escreva {path}.", quoted(name)),
        format!("several have the name {name}; write {path}"),
    )
}

/// Not one side of a grant.
pub(crate) fn selector() -> Bilingual {
    const WORDS: &str = "\"organization:NAME\", \"site:ORG/SITE\", \"node:ORG/SITE/NODE\", \"profile:PROFILE\" or \"tag:TAG\"";
    both(
        "Escreva \"organization:NOME\", \"site:ORG/LOCAL\", \"node:ORG/LOCAL/NÓ\", \"profile:PERFIL\" ou \"tag:ETIQUETA\".",
        format!("write {WORDS}"),
    )
}

pub(crate) fn profile_word(error: &dyn std::fmt::Display) -> Bilingual {
    both(
        "Este perfil não existe. Escreva garage, security-server, balancer, central ou edge.",
        error.to_string(),
    )
}

pub(crate) fn tag(error: &TagError) -> Bilingual {
    match error {
        TagError::Label(error) => name(error),
        TagError::TooLong(text) => both(
            format!(
                "A etiqueta {} é longa demais; ela tem até 32 caracteres.",
                quoted(text)
            ),
            sentence(&error.to_string()),
        ),
    }
}
