//! What a path loses, told by the holes in the numbers of a peer's data messages. It counts authenticated messages only and
//! judges nothing.

/// Messages of one peer that should have come, and that have not.
///
/// Each session numbers its messages from 0 without a hole (WireGuard paper §5.4.6), so a number names how many were sent
/// before it. A message that comes late fills its hole again. What comes for an older session after a newer one began is
/// not counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gaps {
    session: Option<u32>,
    /// The session before, whose stragglers may still come.
    previous: Option<u32>,
    /// Messages of this session that were sent, as far as known.
    sent: u64,
    arrived: u64,
    former: Loss,
}

/// Messages since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

impl Gaps {
    /// Books a data message that was opened.
    pub(crate) fn arrived(&mut self, datagram: &[u8]) {
        let Some((session, number)) = numbered(datagram) else {
            return;
        };
        if self.previous == Some(session) {
            return;
        }
        if self.session != Some(session) {
            self.former = self.loss();
            self.previous = self.session.replace(session);
            (self.sent, self.arrived) = (0, 0);
        }
        self.sent = self.sent.max(number.saturating_add(1));
        self.arrived += 1;
    }

    pub(crate) fn loss(&self) -> Loss {
        // The numbers are the peer's word.
        let lost = self.sent.saturating_sub(self.arrived);
        Loss {
            sent: self.former.sent.saturating_add(self.sent),
            lost: self.former.lost.saturating_add(lost),
        }
    }
}

/// Receiver index and counter of a transport data message.
fn numbered(datagram: &[u8]) -> Option<(u32, u64)> {
    let session = datagram.get(4..8)?.try_into().ok()?;
    let number = datagram.get(8..16)?.try_into().ok()?;
    Some((u32::from_le_bytes(session), u64::from_le_bytes(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(session: u32, number: u64) -> Vec<u8> {
        [
            &[4, 0, 0, 0][..],
            &session.to_le_bytes(),
            &number.to_le_bytes(),
        ]
        .concat()
    }

    fn loss_of(numbers: &[(u32, u64)]) -> Loss {
        let mut gaps = Gaps::default();
        for (session, number) in numbers {
            gaps.arrived(&message(*session, *number));
        }
        gaps.loss()
    }

    #[test]
    fn a_hole_is_a_loss_until_its_message_comes() {
        assert_eq!(loss_of(&[(1, 0), (1, 3)]), Loss { sent: 4, lost: 2 });
        assert_eq!(
            loss_of(&[(1, 0), (1, 3), (1, 1)]),
            Loss { sent: 4, lost: 1 }
        );
    }

    #[test]
    fn the_first_messages_of_a_session_may_be_lost_too() {
        assert_eq!(loss_of(&[(1, 5)]), Loss { sent: 6, lost: 5 });
    }

    #[test]
    fn a_new_session_counts_from_zero_and_forgets_nothing() {
        assert_eq!(
            loss_of(&[(1, 0), (1, 9), (2, 0), (2, 1)]),
            Loss { sent: 12, lost: 8 }
        );
    }

    #[test]
    fn numbers_that_nobody_can_have_reached_end_nothing() {
        let far = u64::MAX - 8193;
        let loss = loss_of(&[(1, far), (2, 8192), (3, far), (4, 0)]);
        assert_eq!(loss.sent, u64::MAX);
    }

    #[test]
    fn stragglers_of_an_old_session_change_nothing() {
        let mut gaps = Gaps::default();
        gaps.arrived(&message(1, 0));
        gaps.arrived(&message(2, 0));
        gaps.arrived(&message(1, 700));
        assert_eq!(gaps.loss(), Loss { sent: 2, lost: 0 });
    }
}
