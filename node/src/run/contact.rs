//! Where the stream connection should go: to the controller of the control session, with the keys in use. It outlives a
//! session that breaks, and decides nothing.

use std::sync::Arc;

use malha_tunnel::Engine;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::agent::{Agent, ControlState};
use crate::control::Credentials;
use crate::streams::{Contact, Overlay, run_streams};

/// None for engines whose TCP is the kernel's: they have no stream connection.
pub(super) struct ContactWatch(Option<watch::Sender<Option<Contact>>>);

impl ContactWatch {
    /// Runs the stream connection among `tasks`; it ends when this is dropped.
    pub(super) fn start(
        engine: Engine,
        overlay: watch::Receiver<Option<Overlay>>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        Self((engine == Engine::Netstack).then(|| {
            let (contact, wanted) = watch::channel(None);
            tasks.spawn(run_streams(wanted, overlay));
            contact
        }))
    }

    pub(super) fn follow(&self, agent: &Agent, credentials: &Arc<Credentials>) {
        let Some(contact) = &self.0 else {
            return;
        };
        let control = agent.view().control;
        let online = control.state == ControlState::Online;
        let Some(controller) = control.controller.filter(|_| online) else {
            return;
        };
        contact.send_if_modified(|known| {
            let same = known.as_ref().is_some_and(|known| {
                known.controller == controller && Arc::ptr_eq(&known.credentials, credentials)
            });
            if !same {
                *known = Some(Contact {
                    controller,
                    credentials: credentials.clone(),
                });
            }
            !same
        });
    }
}
