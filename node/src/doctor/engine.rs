//! Which engine runs the tunnel and why, or which one would.

use malha_tunnel::kernel_available;

use super::report::Finding;
use super::subject::Running;
use crate::config::Settings;
use crate::engine::{EngineChoice, why_not_userspace};
use crate::text::Lang;
use crate::text::doctor::{self as text, trouble};

/// A running agent knows better: it may have other rights than who asks.
pub(super) fn look(running: &Running, settings: &Settings, lang: Lang) -> Finding {
    if let Some(document) = running.document() {
        let tunnel = &document.tunnel;
        let said = text::engine_runs(lang, &tunnel.engine, tunnel.why.say(lang));
        return Finding::ok("engine-runs", said);
    }
    if let Some(why) = why_not(settings.engine, lang) {
        let (engine, _) = settings.engine.decide(settings.plain_udp);
        let trouble = trouble::engine_impossible(lang, engine, why);
        return Finding::problem("engine-impossible", trouble);
    }
    let (engine, why) = settings.engine.decide(settings.plain_udp);
    let said = text::engine_would(lang, engine, why.say(lang));
    Finding::ok("engine-would-run", said)
}

/// Why the engine that was chosen by name can't run here.
fn why_not(choice: EngineChoice, lang: Lang) -> Option<String> {
    match choice {
        EngineChoice::Auto | EngineChoice::Netstack => None,
        EngineChoice::Userspace => why_not_userspace().map(|why| why.say(lang)),
        EngineChoice::Kernel => kernel_available().err().map(|why| why.to_string()),
    }
}
