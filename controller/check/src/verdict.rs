//! What a check came to: in order, a finding with declared against observed, or not known. *Not known* is never *in order*.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::check::Vantage;

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    Ok {
        /// What was seen, in a few words: `refused`, an address, a date.
        observed: String,
        evidence: Vec<Evidence>,
    },
    Finding(Finding),
    CouldNotTest {
        why: Why,
    },
}

impl Verdict {
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok { .. })
    }

    /// What was found wrong, if something was.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Finding(finding) => Some(finding.fault),
            _ => None,
        }
    }
}

/// What is declared is not what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub fault: Fault,
    pub declared: String,
    pub observed: String,
    pub evidence: Vec<Evidence>,
}

/// Where a verdict comes from: one observation, in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    pub vantage: Vantage,
    /// The address that was looked at, or the name of who was asked.
    pub address: String,
    pub observed: String,
}

/// How much a fault presses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// To be planned for.
    Notice,
    Warning,
    /// Something is broken or open.
    Serious,
}

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident $level:ident { $pt:literal, $en:literal })*) => {
        /// What is wrong. Its sentences are in [`Fault::pt`] and [`Fault::en`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            #[must_use]
            pub fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)* }
            }

            #[must_use]
            pub fn pt(self) -> &'static str {
                match self { $(Self::$name => $pt,)* }
            }

            #[must_use]
            pub fn en(self) -> &'static str {
                match self { $(Self::$name => $en,)* }
            }
        }
    };
}

faults! {
    NameMissing Serious { "o nome não existe ou não tem endereço", "the name does not exist or has no address" }
    NameServerSilent Serious { "um servidor de nomes autoritativo não responde", "an authoritative name server does not answer" }
    NameServerError Serious { "um servidor de nomes responde com erro", "a name server answers with an error" }
    NameServerLame Serious { "um servidor de nomes não responde pela zona", "a name server does not answer for the zone itself" }
    NameServersDisagree Serious { "os servidores autoritativos dão respostas diferentes", "the authoritative servers give different answers" }
    NameServerUndeclared Warning { "a zona tem um servidor de nomes que não foi declarado, e ninguém o consultou", "the zone has a name server that was not declared, and nobody asked it" }
    UndeclaredAddress Serious { "o nome aponta para um endereço que não foi declarado", "the name points to an address that was not declared" }
    PrivateAddress Serious { "o nome público aponta para um endereço privado", "the public name points to a private address" }
    SameName Serious { "produção e homologação usam o mesmo nome", "production and homologation have one name" }
    SameAddress Serious { "produção e homologação têm um endereço em comum", "production and homologation share an address" }
    OtherStage Serious { "aponta para um endereço do outro ambiente", "points to an address of the other stage" }
    InternalViewWrong Serious { "dentro da rede o nome não tem os endereços da rede", "inside the overlay the name does not have the overlay's addresses" }
    PortClosed Serious { "a porta deveria aceitar conexões", "the port should accept connections" }
    PortOpen Serious { "a porta aceita conexões de onde não deveria", "the port accepts connections from where it should not" }
    NoTls Serious { "a porta não fala TLS", "the port does not speak TLS" }
    NoCertificateRequest Serious { "o servidor não pede certificado de cliente", "the server does not ask for a client certificate" }
    CertificateOptional Serious { "o servidor aceita clientes sem certificado", "the server accepts clients without a certificate" }
    CertificateMalformed Serious { "o certificado não pode ser lido", "the certificate can't be read" }
    UnknownIssuer Serious { "a cadeia não termina em um emissor esperado", "the chain does not end at an expected issuer" }
    IssuerMayNotIssue Serious { "um certificado da cadeia não pode emitir outros", "a certificate of the chain may not issue others" }
    IssuerExpired Serious { "um emissor da cadeia está fora da validade", "an issuer of the chain is outside of its validity" }
    ChainSignatureBad Serious { "uma assinatura da cadeia não confere", "a signature of the chain does not verify" }
    WeakSignature Warning { "a cadeia usa um algoritmo de assinatura quebrado", "the chain uses a broken signature algorithm" }
    KeyUnproven Serious { "o servidor não provou ter a chave do certificado", "the server did not prove that it holds the certificate's key" }
    UsageWrong Warning { "os usos do certificado não servem para este papel", "the certificate's usages don't allow this role" }
    NotYetValid Serious { "o certificado ainda não vale", "the certificate is not yet valid" }
    Expired Serious { "o certificado venceu", "the certificate has expired" }
    Expires7 Warning { "o certificado vence em até 7 dias", "the certificate expires within 7 days" }
    Expires15 Warning { "o certificado vence em até 15 dias", "the certificate expires within 15 days" }
    Expires30 Notice { "o certificado vence em até 30 dias", "the certificate expires within 30 days" }
    Expires60 Notice { "o certificado vence em até 60 dias", "the certificate expires within 60 days" }
    HostNameMismatch Serious { "o certificado não é para este nome", "the certificate is not for this name" }
    NoHttp Serious { "a porta não responde HTTP", "the port does not answer HTTP" }
    StatusWrong Serious { "o estado HTTP não é o esperado", "the HTTP status is not the expected one" }
    NotMultipart Serious { "a resposta não traz respostas OCSP (multipart)", "the answer holds no OCSP responses (multipart)" }
    OcspRefused Serious { "o respondedor OCSP não deu resposta", "the OCSP responder gave no answer" }
    OcspMalformed Serious { "a resposta OCSP não pode ser lida", "the OCSP answer can't be read" }
    OcspOtherCertificate Serious { "a resposta OCSP é de outro certificado", "the OCSP answer is for another certificate" }
    OcspOtherNonce Serious { "a resposta OCSP repete outro número (nonce)", "the OCSP answer repeats another nonce" }
    OcspSignerUnknown Serious { "quem assinou a resposta OCSP não é o emissor nem autorizado por ele", "who signed the OCSP answer is neither the issuer nor allowed by it" }
    OcspSignerUsage Serious { "o certificado do respondedor não tem o uso OCSPSigning", "the responder's certificate lacks the usage OCSPSigning" }
    OcspSignatureBad Serious { "a assinatura da resposta OCSP não confere", "the OCSP answer's signature does not verify" }
    OcspStale Serious { "a resposta OCSP está vencida", "the OCSP answer is out of date" }
    OcspFromFuture Serious { "a resposta OCSP é de um instante futuro", "the OCSP answer is from the future" }
    Revoked Serious { "o certificado foi revogado", "the certificate is revoked" }
    OcspUnknown Serious { "o respondedor não conhece o certificado", "the responder does not know the certificate" }
    StampRefused Serious { "a autoridade de carimbo do tempo recusou o pedido", "the time-stamp authority refused the request" }
    StampMalformed Serious { "o carimbo do tempo não pode ser lido", "the time stamp can't be read" }
    StampOtherImprint Serious { "o carimbo é de outro conteúdo", "the time stamp is for something else" }
    StampOtherNonce Serious { "o carimbo repete outro número (nonce)", "the time stamp repeats another nonce" }
    StampSignatureBad Serious { "a assinatura do carimbo não confere", "the time stamp's signature does not verify" }
    StampUsage Serious { "o certificado do carimbo não tem só o uso timeStamping, crítico", "the authority's certificate does not have the critical usage timeStamping alone" }
    StampClockOff Warning { "o relógio do carimbo do tempo está fora da tolerância", "the time-stamp authority's clock is off" }
    BackendDown Serious { "um servidor do balanceador está fora", "a server of the balancer is down" }
    PortsDiffer Notice { "a lista de portas do órgão difere do perfil", "the organization's list of ports differs from the profile" }
}

