//! Which hop is broken, judged from what was observed. Nothing is up on the word of the control channel alone: only what
//! came back through the tunnel says that the tunnel carries.

use std::collections::BTreeMap;

use malha_proto::{FarewellReason, Hop, HopState, PathProbe, ServiceId, ServiceState};

/// What is known of one node now. Times are milliseconds of the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Since when its control session is open; None when it has none.
    pub session_ms: Option<u64>,
    /// When its last session ended, and what it said then. None when it never had one.
    pub ended: Option<(u64, Option<FarewellReason>)>,
    /// The last packet of its tunnel.
    pub heard_ms: Option<u64>,
    /// The last ICMP "port unreachable" from where its tunnel was.
    pub port_unreachable_ms: Option<u64>,
    /// What the last probe through the tunnel alone met, and when: made while requests go beside the tunnel.
    pub tunnel_probe: Option<(bool, u64)>,
    pub services: BTreeMap<ServiceId, ServiceObserved>,
}

/// What is known of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceObserved {
    /// What the last probe through the real path met, and when.
    pub probe: PathProbe,
    pub probed_ms: u64,
    /// What its own node says of it.
    pub report: ServiceState,
}

/// The verdict on one node. It changes only when what it says changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    pub control: HopState,
    pub link: HopState,
    pub agent: HopState,
    pub tunnel: HopState,
    pub services: BTreeMap<ServiceId, HopState>,
    /// Why a service is down, or up.
    pub causes: BTreeMap<ServiceId, ServiceState>,
    /// The hop to mend first.
    pub broken: Option<Broken>,
}

/// The broken hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    pub hop: Hop,
    /// When it was first seen broken.
    pub since_ms: u64,
    /// Which service, when that is the hop.
    pub service: Option<ServiceId>,
}

/// Whether the tunnel carries, from the freshest evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carriage {
    Carries,
    Silent,
    Unknown,
}

impl Observed {
    /// Judges. `former` is the last verdict, from which a hop that is still in the same state keeps its time.
    ///
    /// | the tunnel | the control session | and | broken |
    /// |---|---|---|---|
    /// | carries | any | a service refuses, fails or is silent alone | that service |
    /// | carries | closed | | control; requests still work |
    /// | carries | open | | nothing |
    /// | silent | any | "port unreachable" since the last packet | agent |
    /// | silent | any | a service answers, beside the tunnel | tunnel |
    /// | silent | open | | tunnel |
    /// | silent or unknown | closed by a stopping agent | | agent |
    /// | silent or unknown | closed by a machine that shuts down | | link |
    /// | silent | closed or never open | packets still come | tunnel |
    /// | silent | closed or never open | nothing comes | link |
    /// | unknown | closed without a word | | link |
    /// | unknown | open or never open | | nothing known |
    ///
    /// While requests go beside the tunnel, a probe of its own says whether it carries. Otherwise it carries when the last probe
    /// of any service was answered by the node; it is silent when none was. Without fresh probes, packets within [`KEEPALIVE_PATIENCE_MS`] show that it carries.
    #[must_use]
    pub fn diagnose(&self, former: Option<&Diagnosis>, now_ms: u64) -> Diagnosis {
        let carriage = self.carriage(now_ms);
        let services: BTreeMap<ServiceId, HopState> = self
            .services
            .iter()
            .map(|(id, seen)| (*id, self.service(*id, seen, carriage, former, now_ms)))
            .collect();
        let broken = self
            .broken(carriage, &services, now_ms)
            .map(|(hop, service)| {
                let kept = former
                    .and_then(|former| former.broken)
                    .filter(|was| (was.hop, was.service) == (hop, service));
                let since_ms = kept.map_or_else(
                    || self.began_ms(hop, service, &services, now_ms),
                    |was| was.since_ms,
                );
                Broken {
                    hop,
                    since_ms,
                    service,
                }
            });
        let at = broken.map(|broken| broken.hop);
        Diagnosis {
            control: self.control(),
            link: keep(
                self.link(carriage, at),
                former.map(|former| former.link),
                now_ms,
            ),
            agent: keep(
                self.agent(carriage, at),
                former.map(|former| former.agent),
                now_ms,
            ),
            tunnel: keep(carriage.works(), former.map(|former| former.tunnel), now_ms),
            causes: self
                .services
                .iter()
                .map(|(id, seen)| (*id, cause(seen, services.get(id))))
                .collect(),
            services,
            broken,
        }
    }

