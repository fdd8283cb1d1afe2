//! What the dashboard alone refuses, in words, Portuguese for operators and English. What the state refuses is in
//! [`crate::refusals`].

use malha_web::{Bilingual, Role};

use crate::refusals::quoted;

/// A role that may not do this.
pub(super) fn not_allowed(role: Role) -> Bilingual {
    match role {
        Role::SiteTechnician => both(
            "Seu perfil é de técnico de campo: ele cria e revoga tokens e troca máquinas. Para esta alteração, fale com \
             um operador.",
            "Your role is site technician: it makes and revokes tokens and replaces machines. Ask an operator for this \
             change.",
        ),
        Role::Auditor => both(
            "Seu perfil é de auditor: ele vê tudo e não altera nada. Para esta alteração, fale com um operador.",
            "Your role is auditor: it sees everything and changes nothing. Ask an operator for this change.",
        ),
        Role::Operator | Role::Owner => both(
            "Seu perfil não permite esta alteração. Fale com o proprietário.",
            "Your role does not allow this change. Ask the owner.",
        ),
    }
}

/// A service that this version can't offer.
pub(super) fn no_udp() -> Bilingual {
    both(
        "Serviços UDP ainda não são oferecidos; escolha TCP.",
        "UDP services are not offered yet; choose TCP.",
    )
}

pub(super) fn port_zero() -> Bilingual {
    both(
        "Informe uma porta de 1 a 65535.",
        "Give a port from 1 to 65535.",
    )
}

pub(super) fn target(given: &str) -> Bilingual {
    let given = quoted(given);
    both(
        format!(
            "{given} não é um endereço IP com porta. Escreva como 127.0.0.1:8080 ou [::1]:8080."
        ),
        format!(
            "{given} is not an IP address with a port. Write it like 127.0.0.1:8080 or [::1]:8080."
        ),
    )
}

pub(super) fn no_controller_address() -> Bilingual {
    both(
        "O controlador ainda não tem um endereço que as máquinas alcancem, e sem ele o token não serviria. Preencha \
         control.addresses na configuração e reinicie o controlador.",
        "The controller has no address yet that machines can reach, and a token would be of no use without one. Set \
         control.addresses in the configuration and restart the controller.",
    )
}

pub(super) fn strange_answer() -> Bilingual {
    both(
        "O controlador respondeu de forma inesperada. Recarregue a página e veja se a alteração está lá.",
        "The controller gave an unexpected answer. Reload the page and see whether the change is there.",
    )
}

pub(super) fn hub_stays() -> Bilingual {
    both(
        "Este nó é o hub: ele faz parte do controlador e não pode ser removido.",
        "This node is the hub: it is part of the controller and can't be removed.",
    )
}

pub(super) fn not_quarantined() -> Bilingual {
    both(
        "Este nó não está mais em quarentena. Recarregue a página.",
        "This node is no longer in quarantine. Reload the page.",
    )
}

fn both(pt: impl Into<String>, en: impl Into<String>) -> Bilingual {
    Bilingual {
        pt: pt.into(),
        en: en.into(),
    }
}
