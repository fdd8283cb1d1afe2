//! The one catalogue of what the edge says to people, in Portuguese and English. Knows no markup.

use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use crate::failure::Fault;
use crate::hop::Hop;
use crate::preference::Language;

/// What a fault is called, what it means and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wording {
    pub(crate) title: &'static str,
    pub(crate) explanation: &'static str,
    pub(crate) advice: &'static str,
}

/// The words around the wording.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels {
    pub(crate) way: &'static str,
    pub(crate) works: &'static str,
    pub(crate) broken: &'static str,
    pub(crate) not_reached: &'static str,
    pub(crate) since: &'static str,
    pub(crate) again: &'static str,
    pub(crate) reference: &'static str,
}

pub(crate) fn wording(fault: Fault, language: Language) -> Wording {
    let [portuguese, english] = both(fault);
    match language {
        Language::Portuguese => *portuguese,
        Language::English => *english,
    }
}

pub(crate) fn labels(language: Language) -> Labels {
    match language {
        Language::Portuguese => Labels {
            way: "Caminho do pedido",
            works: "funciona",
            broken: "falhou aqui",
            not_reached: "não alcançado",
            since: "Fora do ar",
            again: "Tentar de novo",
            reference: "Referência",
        },
        Language::English => Labels {
            way: "Way of the request",
            works: "works",
            broken: "failed here",
            not_reached: "not reached",
            since: "Offline",
            again: "Try again",
            reference: "Reference",
        },
    }
}

pub(crate) fn hop_name(hop: Hop, language: Language) -> &'static str {
    let (portuguese, english) = match hop {
        Hop::Client => ("Você", "You"),
        Hop::Edge => ("Borda", "Edge"),
        Hop::Tunnel => ("Túnel", "Tunnel"),
        Hop::Origin => ("Serviço", "Service"),
    };
    match language {
        Language::Portuguese => portuguese,
        Language::English => english,
    }
}

/// "há 3 minutos", "3 minutes ago".
pub(crate) fn elapsed(elapsed_s: u64, language: Language) -> String {
    let (count, unit) = match elapsed_s {
        0..MINUTE_S => (0, Unit::Minute),
        MINUTE_S..HOUR_S => (elapsed_s / MINUTE_S, Unit::Minute),
        HOUR_S..DAY_S => (elapsed_s / HOUR_S, Unit::Hour),
        _ => (elapsed_s / DAY_S, Unit::Day),
    };
    let one = count == 1;
    match language {
        Language::Portuguese if count == 0 => "há menos de um minuto".to_owned(),
        Language::Portuguese => {
            let unit = match unit {
                Unit::Minute if one => "minuto",
                Unit::Minute => "minutos",
                Unit::Hour if one => "hora",
                Unit::Hour => "horas",
                Unit::Day if one => "dia",
                Unit::Day => "dias",
            };
            format!("há {count} {unit}")
        }
        Language::English if count == 0 => "for less than a minute".to_owned(),
        Language::English => {
            let unit = match unit {
                Unit::Minute => "minute",
                Unit::Hour => "hour",
                Unit::Day => "day",
            };
            format!("for {count} {unit}{}", if one { "" } else { "s" })
        }
    }
}

/// "desde 22/11/2026 14:02 (UTC−3)", "since 2026-11-22 14:02 (UTC−3)". `None` for a time that no calendar has.
pub(crate) fn moment(unix_ms: u64, utc_offset_min: i16, language: Language) -> Option<String> {
    let offset = UtcOffset::from_whole_seconds(i32::from(utc_offset_min) * 60).ok()?;
    let local = instant(unix_ms)?.checked_to_offset(offset)?;
    let zone = zone_name(utc_offset_min);
    match language {
        Language::Portuguese => {
            let format = format_description!("[day]/[month]/[year] [hour]:[minute]");
            Some(format!("desde {} ({zone})", local.format(format).ok()?))
        }
        Language::English => {
            let format = format_description!("[year]-[month]-[day] [hour]:[minute]");
            Some(format!("since {} ({zone})", local.format(format).ok()?))
        }
    }
}

/// The same moment for programs (RFC 3339, UTC).
pub(crate) fn timestamp(unix_ms: u64) -> Option<String> {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    instant(unix_ms)?.format(format).ok()
}

enum Unit {
    Minute,
    Hour,
    Day,
}

