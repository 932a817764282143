//! Owner: what the ephemeralOwner of a znode says about its end. The encodings are those of ZooKeeper's `EphemeralType` with extended types.

use crate::ground::ids::SessionId;

/// Owner of a container.
pub const CONTAINER: i64 = i64::MIN;

/// Largest time to live, ms: some 34 years.
pub const TTL_MAX_MS: i64 = (1 << 40) - 1;

/// In the owner of a znode with a time to live: the mark 0xff and two bytes of features, all 0. The time is in the lower 40 bits.
const TTL_MARK: i64 = 0xff_i64 << 56;

/// When a znode goes by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// Never.
    Nobody,
    /// With this session.
    Session(SessionId),
    /// When it has had children and has none left.
    Container,
    /// When it has no children and was not written to for so long, ms; 0 is never.
    Ttl(i64),
}

impl Owner {
    /// Reads a stored owner. What has the mark 0xff and another feature than a time to live is a session's, of server 255.
    #[inline]
    #[must_use]
    pub const fn of(stored: i64) -> Self {
        match stored {
            0 => Self::Nobody,
            CONTAINER => Self::Container,
            marked if marked & !TTL_MAX_MS == TTL_MARK => Self::Ttl(marked & TTL_MAX_MS),
            session => Self::Session(SessionId(session)),
        }
    }

    /// That of a container, or of a znode with this time to live, ms.
    #[must_use]
    pub const fn lasting(ttl_ms: Option<i64>) -> Self {
        match ttl_ms {
            Some(ms) => Self::Ttl(ms),
            None => Self::Container,
        }
    }

    /// As it is stored. A time to live is from 1 to [`TTL_MAX_MS`] (see [`is_ttl`]).
    #[must_use]
    pub const fn stored(self) -> i64 {
        match self {
            Self::Nobody => 0,
            Self::Session(session) => session.0,
            Self::Container => CONTAINER,
            Self::Ttl(ms) => TTL_MARK | ms & TTL_MAX_MS,
        }
    }
}

/// Whether a znode may have this time to live, ms.
#[must_use]
pub const fn is_ttl(ms: i64) -> bool {
    0 < ms && ms <= TTL_MAX_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_as_they_are_stored() {
        for (stored, owner) in [
            (0, Owner::Nobody),
            (0x0100_0000_0000_0001, Owner::Session(SessionId(0x0100_0000_0000_0001))),
            (i64::MIN, Owner::Container),
            (0xff00_0000_0000_0001_u64.cast_signed(), Owner::Ttl(1)),
            (0xff00_00ff_ffff_ffff_u64.cast_signed(), Owner::Ttl(TTL_MAX_MS)),
            (0xff00_0000_0000_0000_u64.cast_signed(), Owner::Ttl(0)),
            // Another feature, and a session of server 128.
            (0xff00_0100_0000_0001_u64.cast_signed(), Owner::Session(SessionId(0xff00_0100_0000_0001_u64.cast_signed()))),
            (i64::MIN + 1, Owner::Session(SessionId(i64::MIN + 1))),
        ] {
            assert_eq!(Owner::of(stored), owner, "{stored:#x}");
            assert_eq!(owner.stored(), stored);
        }
        assert_eq!([0, 1, TTL_MAX_MS, TTL_MAX_MS + 1, -1].map(is_ttl), [false, true, true, false, false]);
    }
}
