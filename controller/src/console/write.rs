//! A write from the viewer's wish to its outcome: submitted in the operator's name, durable before it is answered.

use malha_core::Command;
use malha_web::Viewer;
use malha_web::model::{Outcome, Refused};

use crate::console::refusal::{Form, refused};
use crate::console::{ControllerConsole, sign_in};
use crate::coordinator::Accepted;

impl ControllerConsole {
    /// Submits a command that came from a form.
    pub(super) async fn submit(
        &self,
        viewer: &Viewer,
        form: Form,
        command: Command,
    ) -> Result<Accepted, Refused> {
        let actor = sign_in::actor(viewer);
        self.handle
            .submit(command, actor, None)
            .await
            .map_err(|error| refused(&error, form))
    }

    /// Submits a command and says how far it has come a moment later.
    pub(super) async fn write(
        &self,
        viewer: &Viewer,
        form: Form,
        command: Command,
    ) -> Result<Outcome, Refused> {
        let accepted = self.submit(viewer, form, command).await?;
        let convergence = self.settle(&accepted).await;
        Ok(Outcome {
            revision: accepted.revision.0,
            convergence,
        })
    }
}
