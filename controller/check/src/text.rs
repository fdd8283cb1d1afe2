//! Every word that reports say to people, in Portuguese and English side by side; the sentences of faults and causes stand with
//! them in `verdict.rs`.

use crate::check::Vantage;
use crate::verdict::{Cause, Fault, Level};

/// The language of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    Pt,
    #[default]
    En,
}

impl Lang {
    /// For `lang=` in HTML.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::Pt => "pt-BR",
            Self::En => "en",
        }
    }

    /// The sentence of a fault.
    #[must_use]
    pub fn fault(self, fault: Fault) -> &'static str {
        match self {
            Self::Pt => fault.pt(),
            Self::En => fault.en(),
        }
    }

    /// The sentence of a cause.
    #[must_use]
    pub fn cause(self, cause: Cause) -> &'static str {
        match self {
            Self::Pt => cause.pt(),
            Self::En => cause.en(),
        }
    }

    /// From where something was looked at.
    #[must_use]
    pub fn vantage(self, vantage: &Vantage) -> String {
        let place = match vantage {
            Vantage::Controller => Word::Controller,
            Vantage::MemberWithGrant { .. } => Word::MemberWithGrant,
            Vantage::MemberWithoutGrant { .. } => Word::MemberWithoutGrant,
            Vantage::Outside { .. } => Word::Outside,
            Vantage::Server { .. } => Word::Server,
        };
        match vantage.node() {
            Some(node) => format!("{} ({})", self.word(place), node.name),
            None => self.word(place).to_owned(),
        }
    }

    /// How much a fault presses.
    #[must_use]
    pub fn level(self, level: Level) -> &'static str {
        self.word(match level {
            Level::Notice => Word::Notice,
            Level::Warning => Word::Warning,
            Level::Serious => Word::Serious,
        })
    }

    /// What was declared or observed: states of ports have words, everything else is data and stays as it is.
    #[must_use]
    pub fn observed(self, observed: &str) -> &str {
        let word = match observed {
            "open" => Word::Open,
            "closed" => Word::Closed,
            "accepted and closed" => Word::Dismissed,
            "refused" => Word::Refused,
            "silent" => Word::Silent,
            "unreachable" => Word::Unreachable,
            data => return data,
        };
        self.word(word)
    }

    pub(crate) fn word(self, word: Word) -> &'static str {
        word.text(self)
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
            fn text(self, lang: Lang) -> &'static str {
                match (self, lang) {
                    $((Self::$name, Lang::Pt) => $pt, (Self::$name, Lang::En) => $en,)*
                }
            }

            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

words! {
    Check { "Verificação", "Check" }
    Closed { "fechada", "closed" }
    Compliance { "Conformidade", "Compliance" }
    Controller { "controlador", "controller" }
    CouldNotTest { "Não testados", "Could not test" }
    CouldNotTestNote {
        "O que não foi testado não está em ordem nem fechado: não se sabe.",
        "What could not be tested is neither in order nor closed: it is not known."
    }
    Declared { "Declarado", "Declared" }
    Dismissed { "aceita e logo encerrada", "accepted and closed" }
    Evidence { "Evidência", "Evidence" }
    Finding { "O que foi encontrado", "What was found" }
    Findings { "Achados", "Findings" }
    MemberWithGrant { "membro com permissão", "member with a grant" }
    MemberWithoutGrant { "membro sem permissão", "member without a grant" }
    NoFindings { "Nenhum achado.", "No findings." }
    Notice { "aviso", "notice" }
    Observed { "Observado", "Observed" }
    Ok { "Em ordem", "In order" }
    Open { "aberta", "open" }
    Outside { "de fora", "outside" }
    Refused { "recusada", "refused" }
    Reason { "Motivo", "Reason" }
    Serious { "grave", "serious" }
    Server { "servidor", "server" }
    Silent { "sem resposta", "silent" }
    Unreachable { "inalcançável", "unreachable" }
    Until { "até", "to" }
    Vantage { "Ponto de observação", "Vantage point" }
    Warning { "atenção", "warning" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TcpSeen;

    #[test]
    fn no_word_is_empty_and_the_languages_differ_where_words_do() {
        for word in Word::ALL {
            let both = [Lang::Pt, Lang::En].map(|lang| lang.word(*word));
            assert!(both.iter().all(|text| !text.is_empty()), "{word:?}");
            assert_ne!(both[0], both[1], "{word:?}");
        }
    }

    #[test]
    fn data_is_not_translated() {
        assert_eq!(Lang::Pt.observed("silent"), "sem resposta");
        let dismissed = TcpSeen::Dismissed.as_str();
        assert_eq!(Lang::Pt.observed(dismissed), "aceita e logo encerrada");
        assert_eq!(Lang::Pt.observed("201.49.10.7"), "201.49.10.7");
    }
}
