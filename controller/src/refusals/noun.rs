//! The words for things that are not there, are there already, are still in use, or are too many.

use malha_core::{Leading, Noun, Plenty, User};
use malha_web::Bilingual;

use super::{both, quoted};

/// Something that was named and is not there.
pub(crate) fn not_found(what: Noun, name: &str) -> Bilingual {
    let name = quoted(name);
    let (article, noun) = portuguese(what);
    both(
        format!("Não existe {article} {noun} {name}; talvez outra pessoa tenha removido."),
        format!("There is no {what} {name}; perhaps somebody else removed it."),
    )
}

pub(super) fn exists(what: Noun, name: &str) -> Bilingual {
    let name = quoted(name);
    let (article, noun) = portuguese(what);
    let advice = match what {
        Noun::Site => " nesta organização. Escolha outro nome.",
        Noun::Node => " neste local. Escolha outro nome.",
        Noun::Service | Noun::Balancer => " neste nó. Escolha outro nome.",
        Noun::Route => ". Escolha outro host ou outro caminho.",
        Noun::Grant => ", e diz o mesmo.",
        Noun::Proposal => ", e propõe o mesmo.",
        Noun::RecordSet => ". Remova-o, ou crie o órgão sem a zona.",
        _ => ". Escolha outro nome.",
    };
    let english = match what {
        Noun::Grant => " that says the same.",
        Noun::Proposal => " that proposes the same.",
        Noun::RecordSet => ". Remove it, or add the agency without the zone.",
        Noun::Site => " in this organization. Choose another name.",
        Noun::Node => " on this site. Choose another name.",
        Noun::Service | Noun::Balancer => " on this node. Choose another name.",
        Noun::Route => ". Choose another host or path.",
        _ => ". Choose another name.",
    };
    both(
        format!("Já existe {article} {noun} {name}{advice}"),
        format!("There is already {what} {name}{english}"),
    )
}

pub(super) fn in_use(name: &str, by: &User) -> Bilingual {
    let name = quoted(name);
    match by {
        User::Thing(noun, user) => {
            let (article, thing) = portuguese(*noun);
            let user = quoted(user);
            both(
                format!(
                    "{name} ainda está em uso: {article} {thing} {user} depende dele. Remova isso antes."
                ),
                format!("{name} is still in use by {noun} {user}. Remove that first."),
            )
        }
        User::Leading(leading) => {
            let commands = Leading::commands(leading);
            both(
                format!(
                    "Há o que leve a {name}. Tire os serviços dele de lá antes ({commands}), ou remova-o assim mesmo \
                     (`malha node remove --detach`): {}.",
                    listed(leading, |it| {
                        let alone = match it.what {
                            Noun::Route => " (sem outro servidor; seria removida também)",
                            _ => " (sem outro servidor; seria removido também)",
                        };
                        (portuguese(it.what).1, alone)
                    })
                ),
                format!(
                    "Something leads to {name}. Take its services out of it first ({commands}), or remove it all the same \
                     (`malha node remove --detach`): {}.",
                    listed(leading, |it| {
                        (
                            it.what.as_str(),
                            " (no other server; it would be removed too)",
                        )
                    })
                ),
            )
        }
        User::LastOwner => both(
            format!(
                "{name} é o último proprietário, e sem ele ninguém cria outro. Crie outro proprietário antes."
            ),
            format!(
                "{name} is the last owner, and without one nobody could add another. Add another owner first."
            ),
        ),
    }
}

/// Each by its kind and name; `words` gives the word for the kind, and what is said of one that leads nowhere else.
fn listed<'a>(leading: &'a [Leading], words: impl Fn(&'a Leading) -> (&'a str, &'a str)) -> String {
    let named = leading.iter().take(Leading::MAX_NAMED).map(|it| {
        let (kind, alone) = words(it);
        let alone = if it.alone { alone } else { "" };
        format!("{kind} {}{alone}", quoted(&it.name))
    });
    let named = named.collect::<Vec<_>>().join(", ");
    match leading.len().saturating_sub(Leading::MAX_NAMED) {
        0 => named,
        more => format!("{named} (+{more})"),
    }
}

/// With its article, for sentences.
fn portuguese(noun: Noun) -> (&'static str, &'static str) {
    match noun {
        Noun::ApiKey => ("a", "chave de API"),
        Noun::Balancer => ("o", "balanceador"),
        Noun::Declaration => ("a", "declaração da organização"),
        Noun::EditedProfile => ("o", "perfil editado"),
        Noun::Grant => ("a", "permissão"),
        Noun::Node => ("o", "nó"),
        Noun::NodeWithAddress => ("o", "nó com o endereço da malha"),
        Noun::Operator => ("o", "operador"),
        Noun::Organization => ("a", "organização"),
        Noun::Policy => ("a", "política"),
        Noun::PolicyVersion => ("a", "versão da política"),
        Noun::Proposal => ("a", "proposta"),
        Noun::RecordSet => ("o", "registro"),
        Noun::Route => ("a", "rota"),
        Noun::Run => ("a", "verificação"),
        Noun::Service => ("o", "serviço"),
        Noun::SessionOfNode => ("a", "sessão do nó"),
        Noun::Site => ("o", "local"),
        Noun::Token => ("o", "token"),
        Noun::Zone => ("a", "zona"),
    }
}

pub(super) fn plenty(what: Plenty) -> &'static str {
    match what {
        Plenty::ApiKeys => "chaves de API",
        Plenty::AddressesOfName => "endereços por nome",
        Plenty::BalancersOnNode => "balanceadores por nó",
        Plenty::Controllers => "controladores",
        Plenty::EdgeAddresses => "endereços de borda",
        Plenty::Endpoints => "pontos públicos",
        Plenty::Grants => "permissões",
        Plenty::GroupPairs => "pares de grupos de nós numa comparação de políticas",
        Plenty::NameServers => "servidores de nomes",
        Plenty::Nodes => "nós",
        Plenty::Operators => "operadores",
        Plenty::Organizations => "organizações",
        Plenty::Proposals => "propostas",
        Plenty::RecordsAtOnce => "registros alterados de uma só vez",
        Plenty::Routes => "rotas",
        Plenty::ServicesBehindBalancer => "serviços por balanceador",
        Plenty::ServicesOfRoute => "serviços por rota",
        Plenty::ServicesOnNode => "serviços por nó",
        Plenty::Sites => "locais",
        Plenty::SourcesOfBalancer => "origens por balanceador",
        Plenty::TagsOnNode => "etiquetas por nó",
        Plenty::Tokens => "tokens",
        Plenty::Zones => "zonas",
    }
}
