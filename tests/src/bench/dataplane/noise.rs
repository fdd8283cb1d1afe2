//! The floor under every userspace WireGuard on this machine: what sealing and opening alone cost, with nothing around them.

use anyhow::{Context, Result, ensure};
use boringtun::noise::{Tunn, TunnResult};
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