    fn carriage(&self, now_ms: u64) -> Carriage {
        if let Some((carries, probed_ms)) = self.tunnel_probe
            && now_ms.saturating_sub(probed_ms) <= TUNNEL_PROBE_FRESH_MS
        {
            return match carries {
                true => Carriage::Carries,
                false => Carriage::Silent,
            };
        }
        let fresh: Vec<PathProbe> = self
            .services
            .values()
            .filter_map(|seen| seen.fresh(now_ms))
            .collect();
        if fresh
            .iter()
            .any(|probe| matches!(probe, PathProbe::Answered | PathProbe::OriginFailed))
        {
            return Carriage::Carries;
        }
        if !fresh.is_empty() {
            return Carriage::Silent;
        }
        match self.heard_ms {
            Some(heard_ms) if now_ms.saturating_sub(heard_ms) <= KEEPALIVE_PATIENCE_MS => {
                Carriage::Carries
            }
            Some(_) => Carriage::Silent,
            None => Carriage::Unknown,
        }
    }

    fn broken(
        &self,
        carriage: Carriage,
        services: &BTreeMap<ServiceId, HopState>,
        now_ms: u64,
    ) -> Option<(Hop, Option<ServiceId>)> {
        let farewell = self
            .ended
            .and_then(|(_, farewell)| farewell)
            .filter(|_| self.session_ms.is_none());
        let ended = self.session_ms.is_none() && self.ended.is_some();
        let hop = match (carriage, farewell) {
            (Carriage::Carries, _) => {
                let down = services
                    .iter()
                    .find(|(_, state)| matches!(state, HopState::Down(_)));
                return match down {
                    Some((id, _)) => Some((Hop::Service, Some(*id))),
                    None => ended.then_some((Hop::Control, None)),
                };
            }
            (Carriage::Silent, _) if self.is_answered(now_ms) => Hop::Tunnel,
            (_, Some(FarewellReason::Stopped)) => Hop::Agent,
            (_, Some(FarewellReason::Shutdown)) => Hop::Link,
            (Carriage::Silent, _) if self.port_unreachable_ms > self.heard_ms => Hop::Agent,
            (Carriage::Silent, _) if self.session_ms.is_some() || self.is_heard(now_ms) => {
                Hop::Tunnel
            }
            (Carriage::Silent, _) => Hop::Link,
            (Carriage::Unknown, _) if ended => Hop::Link,
            (Carriage::Unknown, _) => return None,
        };
        Some((hop, None))
    }

    /// Requests come through, beside the tunnel.
    fn is_answered(&self, now_ms: u64) -> bool {
        let mut services = self.services.values();
        services.any(|seen| seen.fresh(now_ms) == Some(PathProbe::Answered))
    }

    /// Packets come although no probe does.
    fn is_heard(&self, now_ms: u64) -> bool {
        self.heard_ms
            .is_some_and(|heard_ms| now_ms.saturating_sub(heard_ms) <= HEARD_PATIENCE_MS)
    }

    fn control(&self) -> HopState {
        match (self.session_ms, self.ended) {
            (Some(since_ms), _) => HopState::Up(since_ms),
            (None, Some((since_ms, _))) => HopState::Down(since_ms),
            (None, None) => HopState::Unknown,
        }
    }

    fn link(&self, carriage: Carriage, broken: Option<Hop>) -> Option<bool> {
        match broken {
            Some(Hop::Link) => Some(false),
            _ => (carriage == Carriage::Carries || self.session_ms.is_some() || broken.is_some())
                .then_some(true),
        }
    }

