//! WireGuard's handshake and transport (paper §5.4) written a second time, from the paper and not from the engine's library, so
//! that a test can also send what no honest implementation would. It knows no sockets and no addresses.

use std::cell::Cell;

use blake2::digest::consts::U16;
use blake2::digest::{Digest, Mac};
use blake2::{Blake2s256, Blake2sMac};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use x25519_dalek::{PublicKey, StaticSecret};

pub(crate) type Bytes32 = [u8; 32];

/// The side of the test: its keys, and how it presents itself.
pub(crate) struct Identity {
    secret: StaticSecret,
    public: PublicKey,
    pub(crate) preshared: Bytes32,
    remote: PublicKey,
    /// The time in the last initiation that was answered.
    last_stamp: Cell<[u8; 12]>,
}

/// What an initiator keeps until the response comes.
pub(crate) struct Begun {
    index: u32,
    ephemeral: StaticSecret,
    chain: Bytes32,
    hash: Bytes32,
    pub(crate) mac1: [u8; 16],
}

/// One pair of transport keys. Counters are the caller's choice.
#[derive(Clone)]
pub(crate) struct Session {
    /// Chosen by us: stands in what comes.
    pub(crate) ours: u32,
    theirs: u32,
    sends: Bytes32,
    receives: Bytes32,
}

impl Identity {
    pub(crate) fn new(secret: Bytes32, remote: Bytes32) -> Self {
        let secret = StaticSecret::from(secret);
        Self {
            public: PublicKey::from(&secret),
            secret,
            preshared: [0; 32],
            remote: PublicKey::from(remote),
            last_stamp: Cell::new([0; 12]),
        }
    }

    /// A first message. `stamp` must grow; `cookie` is what the other side asked for.
    pub(crate) fn initiate(
        &self,
        index: u32,
        stamp: [u8; 12],
        cookie: Option<[u8; 16]>,
    ) -> (Vec<u8>, Begun) {
        let ephemeral = fresh_secret();
        let (mut chain, mut hash) = start(&self.remote);
        let mut message = vec![1, 0, 0, 0];
        message.extend(index.to_le_bytes());
        mix_ephemeral(
            &PublicKey::from(&ephemeral),
            &mut chain,
            &mut hash,
            &mut message,
        );
        let key = mix(
            &mut chain,
            ephemeral.diffie_hellman(&self.remote).as_bytes(),
        );
        seal_field(&key, self.public.as_bytes(), &mut hash, &mut message);
        let key = mix(
            &mut chain,
            self.secret.diffie_hellman(&self.remote).as_bytes(),
        );
        seal_field(&key, &stamp, &mut hash, &mut message);
        let mac1 = finish(&mut message, &self.remote, cookie);
        let begun = Begun {
            index,
            ephemeral,
            chain,
            hash,
            mac1,
        };
        (message, begun)
    }

    /// The session that a response brings; `None` if it does not prove that its sender knows all the keys.
    pub(crate) fn complete(&self, begun: &Begun, response: &[u8]) -> Option<Session> {
        if response.len() != RESPONSE_BYTES || response[..4] != [2, 0, 0, 0] {
            return None;
        }
        if number(response, 8) != begun.index {
            return None;
        }
        let theirs = PublicKey::from(bytes32(response, 12));
        let (mut chain, mut hash) = (begun.chain, begun.hash);
        mix_ephemeral(&theirs, &mut chain, &mut hash, &mut Vec::new());
        mix(
            &mut chain,
            begun.ephemeral.diffie_hellman(&theirs).as_bytes(),
        );
        mix(&mut chain, self.secret.diffie_hellman(&theirs).as_bytes());
        let key = mix_preshared(&self.preshared, &mut chain, &mut hash);
        open(&key, 0, &response[44..60], &hash)?;
        let [sends, receives] = derive(&chain, &[]);
        Some(Session {
            ours: begun.index,
            theirs: number(response, 4),
            sends,
            receives,
        })
    }

