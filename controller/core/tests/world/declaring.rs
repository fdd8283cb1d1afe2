//! Declarations in the rolls: new ones, wrong ones, their end.

use malha_core::Command;

use super::World;

impl World {
    /// One command about declarations, good or bad.
    pub(super) fn declaring(&self, a: u8, b: u8) -> Command {
        let organization = self.organization(a);
        match b % 4 {
            0 => Command::WithdrawDeclaration { organization },
            1 => Command::Declare {
                organization,
                text: "version = 1\n".to_owned(),
                author: "key:test".to_owned(),
            },
            _ => Command::Declare {
                organization,
                text: format!("version = 1\n[production]\naddresses = [\"203.0.113.{b}\"]\n"),
                author: "key:test".to_owned(),
            },
        }
    }
}
