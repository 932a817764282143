//! Ids: how a server numbers the sessions it opens.

use crate::ground::ids::{ServerId, SessionId};

/// `EphemeralType.CONTAINER_EPHEMERAL_OWNER`: an owner of this value marks a container, so no session may have it.
const CONTAINER_OWNER: i64 = i64::MIN;

/// The next session id of one server: its id in the high byte, a time in the forty bits below, a counter in the last
/// sixteen, which may run over into the time (`SessionTrackerImpl.initializeNextSessionId`).
#[derive(Clone, Debug)]
pub struct Ids {
    next: i64,
}

impl Ids {
    /// Starts at a time in milliseconds. ZooKeeper takes a monotonic clock, which a reboot sets back; the wall clock is the
    /// better choice, as ids given out before the restart may still be alive.
    #[must_use]
    pub const fn starting(ms: u64, server: ServerId) -> Self {
        let next = (((ms << 24) >> 8) | ((server.0 as u64) << 56)).cast_signed();
        Self { next: if next == CONTAINER_OWNER { next + 1 } else { next } }
    }

    /// An id that this counter has not given before. Never [`SessionId::NONE`].
    pub const fn next(&mut self) -> SessionId {
        if self.next == 0 || self.next == CONTAINER_OWNER {
            self.next += 1;
        }
        let id = SessionId(self.next);
        self.next = self.next.wrapping_add(1);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_has_server_time_and_sixteen_zero_bits() {
        let mut ids = Ids::starting(0x1d8a35, ServerId(1));
        assert_eq!(ids.next(), SessionId(0x0100_001d_8a35_0000));
        assert_eq!(ids.next(), SessionId(0x0100_001d_8a35_0001));
    }

    #[test]
    fn time_above_forty_bits_is_dropped_and_high_servers_are_negative() {
        let mut ids = Ids::starting(0x1234_5600_0000_0001, ServerId(200));
        assert_eq!(ids.next(), SessionId(0xc800_0000_0001_0000_u64.cast_signed()));
    }

    #[test]
    fn the_owner_of_containers_and_zero_are_skipped() {
        assert_eq!(Ids::starting(0, ServerId(128)).next(), SessionId(i64::MIN + 1));
        assert_eq!(Ids::starting(0, ServerId(0)).next(), SessionId(1));
        let mut ids = Ids { next: i64::MAX };
        assert_eq!([ids.next(), ids.next()], [SessionId(i64::MAX), SessionId(i64::MIN + 1)]);
    }
}
