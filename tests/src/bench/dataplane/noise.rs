//! The floor under every userspace WireGuard on this machine: what sealing and opening alone cost, with nothing around them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::{Packet, Tunn, TunnResult};
use malha_tunnel::PrivateKey;
use x25519_dalek::{PublicKey, StaticSecret};

use super::meter::busy_thread;

/// Processor time to seal and open what carries one GB of a TCP stream.
pub(super) fn noise_s_per_gb() -> Result<f64> {
    let [mut near, mut far] = session()?;
    let mut packet = vec![0; PACKET_BYTES];
    // The version and the length of IPv4 are all that the noise looks at.
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(PACKET_BYTES as u16).to_be_bytes());
    let (mut sealed, mut opened) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    let before = busy_thread()?;
    for _ in 0..PACKETS {
        let datagram = near.encapsulate(&packet, &mut sealed);
        let TunnResult::WriteToNetwork(datagram) = datagram else {
            anyhow::bail!("a packet could not be sealed");
        };
        let back = far.decapsulate(None, datagram, &mut opened);
        ensure!(
            matches!(back, TunnResult::WriteToTunnelV4(..)),
            "a packet could not be opened"
        );
    }
    let used = busy_thread()?.saturating_sub(before).as_secs_f64();
    Ok(used / (PACKETS * PAYLOAD_BYTES) as f64 * 1e9)
}

/// How many initiations one core answers in a second, when it does nothing but find out who asks and answer.
pub(super) fn noise_handshakes_per_s() -> Result<f64> {
    let secret = || StaticSecret::from(*PrivateKey::generate().as_bytes());
    let hub = secret();
    let hub_public = PublicKey::from(&hub);
    let mut used = Duration::ZERO;
    let (mut asked, mut answer) = ([0; HANDSHAKE_BYTES], [0; HANDSHAKE_BYTES]);
    for index in 0..HANDSHAKES {
        let member = secret();
        let member_public = PublicKey::from(&member);
        let mut member = Tunn::new(member, hub_public, None, None, index, None);
        let mut at_hub = Tunn::new(hub.clone(), member_public, None, None, index, None);
        let initiation = member.format_handshake_initiation(&mut asked, false);
        let TunnResult::WriteToNetwork(initiation) = initiation else {
            anyhow::bail!("a member makes no initiation");
        };
        let before = busy_thread()?;
        let Ok(Packet::HandshakeInit(knock)) = Tunn::parse_incoming_packet(initiation) else {
            anyhow::bail!("an initiation is none");
        };
        let half = parse_handshake_anon(&hub, &hub_public, &knock);
        let answered = at_hub.decapsulate(None, initiation, &mut answer);
        used += busy_thread()?.saturating_sub(before);
        ensure!(
            half.is_ok_and(|half| half.peer_static_public == member_public.to_bytes())
                && matches!(answered, TunnResult::WriteToNetwork(_)),
            "an initiation was not answered"
        );
    }
    Ok(f64::from(HANDSHAKES) / used.as_secs_f64())
}

/// Two machines that have shaken hands.
fn session() -> Result<[Tunn; 2]> {
    let secrets = [(); 2].map(|()| StaticSecret::from(*PrivateKey::generate().as_bytes()));
    let [near, far] = [0, 1].map(|at: usize| {
        let peer = PublicKey::from(&secrets[1 - at]);
        Tunn::new(secrets[at].clone(), peer, None, None, at as u32, None)
    });
    let mut ends = [near, far];
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut message = match ends[0].format_handshake_initiation(&mut buffer, false) {
        TunnResult::WriteToNetwork(initiation) => Some(initiation.to_vec()),
        _ => None,
    };
    // Response, confirmation.
    for hearer in [1, 0, 1] {
        let heard = message.take().context("the handshake stopped")?;
        if let TunnResult::WriteToNetwork(answer) =
            ends[hearer].decapsulate(None, &heard, &mut buffer)
        {
            message = Some(answer.to_vec());
        }
    }
    Ok(ends)
}

/// Full packets of the tunnel's MTU.
const PACKET_BYTES: usize = 1420;
/// What is left for a stream after the headers of IPv4 and TCP with timestamps.
const PAYLOAD_BYTES: usize = PACKET_BYTES - 52;
const BUFFER_BYTES: usize = 65_535;
/// Some tens of milliseconds.
const PACKETS: usize = 50_000;
const HANDSHAKE_BYTES: usize = 256;
/// Some hundreds of milliseconds.
const HANDSHAKES: u32 = 1_000;