fn instant(unix_ms: u64) -> Option<OffsetDateTime> {
    let seconds = i64::try_from(unix_ms / 1000).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

fn zone_name(utc_offset_min: i16) -> String {
    let sign = match utc_offset_min {
        0 => return "UTC".to_owned(),
        1.. => '+',
        _ => '−',
    };
    let minutes = utc_offset_min.unsigned_abs();
    match minutes % 60 {
        0 => format!("UTC{sign}{}", minutes / 60),
        rest => format!("UTC{sign}{}:{rest:02}", minutes / 60),
    }
}

/// Portuguese, then English.
fn both(fault: Fault) -> &'static [Wording; 2] {
    match fault {
        Fault::BadRequest => &BAD_REQUEST,
        Fault::UnknownHost => &UNKNOWN_HOST,
        Fault::NoRoute => &NO_ROUTE,
        Fault::MethodRefused => &METHOD_REFUSED,
        Fault::UploadStalled => &UPLOAD_STALLED,
        Fault::TargetTooLong => &TARGET_TOO_LONG,
        Fault::Misdirected => &MISDIRECTED,
        Fault::HeadersTooLarge => &HEADERS_TOO_LARGE,
        Fault::TransferCoding => &TRANSFER_CODING,
        Fault::EdgeBusy => &EDGE_BUSY,
        Fault::EdgeDown => &EDGE_DOWN,
        Fault::TunnelDown => &TUNNEL_DOWN,
        Fault::OriginDown => &ORIGIN_DOWN,
        Fault::OriginBroken => &ORIGIN_BROKEN,
        Fault::OriginSlow => &ORIGIN_SLOW,
    }
}

const BAD_REQUEST: [Wording; 2] = [
    Wording {
        title: "Pedido inválido",
        explanation: "O pedido que chegou até nós não segue as regras do HTTP.",
        advice: "Tente de novo; se continuar, avise quem mantém o programa que fez o pedido.",
    },
    Wording {
        title: "Invalid request",
        explanation: "The request that reached us does not follow the rules of HTTP.",
        advice: "Try again; if it keeps happening, tell whoever maintains the program that sent it.",
    },
];

const UNKNOWN_HOST: [Wording; 2] = [
    Wording {
        title: "Endereço não encontrado",
        explanation: "Nenhum serviço desta rede atende por este endereço.",
        advice: "Confira se o endereço foi digitado corretamente.",
    },
    Wording {
        title: "Address not found",
        explanation: "No service of this network answers at this address.",
        advice: "Check that the address is spelled correctly.",
    },
];

const NO_ROUTE: [Wording; 2] = [
    Wording {
        title: "Página não encontrada",
        explanation: "O endereço existe, mas nada é publicado neste caminho.",
        advice: "Volte ao início do site.",
    },
    Wording {
        title: "Page not found",
        explanation: "The address exists, but nothing is published at this path.",
        advice: "Go back to the start of the site.",
    },
];

const METHOD_REFUSED: [Wording; 2] = [
    Wording {
        title: "Método não permitido",
        explanation: "A borda não encaminha o método usado neste pedido.",
        advice: "Use um método comum do HTTP, como GET ou POST.",
    },
    Wording {
        title: "Method not allowed",
        explanation: "The edge does not forward the method of this request.",
        advice: "Use a common HTTP method such as GET or POST.",
    },
];

const UPLOAD_STALLED: [Wording; 2] = [
    Wording {
        title: "O envio parou",
        explanation: "O envio dos dados parou antes de terminar.",
        advice: "Verifique sua conexão e envie de novo.",
    },
    Wording {
        title: "The upload stopped",
        explanation: "The upload stopped before it was complete.",
        advice: "Check your connection and send it again.",
    },
];

const TARGET_TOO_LONG: [Wording; 2] = [
    Wording {
        title: "Endereço longo demais",
        explanation: "O endereço pedido passa do limite de 16 KiB.",
        advice: "Encurte o endereço ou envie os dados no corpo do pedido.",
    },
    Wording {
        title: "Address too long",
        explanation: "The requested address is longer than 16 KiB.",
        advice: "Shorten the address or send the data in the body of the request.",
    },
];

const MISDIRECTED: [Wording; 2] = [
    Wording {
        title: "Pedido na conexão errada",
        explanation: "A conexão foi aberta para outro endereço, e este pedido não pertence a ela.",
        advice: "Recarregue a página para abrir uma nova conexão.",
    },
    Wording {
        title: "Request on the wrong connection",
        explanation: "The connection was opened for another address, and this request does not belong to it.",
        advice: "Reload the page to open a new connection.",
    },
];

const HEADERS_TOO_LARGE: [Wording; 2] = [
    Wording {
        title: "Cabeçalhos grandes demais",
        explanation: "Os cabeçalhos do pedido passam do limite de 64 KiB.",
        advice: "Apagar os cookies deste site costuma resolver.",
    },
    Wording {
        title: "Headers too large",
        explanation: "The headers of the request are larger than 64 KiB.",
        advice: "Deleting the cookies of this site usually helps.",
    },
];

const TRANSFER_CODING: [Wording; 2] = [
    Wording {
        title: "Codificação não suportada",
        explanation: "O pedido usa uma codificação de transferência que a borda não conhece.",
        advice: "Envie o corpo com Content-Length ou com a codificação chunked.",
    },
    Wording {
        title: "Coding not supported",
        explanation: "The request uses a transfer coding that the edge does not know.",
        advice: "Send the body with Content-Length or with the chunked coding.",
    },
];

