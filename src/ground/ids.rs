//! Ids: the names under which servers, sessions, shards and connections are known.

use std::fmt;

/// A transaction id: epoch in the high 32 bits, counter in the low 32. The one clock of the house.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub u64);

impl Zxid {
    /// Before every transaction.
    pub const ZERO: Self = Self(0);

    /// The zxid made of an epoch and a counter.
    #[must_use]
    pub const fn new(epoch: u32, counter: u32) -> Self {
        Self(((epoch as u64) << 32) | counter as u64)
    }

    /// High half.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Low half.
    #[must_use]
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The zxid after this one in the same epoch, or `None` at the counter's end.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        if self.counter() == u32::MAX { None } else { Some(Self(self.0 + 1)) }
    }

    /// As the signed long that the wire carries.
    #[must_use]
    pub const fn as_wire(self) -> i64 {
        self.0.cast_signed()
    }

    /// From the signed long that the wire carries.
    #[must_use]
    pub const fn from_wire(value: i64) -> Self {
        Self(value.cast_unsigned())
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A session id as clients see it: the server id in the high byte, so it may be negative on the wire. 0 means none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A server of the ensemble, 1 to 255 (`myid`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerId(pub u8);

/// One shard of this process, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

/// A connection of one shard: a slot, and the generation that tells its users apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId {
    /// Index into the shard's connection table.
    pub slot: u32,
    /// Raised each time the slot is given to another connection.
    pub generation: u32,
}

/// Where the answer of a request goes: the shard and the connection that sent it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket {
    /// The shard that met the client.
    pub shard: ShardId,
    /// The connection there.
    pub conn: ConnId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxid_halves() {
        let z = Zxid::new(3, 9);
        assert_eq!((z.epoch(), z.counter()), (3, 9));
        assert_eq!(z.next(), Some(Zxid::new(3, 10)));
        assert_eq!(Zxid::new(3, u32::MAX).next(), None);
        assert_eq!(Zxid::from_wire(z.as_wire()), z);
        assert_eq!(z.to_string(), "0x300000009");
    }
}
