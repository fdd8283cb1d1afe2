//! What the pages say of profiles, their ports, and how those differ from what agencies declare.

use super::catalogue::catalogue;

catalogue! {
    /// A text about profiles and ports. `{}` marks a gap to fill.
    ProfileText {
    Intro: "As portas de cada papel, com quem e por onde. Muda-se com “malha profile set”.", "The ports of each role, with whom and over what. They are changed with “malha profile set”.";
    Edited: "Editado", "Edited";
    Ports: "Portas", "Ports";
    Direction: "Sentido", "Direction";
    DirectionIn: "entrada", "in";
    DirectionOut: "saída", "out";
    Partners: "Com quem", "With";
    Probe: "Verificação", "Probe";
    FromRelease: "X-Road a partir da {}", "X-Road from {} on";
    BeforeRelease: "X-Road antes da {}", "X-Road before {}";
    Differences: "O que o requerimento pede de outro modo", "What the requirement asks for otherwise";
    DifferencesWords: "A lista do requerimento fica como foi declarada; vale o perfil.", "The requirement's list is kept as it was declared; the profile holds.";
    Difference: "Diferença", "Difference";
    AskedFor: "Pedida para", "Asked for";
    InProfile: "No perfil", "In the profile";
    TooOpen: "aberta demais", "too open";
    NotInProfile: "não está no perfil", "not in the profile";
    NotDeclared: "não foi pedida", "not asked for";
    NetworkInternal: "rede interna", "internal network";
    NetworkExternal: "rede externa", "external network";

    Peers: "outros servidores seguros", "other security servers";
    Central: "servidor central", "central server";
    InformationSystems: "sistemas do órgão", "information systems";
    Operators: "operadores", "operators";
    Balancer: "balanceador", "balancer";
    Cluster: "servidores do mesmo local", "servers of the same site";
    TrustServices: "OCSP e carimbo do tempo", "OCSP and time stamps";
    Anyone: "qualquer um", "anyone";
    Nobody: "ninguém", "nobody";

    Tunnel: "só no túnel", "tunnel only";
    Public: "pública", "public";
    Loopback: "só na própria máquina", "the machine itself only";
    Never: "nunca aberta", "never open";

    ProbeTcp: "conexão TCP", "TCP connection";
    ProbeTls: "TLS até pedir o certificado", "TLS up to the certificate request";
    ProbeHttp: "HTTP", "HTTP";
    ProbeHttps: "HTTPS", "HTTPS";
    ProbeHealth: "HTTP 200 em /", "HTTP 200 at /";
    ProbeNone: "nenhuma", "none";
}}