    /// Answers a first message; `None` if it is not for us, or not from the one side that we know.
    pub(crate) fn respond(&self, index: u32, initiation: &[u8]) -> Option<(Vec<u8>, Session)> {
        if initiation.len() != INITIATION_BYTES || initiation[..4] != [1, 0, 0, 0] {
            return None;
        }
        let theirs = PublicKey::from(bytes32(initiation, 8));
        let (mut chain, mut hash) = start(&self.public);
        mix_ephemeral(&theirs, &mut chain, &mut hash, &mut Vec::new());
        let key = mix(&mut chain, self.secret.diffie_hellman(&theirs).as_bytes());
        let who = open_field(&key, &initiation[40..88], &mut hash)?;
        if who != self.remote.as_bytes() {
            return None;
        }
        let key = mix(
            &mut chain,
            self.secret.diffie_hellman(&self.remote).as_bytes(),
        );
        let stamp = open_field(&key, &initiation[88..116], &mut hash)?;
        self.last_stamp.set(stamp.try_into().ok()?);
        let ephemeral = fresh_secret();
        let mut message = vec![2, 0, 0, 0];
        message.extend(index.to_le_bytes());
        message.extend(&initiation[4..8]);
        mix_ephemeral(
            &PublicKey::from(&ephemeral),
            &mut chain,
            &mut hash,
            &mut message,
        );
        mix(&mut chain, ephemeral.diffie_hellman(&theirs).as_bytes());
        mix(
            &mut chain,
            ephemeral.diffie_hellman(&self.remote).as_bytes(),
        );
        let key = mix_preshared(&self.preshared, &mut chain, &mut hash);
        seal_field(&key, &[], &mut hash, &mut message);
        finish(&mut message, &self.remote, None);
        let [receives, sends] = derive(&chain, &[]);
        let session = Session {
            ours: index,
            theirs: number(initiation, 4),
            sends,
            receives,
        };
        Some((message, session))
    }

    /// A second message that nobody asked for, with nothing right in it but the session's number and the first checksum.
    pub(crate) fn unasked_response(&self, session: &Session) -> Vec<u8> {
        let mut message = vec![2, 0, 0, 0];
        message.extend(session.ours.to_le_bytes());
        message.extend(session.theirs.to_le_bytes());
        message.resize(RESPONSE_BYTES - 32, 0);
        finish(&mut message, &self.remote, None);
        message
    }

    pub(crate) fn last_stamp(&self) -> [u8; 12] {
        self.last_stamp.get()
    }

    /// The cookie inside a cookie reply to the message with this `mac1`.
    pub(crate) fn cookie(&self, mac1: &[u8; 16], reply: &[u8]) -> Option<[u8; 16]> {
        if reply.len() != COOKIE_REPLY_BYTES {
            return None;
        }
        let key = hash_of(&[b"cookie--", self.remote.as_bytes()]);
        let sealed = Payload {
            msg: &reply[32..],
            aad: mac1,
        };
        let cipher = XChaCha20Poly1305::new(&key.into());
        let cookie = cipher.decrypt(reply[8..32].into(), sealed).ok()?;
        cookie.try_into().ok()
    }
}

impl Session {
    pub(crate) fn seal(&self, counter: u64, packet: &[u8]) -> Vec<u8> {
        let mut message = vec![4, 0, 0, 0];
        message.extend(self.theirs.to_le_bytes());
        message.extend(counter.to_le_bytes());
        message.extend(seal(&self.sends, counter, packet, &[]));
        message
    }

    /// What a datagram carries, with its padding; `None` if it is not of this session.
    pub(crate) fn open(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        if datagram.len() < 32 || datagram[..4] != [4, 0, 0, 0] || number(datagram, 4) != self.ours
        {
            return None;
        }
        let counter = u64::from_le_bytes(datagram[8..16].try_into().ok()?);
        open(&self.receives, counter, &datagram[16..], &[])
    }
}

