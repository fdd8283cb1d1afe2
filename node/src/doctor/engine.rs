//! Which engine runs the tunnel and why; or, of a stopped agent, which one it was last started with, and which one would run.

use malha_tunnel::kernel_available;

use super::report::Finding;
use super::subject::{Running, Subject, Unread};
use crate::engine::{EngineChoice, why_not_userspace};
use crate::state::Started;
use crate::text::doctor::{self as text, trouble};
use crate::text::{self as words, Lang};

/// A running agent knows better: it may have other rights than who asks.
pub(super) fn look(running: &Running, subject: &Subject, lang: Lang) -> Finding {
    if let Some(document) = running.document() {
        let tunnel = &document.tunnel;
        let said = text::engine_runs(lang, &tunnel.engine, tunnel.why.say(lang));
        return match &tunnel.interface.ipv4_only {
            Some(why) => Finding::ok("engine-ipv4-only", said).meaning(text::ipv4_only(lang, why)),
            None => Finding::ok("engine-runs", said),
        };
    }
    let impossible = why_not(subject.settings.engine, lang);
    of_stopped(subject, impossible.as_deref(), lang)
}

/// `impossible` says why the engine that was chosen by name can't run here.
fn of_stopped(subject: &Subject, impossible: Option<&str>, lang: Lang) -> Finding {
    let (engine, why) = subject.engine();
    if let Some(impossible) = impossible {
        let trouble = match subject.last_start() {
            Some(started) if started.arguments.engine.is_some() => {
                trouble::engine_argument_impossible(lang, engine, impossible)
            }
            _ => trouble::engine_impossible(lang, engine, impossible),
        };
        return Finding::problem("engine-impossible", trouble);
    }
    let would = text::engine_would(lang, engine, why.say(lang));
    match (&subject.started, subject.last_start()) {
        (_, Some(started)) => {
            let said = text::engine_ran(lang, why.say(lang), of_start(started, lang));
            Finding::ok("engine-ran", said)
        }
        (Ok(Some(older)), None) => {
            let said = text::engine_ran_otherwise(lang, would, of_start(older, lang));
            Finding::ok("engine-would-run", said)
        }
        (Ok(None), None) => Finding::ok("engine-would-run", would),
        (Err(Unread::Closed(unread) | Unread::Damaged(unread)), None) => {
            let said = text::engine_start_unread(lang, would, unread);
            Finding::ok("engine-would-run", said)
        }
    }
}

fn of_start(started: &Started, lang: Lang) -> String {
    let age = words::age(lang, started.age_ms());
    let offload = match started.offload() {
        true => text::with_offload(lang),
        false => text::without_offload(lang),
    };
    text::engine_of_start(lang, age, started.engine, offload, started.shards)
}

