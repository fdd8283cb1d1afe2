//! The words of what the API itself refuses before the state is asked: keys, scopes, references.

use malha_core::TagError;
use malha_proto::NameError;
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

/// Not the name of an agency.
pub(crate) fn agency_name(error: &NameError) -> Bilingual {
    both(
        format!("{} Escreva HOST.NOME, como xvia.sedec.", name(error).pt),
        format!("{error}; write HOST.NAME, like xvia.sedec"),
    )
}

/// A question about a packet that can't be one.
pub(crate) fn icmp_port() -> Bilingual {
    both(
        "ICMP não tem portas; deixe-a de fora.",
        "ICMP has no ports; leave it out",
    )
}

pub(crate) fn service_protocol() -> Bilingual {
    both(
        "Serviços falam TCP; nomeie o nó, ou deixe o protocolo de fora.",
        "services speak TCP; name the node, or leave the protocol out",
    )
}

pub(crate) fn service_port(listens: u16) -> Bilingual {
    both(
        format!("O serviço atende em {listens}; deixe a porta de fora."),
        format!("the service is at {listens}; leave the port out"),
    )
}

pub(crate) fn port_zero() -> Bilingual {
    both("Uma porta vai de 1 a 65535.", "a port is 1 to 65535")
}

pub(crate) fn port_missing() -> Bilingual {
    both(
        "Informe a porta de destino, ou um serviço em \"to\".",
        "name the destination port, or a service in \"to\"",
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
