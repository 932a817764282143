//! Promise: the epochs that this server has given its word on.

use crate::ground::cursor::Cursor;
use crate::ground::ids::Zxid;

use super::slots::Form;

/// The file.
pub const FORM: Form = Form { name: "promise", magic: *b"RKPROMIS", version: 1 };

/// Where in an epoch its successor is promised to oneself, for a server alone: half of the counter is left, a day's work and more.
const HALF: u32 = 1 << 31;

/// Epochs as ZooKeeper's `acceptedEpoch` and `currentEpoch`. Neither ever falls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Promise {
    /// The newest epoch accepted from a leader; no older one is followed.
    pub accepted: u32,
    /// The newest epoch whose history is this server's; at most `accepted`, and at least that of any transaction logged.
    pub current: u32,
}

impl Promise {
    /// What a server alone must have promised before it logs on after `last`, given what it has. Its counter runs into the next
    /// epoch, as in ZooKeeper; that epoch is promised when half of this one is used up.
    #[must_use]
    pub fn alone(before: Option<Self>, last: Zxid) -> Self {
        let epoch = last.epoch().saturating_add(u32::from(last.counter() >= HALF));
        let Self { accepted, current } = before.unwrap_or(Self { accepted: 0, current: 0 });
        let current = current.max(epoch);
        Self { accepted: accepted.max(current), current }
    }

    /// As a slot's payload: two 8-byte integers.
    #[must_use]
    pub fn encode(&self) -> [u8; 16] {
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&u64::from(self.accepted).to_be_bytes());
        payload[8..].copy_from_slice(&u64::from(self.current).to_be_bytes());
        payload
    }

    /// From a slot's payload; `None` if it holds impossible values.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(payload);
        let accepted = u32::try_from(c.u64().ok()?).ok()?;
        let current = u32::try_from(c.u64().ok()?).ok()?;
        (c.remaining() == 0 && current <= accepted).then_some(Self { accepted, current })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_order() {
        let promise = Promise { accepted: 9, current: 7 };
        assert_eq!(Promise::decode(&promise.encode()), Some(promise));
        assert_eq!(Promise::decode(&Promise { accepted: 7, current: 9 }.encode()), None, "current is at most accepted");
        assert_eq!(Promise::decode(&promise.encode()[..15]), None);
        assert_eq!(Promise::decode(&[0xff; 16]), None);
    }

    #[test]
    fn a_server_alone_promises_the_next_epoch_in_time() {
        let at = |epoch, counter| Promise::alone(None, Zxid::new(epoch, counter)).current;
        assert_eq!([at(0, 0), at(0, HALF - 1), at(0, HALF), at(5, u32::MAX)], [0, 0, 1, 6]);
        let before = Promise { accepted: 9, current: 7 };
        assert_eq!(Promise::alone(Some(before), Zxid::new(3, 1)), before, "neither falls");
        assert_eq!(Promise::alone(Some(before), Zxid::new(12, 1)), Promise { accepted: 12, current: 12 });
    }
}
