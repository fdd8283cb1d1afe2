//! New keys and their certificate: made, asked for, taken into use. When they are due is somebody else's knowledge.

use super::{Action, Agent, FreshKeys};

/// The way to a new certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    NotDue,
    MakingKeys,
    /// To be asked for, once in each session.
    Ready(FreshKeys),
    Adopting {
        with_wg_key: bool,
    },
}

impl Agent {
    pub(super) fn make_keys(&mut self) {
        self.renewal = Renewal::MakingKeys;
        if let Some(session) = &mut self.session {
            session.renewal_asked = false;
        }
        self.actions.push_back(Action::MakeKeys {
            wireguard: self.rekey_wanted,
        });
    }

    pub(super) fn on_keys_made(&mut self, result: Result<FreshKeys, String>) {
        self.disk_error = result.as_ref().err().cloned();
        match result {
            // Without room on the disk there is no renewal; the next due date or welcome starts again, or a retry where the
            // controller waits for it.
            Err(_) => {
                self.renewal = Renewal::NotDue;
                self.rekey_later();
            }
            Ok(keys) => {
                self.renewal = Renewal::Ready(keys);
                self.ask_renewal();
            }
        }
    }

    pub(super) fn on_keys_adopted(&mut self, result: Result<(), String>) {
        if let Renewal::Adopting { with_wg_key } = self.renewal {
            self.renewal = Renewal::NotDue;
            if with_wg_key && result.is_ok() {
                self.rekey_wanted = false;
                self.map.redo(&mut self.actions);
            } else {
                self.rekey_later();
            }
        }
        self.disk_error = result.err();
    }
}
