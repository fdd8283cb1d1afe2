//! What the page of an organization says.

use super::catalogue::catalogue;

catalogue! {
    /// A text of an organization's page. `{}` marks a gap to fill.
    OrganizationText {
    Kind: "Organização", "Organization";
    NoSites: "Nenhum local ainda. Crie um em", "No site yet. Create one in";
    SeeCompliance: "Ver a conformidade", "See compliance";
    SeePolicy: "Ver a política", "See the policy";

    Approver: "Segundo aprovador", "Second approver";
    ApproverOn: "ligado", "on";
    ApproverOff: "desligado", "off";
    ApproverEnding: "desligamento proposto", "turning off was proposed";
    ApproverMeans: "Ligado, toda mudança da política que dá ou tira portas dos nós desta organização espera até que outro operador aprove exatamente o que o autor viu. Quem propõe nunca aprova.", "When on, every change of the policy that gives or takes ports of this organization's nodes waits until another operator approves exactly what its author saw. Who proposes never approves.";
    ApproverWho: "Qualquer operador ou proprietário liga, e vale já. Para desligar são precisos dois: um propõe aqui, outro aprova na página Política.", "Any operator or owner turns it on, at once. It takes two to turn it off: one proposes it here, another approves it on the page Policy.";
    ApproverPeople: "Pessoas que podem mudar a política: {}.", "People who may change the policy: {}.";
    ApproverTooFew: "São precisas duas para ligar. Crie outra pelo terminal:", "It takes two to turn it on. Add another from a terminal:";
    ApproverTurnOn: "Ligar o segundo aprovador", "Turn the second approver on";
    ApproverTurnOnHint: "Depois disto, nem você muda sozinho o que toca esta organização.", "After this, not even you change alone what touches this organization.";
    ApproverTurnOnYes: "Sim, ligar", "Yes, turn on";
    ApproverTurnOff: "Propor desligar", "Propose to turn it off";
    ApproverTurnOffHint: "Continua ligado até que outro operador aprove.", "It stays on until another operator approves.";
    ApproverTurnOffYes: "Sim, propor", "Yes, propose";
    ApproverWaiting: "Espera outro operador:", "Waits for another operator:";
    ApproverProposal: "proposta {}", "proposal {}";

    DeclaredPorts: "Portas declaradas e o perfil", "Declared ports and the profile";
    DeclaredWords: "A lista de portas que o órgão declara, comparada com o perfil servidor seguro; vale o perfil.", "The list of ports that the agency declares, compared with the profile security server; the profile holds.";
    DeclaredAt: "Declarada", "Declared";
    DeclaredBy: "por {}", "by {}";
    DeclaredRelease: "X-Road {}", "X-Road {}";
    DeclaredSame: "A lista declarada diz o mesmo que o perfil.", "The declared list says the same as the profile.";
    DeclaredNoPorts: "A declaração não lista portas.", "The declaration lists no ports.";
    DeclaredNothing: "Esta organização não declarou nada. Declare pelo terminal:", "This organization has declared nothing. Declare from a terminal:";
}}
