//! The guard of the last netmap without an agent: from the boot on, before there is a network.

use std::sync::Arc;

use super::{Guard, GuardStatus};
use crate::config::Settings;
use crate::state::{Started, StateError, StateFolder};

/// Closes what an agent would that was started now with these settings; `started` is the last start. A machine that is no
/// node, or no longer, has nothing to close.
///
/// # Errors
/// The state folder can't be used, or an agent runs with it.
pub async fn restore(
    settings: &Settings,
    started: Option<&Started>,
) -> Result<GuardStatus, StateError> {
    // At the boot the machine may not have yet what the engine needs.
    let started = started.filter(|it| it.is_like(settings));
    let engine = started.map_or_else(|| settings.decide_engine().0, |it| it.engine);
    let mut guard = Guard::new(settings.guard(), engine, &settings.interface);
    // To open a folder makes it.
    if settings.state.exists() {
        let folder = StateFolder::open(&settings.state)?;
        let identity = folder.identity()?.filter(|it| it.ended.is_none());
        if let (Some(_), Some(map)) = (identity, folder.netmap()?) {
            guard.close(&Arc::new(map)).await;
        }
    }
    Ok(guard.status())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::PathBuf;
    use std::process::ExitCode;
    use std::{fs, thread};

    use tempfile::TempDir;

    use super::*;
    use crate::agent::Ending;
    use crate::config::Wishes;
    use crate::engine::{EngineChoice, EngineReason};
    use crate::exit::Exit;
    use crate::guard::is_in_place;
    use crate::guard::tests::alone;
    use crate::testbed::{TestAuthority, enrol, netmap};
    use malha_tunnel::Engine;

    /// A folder below one that exists.
    fn place() -> (TempDir, PathBuf) {
        let parent = TempDir::new().unwrap();
        let state = parent.path().join("state");
        (parent, state)
    }

    fn settings(state: PathBuf, engine: EngineChoice) -> Settings {
        let wishes = Wishes {
            state: Some(state),
            engine: Some(engine),
            interface: Some("m0".into()),
            ..Wishes::default()
        };
        wishes.settle().unwrap()
    }

    #[test]
    fn the_last_map_is_guarded_before_the_agent_runs() {
        alone(async || {
            let (_parent, state) = place();
            let folder = StateFolder::open(&state).unwrap();
            enrol(&folder, &TestAuthority::new());
            let map = netmap(11);
            folder.save_netmap(&map).unwrap();
            let settings = settings(state, EngineChoice::Userspace);
            let locked = restore(&settings, None).await;
            assert!(matches!(locked, Err(StateError::Locked(_))), "{locked:?}");
            assert!(!is_in_place("m0").unwrap());
            drop(folder);
            let status = restore(&settings, None).await.unwrap();
            let port = map.services.values().next().unwrap().port.number();
            assert!(
                matches!(&status, GuardStatus::InPlace { ports, .. } if ports.contains(&port)),
                "{status:?}"
            );
            assert!(is_in_place("m0").unwrap());
        });
    }

    #[test]
    fn the_engine_is_that_of_the_last_start() {
        alone(async || {
            let (_parent, state) = place();
            enrol(&StateFolder::open(&state).unwrap(), &TestAuthority::new());
            let settings = settings(state, EngineChoice::Auto);
            for (engine, is_guarded) in [(Engine::Netstack, false), (Engine::Userspace, true)] {
                let (reason, typed) = (EngineReason::MayMakeInterfaces, Wishes::default());
                let started = Started::now(&settings, &typed, engine, reason);
                restore(&settings, Some(&started)).await.unwrap();
                assert_eq!(is_in_place("m0").unwrap(), is_guarded, "{engine}");
            }
        });
    }

    /// As after a reboot that comes before somebody notices.
    #[test]
    fn a_mistake_in_the_configuration_opens_nothing() {
        alone(async || {
            let (parent, state) = place();
            let folder = StateFolder::open(&state).unwrap();
            enrol(&folder, &TestAuthority::new());
            folder.save_netmap(&netmap(11)).unwrap();
            let settings = settings(state.clone(), EngineChoice::Auto);
            let (reason, typed) = (EngineReason::MayMakeInterfaces, Wishes::default());
            let started = Started::now(&settings, &typed, Engine::Userspace, reason);
            folder.save_started(&started).unwrap();
            drop(folder);
            let config = parent.path().join("node.toml");
            fs::write(&config, "engin = \"kernel\"\n").unwrap();
            let words = ["malha-node", "guard", "restore", "--state"].map(OsString::from);
            let named = [state.into(), "--config".into(), config.into()];
            let words = words.into_iter().chain(named).collect::<Vec<_>>();
            // It has a runtime of its own.
            let ended = thread::spawn(|| crate::cli::main(words)).join().unwrap();
            assert!(is_in_place("m0").unwrap());
            assert_eq!(ended, ExitCode::from(Exit::Config.code()));
        });
    }

    #[test]
    fn who_is_no_node_or_no_longer_has_nothing_to_close() {
        alone(async || {
            let (_parent, state) = place();
            let settings = settings(state.clone(), EngineChoice::Userspace);
            let status = restore(&settings, None).await.unwrap();
            assert_eq!(status, GuardStatus::Waiting);
            assert!(!state.exists());
            let folder = StateFolder::open(&state).unwrap();
            enrol(&folder, &TestAuthority::new());
            folder.record_ending(Ending::Removed).unwrap();
            drop(folder);
            let status = restore(&settings, None).await.unwrap();
            assert_eq!(status, GuardStatus::Waiting);
            assert!(!is_in_place("m0").unwrap());
        });
    }
}
