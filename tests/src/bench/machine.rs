//! A machine that becomes a node: its keys are made before anything is timed, its enrolment is the real one.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use malha_node::agent::Transport;
use malha_node::control::{Credentials, dial};
use malha_proto::{
    EnrolReply, EnrolRequest, EnrolToken, MachineFacts, MachineId, ToController, ToNode,
};
use malha_tunnel::PrivateKey;
use quinn::{ClientConfig, Endpoint};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::link::{self, Link};

/// Keys, a name and the right to enrol.
pub(super) struct Machine {
    key: KeyPair,
    request: EnrolRequest,
}

/// A machine that is a node.
pub(super) struct Enrolled {
    pub(super) reply: EnrolReply,
    pub(super) facts: MachineFacts,
    key: KeyPair,
}

impl Machine {
    pub(super) fn new(name: &str, number: usize, token: &EnrolToken) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let csr = CertificateParams::new([])?
            .serialize_request(&key)?
            .der()
            .to_vec();
        let mut machine = [0; 16];
        machine[..8].copy_from_slice(&number.to_be_bytes());
        let request = EnrolRequest {
            token: token.id,
            secret: token.secret.clone(),
            wg_key: malha_proto::WgKey(*PrivateKey::generate().public_key().as_bytes()),
            csr,
            name: Some(name.parse()?),
            facts: MachineFacts {
                host_name: name.to_owned(),
                machine: MachineId(machine),
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                os: std::env::consts::OS.to_owned(),
                engine: None,
            },
        };
        Ok(Self { key, request })
    }

    /// Enrols as `malha-node` does, which knows of the authority only the token's fingerprint.
    pub(super) async fn enrol_first(self, token: &EnrolToken) -> Result<Enrolled> {
        let credentials = Credentials {
            authority: token.authority,
            authority_certificate: None,
            node: None,
        };
        let controller = token
            .controllers
            .first()
            .context("a token without controllers")?;
        let wire = dial(controller, Transport::Quic, &credentials).await;
        let wire = wire.map_err(|error| anyhow::anyhow!("dialling {controller}: {error}"))?;
        let question = ToController::Enrol(Box::new(self.request.clone()));
        let answer = wire
            .ask(&question)
            .await
            .map_err(|error| anyhow::anyhow!("enrolling: {error}"))?;
        self.enrolled(answer)
    }

    /// Connects, enrols and hangs up.
    pub(super) async fn enrol(
        self,
        from: &Endpoint,
        to: SocketAddr,
        trust: ClientConfig,
    ) -> Result<Enrolled> {
        let mut link = Link::open(from, to, trust).await?;
        link.send(&ToController::Enrol(Box::new(self.request.clone())))
            .await?;
        let answer = link.receive().await?;
        link.close();
        self.enrolled(answer)
    }

    fn enrolled(self, answer: ToNode) -> Result<Enrolled> {
        match answer {
            ToNode::Enrolled(reply) => Ok(Enrolled {
                reply: *reply,
                facts: self.request.facts,
                key: self.key,
            }),
            other => bail!(
                "{} asked to enrol and heard {other:?}",
                self.request.facts.host_name
            ),
        }
    }
}

impl Enrolled {
    pub(super) fn authority(&self) -> CertificateDer<'static> {
        CertificateDer::from(self.reply.authority.clone())
    }

    /// TLS with the node's certificate.
    pub(super) fn credentials(&self) -> Result<ClientConfig> {
        let certificate = CertificateDer::from(self.reply.certificate.clone());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        link::credentials(&self.authority(), Some((certificate, key)))
    }
}
