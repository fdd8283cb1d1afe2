//! A machine: its disk, which survives, and its process, which does not. The agent in it is the real one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use malha_node::agent::{Agent, Ending, FreshKeys, LinkId, Millis};
use malha_proto::{
    Fingerprint, Lease, MachineFacts, Netmap, NodeId, PairTable, RefusalCode, Secret32, TokenId,
    WgKey,
};

use super::dice::Dice;
use super::network::{Certificate, Uplink, WireId};

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) facts: MachineFacts,
    pub(super) disk: Disk,
    pub(super) process: Option<Process>,
    pub(super) uplink: Uplink,
    /// The token on the installer's paper; used when there is no identity.
    pub(super) ticket: Option<Ticket>,
    /// Counts enrolment attempts, so that a late answer to an older one is void.
    pub(super) attempt: u64,
    /// Why it may never enrol.
    pub(super) refused: Option<RefusalCode>,
    /// It stays off until somebody switches it on.
    pub(super) off: bool,
    /// The data plane can't follow for now.
    pub(super) plane_broken: bool,
    /// Thrown away: it never comes back.
    pub(super) scrapped: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) token: TokenId,
    pub(super) secret: Secret32,
}

/// The private keys stand for themselves: only their public sides matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) wireguard: WgKey,
    pub(super) tls: Fingerprint,
}

/// What the state folder holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) identity: Option<Identity>,
    /// Made for a token and kept until its answer is here.
    pub(super) enrolling: Option<(TokenId, Keys)>,
    pub(super) renewing: Option<Renewing>,
    pub(super) full: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) controllers: Vec<String>,
    pub(super) ended: Option<Ending>,
    pub(super) keys: Keys,
    pub(super) certificate: Certificate,
    pub(super) lease: Lease,
    pub(super) netmap: Option<Netmap>,
    pub(super) pairs: Option<PairTable>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Renewing {
    pub(super) tls: Fingerprint,
    pub(super) wireguard: Option<WgKey>,
}

/// What a crash loses. Its number is the agent's instance.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) number: u64,
    pub(super) agent: Agent,
    pub(super) wake_at: Option<Millis>,
    pub(super) links: BTreeMap<LinkId, WireId>,
    pub(super) writes: VecDeque<DiskWrite>,
    pub(super) orders: VecDeque<PlaneOrder>,
    pub(super) certificate: Certificate,
    pub(super) plane: Plane,
}

#[derive(Debug)]
pub(super) enum DiskWrite {
    Lease(Lease),
    Netmap(Arc<Netmap>),
    Controllers(Vec<String>),
    Pairs(Arc<PairTable>),
    MakeKeys(Renewing),
    AdoptKeys(Vec<u8>),
    Ending(Ending),
}

#[derive(Debug)]
pub(super) enum PlaneOrder {
    Apply(Arc<Netmap>),
    SetKey(WgKey),
}

/// The tunnel as it is configured.
#[derive(Debug)]
pub(super) struct Plane {
    pub(super) key: WgKey,
    pub(super) map: Option<Arc<Netmap>>,
}

impl Machine {
    pub(super) fn new(number: usize, dice: &mut Dice) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&dice.bytes()[..16]);
        let facts = MachineFacts {
            host_name: format!("garagem-{}", number % HOST_NAMES),
            machine: malha_proto::MachineId(id),
            agent_version: "1".to_owned(),
            os: "simulated".to_owned(),
            engine: Some("netstack".to_owned()),
        };
        Self {
            facts,
            disk: Disk::default(),
            process: None,
            uplink: Uplink::new(dice),
            ticket: None,
            attempt: 0,
            refused: None,
            off: false,
            plane_broken: false,
            scrapped: false,
        }
    }

    /// The node that this machine is, until it was told that it no longer is.
    pub(super) fn node(&self) -> Option<NodeId> {
        let identity = self.disk.identity.as_ref()?;
        identity
            .ended
            .is_none()
            .then_some(identity.certificate.node)
    }

    /// Whether its agent runs and may speak.
    pub(super) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it will get an identity if the world lets it.
    pub(super) fn is_enrolling(&self) -> bool {
        self.disk.identity.is_none()
            && self.ticket.is_some()
            && self.refused.is_none()
            && !self.off
            && !self.scrapped
    }
}

impl Disk {
    /// The keys to enrol with: those of an earlier attempt with this token, or new ones.
    pub(super) fn keys_for(&mut self, token: TokenId, dice: &mut Dice) -> Keys {
        match self.enrolling {
            Some((of, keys)) if of == token => keys,
            _ => {
                let keys = Keys {
                    wireguard: WgKey(dice.bytes()),
                    tls: Fingerprint(dice.bytes()),
                };
                self.enrolling = Some((token, keys));
                keys
            }
        }
    }

    /// Does one write. Err when the disk is full; nothing changed then.
    pub(super) fn write(&mut self, write: &DiskWrite) -> Result<(), String> {
        let full = self.full;
        let identity = self.identity.as_mut().ok_or("no identity")?;
        if full {
            return Err("the disk is full".to_owned());
        }
        match write {
            DiskWrite::Lease(lease) => identity.lease = lease.clone(),
            DiskWrite::Netmap(map) => identity.netmap = Some(Netmap::clone(map)),
            DiskWrite::Controllers(list) => identity.controllers.clone_from(list),
            DiskWrite::Pairs(pairs) => identity.pairs = Some(PairTable::clone(pairs)),
            DiskWrite::MakeKeys(keys) => self.renewing = Some(*keys),
            DiskWrite::AdoptKeys(certificate) => {
                let certificate = Certificate::read(certificate).ok_or("no certificate")?;
                let fresh = self.renewing.ok_or("no fresh keys")?;
                if certificate.key != fresh.tls || certificate.node != identity.certificate.node {
                    return Err("the certificate is of another key".to_owned());
                }
                identity.keys.tls = fresh.tls;
                identity.keys.wireguard = fresh.wireguard.unwrap_or(identity.keys.wireguard);
                identity.certificate = certificate;
                self.renewing = None;
            }
            DiskWrite::Ending(ending) => identity.ended = Some(*ending),
        }
        Ok(())
    }
}

impl Certificate {
    /// Simulated DER: the node's number and the key.
    pub(super) fn bytes(&self) -> Vec<u8> {
        [&self.node.0.to_be_bytes()[..], &self.key.0].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (node, key) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            node: NodeId(u64::from_be_bytes(*node)),
            key: Fingerprint(key.try_into().ok()?),
        })
    }
}

impl Renewing {
    /// The simulated request is the key itself.
    pub(super) fn public(self) -> FreshKeys {
        FreshKeys {
            csr: self.tls.0.to_vec(),
            wg_key: self.wireguard,
        }
    }
}

/// Fewer than machines, so that some have the same.
const HOST_NAMES: usize = 20;
