//! A controller's refusals, each in a sentence that says what to do.

use malha_proto::RefusalCode;

use super::Lang;

texts! {
    token_unknown() {
        "O controlador não conhece este token. Confira se ele é deste controlador e se foi copiado inteiro.",
        "The controller does not know this token. Check that it is this controller's and was copied whole."
    }
    token_expired() { "O token venceu. Peça um novo ao operador.", "The token has expired. Ask the operator for a new one." }
    token_used() {
        "O token já foi usado. Peça um novo ao operador; cada máquina precisa do seu.",
        "The token has been used. Ask the operator for a new one; each machine needs its own."
    }
    token_revoked() { "O token foi cancelado pelo operador. Peça um novo.", "The operator has revoked the token. Ask for a new one." }
    wrong_controller() {
        "O token é de outro controlador.",
        "The token belongs to another controller."
    }
    name_taken() {
        "Já existe uma máquina com este nome neste local. Escolha outro com --name, ou use o token de \"malha node replace\".",
        "A node of this name exists at this site. Choose another with --name, or use the token of \"malha node replace\"."
    }
    key_taken() {
        "A chave desta máquina já é de outra. A pasta de estado foi copiada? Apague-a e cadastre de novo.",
        "This machine's key is another node's. Was the state folder copied? Delete it and enrol again."
    }
    malformed() {
        "O controlador não entendeu o pedido. Atualize o malha-node.",
        "The controller did not understand the request. Update malha-node."
    }
    removed() {
        "Esta máquina foi removida da rede. Para voltar, peça um token novo.",
        "This node was removed from the overlay. To come back, ask for a new token."
    }
    cloned() {
        "Outra máquina se apresenta com a mesma identidade. As duas ficam isoladas até o operador escolher.",
        "Another machine shows the same identity. Both are held apart until the operator chooses."
    }
    replaced() {
        "Outra máquina tomou o lugar desta. Para usar esta de novo, peça um token novo.",
        "Another machine took this one's place. To use this one again, ask for a new token."
    }
    busy() {
        "O controlador recebe pedidos demais desta máquina ou do endereço dela. Tente de novo em alguns minutos.",
        "The controller gets too many requests from this machine or its address. Try again in some minutes."
    }
    pool_exhausted() {
        "Não há endereço livre na rede. Avise o operador.",
        "The overlay has no free address. Tell the operator."
    }
    unavailable() {
        "O controlador não consegue gravar agora. Nada foi feito; tente de novo.",
        "The controller can't write now. Nothing was done; try again."
    }
}

pub(crate) fn refusal(lang: Lang, code: RefusalCode) -> String {
    match code {
        RefusalCode::TokenUnknown => token_unknown(lang),
        RefusalCode::TokenExpired => token_expired(lang),
        RefusalCode::TokenUsed => token_used(lang),
        RefusalCode::TokenRevoked => token_revoked(lang),
        RefusalCode::WrongController => wrong_controller(lang),
        RefusalCode::NameTaken => name_taken(lang),
        RefusalCode::KeyTaken => key_taken(lang),
        RefusalCode::Malformed => malformed(lang),
        RefusalCode::NodeRemoved => removed(lang),
        RefusalCode::Cloned => cloned(lang),
        RefusalCode::Replaced => replaced(lang),
        RefusalCode::Busy => busy(lang),
        RefusalCode::PoolExhausted => pool_exhausted(lang),
        RefusalCode::Unavailable => unavailable(lang),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_own_sentence_in_both_languages() {
        let codes = [
            RefusalCode::TokenUnknown,
            RefusalCode::TokenExpired,
            RefusalCode::TokenUsed,
            RefusalCode::TokenRevoked,
            RefusalCode::WrongController,
            RefusalCode::NameTaken,
            RefusalCode::KeyTaken,
            RefusalCode::Malformed,
            RefusalCode::NodeRemoved,
            RefusalCode::Cloned,
            RefusalCode::Replaced,
            RefusalCode::Busy,
            RefusalCode::PoolExhausted,
            RefusalCode::Unavailable,
        ];
        let said: std::collections::BTreeSet<_> = codes
            .iter()
            .flat_map(|code| [refusal(Lang::Pt, *code), refusal(Lang::En, *code)])
            .collect();
        assert_eq!(said.len(), 2 * codes.len());
    }
}
