//! The Portuguese words for a data folder, a store, a backup, an audit log or a key that can't be used, and for what the system says
//! of files; the English ones are the errors' own. None where an error is no operator's to mend.

use malha_pki::PkiError;
use malha_store::audit::AuditError;
use malha_store::{BackupFlaw, StoreError};

use crate::checks::HistoryError;
use crate::config::ConfigError;
use crate::folder::FolderError;

pub(in crate::cli) fn folder(error: &FolderError) -> Option<String> {
    Some(match error {
        FolderError::Exists(path) => format!(
            "{} já tem um controlador da Malha; use outra pasta, ou inicie este com `malha serve`",
            path.display()
        ),
        FolderError::Missing(path) => format!(
            "{} não tem um controlador da Malha; crie um com `malha init`",
            path.display()
        ),
        FolderError::Io { path, source } => file(path, source),
        FolderError::ElsewhereToo(path) => format!(
            "{} tem um segundo nome em outro lugar, onde pode ser de outra pessoa; troque-o por uma cópia e dê-lhe o dono \
             com `chown`",
            path.display()
        ),
        FolderError::Store(error) => return store(error),
        FolderError::Pki(error) => return pki(error),
        FolderError::Audit(error) => return audit(error),
        FolderError::Record { key, .. } => format!(
            "não foi possível ler o registro {key}; confira com `malha store check` e recupere com `malha restore`"
        ),
        FolderError::Key { path, .. } => format!("{} não tem uma chave válida", path.display()),
        FolderError::Random(_) => return None,
    })
}

pub(in crate::cli) fn store(error: &StoreError) -> Option<String> {
    Some(match error {
        StoreError::InUse { dir } => in_use(dir),
        StoreError::Missing { dir } => format!(
            "{dir}: não há armazenamento aqui; crie um com `malha init`, ou traga um de volta com `malha restore`"
        ),
        StoreError::Damaged { what, problem } => format!(
            "o armazenamento está danificado ({what}: {problem}); pare o controlador, veja com `malha store check` quanto \
             foi atingido, e restaure o último backup bom numa pasta vazia com `malha restore`"
        ),
        StoreError::NewerSchema { found, supported } => format!(
            "os dados têm o esquema {found} e este programa conhece até o {supported}: use a malha mais nova, ou \
             restaure um backup feito antes da atualização"
        ),
        StoreError::OlderSchema { found, oldest } => format!(
            "os dados têm o esquema {found} e este programa migra a partir do {oldest}: inicie uma vez uma versão mais \
             antiga, depois esta"
        ),
        StoreError::Io { problem, .. } => {
            format!("o disco não fez o que era preciso: {}", system(problem))
        }
        StoreError::WritesRefused { cause } => format!(
            "nada é gravado até o armazenamento ser reaberto, o que é tentado de novo sozinho: {}",
            system(cause)
        ),
        StoreError::OutcomeUnknown { cause } => format!(
            "não se sabe se isto foi gravado; olhe antes de repetir: {}",
            system(cause)
        ),
        StoreError::NotEmpty { dir } => format!(
            "{dir}: já há um armazenamento aqui; um backup volta para uma pasta vazia: mova este para longe, ou use outra"
        ),
        StoreError::InvalidBackup { offset, flaw } => format!(
            "backup recusado no byte {offset}: {}; nada foi gravado, use outro backup",
            backup(flaw)
        ),
        _ => return None,
    })
}

fn backup(flaw: &BackupFlaw) -> String {
    match flaw {
        BackupFlaw::Foreign => "isto não é um backup da Malha".to_owned(),
        BackupFlaw::Format { found } => {
            format!("o formato é o {found}, que este programa não lê")
        }
        BackupFlaw::Short => "ele termina no meio".to_owned(),
        BackupFlaw::Checksum => "o conteúdo não confere com a soma de verificação".to_owned(),
        BackupFlaw::Changed(problem) => {
            format!("o conteúdo não é o que foi gravado ({problem})")
        }
    }
}

pub(in crate::cli) fn audit(error: &AuditError) -> Option<String> {
    const CHANGED: &str =
        "o registro de auditoria foi alterado por fora da malha, ou está danificado";
    Some(match error {
        AuditError::InUse { dir } => in_use(dir),
        AuditError::BadLine { segment, line, .. } => {
            format!("{segment}, linha {line}: {CHANGED}")
        }
        AuditError::MissingSegment { segment } => format!("falta {segment}: {CHANGED}"),
        AuditError::Truncated {
            acknowledged,
            found,
        } => format!(
            "o registro de auditoria termina na linha {found}, mas foram confirmadas linhas até a {acknowledged}; o resto \
             foi removido"
        ),
        AuditError::Rewritten { sequence } => format!(
            "a linha {sequence} não é a que foi confirmada; o registro de auditoria foi reescrito"
        ),
        AuditError::HeadLost { dir } => format!(
            "{dir}: o arquivo que guarda a última linha confirmada falta ou está danificado; não se sabe se linhas foram \
             removidas"
        ),
        AuditError::Io { problem, .. } => format!(
            "não foi possível ler ou gravar o registro de auditoria: {}",
            system(problem)
        ),
        AuditError::Stopped { problem, .. } => format!(
            "o registro de auditoria não recebe linhas enquanto o disco não deixa: {}",
            system(problem)
        ),
        AuditError::TooLarge { .. } => return None,
    })
}

