//! Where the stream connection should go: to the controller of the control session, with the keys in use. It outlives a
//! session that breaks, and decides nothing.

use std::sync::Arc;

use malha_tunnel::Engine;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::agent::{Agent, ControlState};
use crate::control::Credentials;
use crate::streams::{Contact, Overlay, StreamsView, run_streams};

/// None for engines whose TCP is the kernel's: they have no stream connection.
pub(super) struct ContactWatch(Option<Streams>);

struct Streams {
    contact: watch::Sender<Option<Contact>>,
    view: watch::Receiver<StreamsView>,
}

impl ContactWatch {
    /// Runs the stream connection among `tasks`; it ends when this is dropped.
    pub(super) fn start(
        engine: Engine,
        overlay: watch::Receiver<Option<Overlay>>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        Self((engine == Engine::Netstack).then(|| {
            let (contact, wanted) = watch::channel(None);
            let (seen, view) = watch::channel(StreamsView::default());
            tasks.spawn(run_streams(wanted, overlay, seen));
            Streams { contact, view }
        }))
    }

    /// What the stream connection does; None where there is none by design.
    pub(super) fn streams(&self) -> Option<StreamsView> {
        self.0.as_ref().map(|streams| *streams.view.borrow())
    }

    pub(super) fn follow(&self, agent: &Agent, credentials: &Arc<Credentials>) {
        let Some(Streams { contact, .. }) = &self.0 else {
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