/// Why the engine that was chosen by name can't run here.
fn why_not(choice: EngineChoice, lang: Lang) -> Option<String> {
    match choice {
        EngineChoice::Auto | EngineChoice::Netstack => None,
        EngineChoice::Userspace => why_not_userspace().map(|why| why.say(lang)),
        EngineChoice::Kernel => kernel_available().err().map(|why| why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use malha_tunnel::Engine;
    use tempfile::TempDir;

    use super::super::report::Verdict;
    use super::*;
    use crate::config::{Settings, Wishes};
    use crate::engine::EngineReason;
    use crate::state::{Arguments, StateFolder};

    /// A machine whose agent was started, or not, and is stopped.
    struct Machine {
        parent: TempDir,
        file: Wishes,
    }

    impl Machine {
        fn new() -> Self {
            Self {
                parent: TempDir::new().unwrap(),
                file: Wishes::default(),
            }
        }

        fn settings(&self, arguments: Wishes) -> Settings {
            let state = Some(self.parent.path().join("state"));
            let here = Wishes {
                state,
                ..Wishes::default()
            };
            let engine_is_typed = arguments.engine.is_some();
            let settings = arguments.or(self.file.clone()).or(here).settle();
            Settings {
                engine_is_typed,
                ..settings.unwrap()
            }
        }

        fn starts(&self, arguments: Wishes, ran: Engine, reason: EngineReason) {
            let settings = self.settings(arguments.clone());
            let folder = StateFolder::open(&settings.state).unwrap();
            let started = Started::now(&settings, &arguments, ran, reason);
            folder.save_started(&started).unwrap();
        }

        /// As the command line puts it together.
        fn examined(&self, typed: Wishes) -> Subject {
            let started = Started::glimpse(&self.settings(typed.clone()).state);
            let last = started.as_ref().ok().and_then(Option::as_ref);
            let last = last.map_or_else(Arguments::default, |it| it.arguments.clone());
            let settings = self.settings(typed.or(last.into()));
            Subject::of(settings, started, None)
        }

        fn says(&self, typed: Wishes) -> Finding {
            of_stopped(&self.examined(typed), None, Lang::En)
        }
    }

    fn engine(engine: EngineChoice) -> Wishes {
        Wishes {
            engine: Some(engine),
            ..Wishes::default()
        }
    }

    #[test]
    fn an_engine_that_came_as_an_argument_is_judged_without_being_told_again() {
        let machine = Machine::new();
        let arguments = engine(EngineChoice::Kernel);
        machine.starts(arguments, Engine::Kernel, EngineReason::Chosen);
        let subject = machine.examined(Wishes::default());
        assert_eq!(subject.settings.engine, EngineChoice::Kernel);
        let well = of_stopped(&subject, None, Lang::En);
        assert_eq!((well.verdict, well.code), (Verdict::Ok, "engine-ran"));
        let ill = of_stopped(&subject, Some("no module"), Lang::En);
        assert_eq!(
            (ill.verdict, ill.code),
            (Verdict::Problem, "engine-impossible")
        );
        assert!(ill.observed.contains("argument"), "{}", ill.observed);
    }

    #[test]
    fn who_asked_for_the_engine_is_named_as_it_was() {
        let mut machine = Machine::new();
        let said = |machine: &Machine, typed| machine.says(typed).observed;
        let typed = said(&machine, engine(EngineChoice::Netstack));
        assert!(
            typed.contains("--engine") && !typed.contains("configuration"),
            "{typed}"
        );
        let arguments = engine(EngineChoice::Netstack);
        let (ran, why) = machine.settings(arguments.clone()).decide_engine();
        machine.starts(arguments, ran, why);
        let started = said(&machine, Wishes::default());
        assert!(
            started.contains("--engine") && !started.contains("configuration"),
            "{started}"
        );
        machine.file = engine(EngineChoice::Userspace);
        let (ran, why) = machine.settings(Wishes::default()).decide_engine();
        machine.starts(Wishes::default(), ran, why);
        let configured = said(&machine, Wishes::default());
        assert!(configured.contains("in the configuration"), "{configured}");
    }

    #[test]
    fn an_engine_that_the_agent_chose_is_judged_by_its_rights_and_not_by_ours() {
        let machine = Machine::new();
        let why = EngineReason::NoCapability;
        machine.starts(Wishes::default(), Engine::Netstack, why.clone());
        let subject = machine.examined(Wishes::default());
        assert_eq!(subject.engine(), (Engine::Netstack, why));
    }

    #[test]
    fn offload_and_threads_are_told_as_they_were() {
        let machine = Machine::new();
        let arguments = Wishes {
            offload: Some(false),
            tunnel_shards: Some(3),
            ..engine(EngineChoice::Userspace)
        };
        machine.starts(arguments, Engine::Userspace, EngineReason::Chosen);
        let said = machine.says(Wishes::default());
        assert_eq!(said.code, "engine-ran");
        for word in ["userspace", "without offload", "threads: 3", "0 s ago"] {
            assert!(said.observed.contains(word), "{word}: {}", said.observed);
        }
    }

    #[test]
    fn a_start_that_the_configuration_has_left_behind_is_told_as_such() {
        let mut machine = Machine::new();
        machine.file = engine(EngineChoice::Kernel);
        machine.starts(Wishes::default(), Engine::Kernel, EngineReason::Chosen);
        machine.file = engine(EngineChoice::Netstack);
        let said = machine.says(Wishes::default());
        assert_eq!(said.code, "engine-would-run");
        assert!(said.observed.starts_with("netstack would run"));
        assert!(
            said.observed.contains("has changed") && said.observed.contains("kernel"),
            "{}",
            said.observed
        );
        // What is typed now counts before what was typed then.
        machine.starts(
            engine(EngineChoice::Kernel),
            Engine::Kernel,
            EngineReason::Chosen,
        );
        let typed = machine.says(engine(EngineChoice::Netstack));
        assert!(typed.observed.starts_with("netstack would run"));
    }

    #[test]
    fn without_a_start_or_with_a_note_that_says_nothing_the_configuration_is_judged() {
        let mut machine = Machine::new();
        machine.file = engine(EngineChoice::Netstack);
        let fresh = machine.says(Wishes::default());
        assert_eq!(fresh.code, "engine-would-run");
        assert!(!fresh.observed.contains("started"), "{}", fresh.observed);
        machine.starts(Wishes::default(), Engine::Netstack, EngineReason::Chosen);
        let note = machine.parent.path().join("state/started.json");
        std::fs::write(&note, "{\"version\": 1, \"at-ms\": \"never\"}").unwrap();
        let damaged = machine.says(Wishes::default());
        assert_eq!(damaged.code, "engine-would-run");
        assert!(damaged.observed.contains("damaged"), "{}", damaged.observed);
        machine.starts(Wishes::default(), Engine::Netstack, EngineReason::Chosen);
        let text = std::fs::read_to_string(&note).unwrap();
        std::fs::write(&note, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
        let newer = machine.says(Wishes::default());
        assert_eq!(newer.code, "engine-would-run");
        assert!(newer.observed.contains("newer"), "{}", newer.observed);
    }
}
