//! What the CLI says of an agency that was just added.

use std::fmt::Display;

use super::Lang;

sentences! {
    agency_made(name, sites, revision) {
        "Órgão {name} criado (revisão {revision}): {sites}. Os tokens são mostrados só agora.",
        "Agency {name} made (revision {revision}): {sites}. Tokens are shown only now."
    }
    agency_services(ports) { "portas na rede: {ports} → 127.0.0.1", "ports on the overlay: {ports} → 127.0.0.1" }
    agency_adopted(node) { "{node}: já inscrito; recebeu a etiqueta e os serviços", "{node}: enrolled before; it got the tag and the services" }
    agency_tag(node, production, development) {
        "  malha node tag {node} {production}   (ou {development})", "  malha node tag {node} {production}   (or {development})"
    }
    agency_name(name, addresses) { "{name} → {addresses}", "{name} → {addresses}" }
    agency_name_elsewhere(name, addresses) {
        "{name} → {addresses}: crie este registro onde a zona é mantida",
        "{name} → {addresses}: make this record where the zone is kept"
    }
    agency_name_missing(name) {
        "{name}: sem registro, nenhum endereço foi informado", "{name}: no record, no address was given"
    }
    agency_policy(version) {
        "As portas estão na versão {version} da política, com os testes delas.",
        "The ports stand in version {version} of the policy, with their tests."
    }
    agency_proposal(proposal) {
        "As portas esperam outra pessoa: malha policy approve {proposal}", "The ports wait for another person: malha policy approve {proposal}"
    }
}
