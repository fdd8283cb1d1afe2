//! What is wrong with an evidence file, in both languages.

use thiserror::Error;
use time::OffsetDateTime;

use super::{FORMAT, MAX_FILE_BYTES};
use crate::text::Lang;

/// What is wrong with a file, and with which line.
#[derive(Debug, Error)]
pub enum EvidenceError {
    #[error("the file is empty")]
    Empty,
    #[error("the file has more than {MAX_FILE_BYTES} bytes; no run writes so much")]
    TooLong,
    #[error("line {line} can't be read: {error}")]
    Malformed { line: usize, error: String },
    #[error("line {line} was changed: the next line was written for another text")]
    Changed { line: u64 },
    #[error("line {line} was removed: line {next} follows directly on what was before it")]
    Removed { line: u64, next: u64 },
    #[error("line {at} is out of order: it was written as line {written}")]
    Reordered { at: u64, written: u64 },
    #[error("the file ends after line {lines} without its seal: it was cut off")]
    Truncated { lines: usize },
    #[error("something stands after the seal, on line {line}")]
    AfterSeal { line: usize },
    #[error("the file has format {found}; this program reads format {FORMAT}")]
    Format { found: u32 },
    #[error("line 1 is not the header of an evidence file")]
    NoHeader,
    #[error(
        "the header says run {sequence} and names {previous} as the run before it, which does not go together"
    )]
    BadLink { sequence: u64, previous: String },
    #[error("the authority's certificate can't be read; it must be one certificate in PEM")]
    Authority,
    #[error("the authority's key is of a kind that signs no evidence; it must be P-256 or Ed25519")]
    AuthorityKey,
    #[error("the file was signed by another authority: {found}, not {expected}")]
    OtherAuthority { found: String, expected: String },
    #[error(
        "the signature does not verify: the seal was forged, or lines were changed and joined again"
    )]
    BadSignature,
    #[error("the run ended at {ended}, outside of the authority's validity")]
    OutsideValidity { ended: OffsetDateTime },
    #[error("the evidence can't be signed: {0}")]
    Unsigned(String),
    #[error("the evidence can't be written: {0}")]
    Unwritten(#[from] serde_json::Error),
}

impl EvidenceError {
    /// For people. What a reader of JSON or a signer said stays in its words.
    #[must_use]
    pub fn words(&self, lang: Lang) -> String {
        match lang {
            Lang::Pt => self.portuguese(),
            Lang::En => self.to_string(),
        }
    }

    fn portuguese(&self) -> String {
        match self {
            Self::Empty => "o arquivo está vazio".to_owned(),
            Self::TooLong => {
                format!("o arquivo tem mais de {MAX_FILE_BYTES} bytes; nenhuma rodada escreve tanto")
            }
            Self::Malformed { line, error } => format!("a linha {line} não pode ser lida: {error}"),
            Self::Changed { line } => {
                format!("a linha {line} foi alterada: a seguinte foi escrita para outro texto")
            }
            Self::Removed { line, next } => format!(
                "a linha {line} foi removida: a linha {next} vem logo depois do que estava antes dela"
            ),
            Self::Reordered { at, written } => {
                format!("a linha {at} está fora de ordem: foi escrita como linha {written}")
            }
            Self::Truncated { lines } => {
                format!("o arquivo acaba depois da linha {lines}, sem o selo: foi cortado")
            }
            Self::AfterSeal { line } => format!("há algo depois do selo, na linha {line}"),
            Self::Format { found } => {
                format!("o arquivo tem o formato {found}; este programa lê o formato {FORMAT}")
            }
            Self::NoHeader => "a linha 1 não é o cabeçalho de um arquivo de evidência".to_owned(),
            Self::BadLink { sequence, previous } => format!(
                "o cabeçalho diz que é a rodada {sequence} e que a anterior é {previous}, e as duas coisas não combinam"
            ),
            Self::Authority => {
                "o certificado da autoridade não pode ser lido; deve ser um certificado em PEM".to_owned()
            }
            Self::AuthorityKey => {
                "a chave da autoridade não é de um tipo que assina evidências; deve ser P-256 ou Ed25519"
                    .to_owned()
            }
            Self::OtherAuthority { found, expected } => {
                format!("o arquivo foi assinado por outra autoridade: {found}, e não {expected}")
            }
            Self::BadSignature => {
                "a assinatura não confere: o selo foi forjado, ou linhas foram alteradas e encadeadas de novo"
                    .to_owned()
            }
            Self::OutsideValidity { ended } => {
                format!("a rodada acabou em {ended}, fora da validade da autoridade")
            }
            Self::Unsigned(why) => format!("a evidência não pode ser assinada: {why}"),
            Self::Unwritten(why) => format!("a evidência não pode ser escrita: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn every_error_says_in_both_languages_where_it_is() {
        let (found, expected) = ("aa".to_owned(), "bb".to_owned());
        let ended = datetime!(2026-11-22 12:00 UTC);
        for (error, place) in [
            (EvidenceError::Empty, ""),
            (EvidenceError::TooLong, "67108864"),
            (
                EvidenceError::Malformed {
                    line: 7,
                    error: "eof".to_owned(),
                },
                "7",
            ),
            (EvidenceError::Changed { line: 7 }, "7"),
            (EvidenceError::Removed { line: 7, next: 8 }, "8"),
            (EvidenceError::Reordered { at: 7, written: 9 }, "9"),
            (EvidenceError::Truncated { lines: 7 }, "7"),
            (EvidenceError::AfterSeal { line: 7 }, "7"),
            (EvidenceError::Format { found: 9 }, "9"),
            (EvidenceError::NoHeader, "1"),
            (
                EvidenceError::BadLink {
                    sequence: 7,
                    previous: "cc".to_owned(),
                },
                "cc",
            ),
            (EvidenceError::Authority, "PEM"),
            (EvidenceError::AuthorityKey, "P-256"),
            (EvidenceError::OtherAuthority { found, expected }, "bb"),
            (EvidenceError::BadSignature, ""),
            (EvidenceError::OutsideValidity { ended }, "2026"),
            (EvidenceError::Unsigned("no key".to_owned()), "no key"),
        ] {
            let (pt, en) = (error.words(Lang::Pt), error.words(Lang::En));
            assert_ne!(pt, en);
            assert!(pt.contains(place) && en.contains(place), "{pt} / {en}");
        }
    }
}
