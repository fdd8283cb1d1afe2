//! The Portuguese words for a controller that can't be asked; the English ones are the errors' own.

use crate::client::ClientError;

/// None where the error brings its own words: a refusal is said in the reader's language by the controller.
pub(in crate::cli) fn portuguese(error: &ClientError) -> Option<String> {
    Some(match error {
        ClientError::Address { url, problem } => format!("{url} não serve de endereço: {problem}"),
        ClientError::Authority { path, problem } => {
            format!("{} não serve de autoridade: {problem}", path.display())
        }
        ClientError::Key => {
            "a chave de API tem caracteres que nenhuma chave tem; copie de novo, numa só linha"
                .to_owned()
        }
        ClientError::Unreachable { url, problem } => {
            format!("não foi possível alcançar {url}: {problem}")
        }
        ClientError::Broken { url, problem } => format!(
            "{url} cortou a conexão antes da resposta ({problem}); o que foi pedido pode ter acontecido: olhe antes de \
             pedir de novo"
        ),
        ClientError::TimedOut { url } => format!("{url} não respondeu a tempo"),
        ClientError::Strange {
            url,
            status,
            problem,
        } => format!("{url} respondeu {status}, e não é a API da Malha: {problem}"),
        ClientError::Write(error) => format!("não foi possível gravar a resposta: {error}"),
        ClientError::Problem(_) => return None,
    })
}
