//! What an event of an epoll speaks of, in the number that the kernel keeps with each socket. It knows no socket.

use rustix::event::epoll::EventData;

use super::super::open::Side;
use super::slots::Key;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Inbox,
    Door(usize),
    Connection(Key, Side),
}

impl From<Subject> for EventData {
    fn from(subject: Subject) -> Self {
        Self::new_u64(match subject {
            Subject::Inbox => 0,
            Subject::Door(at) => (at as u64) << 2 | 1,
            Subject::Connection(key, Side::Client) => key.number() << 2 | 2,
            Subject::Connection(key, Side::Server) => key.number() << 2 | 3,
        })
    }
}

impl From<EventData> for Subject {
    fn from(data: EventData) -> Self {
        let (number, kind) = (data.u64() >> 2, data.u64() & 3);
        match kind {
            0 => Self::Inbox,
            1 => Self::Door(number as usize),
            2 => Self::Connection(Key::from_number(number), Side::Client),
            _ => Self::Connection(Key::from_number(number), Side::Server),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_speaks_of_what_it_was_made_from() {
        let (door, key) = (7, Key::from_number(u64::MAX >> 2));
        for subject in [
            Subject::Inbox,
            Subject::Door(door),
            Subject::Connection(key, Side::Client),
            Subject::Connection(key, Side::Server),
        ] {
            assert_eq!(Subject::from(EventData::from(subject)), subject);
        }
    }
}