pub(in crate::cli) fn pki(error: &PkiError) -> Option<String> {
    Some(match error {
        PkiError::MasterKeyFile { path, source, .. } => {
            format!("a chave mestra, {}", file(path, source))
        }
        PkiError::MasterKeyFileMode { path, mode } => format!(
            "outros podem ler o arquivo da chave mestra {0} (modo {mode:03o}); execute: chmod 600 {0}",
            path.display()
        ),
        PkiError::MasterKeyNotAFile { path } => format!(
            "a chave mestra {} não é um arquivo comum",
            path.display()
        ),
        PkiError::MasterKeyText { origin } => format!(
            "{origin} não tem uma chave mestra; ela é uma linha: \"malha-master-key-1 \" e 64 dígitos hexadecimais"
        ),
        PkiError::SealedVersion { found, known } => format!(
            "o registro selado tem a versão {found} e este programa conhece a {known}: um programa mais novo o gravou"
        ),
        PkiError::SealedForm | PkiError::SealedDamaged { .. } => {
            "um registro selado está danificado, ou foi trazido de outro lugar".to_owned()
        }
        PkiError::WrongMasterKey => {
            "esta não é a chave mestra com que os dados foram selados; ponha no lugar a que valia quando foram gravados"
                .to_owned()
        }
        PkiError::AuthorityEnded { ends } => {
            format!("a autoridade não vale mais; ela terminou em {ends}")
        }
        PkiError::AuthorityNotBegun { begins } => format!(
            "a autoridade só vale a partir de {begins}, e o relógio desta máquina está antes disso: acerte data e hora"
        ),
        _ => return None,
    })
}

pub(in crate::cli) fn history(error: &HistoryError) -> String {
    match error {
        HistoryError::Io { path, source } => file(path, source),
        HistoryError::Content { path, .. } => format!(
            "{} não é o que as verificações gravaram; mova a pasta para longe, ou traga-a de volta de uma cópia",
            path.display()
        ),
    }
}

pub(in crate::cli) fn config(error: &ConfigError) -> String {
    match error {
        ConfigError::Read { path, source } => format!(
            "{}; crie uma com `malha init`, ou indique-a com --config",
            file(path, source)
        ),
        ConfigError::Parse {
            path,
            line,
            message,
        } => format!("{}: linha {line}: {message}", path.display()),
        ConfigError::Value { path, key, problem } => {
            format!("{}: {key}: {problem}", path.display())
        }
    }
}

pub(in crate::cli) fn file(path: &std::path::Path, error: &std::io::Error) -> String {
    format!("{}: {}", path.display(), system(&error.to_string()))
}

/// What the system said, wherever it stands in a text; what is not known stays in its words.
pub(in crate::cli) fn system(text: &str) -> String {
    for (number, words) in SYSTEM {
        let english = std::io::Error::from_raw_os_error(*number).to_string();
        if text.contains(&english) {
            return text.replace(&english, &format!("{words} (erro {number} do sistema)"));
        }
    }
    text.to_owned()
}

fn in_use(dir: &str) -> String {
    format!("{dir}: em uso por outro malha serve; pare-o, ou fale com ele pela API")
}

/// errno(3), of Linux.
const SYSTEM: &[(i32, &str)] = &[
    (1, "operação não permitida"),
    (2, "o arquivo ou a pasta não existe"),
    (5, "o dispositivo falhou ao ler ou gravar"),
    (13, "permissão negada"),
    (17, "já existe"),
    (20, "uma parte do caminho não é uma pasta"),
    (21, "é uma pasta"),
    (23, "há arquivos abertos demais no sistema"),
    (24, "há arquivos abertos demais"),
    (27, "o arquivo é grande demais"),
    (28, "não há mais espaço no disco"),
    (30, "o sistema de arquivos só permite leitura"),
    (39, "a pasta não está vazia"),
    (98, "o endereço já está em uso"),
    (101, "a rede está inalcançável"),
    (104, "a conexão foi cortada pelo outro lado"),
    (110, "o tempo acabou"),
    (111, "a conexão foi recusada"),
    (113, "não há caminho até a máquina"),
    (122, "a cota de disco acabou"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_said_is_found_wherever_it_stands() {
        let full = std::io::Error::from_raw_os_error(28);
        for text in [
            full.to_string(),
            format!("/data/store: {full}"),
            format!("I/O error: {full}; x"),
        ] {
            let said = system(&text);
            assert!(said.contains("não há mais espaço no disco"), "{said}");
            assert!(!said.contains("No space"), "{said}");
        }
        assert_eq!(system("something else"), "something else");
    }

    #[test]
    fn every_number_of_the_system_has_words_of_its_own() {
        let words: std::collections::BTreeSet<_> = SYSTEM.iter().map(|(_, words)| words).collect();
        assert_eq!(words.len(), SYSTEM.len());
    }
}
