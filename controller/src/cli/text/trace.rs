//! What the CLI says of the way from one node to another: who may open what, and how packets travel.

use std::fmt::Display;

use super::Lang;

sentences! {
    denied_apart(node) {
        "negado: {node} está isolado até que o operador escolha e a máquina troque as chaves",
        "denied: {node} is held apart until the operator chooses and the machine changes its keys"
    }
    rule_grant(grant, from, to, allow) { "{grant}: {from} → {to}, {allow}", "{grant}: {from} → {to}, {allow}" }
    rule_public(service, allow) {
        "serviço público {service}, {allow}: o edge leva pedidos a ele",
        "public service {service}, {allow}: edges bring requests to it"
    }
    rule_probe(service, allow) {
        "serviço {service}, {allow}: a central verifica a saúde dele",
        "service {service}, {allow}: the hub probes its health"
    }
    rule_balancer(balancer, allow) {
        "balanceador {balancer}, {allow}: leva conexões a este servidor e verifica a saúde dele",
        "balancer {balancer}, {allow}: carries connections to this server and checks its health"
    }
    rules_unconfirmed(node) {
        "{node} ainda não confirmou estas regras; até lá podem valer as anteriores",
        "{node} has not confirmed these rules; until then earlier ones may decide"
    }
    answers_pass(from) { "passam, porque {from} abre a conexão", "pass, because {from} opens" }
    may_open_too(to, from) { "{to} pode abrir o mesmo em {from}", "{to} may open the same on {from}" }
    dials(from, to, endpoints) { "{from} procura {to} em {endpoints}", "{from} dials {to} at {endpoints}" }
    end_tunnel(node, state) { "{node} com a central: {state}", "{node} to the hub: {state}" }
    heard_at(state, endpoint) { "{state}, ouvido em {endpoint}", "{state}, heard at {endpoint}" }
    service_at(service, target, state) { "{service} → {target}: {state}", "{service} → {target}: {state}" }
    path_now(path) { "os pacotes vão agora: {path}", "packets travel now: {path}" }
}
