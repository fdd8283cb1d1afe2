//! What the CLI says of the policy and of who approves its changes.

use std::fmt::Display;

use super::Lang;

sentences! {
    policy_pairs(pairs) { "{pairs} pares", "{pairs} pairs" }
    policy_side(names, more) { "{names} e mais {more}", "{names} and {more} more" }
    policy_more(rows) { "… e mais {rows} linhas", "… and {rows} more rows" }
    policy_more_later(grants) {
        "… e mais {grants} permissões fechadas agora", "… and {grants} more grants that are closed now"
    }
    policy_counts(gaining, losing, base) {
        "{gaining} pares de nós ganham portas, {losing} perdem, a partir da versão {base}",
        "{gaining} pairs of nodes gain ports, {losing} lose some, from version {base}"
    }
    policy_opens(name, line, moment) {
        "+ {name} (linha {line}): fechada agora, abre {moment}; o que abre então não está nesta conta",
        "+ {name} (line {line}): closed now, opens {moment}; what it opens then is not counted here"
    }
    policy_over(name, line, moment) {
        "! {name} (linha {line}): venceu {moment} e não abre nada", "! {name} (line {line}): expired {moment} and opens nothing"
    }
    policy_never(name, line) {
        "! {name} (linha {line}): vence antes de abrir", "! {name} (line {line}): expires before it opens"
    }
    policy_gone(name, line) {
        "- {name} (linha {line} do texto anterior): fechada agora, abriria de novo",
        "- {name} (line {line} of the former text): closed now, would have opened again"
    }
    policy_hash(hash) { "aplicar com: --difference {hash}", "apply with: --difference {hash}" }
    policy_mistake(line, column, problem) {
        "linha {line}, coluna {column}: {problem}", "line {line}, column {column}: {problem}"
    }
    policy_holds(pairs) { "vale para {pairs} pares", "holds for {pairs} pairs" }
    policy_fails(from, to) { "NÃO vale de {from} para {to}", "does NOT hold from {from} to {to}" }
    policy_unresolved(line, place, name) {
        "linha {line}: {place}: {name} não existe agora e não significa ninguém",
        "line {line}: {place}: {name} does not exist now and means nobody"
    }
    policy_refused(why) { "Não pode entrar em vigor: {why}", "It may not come in force: {why}" }
    policy_rule(name, line, reason) { "{name} (linha {line}): {reason}", "{name} (line {line}): {reason}" }
    policy_proposed(organizations, number, until) {
        "{organizations} pede um segundo aprovador: a mudança aguarda e é esquecida {until}; outro operador usa: malha policy approve {number}",
        "{organizations} asks for a second approver: the change waits and is forgotten {until}; another operator uses: malha policy approve {number}"
    }
    policy_outdated(number) {
        "o que a proposta {number} mudaria já não é o que o autor viu: rejeite-a e proponha de novo",
        "what proposal {number} would change is not what its author saw: reject it and propose it anew"
    }
    policy_approved(author, approver) { "{author}, aprovada por {approver}", "{author}, approved by {approver}" }
    policy_alone(author, reason) { "{author}, emergência: {reason}", "{author}, emergency: {reason}" }
    proposed(number) {
        "a proposta {number}; outro operador usa: malha policy approve {number}",
        "proposal {number}; another operator uses: malha policy approve {number}"
    }
    one_approver(organization) {
        "{organization} deixa de pedir um segundo aprovador",
        "{organization} asks for no second approver any longer"
    }
    policy_returned(version) { "volta à versão {version}", "back to version {version}" }
    policy_in_force(version, revision) {
        "versão {version} da política em vigor (revisão {revision})", "policy version {version} is in force (revision {revision})"
    }
    policy_waits(deadline, former) {
        "em vigor; sem confirmação a versão {former} volta {deadline}",
        "in force; unconfirmed, version {former} comes back {deadline}"
    }
    policy_pending(former, deadline, version) {
        "A versão {former} volta {deadline} se não vier: malha policy confirm {version}",
        "Version {former} comes back {deadline} unless this comes: malha policy confirm {version}"
    }
}