const EDGE_BUSY: [Wording; 2] = [
    Wording {
        title: "Muitos acessos agora",
        explanation: "A borda chegou ao limite de conexões com este serviço.",
        advice: "Espere alguns segundos e tente de novo.",
    },
    Wording {
        title: "Too busy right now",
        explanation: "The edge has reached its limit of connections to this service.",
        advice: "Wait a few seconds and try again.",
    },
];

const EDGE_DOWN: [Wording; 2] = [
    Wording {
        title: "Esta entrada está com problema",
        explanation: "A borda da rede não consegue atender este endereço no momento.",
        advice: "A falha é nossa, não sua. Tente de novo em instantes.",
    },
    Wording {
        title: "This entrance has a problem",
        explanation: "The edge of the network can't serve this address at the moment.",
        advice: "The failure is ours, not yours. Try again shortly.",
    },
];

const TUNNEL_DOWN: [Wording; 2] = [
    Wording {
        title: "Este local está fora do ar",
        explanation: "A borda funciona, mas o túnel até o local não responde. \
                      Costuma ser falta de energia ou de internet no local.",
        advice: "Tente de novo em alguns minutos.",
    },
    Wording {
        title: "This site is offline",
        explanation: "The edge works, but the tunnel to the site does not answer. \
                      The site has probably lost its power or its internet connection.",
        advice: "Try again in a few minutes.",
    },
];

const ORIGIN_DOWN: [Wording; 2] = [
    Wording {
        title: "O serviço está parado",
        explanation: "O local está conectado, mas o serviço que atende este endereço não aceita conexões.",
        advice: "Tente de novo em alguns minutos.",
    },
    Wording {
        title: "The service is stopped",
        explanation: "The site is connected, but the service behind this address accepts no connections.",
        advice: "Try again in a few minutes.",
    },
];

const ORIGIN_BROKEN: [Wording; 2] = [
    Wording {
        title: "O serviço não deu uma resposta válida",
        explanation: "O serviço encerrou a conexão antes de responder, ou respondeu fora das regras do HTTP.",
        advice: "Tente de novo; se continuar, avise quem cuida do serviço.",
    },
    Wording {
        title: "The service gave no valid response",
        explanation: "The service closed the connection before it answered, or its answer broke the rules of HTTP.",
        advice: "Try again; if it keeps happening, tell whoever runs the service.",
    },
];

const ORIGIN_SLOW: [Wording; 2] = [
    Wording {
        title: "O serviço demorou demais",
        explanation: "O serviço recebeu o pedido, mas não respondeu a tempo.",
        advice: "Tente de novo em instantes.",
    },
    Wording {
        title: "The service took too long",
        explanation: "The service received the request but did not answer in time.",
        advice: "Try again shortly.",
    },
];

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_fault_has_its_own_words_in_both_languages() {
        for language in [Language::Portuguese, Language::English] {
            let titles: BTreeSet<_> = Fault::ALL
                .iter()
                .map(|fault| wording(*fault, language).title)
                .collect();
            assert_eq!(titles.len(), Fault::ALL.len(), "{language:?}");
        }
        for fault in Fault::ALL {
            let portuguese = wording(fault, Language::Portuguese);
            let english = wording(fault, Language::English);
            assert_ne!(portuguese.explanation, english.explanation, "{fault:?}");
            assert_ne!(portuguese.advice, english.advice, "{fault:?}");
        }
    }

    #[test]
    fn elapsed_time_is_told_in_the_largest_whole_unit() {
        let cases = [
            (0, "há menos de um minuto", "for less than a minute"),
            (60, "há 1 minuto", "for 1 minute"),
            (3599, "há 59 minutos", "for 59 minutes"),
            (3600, "há 1 hora", "for 1 hour"),
            (50 * 3600, "há 2 dias", "for 2 days"),
        ];
        for (seconds, portuguese, english) in cases {
            assert_eq!(elapsed(seconds, Language::Portuguese), portuguese);
            assert_eq!(elapsed(seconds, Language::English), english);
        }
    }

    #[test]
    fn moments_name_their_zone() {
        let moment_ms = 1_795_362_120_000;
        assert_eq!(
            moment(moment_ms, -180, Language::Portuguese).unwrap(),
            "desde 22/11/2026 12:42 (UTC−3)"
        );
        assert_eq!(
            moment(moment_ms, 330, Language::English).unwrap(),
            "since 2026-11-22 21:12 (UTC+5:30)"
        );
        assert_eq!(timestamp(moment_ms).unwrap(), "2026-11-22T15:42:00Z");
        assert_eq!(timestamp(u64::MAX), None);
    }
}
