//! The TUN device over a restart: with it stay the machine's routes and its connections through the overlay. One that is not exactly
//! as it is wanted now is given up, and another made.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{Ability, await_end};
use crate::config::TunnelConfig;
use crate::keeper::{Keeper, plain};
use crate::upkeep::Upkeep;

/// The device of the last run, if it is as this configuration wants it. All others are gone after this.
///
/// It is as a new one would be: somebody may have set it down meanwhile, or taken an address away.
pub(super) fn take(
    config: &TunnelConfig,
    upkeep: impl Fn() -> io::Result<Upkeep>,
) -> Option<(OwnedFd, Ability, Upkeep)> {
    let keeper = config.keeper.as_ref()?;
    let taken = Ability::ALL.into_iter().find_map(|ability| {
        let device = keeper.take(&name(config, ability))?;
        let is_usable = is_device(&device, &config.interface);
        Some((device, ability, is_usable.then(&upkeep)?.ok()?))
    });
    let wanted = taken.as_ref().map(|(_, ability, _)| name(config, *ability));
    forget_all_but(wanted.as_deref(), config);
    taken
}

/// Gives up the device of the last run, whatever it was.
pub(super) fn give_up(config: &TunnelConfig) {
    forget_all_but(None, config);
}

pub(super) fn keep(config: &TunnelConfig, ability: Ability, device: &OwnedFd) {
    if let Some(keeper) = &config.keeper {
        keeper.keep(&name(config, ability), device.as_fd());
    }
}

/// Whether a device stays when this process has closed it.
pub(super) fn holds(keeper: &dyn Keeper, interface: &str) -> bool {
    let head = head(interface);
    keeper.names().iter().any(|name| name.starts_with(&head))
}

fn forget_all_but(wanted: Option<&str>, config: &TunnelConfig) {
    let Some(keeper) = &config.keeper else {
        return;
    };
    let head = head(&config.interface);
    let mut others = keeper.names();
    others.retain(|it| it.starts_with(&head) && Some(it.as_str()) != wanted);
    others.iter().for_each(|other| keeper.forget(other));
    if wanted.is_none() && !others.is_empty() {
        // The keeper closes its descriptor when it has heard of it.
        await_end(&config.interface);
    }
}

/// A device that somebody has deleted meanwhile has no name any more.
fn is_device(descriptor: &OwnedFd, interface: &str) -> bool {
    let about = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
    let about = fs::read_to_string(about).unwrap_or_default();
    let names = about.lines().filter_map(|line| line.strip_prefix("iff:"));
    names.map(str::trim).any(|it| it == interface)
}

/// All that can't be changed of a device, or that nobody looks at again.
fn name(config: &TunnelConfig, ability: Ability) -> String {
    let mut name = head(&config.interface);
    for address in &config.addresses {
        name.push_str(&format!("{address} "));
    }
    let (mtu, offload) = (config.mtu_bytes, config.offload.tun_tcp);
    name.push_str(&format!("{mtu} {offload} {ability:?}"));
    plain(&name)
}

fn head(interface: &str) -> String {
    format!("tun {interface} ")
}

impl Ability {
    const ALL: [Self; 3] = [Self::Packets, Self::TcpSuperPackets, Self::AllSuperPackets];
}
