//! Every word the pages say, in both languages. A key without both does not compile.

macro_rules! catalogue {
    ($($key:ident: $pt:literal, $en:literal;)*) => {
        /// A text of the pages. `{}` marks a gap to fill.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Text {
            $($key,)*
        }

        impl Text {
            /// The text in Portuguese and in English.
            pub(crate) fn both(self) -> (&'static str, &'static str) {
                match self {
                    $(Text::$key => ($pt, $en),)*
                }
            }

            #[cfg(test)]
            const ALL: &[Text] = &[$(Text::$key,)*];
        }
    };
}

catalogue! {
    // Shell
    Tagline: "A rede que alcança cada garagem e cada órgão", "The network that reaches every garage and every agency";
    SkipToContent: "Ir para o conteúdo", "Skip to content";
    Menu: "Menu", "Menu";
    MainNavigation: "Navegação principal", "Main navigation";
    NavOverview: "Visão geral", "Overview";
    NavNodes: "Nós", "Nodes";
    NavSites: "Organizações e locais", "Organizations and sites";
    NavTokens: "Tokens", "Tokens";
    NavServices: "Serviços e rotas", "Services and routes";
    NavBalancers: "Balanceadores", "Balancers";
    NavPolicy: "Política", "Policy";
    NavProfiles: "Perfis e portas", "Profiles and ports";
    NavDns: "DNS", "DNS";
    NavActivity: "Atividade", "Activity";
    SignOut: "Sair", "Sign out";
    SignedInAs: "Conectado como", "Signed in as";
    RoleOwner: "proprietário", "owner";
    RoleOperator: "operador", "operator";
    RoleSiteTechnician: "técnico de campo", "site technician";
    RoleAuditor: "auditor (somente leitura)", "auditor (read only)";
    LiveOn: "Ao vivo", "Live";
    LiveOff: "Reconectando…", "Reconnecting…";
    LiveWaiting: "Conectando…", "Connecting…";
    LiveNeedsScript: "Sem atualização automática: recarregue a página para ver mudanças.", "No automatic updates: reload the page to see changes.";
    Revision: "Revisão", "Revision";
    AppliedBy: "Aplicada por {} de {} nós", "Applied by {} of {} nodes";
    Lagging: "Faltam: {}", "Still to apply: {}";
    ShowingSome: "Mostrando {} de {}.", "Showing {} of {}.";
    Never: "nunca", "never";
    NotYetKnown: "ainda não se sabe", "not known yet";
    Ago: "há {}", "{} ago";
    Ahead: "em {}", "in {}";
    JustNow: "agora", "just now";
    Add: "Adicionar", "Add";
    Actions: "Ações", "Actions";
    ConfirmHint: "Isto não pode ser desfeito.", "This can't be undone.";
    Copy: "Copiar", "Copy";
    Copied: "Copiado", "Copied";
    CopyFailed: "Selecione e copie", "Select it and copy";
    NoneOption: "Escolha…", "Choose…";
    OrFromTerminal: "Ou pelo terminal:", "Or from a terminal:";
    ReadOnlyNote: "Seu perfil permite ver tudo e não alterar nada.", "Your role lets you see everything and change nothing.";

    // Sign-in
    SignInTitle: "Entrar", "Sign in";
    User: "Usuário", "User";
    Password: "Senha", "Password";
    TotpCode: "Código de verificação", "Verification code";
    TotpHint: "Só se a verificação em duas etapas estiver ativa.", "Only if two-step verification is on.";
    SignInButton: "Entrar", "Sign in";
    SignInRefused: "Usuário, senha ou código não conferem.", "User, password or code do not match.";
    SignInWait: "Muitas tentativas. Tente de novo em {}.", "Too many attempts. Try again in {}.";
    FirstPasswordHint: "A primeira senha foi mostrada por malha init ou malha demo.", "The first password was printed by malha init or malha demo.";

    // Notices after a write
    DoneOrganizationCreated: "Organização criada.", "Organization created.";
    DoneSiteCreated: "Local criado.", "Site created.";
    DoneTokenRevoked: "Token revogado.", "Token revoked.";
    DoneNodeRemoved: "Nó removido.", "Node removed.";
    DoneQuarantineResolved: "Quarentena resolvida.", "Quarantine resolved.";
    DoneServiceAdded: "Serviço adicionado.", "Service added.";
    DoneServiceRemoved: "Serviço removido.", "Service removed.";
    DoneRouteAdded: "Rota adicionada.", "Route added.";
    DoneRouteRemoved: "Rota removida.", "Route removed.";
    DoneRecordSetPut: "Registro gravado.", "Record set saved.";
    DoneRecordSetDeleted: "Registro excluído.", "Record set deleted.";
    DonePolicyApplied: "Política em vigor.", "Policy in force.";
    DonePolicyProposed: "Proposta: aguarda a aprovação de outro operador.", "Proposed: it waits for another operator's approval.";
    DonePolicyApproved: "Aprovada e em vigor.", "Approved and in force.";
    DonePolicyRejected: "Proposta rejeitada.", "Proposal rejected.";
    DonePolicyConfirmed: "Política confirmada.", "Policy confirmed.";
    DonePolicyReturned: "Versão anterior em vigor.", "Former version in force.";
    DoneServerModeSet: "Modo do servidor alterado.", "Mode of the server changed.";
    DoneRevision: "Revisão {}, aplicada por {} de {} nós.", "Revision {}, applied by {} of {} nodes.";

    // Policy
    PolicyNone: "Nenhuma política ainda: o texto abaixo diz o que as permissões de hoje dizem.", "No policy yet: the text below says what today's grants say.";
    PolicyVersion: "Versão", "Version";
    PolicyInForce: "em vigor", "in force";
    PolicyApplied: "Aplicada", "Applied";
    PolicyAuthor: "Por", "By";
    PolicyGaining: "Pares que ganham", "Pairs that gain";
    PolicyLosing: "Pares que perdem", "Pairs that lose";
    PolicyBack: "volta à versão {}", "back to version {}";
    PolicyChanges: "próxima mudança de horário ou validade:", "next change of hours or expiry:";
    PolicyPending: "Aguarda confirmação; sem ela volta a versão {}", "Waits for its confirmation; without it version {} comes back";
    NodePolicyWaiting: "A versão {} da política aguarda confirmação; sem ela este nó volta ao filtro anterior", "Policy version {} waits for its confirmation; without it this node goes back to the former filter";
    NodePolicyReturned: "Ninguém confirmou a versão {} da política a tempo: este nó voltou ao filtro anterior.", "Nobody confirmed policy version {} in time: this node went back to the former filter.";
    PolicyConfirm: "Confirmar", "Confirm";
    PolicyEmergency: "Emergência, por um só operador; quem confirma é outro. Motivo:", "Emergency, by one operator alone; another one confirms it. Reason:";
    PolicyApprover: "aprovada por {}", "approved by {}";
    PolicyAlone: "emergência: {}", "emergency: {}";
    PolicyProposals: "Aguardam aprovação", "Waiting for approval";
    PolicyProposal: "Proposta {}, de {}", "Proposal {}, by {}";
    PolicyNewWords: "Texto novo", "New text";
    PolicyOneApprover: "Deixa de pedir um segundo aprovador", "Asks for no second approver any longer";
    PolicyAskedBy: "Segundo aprovador pedido por:", "Second approver asked for by:";
    PolicyProposalExpires: "esquecida", "forgotten";
    PolicyOutdated: "O que ela muda já não é o que o autor viu: rejeite-a e proponha de novo.", "What it changes is not what its author saw: reject it and propose it anew.";
    PolicyOwnProposal: "Não cabe a você aprovar: aprova outro operador, que já existia quando foi proposta.", "Not yours to approve: another operator does, who was there when it was proposed.";
    PolicyApprove: "Aprovar exatamente isto", "Approve exactly this";
    PolicyReject: "Rejeitar", "Reject";
    PolicyRejectYes: "Sim, rejeitar", "Yes, reject";
    PolicyWillPropose: "Outro operador precisa aprovar, porque isto atinge:", "Another operator must approve it, since it concerns:";
    PolicyPropose: "Propor exatamente isto", "Propose exactly this";
    PolicyEmergencyReason: "Emergência: motivo para agir sem o segundo aprovador", "Emergency: why you act without the second approver";
    PolicyEmergencyHint: "Vazio: aguarda aprovação. Preenchido: vale já, e volta sozinha em um dia se outro operador não confirmar.", "Empty: it waits for approval. Filled in: in force at once, and gone again after a day unless another operator confirms it.";
    PolicyRollBack: "Voltar a esta", "Go back to this";
    PolicyRollBackYes: "Sim, voltar", "Yes, go back";
    PolicyWords: "Texto da política", "Policy text";
    PolicyHint: "Tudo o que o texto não permite é negado. Nada é salvo antes de você ver o que muda.", "Everything that the text does not grant is denied. Nothing is saved before you see what changes.";
    PolicyReview: "Ver o que muda", "See what changes";
    PolicyReviewTitle: "O que muda", "What changes";
    PolicyCounts: "{} pares de nós ganham portas, {} perdem.", "{} pairs of nodes gain ports, {} lose some.";
    PolicyFrom: "De", "From";
    PolicyTo: "Para", "To";
    PolicyGains: "Ganha", "Gains";
    PolicyLoses: "Perde", "Loses";
    PolicyPairs: "Pares", "Pairs";
    PolicyMore: "e mais {}", "and {} more";
    PolicyUnresolved: "Não existe agora e não significa ninguém:", "Does not exist now and means nobody:";
    PolicyRefused: "Não pode ser salva:", "It can't be saved:";
    PolicyConfirmWithin: "Voltar sozinha se não for confirmada em (segundos)", "Comes back by itself unless confirmed within (seconds)";
    PolicyConfirmHint: "Vazio: fica sem confirmação. De 5 a 3600.", "Empty: stays without confirmation. 5 to 3600.";
    PolicySave: "Salvar exatamente isto", "Save exactly this";

    // Overview
    AllWell: "Tudo em ordem", "All is well";
    AllWellWords: "Todos os caminhos conhecidos estão passando tráfego.", "Every known path is carrying traffic.";
    BrokenOne: "1 nó com um trecho interrompido", "1 node with a broken hop";
    BrokenMany: "{} nós com um trecho interrompido", "{} nodes with a broken hop";
    SeeAllBroken: "Ver todos os interrompidos", "See all that are broken";
    CountOnline: "nós no ar", "nodes online";
    CountOf: "de {}", "of {}";
    CountServicesUp: "serviços respondendo", "services answering";
    CountPending: "aguardando a primeira conexão", "waiting for their first connection";
    CountQuarantined: "em quarentena", "quarantined";
    CountRoutes: "rotas públicas", "public routes";
    CountSites: "locais", "sites";
    CountOrganizations: "organizações", "organizations";
    CountTokens: "tokens ativos", "active tokens";
    FirstSteps: "Primeiros passos", "First steps";
    FirstStepsWords: "Nenhum nó ainda. Crie uma organização e um local, depois um token, e rode o comando no servidor.", "No nodes yet. Create an organization and a site, then a token, and run the command on the server.";
    RecentActivity: "Atividade recente", "Recent activity";
    SeeAll: "Ver tudo", "See all";
    Network: "A rede", "The network";

    // Nodes
    Node: "Nó", "Node";
    Site: "Local", "Site";
    Organization: "Organização", "Organization";
    Profile: "Perfil", "Profile";
    ProfileGarage: "garagem", "garage";
    ProfileSecurityServer: "servidor seguro", "security server";
    ProfileBalancer: "balanceador", "balancer";
    ProfileCentral: "central", "central";
    ProfileEdge: "borda", "edge";
    Addresses: "Endereços", "Addresses";
    State: "Estado", "State";
    Path: "Caminho", "Path";
    NodeActive: "ativo", "active";
    NodePending: "pendente", "pending";
    NodeQuarantined: "em quarentena", "quarantined";
    NodeRemoved: "removido", "removed";
    Search: "Buscar", "Search";
    SearchHint: "Nome, local, organização ou endereço", "Name, site, organization or address";
    AnyState: "Todos menos removidos", "All but removed";
    OnlyBroken: "Só com trecho interrompido", "Only with a broken hop";
    Apply: "Aplicar", "Apply";
    NoNodes: "Nenhum nó ainda", "No nodes yet";
    NoNodesWords: "Crie um token e rode no servidor da garagem ou do órgão:", "Create a token and run on the garage's or the agency's server:";
    NoMatch: "Nada encontrado", "Nothing found";
    NoMatchWords: "Nenhum nó corresponde a este filtro.", "No node matches this filter.";
    ClearFilter: "Limpar o filtro", "Clear the filter";
    CreateToken: "Criar um token", "Create a token";
    NextPage: "Próximos", "Next";
    PreviousPage: "Anteriores", "Previous";

    // Hops
    HopControl: "Controle", "Control";
    HopTunnel: "Túnel", "Tunnel";
    HopService: "Serviço", "Service";
    HopUp: "passa", "carries";
    HopDown: "interrompido", "broken";
    HopUnknown: "desconhecido", "unknown";
    Since: "desde", "since";
    PathCarries: "O caminho inteiro passa", "The whole path carries";
    PathUnknown: "O caminho ainda não foi observado", "The path has not been observed yet";
    NoServicesOnNode: "sem serviços", "no services";
    ProbeUp: "responde", "answers";
    ProbeRefused: "conexão recusada", "connection refused";
    ProbeTimeout: "sem resposta a tempo", "no answer in time";
    ProbeUnreachable: "inalcançável", "unreachable";
    ProbeBadAnswer: "resposta inválida", "bad answer";
    ProbeUnknown: "desconhecido", "unknown";
    BreakNeverConnected: "Controle: inscrito, mas o agente ainda não se conectou.", "Control: enrolled, but the agent has not connected yet.";
    BreakAgentStopped: "Agente: sem sessão de controle e com o túnel mudo; o agente está parado.", "Agent: no control session and a silent tunnel; the agent is stopped.";
    BreakLinkDown: "Controle e túnel silenciaram juntos: a máquina ou o enlace dela está fora.", "Control and tunnel fell silent together: the machine or its link is down.";
    BreakControlDown: "Controle: sem sessão com o agente; o túnel continua passando tráfego.", "Control: no session with the agent; the tunnel still carries traffic.";
    BreakTunnelDown: "Túnel: o agente está conectado, mas não há handshake recente.", "Tunnel: the agent is connected, but there is no recent handshake.";
    BreakServiceRefused: "Serviço {}: a máquina recusou a conexão; o programa está parado.", "Service {}: the machine refused the connection; the program is stopped.";
    BreakServiceTimeout: "Serviço {}: não respondeu a tempo.", "Service {}: it did not answer in time.";
    BreakServiceUnreachable: "Serviço {}: não há caminho até ele.", "Service {}: there is no way to it.";
    BreakServiceBadAnswer: "Serviço {}: respondeu de forma inválida.", "Service {}: it gave a bad answer.";
    Handshake: "Último handshake", "Last handshake";
    TunnelPath: "Caminho do túnel", "Tunnel path";
    PathDirect: "direto", "direct";
    PathRelay: "relé", "relay";
    PathCarrier: "TCP 443", "TCP 443";
    PostQuantumKey: "Chave pós-quântica", "Post-quantum key";
    NoKey: "nenhuma", "none";
    Received: "Recebido", "Received";
    Sent: "Enviado", "Sent";
    Endpoint: "Endpoint", "Endpoint";

    // One node
    OverlayName: "Nome na malha", "Overlay name";
    PublicKey: "Chave pública", "Public key";
    EnrolledAt: "Inscrito em", "Enrolled at";
    Software: "Software", "Software";
    AppliedRevision: "Revisão aplicada", "Applied revision";
    ReplaceNode: "Trocar a máquina", "Replace the machine";
    ReplaceWords: "Gera um token para outra máquina assumir nome, endereços e rotas deste nó. A chave antiga é revogada quando ele for usado.", "Issues a token for another machine to take over this node's name, addresses and routes. The old key is revoked when it is used.";
    ReplaceButton: "Gerar token de troca", "Issue a replacement token";
    RemoveNode: "Remover o nó", "Remove the node";
    RemoveNodeWords: "O nó é cortado em todos os pares assim que a revisão for aplicada.", "The node is cut off at every peer as soon as the revision is applied.";
    RemoveButton: "Remover", "Remove";
    QuarantineTitle: "Duas máquinas usam a mesma identidade", "Two machines use the same identity";
    QuarantineWords: "As duas estão isoladas. Escolha qual fica; a outra precisará de um token novo.", "Both are cut off. Choose which one stays; the other will need a new token.";
    ClaimantThis: "A que já estava", "The one that was there";
    ClaimantOther: "A que apareceu depois", "The one that came later";
    HostName: "Nome da máquina", "Host name";
    Source: "Origem", "Source";
    Fingerprint: "Impressão digital", "Fingerprint";
    LastSeen: "Vista", "Seen";
    KeepThis: "Manter esta", "Keep this one";
    Maintenance: "Manutenção", "Maintenance";

    // Profiles
    ProfilesWords: "As portas de cada papel, com quem e por onde. Muda-se com “malha profile set”.", "The ports of each role, with whom and over what. They are changed with “malha profile set”.";
    ProfileEdited: "Editado", "Edited";
    ProfilePorts: "Portas", "Ports";
    ProfileDirection: "Sentido", "Direction";
    DirectionIn: "entrada", "in";
    DirectionOut: "saída", "out";
    ProfilePartners: "Com quem", "With";
    ProfileProbe: "Verificação", "Probe";
    ProfileDifferences: "O que o requerimento pede de outro modo", "What the requirement asks for otherwise";
    ProfileDifferencesWords: "A lista do requerimento fica como foi declarada; vale o perfil.", "The requirement's list is kept as it was declared; the profile holds.";
    ProfileDifference: "Diferença", "Difference";
    ProfileAskedFor: "Pedida para", "Asked for";
    DifferenceTooOpen: "aberta demais", "too open";
    DifferenceNotInProfile: "não está no perfil", "not in the profile";
    DifferenceNotDeclared: "não foi pedida", "not asked for";
    NetworkInternal: "rede interna", "internal network";
    NetworkExternal: "rede externa", "external network";

    // Organizations and sites
    NewOrganization: "Nova organização", "New organization";
    NewSite: "Novo local", "New site";
    Name: "Nome", "Name";
    NameHint: "Letras minúsculas, números e hífens.", "Lower-case letters, digits and hyphens.";
    CreateButton: "Criar", "Create";
    NoOrganizations: "Nenhuma organização ainda", "No organizations yet";
    NoOrganizationsWords: "Uma organização é um órgão ou uma empresa dona de garagens. Crie a primeira abaixo.", "An organization is an agency or a company that owns garages. Create the first one below.";
    NoSites: "Nenhum local ainda", "No sites yet";
    NoSitesWords: "Um local é uma garagem ou um ambiente de um órgão. Crie o primeiro abaixo.", "A site is a garage or one environment of an agency. Create the first one below.";
    Organizations: "Organizações", "Organizations";
    Sites: "Locais", "Sites";
    Nodes: "Nós", "Nodes";
    Online: "No ar", "Online";

    // Tokens
    NewToken: "Novo token", "New token";
    SiteOfToken: "Local (organização/local)", "Site (organization/site)";
    Lifetime: "Validade", "Lifetime";
    LifetimeHour: "1 hora", "1 hour";
    LifetimeDay: "1 dia", "1 day";
    LifetimeWeek: "7 dias", "7 days";
    LifetimeMonth: "30 dias", "30 days";
    Uses: "Usos", "Uses";
    UsesHint: "Quantas máquinas podem usar este token.", "How many machines may use this token.";
    UsesLeft: "Usos restantes", "Uses left";
    UsesOf: "{} de {}", "{} of {}";
    Expires: "Expira", "Expires";
    Created: "Criado", "Created";
    Replaces: "troca {}", "replaces {}";
    TokenActive: "ativo", "active";
    TokenUsed: "usado", "used";
    TokenExpired: "expirado", "expired";
    TokenRevoked: "revogado", "revoked";
    Revoke: "Revogar", "Revoke";
    RevokeButton: "Sim, revogar", "Yes, revoke";
    NoTokens: "Nenhum token ainda", "No tokens yet";
    NoTokensWords: "Um token inscreve uma máquina num local. Crie um abaixo.", "A token enrols a machine at a site. Create one below.";
    NeedSiteFirst: "Crie antes uma organização e um local.", "Create an organization and a site first.";
    TokenIssued: "Token criado", "Token created";
    TokenOnce: "Copie agora: o segredo não será mostrado de novo. O controlador guarda só o hash.", "Copy it now: the secret will not be shown again. The controller keeps only its hash.";
    TokenRun: "Rode no servidor:", "Run on the server:";
    CopyCommand: "Copiar o comando", "Copy the command";
    CopyToken: "Copiar só o token", "Copy the token only";

    // Services and routes
    Services: "Serviços", "Services";
    Service: "Serviço", "Service";
    Routes: "Rotas públicas", "Public routes";
    NewService: "Novo serviço", "New service";
    NewRoute: "Nova rota", "New route";
    Port: "Porta na malha", "Overlay port";
    ProtocolLabel: "Protocolo", "Protocol";
    Target: "Destino local", "Local target";
    TargetHint: "Endereço na própria máquina, como 127.0.0.1:8080.", "An address on the machine itself, such as 127.0.0.1:8080.";
    ExposureLabel: "Exposição", "Exposure";
    ExposureTunnel: "só na malha", "overlay only";
    ExposurePublic: "pública", "public";
    ExposureHint: "Só um serviço público pode ter uma rota.", "Only a public service may have a route.";
    Host: "Host público", "Public host";
    HostHint: "Um nome de uma zona servida aqui.", "A name in a zone served here.";
    PathLabel: "Caminho da URL", "URL path";
    RouteUp: "no ar", "up";
    RouteDegraded: "em parte", "partly up";
    RouteDown: "fora", "down";
    RouteUnknown: "desconhecido", "unknown";
    NoServices: "Nenhum serviço ainda", "No services yet";
    NoServicesWords: "Um serviço é uma porta que um nó oferece. Adicione abaixo.", "A service is a port that a node offers. Add one below.";
    NoRoutes: "Nenhuma rota ainda", "No routes yet";
    NoRoutesWords: "Uma rota liga uma URL pública a um serviço.", "A route ties a public URL to a service.";
    NeedNodeFirst: "Inscreva antes um nó.", "Enrol a node first.";
    NeedServiceFirst: "Para criar uma rota, adicione antes um serviço com exposição pública.", "To create a route, add a service with public exposure first.";
    RemoveYes: "Sim, remover", "Yes, remove";
    OpensNewTab: "abre em outra aba", "opens in a new tab";

    // Balancers
    NoBalancers: "Nenhum balanceador ainda", "No balancers yet";
    NoBalancersWords: "Um balanceador reparte uma porta de um nó entre serviços de outros. Crie pelo terminal:", "A balancer spreads a port of a node over services of others. Add one from a terminal:";
    TroublePortTaken: "Não aceita conexões: outro programa ocupa a porta.", "It takes no connections: another program has the port.";
    TroublePortForbidden: "Não aceita conexões: falta o direito de usar a porta (CAP_NET_BIND_SERVICE).", "It takes no connections: the right to bind the port is missing (CAP_NET_BIND_SERVICE).";
    OnlyFrom: "só de", "only from";
    BalancerTraffic: "{} conexões abertas, {} desde que abriu.", "{} open connections, {} since it was opened.";
    BalancerRefused: "Recusadas: {} acima do limite, {} de origem não listada, {} sem servidor.", "Refused: {} over a limit, {} from a source not listed, {} without a server.";
    Server: "Servidor", "Server";
    Connections: "Conexões", "Connections";
    ServerUnproven: "ainda não verificado", "not checked yet";
    ServerSuspect: "suspeito", "suspect";
    ServerRecovering: "voltando", "recovering";
    ServerDraining: "esvaziando", "draining";
    ServerInMaintenance: "em manutenção", "in maintenance";
    ServerResume: "Retomar", "Resume";
    ServerDrain: "Esvaziar", "Drain";
    ServerMaintenance: "Manutenção", "Maintenance";
    ServerMaintenanceYes: "Sim, pôr em manutenção", "Yes, into maintenance";
    ServerMaintenanceHint: "Sem conexões novas; as que ainda estiverem abertas em um minuto são encerradas.", "No new connections; those still open in a minute are ended.";

    // DNS
    Zones: "Zonas", "Zones";
    Zone: "Zona", "Zone";
    Serial: "Serial", "Serial";
    RecordSets: "Registros", "Record sets";
    NewRecordSet: "Gravar um registro", "Save a record set";
    PutHint: "Um registro com o mesmo nome e tipo é substituído por inteiro.", "A record set with the same name and type is replaced whole.";
    RecordName: "Nome", "Name";
    RecordNameHint: "Relativo à zona; @ é a própria zona; * é curinga.", "Relative to the zone; @ is the zone itself; * is a wildcard.";
    RecordType: "Tipo", "Type";
    Ttl: "TTL em segundos", "TTL in seconds";
    TtlShort: "TTL", "TTL";
    Values: "Valores", "Values";
    ValuesHint: "Um por linha.", "One per line.";
    SaveButton: "Gravar", "Save";
    Delete: "Excluir", "Delete";
    DeleteYes: "Sim, excluir", "Yes, delete";
    AutomaticRecord: "automático", "automatic";
    AutomaticHint: "Segue de uma rota, de um nó ou da própria zona.", "Follows from a route, a node or the zone itself.";
    KeptBy: "Mantido por", "Kept by";
    KeptByOperator: "operador", "operator";
    NoZones: "Nenhuma zona ainda", "No zones yet";
    NoZonesWords: "Zonas públicas são criadas pelo terminal:", "Public zones are created from a terminal:";
    NoRecordSets: "Nenhum registro ainda", "No record sets yet";
    NoRecordSetsWords: "Grave o primeiro abaixo. Os registros de rotas aparecem sozinhos.", "Save the first one below. Records of routes appear by themselves.";

    // Activity
    When: "Quando", "When";
    Who: "Quem", "Who";
    What: "O quê", "What";
    Subject: "Sobre", "About";
    NoActivity: "Nada aconteceu ainda", "Nothing has happened yet";
    NoActivityWords: "Cada alteração aparece aqui e no registro encadeado, que se confere com:", "Every change shows here and in the chained log, which can be verified with:";
    DidSignIn: "entrou", "signed in";
    DidFailSignIn: "não conseguiu entrar", "failed to sign in";
    DidSignOut: "saiu", "signed out";
    DidCreateOrganization: "criou a organização", "created the organization";
    DidCreateSite: "criou o local", "created the site";
    DidCreateToken: "criou o token", "created the token";
    DidRevokeToken: "revogou o token", "revoked the token";
    DidEnrol: "inscreveu-se", "enrolled";
    DidReplaceNode: "gerou a troca do nó", "issued a replacement for the node";
    DidRemoveNode: "removeu o nó", "removed the node";
    DidQuarantine: "entrou em quarentena", "was quarantined";
    DidResolveQuarantine: "resolveu a quarentena", "resolved the quarantine";
    DidAddService: "adicionou o serviço", "added the service";
    DidRemoveService: "removeu o serviço", "removed the service";
    DidAddRoute: "adicionou a rota", "added the route";
    DidRemoveRoute: "removeu a rota", "removed the route";
    DidPutRecordSet: "gravou o registro", "saved the record set";
    DidDeleteRecordSet: "excluiu o registro", "deleted the record set";
    DidSetControllers: "definiu os endereços do controlador", "set the controller's addresses";
    DidSetEdgeAddresses: "definiu os endereços da borda", "set the edge's addresses";
    DidRemoveOrganization: "removeu a organização", "removed the organization";
    DidRemoveSite: "removeu o local", "removed the site";
    DidAdoptHub: "adotou o hub", "adopted the hub";
    DidRenameNode: "renomeou o nó", "renamed the node";
    DidSetEndpoints: "definiu os endpoints do nó", "set the node's endpoints";
    DidRenew: "renovou seu certificado", "renewed its certificate";
    DidApplyPolicy: "pôs uma política em vigor", "put a policy in force";
    DidConfirmPolicy: "confirmou a política", "confirmed the policy";
    DidProposePolicy: "propôs uma mudança da política", "proposed a change of the policy";
    DidApprovePolicy: "aprovou uma mudança da política", "approved a change of the policy";
    DidRejectPolicy: "rejeitou uma mudança da política", "rejected a change of the policy";
    DidExpirePolicy: "esqueceu uma mudança da política que ninguém aprovou", "forgot a change of the policy that nobody approved";
    DidApplyPolicyAlone: "mudou a política sozinho, em emergência", "changed the policy alone, in an emergency";
    DidSetSecondApprover: "passou a pedir um segundo aprovador para a organização", "made the organization ask for a second approver";
    DidReturnPolicy: "voltou a uma política anterior", "went back to a former policy";
    DidSetTags: "alterou as etiquetas", "changed the tags";
    DidAddGrant: "adicionou a permissão", "added the grant";
    DidRemoveGrant: "removeu a permissão", "removed the grant";
    DidAddZone: "adicionou a zona", "added the zone";
    DidRemoveZone: "removeu a zona", "removed the zone";
    DidAddOperator: "adicionou o operador", "added the operator";
    DidSetPassword: "trocou a senha do operador", "changed the operator's password";
    DidRemoveOperator: "removeu o operador", "removed the operator";
    DidAddApiKey: "adicionou a chave de API", "added the API key";
    DidRemoveApiKey: "removeu a chave de API", "removed the API key";
    DidAddBalancer: "adicionou o balanceador", "added the balancer";
    DidSetBalancer: "alterou o balanceador", "changed the balancer";
    DidRemoveBalancer: "removeu o balanceador", "removed the balancer";
    DidSetServerMode: "alterou o modo de um servidor do balanceador", "changed the mode of a server of the balancer";

    // Wrong input that is seen before the console is asked
    WrongProfile: "Escolha um dos perfis da lista.", "Choose one of the profiles in the list.";
    WrongNumber: "Informe um número inteiro entre {} e {}.", "Give a whole number from {} to {}.";
    WrongChoice: "Escolha uma das opções da lista.", "Choose one of the options in the list.";
    WrongMissing: "Preencha este campo.", "Fill in this field.";
    CheckForm: "Não foi gravado. Confira o que está marcado abaixo.", "Nothing was saved. Check what is marked below.";
    NotSaved: "Não foi gravado.", "Nothing was saved.";

    // Errors
    ErrorNotFound: "Não encontrado", "Not found";
    ErrorNotFoundWords: "Este endereço não existe, ou o que estava aqui foi removido.", "This address does not exist, or what was here has been removed.";
    ErrorUnavailable: "O controlador não responde agora", "The controller does not answer right now";
    ErrorUnavailableWords: "Os túneis continuam. Tente de novo em instantes.", "The tunnels carry on. Try again in a moment.";
    ErrorCrossSite: "Pedido recusado", "Request refused";
    ErrorCrossSiteWords: "Ele não veio de uma página deste painel, ou a página é de uma sessão antiga. Volte, recarregue e repita.", "It did not come from a page of this dashboard, or the page is from an earlier session. Go back, reload and repeat.";
    ErrorTooLarge: "Formulário grande demais", "Form too large";
    ErrorTooLargeWords: "Um formulário pode ter até {} KiB.", "A form may have up to {} KiB.";
    ErrorMalformed: "Formulário ilegível", "Unreadable form";
    ErrorMalformedWords: "O pedido não é um formulário válido com até {} campos.", "The request is not a valid form of up to {} fields.";
    ErrorMethod: "Método não permitido", "Method not allowed";
    ErrorMethodWords: "Este endereço não aceita este tipo de pedido.", "This address does not take this kind of request.";
    BackToOverview: "Voltar à visão geral", "Back to the overview";
}

#[cfg(test)]
mod tests;
