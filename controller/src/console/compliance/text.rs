//! The words of refused checks.

use malha_web::Bilingual;

use crate::checks::CheckError;

/// Why an organization is not checked now.
pub(super) fn not_checked(error: &CheckError) -> Bilingual {
    let (pt, en) = match error {
        CheckError::NotDeclared(name) => (
            format!(
                "O órgão {name} não declarou nada com que comparar. Declare com \"malha check declare\"."
            ),
            format!(
                "Organization {name} has declared nothing to compare with. Declare with \"malha check declare\"."
            ),
        ),
        CheckError::Busy => (
            "Há verificações demais na fila. Tente mais tarde.".to_owned(),
            "Too many organizations wait to be checked. Try later.".to_owned(),
        ),
        other => (
            format!("A verificação não começou: {other}."),
            format!("The check did not begin: {other}."),
        ),
    };
    Bilingual { pt, en }
}
