//! Everything that can go wrong between a request and a certificate, each naming the attempt and whose fault it was.

use std::io;
use std::path::PathBuf;

use malha_proto::HostName;
use thiserror::Error;
use time::OffsetDateTime;

use crate::edge_certificates::MAX_HOSTS;
use crate::master_key::MIN_PASSPHRASE_BYTES;
use crate::node_certificate::MAX_CSR_BYTES;
use crate::sealed::MAX_PLAINTEXT_BYTES;

/// A refusal or failure of this crate. No variant carries key material.
#[derive(Debug, Error)]
pub enum PkiError {
    #[error("can't {attempt} the master key file {}: {source}", path.display())]
    MasterKeyFile {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "the master key file {} is readable by others (mode {mode:03o}); run: chmod 600 {}",
        path.display(), path.display()
    )]
    MasterKeyFileMode { path: PathBuf, mode: u32 },
    #[error("the master key file {} is not a regular file", path.display())]
    MasterKeyNotAFile { path: PathBuf },
    #[error(
        "{origin} holds no master key; it must be one line: \"malha-master-key-1 \" and 64 hexadecimal digits"
    )]
    MasterKeyText { origin: String },
    #[error("the passphrase is too short; use at least {MIN_PASSPHRASE_BYTES} bytes")]
    PassphraseTooShort,
    #[error("the passphrase can't be stretched into a key: {0}")]
    Passphrase(argon2::Error),

    #[error(
        "the sealed record has version {found}, this program knows version {known}; a newer program wrote it"
    )]
    SealedVersion { found: u8, known: u8 },
    #[error("the sealed record is too short or not base64: it is damaged")]
    SealedForm,
    #[error(
        "the sealed record was made with another master key; give the key that was in use when it was written"
    )]
    WrongMasterKey,
    #[error(
        "the sealed record of {purpose:?} does not open: it is damaged, or was moved here from another record"
    )]
    SealedDamaged { purpose: String },
    #[error("a record of {len} bytes is too long to seal; the limit is {MAX_PLAINTEXT_BYTES}")]
    PlaintextTooLong { len: usize },

    #[error("an authority's name must have 1 to 64 characters and no control characters")]
    AuthorityName,
    #[error("an authority must last 1 to {max} years, not {years}")]
    AuthorityYears { years: u8, max: u8 },
    #[error("the stored authority can't be used: {0}")]
    StoredAuthority(&'static str),
    #[error("the authority is not valid at the asked time; it ends at {ends}: make a new one")]
    AuthorityEnded { ends: OffsetDateTime },
    #[error(
        "the authority is valid only from {begins} on, which this machine's clock has not reached: set its date and time"
    )]
    AuthorityNotBegun { begins: OffsetDateTime },
    #[error("a certificate must end after it begins and within the calendar")]
    Lifetime,
    #[error("a server certificate needs at least one host name")]
    NoHostName,
    #[error("{0} is too wide; a wildcard needs two labels after it, like \"*.garagem.example\"")]
    WideWildcard(HostName),

    #[error("the certificate request has {len} bytes; the limit is {MAX_CSR_BYTES}")]
    RequestTooLong { len: usize },
    #[error("the certificate request is malformed; it must be PKCS#10 in DER or PEM")]
    RequestMalformed,
    #[error(
        "the certificate request's own signature does not verify: its sender does not hold the key, or it was altered"
    )]
    RequestSignature,
    #[error(
        "the certificate request's key is refused: {0}; use P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits"
    )]
    RequestKey(&'static str),

    #[error("the certificate is malformed; it must be X.509 in DER")]
    CertificateMalformed,
    #[error("the certificate is no node's: {0}")]
    NotANode(&'static str),
    #[error("more than {MAX_HOSTS} host names for one edge; nothing was changed")]
    TooManyHosts,

    #[error(
        "what an authority signs beside certificates must say so: it must begin with \"malha \""
    )]
    NotAStatement,
    #[error("the system gives no random bytes")]
    Random,
    #[error("the certificate could not be made: {0}")]
    Issue(#[from] rcgen::Error),
    #[error("the TLS configuration is refused: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the TLS client verifier is refused: {0}")]
    TlsVerifier(#[from] rustls::server::VerifierBuilderError),
}
