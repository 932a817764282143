//! Flow: what a shard lets in before what it has taken is answered. Credit toward the sequencer, and ZooKeeper's limits.

use crate::ground::limits;
use crate::proto::opcode;

/// Limits that an operator may set; each is this shard's share of the server's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// With so many requests under way a connection that waits for an answer is not read from (`globalOutstandingLimit`).
    pub outstanding: usize,
    /// With so many requests under way no connection is read from (`request_throttle_max_requests`).
    pub requests: usize,
    /// A request that was held back longer by that, ms, is not done and told so (`throttled_op_wait_time`).
    pub wait_ms: Option<u64>,
    /// A request that was held back longer than its session's timeout ends its connection (`request_stale_latency_check`).
    pub drops_stale: bool,
    /// A request of more bytes than this is a large one (`largeRequestThreshold`).
    pub large_above: usize,
    /// A large request that makes those under way more bytes than this ends its connection (`largeRequestMaxBytes`).
    pub large_bytes: usize,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            outstanding: usize::MAX,
            requests: usize::MAX,
            wait_ms: None,
            drops_stale: false,
            large_above: usize::MAX,
            large_bytes: usize::MAX,
        }
    }
}

/// What becomes of a request that was held back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// It is done.
    Done,
    /// It is not done, and told so.
    Refused,
    /// Its connection ends.
    Stale,
}

impl Flow {
    /// What becomes of one that was held back for so long.
    pub(super) fn after(&self, waited_ms: u64, op: i32, timeout_ms: i32) -> Held {
        if self.drops_stale && waited_ms > u64::from(timeout_ms.unsigned_abs()) {
            Held::Stale
        } else if self.wait_ms.is_some_and(|most| waited_ms > most) && !matches!(op, opcode::PING | opcode::CLOSE_SESSION) {
            Held::Refused
        } else {
            Held::Done
        }
    }
}

/// What a shard has inside the sequencer.
#[derive(Default)]
pub(super) struct Credit {
    flow: Flow,
    pub(super) requests: usize,
    bytes: usize,
    large: usize,
}

impl Credit {
    pub(super) fn new(flow: Flow) -> Self {
        Self { flow, ..Self::default() }
    }

    /// Other limits, from now on.
    pub(super) const fn set_flow(&mut self, flow: Flow) {
        self.flow = flow;
    }

    pub(super) const fn flow(&self) -> Flow {
        self.flow
    }

    /// Nothing is read.
    pub(super) const fn is_spent(&self) -> bool {
        self.requests >= limits::SHARD_CREDIT_REQUESTS || self.bytes >= limits::SHARD_CREDIT_BYTES || self.is_throttled()
    }

    /// Nothing is read, because the operator will not have more under way.
    pub(super) const fn is_throttled(&self) -> bool {
        self.requests >= self.flow.requests
    }

    /// Nothing is read from whoever waits for an answer.
    pub(super) const fn is_short(&self) -> bool {
        self.requests >= self.flow.outstanding
    }

    /// Whether a request of so many bytes is one large request too many.
    pub(super) const fn has_no_room_for(&self, bytes: usize) -> bool {
        bytes > self.flow.large_above && self.large.saturating_add(bytes) > self.flow.large_bytes
    }

    pub(super) const fn take(&mut self, bytes: usize) {
        self.requests += 1;
        self.bytes += bytes;
        if bytes > self.flow.large_above {
            self.large += bytes;
        }
    }

    pub(super) fn give_back(&mut self, bytes: u32) {
        let bytes = bytes as usize;
        self.requests = self.requests.checked_sub(1).expect("credit is given back once");
        self.bytes = self.bytes.checked_sub(bytes).expect("credit is given back once");
        if self.requests == 0 {
            self.large = 0;
        } else if bytes > self.flow.large_above {
            // What counts as large may have changed since it was taken: exact again when nothing is under way.
            self.large = self.large.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_limits_there_is_credit_for_as_much_as_a_shard_may_have() {
        let mut credit = Credit::default();
        for _ in 0..limits::SHARD_CREDIT_REQUESTS {
            assert!(!credit.is_spent() && !credit.is_short() && !credit.has_no_room_for(1 << 30));
            credit.take(0);
        }
        assert!(credit.is_spent() && !credit.is_throttled());
    }

    #[test]
    fn limits_of_the_operator_hold_until_there_are_answers() {
        let mut credit = Credit::new(Flow { outstanding: 2, requests: 3, large_above: 10, large_bytes: 30, ..Flow::default() });
        credit.take(11);
        assert!(!credit.is_short() && !credit.is_spent());
        credit.take(10);
        assert!(credit.is_short() && !credit.is_spent());
        assert!(credit.has_no_room_for(20) && !credit.has_no_room_for(19) && !credit.has_no_room_for(10));
        credit.take(19);
        assert!(credit.is_throttled() && credit.is_spent() && credit.has_no_room_for(11));
        credit.give_back(19);
        assert!(!credit.is_spent() && !credit.has_no_room_for(19));
        credit.give_back(11);
        credit.give_back(10);
        assert!(!credit.is_short() && credit.large == 0);
    }

    #[test]
    fn what_becomes_of_a_request_that_was_held_back() {
        let flow = Flow { wait_ms: Some(100), drops_stale: true, ..Flow::default() };
        assert_eq!(flow.after(100, opcode::GET_DATA, 4000), Held::Done);
        assert_eq!(flow.after(101, opcode::GET_DATA, 4000), Held::Refused);
        for op in [opcode::PING, opcode::CLOSE_SESSION] {
            assert_eq!(flow.after(101, op, 4000), Held::Done);
            assert_eq!(flow.after(4001, op, 4000), Held::Stale);
        }
        assert_eq!(Flow::default().after(u64::MAX, opcode::GET_DATA, 4000), Held::Done);
    }
}
