//! Node certificates: the key comes from the node's request, everything else from the controller.
//! A private key is never seen here, and nothing a request asks for is granted.

use malha_proto::{Fingerprint, Label, NodeId};
use rcgen::string::Ia5String;
use rcgen::{
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, PublicKeyData, SanType,
    SubjectPublicKeyInfo,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::authority::Leaf;
use crate::{Authority, PkiError, Validity, x509};

/// Who a node is, as the controller decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    pub node: NodeId,
    pub organization: Label,
    pub site: Label,
    pub name: Label,
}

/// A signed node certificate, with the window it really has: it never outlives its authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCertificate {
    pub der: CertificateDer<'static>,
    pub validity: Validity,
}

impl Authority {
    /// Signs the key of a PKCS#10 request, in DER or PEM, as a client certificate for `identity`: subject O, OU and CN, one
    /// URI name `malha://node/ID`, clientAuth. The request's own subject and extensions are ignored.
    ///
    /// # Errors
    /// [`PkiError::RequestMalformed`], [`PkiError::RequestSignature`] or [`PkiError::RequestKey`] for the node's fault;
    /// [`PkiError::AuthorityEnded`] for the controller's.
    pub fn sign_node_csr(
        &self,
        csr: &[u8],
        identity: &NodeIdentity,
        validity: Validity,
    ) -> Result<NodeCertificate, PkiError> {
        let public_key = requested_key(csr)?;
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, identity.organization.as_str());
        subject.push(DnType::OrganizationalUnitName, identity.site.as_str());
        subject.push(DnType::CommonName, identity.name.as_str());
        let leaf = Leaf {
            subject,
            names: vec![SanType::URI(Ia5String::try_from(node_uri(identity.node))?)],
            usage: ExtendedKeyUsagePurpose::ClientAuth,
            validity,
        };
        let (der, validity) = self.certify(leaf, &public_key)?;
        Ok(NodeCertificate { der, validity })
    }
}

/// Reads who a client certificate names. It proves nothing by itself: call it on a certificate that TLS has verified.
///
/// # Errors
/// [`PkiError::NotANode`] when the certificate is not of the exact form that [`Authority::sign_node_csr`] gives.
pub fn node_identity(certificate: &[u8]) -> Result<NodeId, PkiError> {
    let parsed = x509::parse_certificate(certificate)?;
    let usage = parsed
        .extended_key_usage()
        .map_err(|_| PkiError::CertificateMalformed)?;
    if parsed.is_ca() || !usage.is_some_and(|usage| usage.value.client_auth) {
        return Err(PkiError::NotANode("it is not for TLS clients"));
    }
    let [GeneralName::URI(uri)] = x509::alternative_names(&parsed)? else {
        return Err(PkiError::NotANode("it must have one URI name and no other"));
    };
    uri.strip_prefix(NODE_URI_PREFIX)
        .and_then(|id| id.parse().ok())
        .ok_or(PkiError::NotANode(
            "its URI is not of the form malha://node/n12",
        ))
}

/// SHA-256 of the public key (SubjectPublicKeyInfo) of a request whose signature proves that the sender holds the private
/// one: names a key across the certificates that are issued for it.
///
/// # Errors
/// As [`Authority::sign_node_csr`] for the node's fault.
pub fn request_key(csr: &[u8]) -> Result<Fingerprint, PkiError> {
    Ok(Fingerprint::of(
        &requested_key(csr)?.subject_public_key_info(),
    ))
}

/// SHA-256 of the public key (SubjectPublicKeyInfo) of a certificate; the same as [`request_key`] of its request.
///
/// # Errors
/// [`PkiError::CertificateMalformed`].
pub fn certificate_key(certificate: &[u8]) -> Result<Fingerprint, PkiError> {
    let parsed = x509::parse_certificate(certificate)?;
    Ok(Fingerprint::of(parsed.public_key().raw))
}

/// Takes the public key from a request whose signature proves that the sender holds the private one.
fn requested_key(csr: &[u8]) -> Result<SubjectPublicKeyInfo, PkiError> {
    if csr.len() > MAX_CSR_BYTES {
        return Err(PkiError::RequestTooLong { len: csr.len() });
    }
    let der = if csr.trim_ascii_start().starts_with(b"-----BEGIN ") {
        CertificateSigningRequestDer::from_pem_slice(csr).map_err(|_| PkiError::RequestMalformed)?
    } else {
        CertificateSigningRequestDer::from(csr)
    };
    let Ok(([], request)) = X509CertificationRequest::from_der(&der) else {
        return Err(PkiError::RequestMalformed);
    };
    let key = &request.certification_request_info.subject_pki;
    if let Ok(PublicKey::RSA(rsa)) = key.parsed() {
        check_rsa(rsa.modulus, rsa.try_exponent().ok())?;
    }
    if !x509::is_strong(&request.signature_algorithm) {
        return Err(PkiError::RequestKey(
            "it signed with an algorithm that proves nothing",
        ));
    }
    let public_key = SubjectPublicKeyInfo::from_der(key.raw)
        .map_err(|_| PkiError::RequestKey("its algorithm is not supported"))?;
    request
        .verify_signature()
        .map_err(|_| PkiError::RequestSignature)?;
    Ok(public_key)
}

fn check_rsa(modulus: &[u8], exponent: Option<u64>) -> Result<(), PkiError> {
    let significant = modulus.iter().skip_while(|byte| **byte == 0);
    let leading_zero_bits = significant.clone().next().map_or(0, |b| b.leading_zeros());
    let bits = 8 * significant.count() - leading_zero_bits as usize;
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(PkiError::RequestKey("its RSA size is out of bounds"));
    }
    match exponent {
        Some(e) if e >= MIN_RSA_EXPONENT && e % 2 == 1 => Ok(()),
        _ => Err(PkiError::RequestKey("its RSA exponent is out of bounds")),
    }
}

fn node_uri(node: NodeId) -> String {
    format!("{NODE_URI_PREFIX}{node}")
}

pub(crate) const MAX_CSR_BYTES: usize = 16 * 1024;
const NODE_URI_PREFIX: &str = "malha://node/";
const MIN_RSA_BITS: usize = 2048;
/// Larger keys cost the controller more than they protect.
const MAX_RSA_BITS: usize = 4096;
const MIN_RSA_EXPONENT: u64 = 65_537;

#[cfg(test)]
mod tests;