    fn agent(&self, carriage: Carriage, broken: Option<Hop>) -> Option<bool> {
        match broken {
            Some(Hop::Agent) => Some(false),
            Some(Hop::Link) => None,
            _ => (carriage == Carriage::Carries || self.session_ms.is_some() || broken.is_some())
                .then_some(true),
        }
    }

    /// Bad news is believed from the node as well, good news only from the path.
    fn service(
        &self,
        id: ServiceId,
        seen: &ServiceObserved,
        carriage: Carriage,
        former: Option<&Diagnosis>,
        now_ms: u64,
    ) -> HopState {
        let works = match seen.fresh(now_ms) {
            Some(PathProbe::Answered) => Some(true),
            Some(PathProbe::OriginFailed) => Some(false),
            Some(PathProbe::TunnelSilent) if carriage == Carriage::Carries => Some(false),
            Some(_) => None,
            None => (self.session_ms.is_some() && seen.is_reported_down()).then_some(false),
        };
        keep(
            works,
            former.and_then(|former| former.services.get(&id)).copied(),
            seen.probed_ms.min(now_ms),
        )
    }

    /// When a hop that was not broken before began to be.
    fn began_ms(
        &self,
        hop: Hop,
        service: Option<ServiceId>,
        services: &BTreeMap<ServiceId, HopState>,
        now_ms: u64,
    ) -> u64 {
        let ended_ms = self
            .ended
            .map(|(ended_ms, _)| ended_ms)
            .filter(|_| self.session_ms.is_none());
        match (hop, service.and_then(|id| services.get(&id))) {
            (Hop::Service, Some(HopState::Down(since_ms))) => *since_ms,
            (Hop::Control, _) => ended_ms.unwrap_or(now_ms),
            _ => now_ms,
        }
    }
}

impl ServiceObserved {
    /// The probe's word, as long as it counts.
    fn fresh(&self, now_ms: u64) -> Option<PathProbe> {
        let fresh = self.probe != PathProbe::Unknown
            && now_ms.saturating_sub(self.probed_ms) <= PROBE_FRESH_MS;
        fresh.then_some(self.probe)
    }

    fn is_reported_down(&self) -> bool {
        matches!(
            self.report,
            ServiceState::Refused | ServiceState::Timeout | ServiceState::Broken
        )
    }
}

impl Carriage {
    fn works(self) -> Option<bool> {
        match self {
            Self::Carries => Some(true),
            Self::Silent => Some(false),
            Self::Unknown => None,
        }
    }
}

fn cause(seen: &ServiceObserved, state: Option<&HopState>) -> ServiceState {
    match state {
        Some(HopState::Up(_)) => ServiceState::Up,
        Some(HopState::Down(_)) if seen.is_reported_down() => seen.report,
        Some(HopState::Down(_)) if seen.probe == PathProbe::TunnelSilent => ServiceState::Timeout,
        Some(HopState::Down(_)) => ServiceState::Broken,
        _ => ServiceState::Unknown,
    }
}

/// The state, with the former time if it is the former state.
fn keep(works: Option<bool>, former: Option<HopState>, at_ms: u64) -> HopState {
    match (works, former) {
        (None, _) => HopState::Unknown,
        (Some(true), Some(HopState::Up(since_ms))) => HopState::Up(since_ms),
        (Some(false), Some(HopState::Down(since_ms))) => HopState::Down(since_ms),
        (Some(true), _) => HopState::Up(at_ms),
        (Some(false), _) => HopState::Down(at_ms),
    }
}

/// How long a probe's result counts when no newer one comes.
pub const PROBE_FRESH_MS: u64 = 10_000;
/// One is made each few seconds as long as requests go beside the tunnel; when they no longer do, services' probes tell.
pub const TUNNEL_PROBE_FRESH_MS: u64 = 5_000;
/// Two keepalives of a node behind NAT, and some for the way.
pub const KEEPALIVE_PATIENCE_MS: u64 = 60_000;
/// A packet this young, while probes are silent, shows that the link is there and the tunnel carries nothing.
pub const HEARD_PATIENCE_MS: u64 = 3_000;

#[cfg(test)]
mod tests;
