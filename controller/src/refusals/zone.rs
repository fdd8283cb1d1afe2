//! The words for what a zone refuses: its names, its record sets, their values.

use malha_web::Bilingual;
use malha_zone::{
    DataError, MAX_SET_BYTES, MAX_SET_DATA, MAX_TTL_S, NameError as ZoneNameError, RecordType,
    SetError, UnknownRecordType, ZoneError,
};

use super::{HOST_CHARS, LABEL_CHARS, both, sentence};

/// A type that no record has here.
pub(crate) fn record_type(error: &UnknownRecordType) -> Bilingual {
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
pub(crate) fn zone_name(error: &ZoneNameError) -> Bilingual {
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
pub(crate) fn zone(error: &ZoneError) -> Bilingual {
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

/// What a set of records refuses.
pub(crate) fn record_set(error: &SetError) -> Bilingual {
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
        RecordType::Ptr => "www.exemplo.com.br.",
        RecordType::Soa => "ns1.exemplo.com.br. hostmaster.exemplo.com.br. 1 3600 600 1209600 300",
    }
}

/// Names what a zone refuses for programs; the same between releases.
pub(super) fn code(error: &ZoneError) -> &'static str {
    match error {
        ZoneError::Name(_) => "zone-name",
        ZoneError::Set(error) => match error {
            SetError::Data(_) => "record-data",
            SetError::Empty { .. } => "record-empty",
            SetError::TooMany { .. } => "record-too-many",
            SetError::TooLarge { .. } => "record-too-large",
            SetError::Duplicate { .. } => "record-twice",
            SetError::MixedTypes { .. } => "record-mixed",
            SetError::NotSingle { .. } => "record-not-single",
            SetError::Ttl { .. } => "record-ttl",
        },
        ZoneError::SoaIsDerived { .. } => "zone-soa-derived",
        ZoneError::ManagedByRoute { .. } => "record-of-route",
        ZoneError::KeptByOperator { .. } => "record-of-operator",
        ZoneError::CnameAtApex => "cname-at-apex",
        ZoneError::CnameNotAlone { .. } => "cname-not-alone",
        ZoneError::ApexNsRequired => "zone-ns-required",
        ZoneError::WildcardDelegation { .. } => "wildcard-delegation",
        ZoneError::BelowDelegation { .. } => "below-delegation",
        ZoneError::TooManySets => "zone-full",
        ZoneError::SoaTime { .. }
        | ZoneError::SoaRoot { .. }
        | ZoneError::TooManyEdits { .. }
        | ZoneError::StoredTwice { .. }
        | ZoneError::OtherZone { .. }
        | ZoneError::JournalGap { .. }
        | ZoneError::JournalMismatch { .. } => "zone",
    }
}

#[cfg(test)]
mod tests {
    use malha_zone::RecordData;

    use super::*;

    #[test]
    fn every_example_is_a_value_of_its_type() {
        for rtype in RecordType::ALL {
            assert!(RecordData::parse(rtype, example(rtype)).is_ok(), "{rtype}");
        }
    }
}
