//! Which data plane engine this machine may run, and why.

use std::fs::{self, OpenOptions};

use malha_tunnel::{Engine, kernel_available};
use serde::{Deserialize, Serialize};

use crate::text::{self, Lang};

/// The engine as the operator wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineChoice {
    #[default]
    Auto,
    Userspace,
    Netstack,
    Kernel,
}

/// Why an engine was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason", content = "detail")]
pub enum EngineReason {
    Chosen,
    /// By a flag or a variable, which go before the configuration.
    Argument,
    MayMakeInterfaces,
    /// UDP always passes, as declared, and the kernel has WireGuard.
    PlainUdp,
    /// It was declared that UDP always passes, and the kernel can't be used.
    NoKernel(String),
    NoCapability,
    NoTun(String),
}

impl EngineChoice {
    /// Only the engines in this process have the ways around blocked UDP: relay and TCP. So the kernel is taken where the
    /// operator declares that UDP always passes, and never because it is there.
    #[must_use]
    pub fn decide(self, plain_udp: bool) -> (Engine, EngineReason) {
        match self {
            Self::Kernel => (Engine::Kernel, EngineReason::Chosen),
            Self::Userspace => (Engine::Userspace, EngineReason::Chosen),
            Self::Netstack => (Engine::Netstack, EngineReason::Chosen),
            Self::Auto => {
                let kernel = || kernel_available().map_err(|why| why.to_string());
                best(plain_udp, why_not_userspace(), kernel)
            }
        }
    }
}

impl EngineReason {
    pub(crate) fn say(&self, lang: Lang) -> String {
        match self {
            Self::Chosen => text::engine_chosen(lang),
            Self::Argument => text::engine_argument(lang),
            Self::MayMakeInterfaces => text::engine_may(lang),
            Self::PlainUdp => text::engine_plain_udp(lang),
            Self::NoKernel(why) => text::engine_no_kernel(lang, why),
            Self::NoCapability => text::engine_no_capability(lang),
            Self::NoTun(why) => text::engine_no_tun(lang, why),
        }
    }
}

/// Asks for the kernel only where it may be taken. It needs the capability, and no TUN device.
fn best(
    plain_udp: bool,
    why_not_userspace: Option<EngineReason>,
    kernel: impl FnOnce() -> Result<(), String>,
) -> (Engine, EngineReason) {
    let may_take_kernel = plain_udp && why_not_userspace != Some(EngineReason::NoCapability);
    let in_userspace = match may_take_kernel.then(kernel) {
        Some(Ok(())) => return (Engine::Kernel, EngineReason::PlainUdp),
        Some(Err(why)) => EngineReason::NoKernel(why),
        None => EngineReason::MayMakeInterfaces,
    };
    match why_not_userspace {
        Some(reason) => (Engine::Netstack, reason),
        None => (Engine::Userspace, in_userspace),
    }
}

/// Why this process may not make interfaces, if so.
pub(crate) fn why_not_userspace() -> Option<EngineReason> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !has_net_admin(&status) {
        return Some(EngineReason::NoCapability);
    }
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).open(TUN);
    opened.err().map(|why| EngineReason::NoTun(why.to_string()))
}

/// Reads the effective capabilities, a hexadecimal mask, from the text of `/proc/self/status` (proc(5)).
fn has_net_admin(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> CAP_NET_ADMIN & 1 == 1)
}

const TUN: &str = "/dev/net/tun";
/// capabilities(7).
const CAP_NET_ADMIN: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capability_is_read_from_the_mask() {
        assert!(has_net_admin("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(has_net_admin("CapEff:\t0000000000001000\n"));
        assert!(!has_net_admin("CapEff:\t0000000000000000\n"));
        assert!(!has_net_admin(""));
    }

    #[test]
    fn a_chosen_engine_is_taken_without_a_look_at_the_machine() {
        let (engine, reason) = EngineChoice::Netstack.decide(true);
        assert_eq!(engine, Engine::Netstack);
        assert_eq!(reason, EngineReason::Chosen);
    }

    #[test]
    fn the_kernel_comes_first_where_udp_is_plain_and_the_netstack_where_nothing_is_allowed() {
        use EngineReason::{MayMakeInterfaces, NoCapability, NoKernel, NoTun, PlainUdp};
        let missing = || Err("no module".to_owned());
        let userspace = |why| (Engine::Userspace, why);
        assert_eq!(best(true, None, || Ok(())), (Engine::Kernel, PlainUdp));
        assert_eq!(
            best(true, None, missing),
            userspace(NoKernel("no module".into()))
        );
        let unasked = || panic!("the kernel was asked");
        assert_eq!(best(false, None, unasked), userspace(MayMakeInterfaces));
        assert_eq!(
            best(true, Some(NoCapability), unasked),
            (Engine::Netstack, NoCapability)
        );
        let no_tun = || NoTun("no such device".into());
        assert_eq!(
            best(true, Some(no_tun()), || Ok(())),
            (Engine::Kernel, PlainUdp)
        );
        for (plain_udp, kernel) in [(true, missing as fn() -> _), (false, unasked)] {
            assert_eq!(
                best(plain_udp, Some(no_tun()), kernel),
                (Engine::Netstack, no_tun())
            );
        }
    }
}
