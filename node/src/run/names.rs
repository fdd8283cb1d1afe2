//! The names of this machine, as the loop sees them: what they are made from goes in, what is answered comes out. It decides nothing.

use std::sync::Arc;
use std::time::Duration;

use malha_proto::{HostName, NameSeen, Netmap};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::RunConfig;
use crate::names::{Known, NamesConfig, NamesStatus, NamesView, run_names};
use crate::state::Identity;
use crate::streams::Overlay;

pub(super) struct Names {
    known: watch::Sender<Known>,
    view: watch::Receiver<NamesView>,
}

impl Names {
    /// Runs them among `tasks`; they end when this is dropped.
    pub(super) fn start(
        config: &RunConfig,
        identity: &Identity,
        overlay: watch::Receiver<Option<Overlay>>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (known, wanted) = watch::channel(Known {
            map: None,
            controllers: identity.controllers.clone(),
        });
        let (seen, view) = watch::channel(NamesView::default());
        let config = NamesConfig {
            choice: config.names,
            engine: config.plane.engine,
            interface: config.plane.interface.clone(),
        };
        tasks.spawn(run_names(config, wanted, overlay, seen));
        Self { known, view }
    }

    /// This map, as far as it is in force.
    pub(super) fn follow(&self, map: &Arc<Netmap>) {
        let map = Some(map.clone());
        self.known.send_modify(|known| known.map = map);
    }

    pub(super) fn protect(&self, controllers: &[String]) {
        let controllers = controllers.to_vec();
        self.known
            .send_modify(|known| known.controllers = controllers);
    }

    pub(super) fn status(&self) -> NamesStatus {
        self.view.borrow().status.clone()
    }

    /// What names lead to here.
    pub(super) fn look_up(
        &self,
        names: Vec<HostName>,
        limit: Duration,
    ) -> impl Future<Output = Vec<NameSeen>> + use<> {
        let view = self.view.borrow().clone();
        async move { view.look_up(names, limit).await }
    }
}