macro_rules! whys {
    ($($name:ident { $pt:literal, $en:literal })*) => {
        /// Why there is no verdict.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Why {
            pub cause: Cause,
            /// More, where there is more: which node, which error.
            pub detail: String,
        }

        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Cause {
            $($name,)*
        }

        impl Cause {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            #[must_use]
            pub fn pt(self) -> &'static str {
                match self { $(Self::$name => $pt,)* }
            }

            #[must_use]
            pub fn en(self) -> &'static str {
                match self { $(Self::$name => $en,)* }
            }
        }
    };
}

whys! {
    NoVantagePoint { "não há ponto de observação para isto", "there is no vantage point for this" }
    NodeOffline { "o ponto de observação está fora do ar", "the vantage point is offline" }
    NodeRefused { "o ponto de observação não fez o teste", "the vantage point did not take the test" }
    NotObserved { "nada foi observado", "nothing was observed" }
    ControlUnreachable { "o ponto de observação não alcança nem o endereço de controle", "the vantage point does not even reach its control address" }
    NoControl { "sem resposta, e nenhum endereço de controle desta família mostra que o ponto de observação alcança algo", "silence, and no control address of this family shows that the vantage point reaches anything" }
    NoRoute { "o ponto de observação não tem caminho até lá", "the vantage point has no way there" }
    NoConnection { "sem conexão com o serviço", "no connection to the service" }
    NothingDeclared { "falta declarar o que era esperado", "what is expected is not declared" }
    TooMuch { "há declarações demais; o que passou do limite não foi testado", "too much is declared; what is over the limit was not tested" }
    NobodyServed { "não se sabe de servidor no ar atrás do balanceador: ninguém seria atendido", "no server behind the balancer is known to be up: nobody would be served" }
    NoAddress { "o nome não tem endereço", "the name has no address" }
    Unsupported { "o algoritmo não é suportado aqui", "the algorithm is not supported here" }
    NotOverTcp { "portas UDP não são testadas", "UDP ports are not tested" }
    Local { "o teste não pôde ser feito nesta máquina", "the test could not be made on this machine" }
    Before { "faltou o que o teste precisa saber antes", "what the test must know first is missing" }
    NoTime { "o tempo da rodada acabou", "the run's time was over" }
}
