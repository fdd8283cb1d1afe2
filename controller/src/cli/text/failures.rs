//! The Portuguese words for a controller that can't be asked; the English ones are the errors' own.

use super::stored::system;
use crate::client::ClientError;

/// None where the error brings its own words: a refusal is said in the reader's language by the controller.
pub(in crate::cli) fn portuguese(error: &ClientError) -> Option<String> {
    Some(match error {
        ClientError::Address { url, problem } => format!("{url} não serve de endereço: {problem}"),
        ClientError::Authority { path, problem } => {
            format!(
                "{} não serve de autoridade: {}",
                path.display(),
                system(problem)
            )
        }
        ClientError::Key => {
            "a chave de API tem caracteres que nenhuma chave tem; copie de novo, numa só linha"
                .to_owned()
        }
        ClientError::Unreachable { url, problem } => {
            format!("não foi possível alcançar {url}: {}", system(problem))
        }
        ClientError::Broken { url, problem } => format!(
            "{url} cortou a conexão antes da resposta ({}); o que foi pedido pode ter acontecido: olhe antes de pedir de novo",
            system(problem)
        ),
        ClientError::TimedOut { url } => format!("{url} não respondeu a tempo"),
        ClientError::Strange {
            url,
            status,
            problem,
        } => format!("{url} respondeu {status}, e não é a API da Malha: {problem}"),
        ClientError::Write(error) => {
            format!(
                "não foi possível gravar a resposta: {}",
                system(&error.to_string())
            )
        }
        ClientError::Problem(_) => return None,
    })
}
