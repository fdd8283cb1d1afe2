//! The words for what is no name, and no place outside the overlay.

use malha_core::declaration::PlaceError;
use malha_proto::NameError;
use malha_web::Bilingual;

use super::{HOST_CHARS, LABEL_CHARS, both, quoted, sentence};

/// A name of an organization, site, node, service or host.
pub(crate) fn name(error: &NameError) -> Bilingual {
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

/// A host, a name server or a web address.
pub(crate) fn place(error: &PlaceError) -> Bilingual {
    let pt = match error {
        PlaceError::Name(error) => return name(error),
        PlaceError::Wildcard(text) => {
            format!("{} tem um curinga; escreva o nome inteiro.", quoted(text))
        }
        PlaceError::Port(text) => {
            format!("{} não é uma porta; escreva de 1 a 65535.", quoted(text))
        }
        PlaceError::Scheme(text) => format!(
            "{} não é um endereço web; escreva como \"https://xvia.exemplo.gov.br/\".",
            quoted(text)
        ),
        PlaceError::TooLong(bytes) => {
            format!("O endereço web tem {bytes} bytes, e isso é demais; escreva um mais curto.")
        }
        PlaceError::User(text) => format!(
            "{} tem um nome de usuário; aqui um endereço web é host, porta e caminho.",
            quoted(text)
        ),
        PlaceError::Path(text) => format!(
            "{} não é um caminho; use ASCII visível sem “?” e “#”, e o resto em código, como %20.",
            quoted(text)
        ),
    };
    both(pt, sentence(&error.to_string()))
}
