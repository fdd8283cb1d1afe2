//! What the pages say of compliance.

use super::catalogue::catalogue;

catalogue! {
    /// A text of the pages about compliance. `{}` marks a gap to fill.
    ComplianceText {
    Organization: "Organização", "Organization";
    Verdicts: "Resultado", "Outcome";
    LastRun: "Última verificação", "Last check";
    InOrder: "Em ordem: {}", "In order: {}";
    Findings: "Divergências: {}", "Findings: {}";
    Untested: "Sem teste: {}", "Not tested: {}";
    NeverChecked: "nunca verificada", "never checked";
    NotDeclared: "sem declaração", "nothing declared";
    CheckNow: "Verificar agora", "Check now";
    Waiting: "na fila", "waiting";
    Running: "verificando", "checking";
    None: "Nenhum órgão declarado ainda", "No agency has declared anything yet";
    NoneWords: "Uma verificação compara o que um órgão declara com o que existe. Declare pelo terminal:", "A check compares what an agency declares with what is there. Declare from a terminal:";
    Declared: "Declarado", "Declared";
    DeclaredBy: "por {}", "by {}";
    DeclareHint: "A declaração é um arquivo TOML com nomes, endereços, URLs e portas do órgão; grave pelo terminal:", "The declaration is a TOML file with the agency's names, addresses, URLs and ports; save it from a terminal:";
    AllInOrder: "Tudo o que foi testado está como declarado", "Everything that was tested is as declared";
    HasFindings: "Não está como declarado: {}", "Not as declared: {}";
    UntestedToo: "Não puderam ser testados: {}. Nada se sabe deles, nem que estão fechados.", "Could not be tested: {}. Nothing is known of them, not even that they are closed.";
    NoOutside: "Ninguém olhou de fora:", "Nobody looked from outside:";
    Failed: "A última verificação não terminou.", "The last check came to nothing.";
    Evidence: "Baixar a evidência", "Download the evidence";
    EvidenceHint: "Assinada pela autoridade da rede; confira sem o controlador com:", "Signed by the overlay's authority; verify it without the controller with:";
    FindingsTitle: "Divergências", "Findings";
    DeclaredThis: "Declarado", "Declared";
    Observed: "Observado", "Observed";
    Seen: "O que foi visto ({})", "What was seen ({})";
    From: "De onde", "From where";
    Address: "Endereço", "Address";
    UntestedTitle: "Não foi possível testar", "Could not be tested";
    UntestedWords: "Não é o mesmo que fechado nem o mesmo que certo.", "It is neither the same as closed nor the same as right.";
    Check: "Verificação", "Check";
    Why: "Por quê", "Why";
    PassedTitle: "Em ordem ({})", "In order ({})";
    History: "Histórico", "History";
    Run: "Verificação", "Check";
    Took: "Duração", "Took";
    By: "Pedida por", "Asked by";
    Schedule: "agenda", "schedule";
    Shown: "mostrada", "shown";
    Serious: "grave", "serious";
    Warning: "atenção", "warning";
    Notice: "aviso", "notice";
    OlderRun: "Esta é uma verificação antiga.", "This is an older check.";
    ShowNewest: "Mostrar a última", "Show the newest";
}}
