//! The words of checks that do not take place, or whose findings can't be kept or read.

use malha_check::Lang;
use malha_web::Bilingual;

use super::{both, quoted, sentence};
use crate::checks::{CheckError, HistoryError};

/// Why an organization is not checked.
pub(crate) fn check(error: &CheckError) -> Bilingual {
    match error {
        CheckError::NotDeclared(name) => both(
            format!(
                "O órgão {} não declarou nada com que comparar. Declare com `malha check declare`.",
                quoted(name)
            ),
            format!(
                "Organization {} has declared nothing to compare with. Declare with `malha check declare`.",
                quoted(name)
            ),
        ),
        CheckError::Busy => both(
            "Há verificações demais na fila. Tente mais tarde.",
            "Too many organizations wait to be checked. Try later.",
        ),
        CheckError::History(error) => unkept(error),
        CheckError::Evidence(error) => both(
            sentence(&error.words(Lang::Pt)),
            sentence(&error.words(Lang::En)),
        ),
        CheckError::Gone => both(
            "O órgão foi removido, ou não declara mais nada.",
            "The organization was removed, or declares nothing any more.",
        ),
        CheckError::Interrupted => both(
            "A verificação foi interrompida. Peça-a de novo.",
            "The check was interrupted. Ask for it again.",
        ),
    }
}

fn unkept(error: &HistoryError) -> Bilingual {
    match error {
        HistoryError::Io { path, source } => both(
            format!(
                "O que foi encontrado não pôde ser guardado em {}: {source}.",
                path.display()
            ),
            format!(
                "What was found could not be kept in {}: {source}.",
                path.display()
            ),
        ),
        HistoryError::Content { path, source } => both(
            format!(
                "O que foi encontrado não pôde ser guardado: {} está danificado ({source}). Mova a pasta, ou traga-a de uma cópia.",
                path.display()
            ),
            format!(
                "What was found could not be kept: {} is damaged ({source}). Move the folder away, or bring it back from a copy.",
                path.display()
            ),
        ),
    }
}

/// What earlier checks found can't be shown.
pub(crate) fn history() -> Bilingual {
    both(
        "O que as verificações encontraram não pode ser lido agora; o log do controlador diz por quê.",
        "what checks found can't be read now; the controller's log says why",
    )
}
