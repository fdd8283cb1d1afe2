//! What the API refuses before the state is asked, or because of how it is asked: each cause with its code and its words in both
//! languages. A cause without one of them does not compile.

use std::fmt;

use malha_proto::Port;
use malha_web::Bilingual;

use super::both;

macro_rules! refusals {
    ($($code:literal $name:ident $({ $($field:ident: $type:ty = $sample:expr),+ })? $pt:literal $en:literal)*) => {
        /// A cause.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Refusal {
            $($name $({ $($field: $type),+ })?,)*
        }

        impl Refusal {
            /// Names the cause for programs; it stays the same between releases.
            pub(crate) fn code(&self) -> &'static str {
                match self {
                    $(Self::$name $({ $($field: _),+ })? => $code,)*
                }
            }

            pub(crate) fn words(&self) -> Bilingual {
                match self {
                    $(Self::$name $({ $($field),+ })? => both(format!($pt), format!($en)),)*
                }
            }

            /// One of each, about nothing in particular.
            #[cfg(test)]
            pub(super) fn each() -> Vec<Self> {
                vec![$(Self::$name $({ $($field: $sample),+ })?),*]
            }
        }
    };
}

/// In English, for readers of JSON, which put it among words of their own.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().en)
    }
}

refusals! {
    "no-such-path" NoSuchPath { path: String = "/x".to_owned() }
        "Não há nada em {path}; /api/openapi.json diz o que há."
        "there is nothing at {path}; /api/openapi.json lists what there is"
    "method" AnotherMethod
        "Aqui se usa outro método; o cabeçalho Allow diz quais."
        "another method is needed here; the Allow header lists them"
    "source-too-fast" SourceTooFast
        "Este endereço faz pedidos demais."
        "too many requests from this address"
    "key-too-fast" KeyTooFast
        "Esta chave de API é usada demais."
        "this API key is used too often"
    "full" Full
        "Há pedidos demais em andamento."
        "too many requests are being served"
    "timed-out" GivenUp { seconds: u64 = 60 }
        "O pedido foi abandonado depois de {seconds} s; uma gravação ainda pode valer."
        "it was given up after {seconds} s; a write may still take effect"
    "idempotency-key" IdempotencyKey { most: usize = 128 }
        "Idempotency-Key: informe de 1 a {most} caracteres ASCII visíveis."
        "Idempotency-Key: give 1 to {most} visible ASCII characters"

    "body-type" BodyType
        "Envie o corpo com Content-Type: application/json."
        "send the body with Content-Type: application/json"
    "body-cut" BodyCut
        "O corpo acabou antes de estar inteiro."
        "the body ended before it was whole"
    "body-large" BodyLarge { most_kib: usize = 64 }
        "Um corpo tem no máximo {most_kib} KiB."
        "a body has at most {most_kib} KiB"
    "body-no-object" BodyNoObject
        "O corpo é um objeto JSON, como {{\"name\": \"sefaz\"}}."
        "the body must be a JSON object, like {{\"name\": \"sefaz\"}}"
    "path" PathUnread { problem: String = "?".to_owned() }
        "O caminho do URL não pode ser lido ({problem})."
        "the path of the URL: {problem}"
    "query" QueryUnread { problem: String = "?".to_owned() }
        "Os parâmetros do URL não podem ser lidos ({problem})."
        "the query of the URL: {problem}"
    "no-json" NoJson { problem: String = "?".to_owned() }
        "O corpo não é JSON ({problem})."
        "the body is not JSON: {problem}"
    "socket-address" NoSocketAddress
        "Escreva endereço e porta, como 127.0.0.1:8080 ou [::1]:8080; um nome de host não serve aqui."
        "write an address and a port, like 127.0.0.1:8080 or [::1]:8080; a host name does not do here"
    "ip-address" NoAddress
        "Escreva um endereço IP, como 203.0.113.10 ou 2001:db8::10."
        "write an IP address, like 203.0.113.10 or 2001:db8::10"
    "value" Value { problem: String = "?".to_owned() }
        "O valor não serve ({problem})."
        "{problem}"
    "unknown-field" UnknownField { field: String = "x".to_owned(), problem: String = "?".to_owned() }
        "O campo “{field}” não existe aqui ({problem})."
        "{problem}"
    "missing-field" MissingField { field: String = "x".to_owned(), problem: String = "?".to_owned() }
        "Falta o campo “{field}” ({problem})."
        "{problem}"
    "field-twice" FieldTwice { field: String = "x".to_owned(), problem: String = "?".to_owned() }
        "O campo “{field}” está repetido ({problem})."
        "{problem}"

    "reference-missing" ReferenceMissing
        "Falta um nome ou um id."
        "a name or an id is missing"
    "reference-long" ReferenceLong { bytes: usize = 999, most: usize = 300 }
        "Tem {bytes} bytes; um nome ou id tem menos de {most}."
        "it has {bytes} bytes; a name or id has less than {most}"
    "page-size" PageSize { most: usize = 1_000, given: usize = 0 }
        "Informe de 1 a {most}; {given} não serve."
        "give 1 to {most}, not {given}"
    "page-after" PageAfter
        "Informe o que a página anterior deu em `next`."
        "give what `next` of the page before said"
    "wait" Wait { most_ms: u64 = 10, given_ms: u64 = 0 }
        "A espera vai de 1 a {most_ms} ms; {given_ms} não serve."
        "give 1 to {most_ms}, not {given_ms}"

    "created-and-gone" CreatedAndGone
        "Foi criado, e já foi removido."
        "it was created and has been removed since"
    "strange-answer" StrangeAnswer
        "O controlador deu uma resposta de outro tipo; veja se a mudança foi feita."
        "the controller gave an answer of another kind; look whether the change is there"
    "backup-runs" BackupRuns
        "Outra cópia de segurança está sendo feita."
        "another backup is being taken"
    "storage" Storage { problem: String = "?".to_owned() }
        "O controlador não consegue ler nem gravar agora ({problem})."
        "{problem}"
    "new-keys" NewKeys { problem: String = "?".to_owned() }
        "As chaves novas não puderam ser feitas ({problem})."
        "{problem}"

    "password-length" PasswordLength { least: usize = 12, most: usize = 128 }
        "A senha tem de {least} a {most} caracteres."
        "the password must have {least} to {most} characters"
    "password-hash" PasswordHash
        "A senha não pôde ser guardada agora."
        "the password could not be hashed"
    "reason-long" ReasonLong { most: usize = 200, given: usize = 999 }
        "O motivo tem no máximo {most} caracteres; este tem {given}."
        "give at most {most} characters, not {given}"
    "not-in-quarantine" NotInQuarantine
        "Este nó não está em quarentena; não há o que escolher."
        "this node is not in quarantine; there is nothing to choose"
    "another-machine" AnotherMachine { machine: String = "m".to_owned() }
        "A máquina {machine} não é a que ficaria; veja a quarentena de novo."
        "machine {machine} is not the one to keep; look at the quarantine again"

    "port-of-controller" PortOfController { port: Port = Port::new(443).expect("a port"), key: &'static str = "edge" }
        "A porta {port} é do próprio controlador ({key}); escolha outra, ou mude {key}."
        "{port} is this controller's own ({key}); choose another or change {key}"
    "port-of-another-program" PortOfAnotherProgram { port: Port = Port::new(443).expect("a port") }
        "A porta {port} da máquina do hub é de outro programa; escolha outra, ou pare esse programa."
        "{port} of the hub's machine is taken by another program; choose another or stop that program"
    "port-not-allowed" PortNotAllowed { port: Port = Port::new(443).expect("a port") }
        "malha serve não pode usar a porta {port}; dê a ele CAP_NET_BIND_SERVICE."
        "malha serve may not bind port {port}; give it CAP_NET_BIND_SERVICE"
}