/// Chaining key and hash before the first message to the owner of this key.
fn start(responder: &PublicKey) -> (Bytes32, Bytes32) {
    let chain = hash_of(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
    let hash = hash_of(&[&chain, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]);
    (chain, hash_of(&[&hash, responder.as_bytes()]))
}

fn mix_ephemeral(key: &PublicKey, chain: &mut Bytes32, hash: &mut Bytes32, message: &mut Vec<u8>) {
    message.extend(key.as_bytes());
    *hash = hash_of(&[hash, key.as_bytes()]);
    [*chain] = derive(chain, key.as_bytes());
}

/// Puts a shared secret into the chain, and gives the key for the next field.
fn mix(chain: &mut Bytes32, secret: &[u8]) -> Bytes32 {
    let [next, key] = derive(chain, secret);
    *chain = next;
    key
}

fn mix_preshared(preshared: &Bytes32, chain: &mut Bytes32, hash: &mut Bytes32) -> Bytes32 {
    let [next, mixed, key] = derive(chain, preshared);
    *chain = next;
    *hash = hash_of(&[hash, &mixed]);
    key
}

fn seal_field(key: &Bytes32, field: &[u8], hash: &mut Bytes32, message: &mut Vec<u8>) {
    let sealed = seal(key, 0, field, hash);
    *hash = hash_of(&[hash, &sealed]);
    message.extend(sealed);
}

fn open_field(key: &Bytes32, sealed: &[u8], hash: &mut Bytes32) -> Option<Vec<u8>> {
    let field = open(key, 0, sealed, hash)?;
    *hash = hash_of(&[hash, sealed]);
    Some(field)
}

/// Appends both checksums (paper §5.4.4), and gives the first.
fn finish(message: &mut Vec<u8>, receiver: &PublicKey, cookie: Option<[u8; 16]>) -> [u8; 16] {
    let mac1 = mac(&hash_of(&[b"mac1----", receiver.as_bytes()]), message);
    message.extend(mac1);
    message.extend(cookie.map_or([0; 16], |cookie| mac(&cookie, message)));
    mac1
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 16] {
    let mut mac = <Blake2sMac<U16> as Mac>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn hash_of(parts: &[&[u8]]) -> Bytes32 {
    let mut hash = Blake2s256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// HKDF with HMAC-BLAKE2s (RFC 5869 without info).
fn derive<const N: usize>(chain: &Bytes32, input: &[u8]) -> [Bytes32; N] {
    let key = hmac(chain, &[input]);
    let mut last: Vec<u8> = Vec::new();
    std::array::from_fn(|n| {
        let derived = hmac(&key, &[&last, &[n as u8 + 1]]);
        last = derived.to_vec();
        derived
    })
}

fn hmac(key: &Bytes32, parts: &[&[u8]]) -> Bytes32 {
    let padded = |with: u8| {
        let mut block = [with; 64];
        block
            .iter_mut()
            .zip(key)
            .for_each(|(byte, key)| *byte ^= key);
        block
    };
    let (inner, outer) = (padded(0x36), padded(0x5c));
    let inner = hash_of(&[&[&inner[..]], parts].concat());
    hash_of(&[&outer, &inner])
}

fn seal(key: &Bytes32, counter: u64, plain: &[u8], aad: &[u8]) -> Vec<u8> {
    let cipher = ChaCha20Poly1305::new(key.into());
    let payload = Payload { msg: plain, aad };
    cipher.encrypt(&nonce(counter).into(), payload).unwrap()
}

fn open(key: &Bytes32, counter: u64, sealed: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
    let cipher = ChaCha20Poly1305::new(key.into());
    let payload = Payload { msg: sealed, aad };
    cipher.decrypt(&nonce(counter).into(), payload).ok()
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

fn fresh_secret() -> StaticSecret {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    StaticSecret::from(bytes)
}

fn number(message: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(message[at..at + 4].try_into().unwrap())
}

fn bytes32(message: &[u8], at: usize) -> Bytes32 {
    message[at..at + 32].try_into().unwrap()
}

pub(crate) const INITIATION_BYTES: usize = 148;
pub(crate) const RESPONSE_BYTES: usize = 92;
pub(crate) const COOKIE_REPLY_BYTES: usize = 64;
