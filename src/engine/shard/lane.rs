//! Lane: the order of one client's requests. FIFO and read-your-writes are this file.
//!
//! Reads pass while no write of the client is unanswered; otherwise they wait behind it, and its delivery releases them.

use std::collections::VecDeque;

use crate::ground::limits;
use crate::ground::time::Millis;
use crate::proto::code::Code;

/// A request that waits in a lane.
#[derive(Debug)]
pub(super) enum Pending {
    /// A write inside the sequencer; its delivery answers it.
    Write {
        /// xid to echo.
        xid: i32,
        /// When it came.
        arrived: Millis,
    },
    /// A read behind a write.
    Read {
        /// xid to echo.
        xid: i32,
        /// Operation code.
        op: i32,
        /// Its record.
        body: Box<[u8]>,
        /// Bytes that its answer may have, as far as is known before the write.
        weight: usize,
        /// When it came.
        arrived: Millis,
    },
    /// A refusal known already, which waits for its turn.
    Refusal {
        /// xid to echo.
        xid: i32,
        /// The refusal.
        code: Code,
        /// Whether the connection ends after it.
        is_last: bool,
    },
}

/// The requests of one connection that have no answer yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Lane {
    queue: VecDeque<Pending>,
    bytes: usize,
}

impl Lane {
    /// Whether a read may be served at once.
    pub(super) fn is_clear(&self) -> bool {
        self.queue.is_empty()
    }

    /// Requests without an answer.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no further request may enter.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= limits::LANE_MAX || self.bytes >= limits::LANE_BYTES_MAX
    }

    /// Parks a request behind those before it.
    pub(super) fn park(&mut self, pending: Pending) {
        if let Pending::Read { body, weight, .. } = &pending {
            self.bytes += body.len() + weight;
        }
        self.queue.push_back(pending);
    }

    /// Takes the oldest request, which must be a write of this xid: it has been delivered. Returns when it came.
    pub(super) fn delivered(&mut self, xid: i32) -> Millis {
        match self.queue.pop_front() {
            Some(Pending::Write { xid: parked, arrived }) if parked == xid => arrived,
            other => panic!("delivery of xid {xid} to a lane whose oldest request is {other:?}"),
        }
    }

    /// Takes the oldest request if no write stands before it.
    pub(super) fn released(&mut self) -> Option<Pending> {
        if matches!(self.queue.front()?, Pending::Write { .. }) {
            return None;
        }
        let pending = self.queue.pop_front()?;
        if let Pending::Read { body, weight, .. } = &pending {
            self.bytes -= body.len() + weight;
        }
        Some(pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn write(xid: i32) -> Pending {
        Pending::Write { xid, arrived: Millis(0) }
    }

    fn read(xid: i32) -> Pending {
        Pending::Read { xid, op: 3, body: Box::new([0; 8]), weight: 5, arrived: Millis(0) }
    }

    #[test]
    fn reads_wait_for_the_writes_before_them_and_for_no_other() {
        let mut lane = Lane::default();
        assert!(lane.is_clear());
        for pending in [write(1), read(2), read(3), write(4), read(5)] {
            lane.park(pending);
        }
        assert!(lane.released().is_none());
        lane.delivered(1);
        assert!(matches!(lane.released(), Some(Pending::Read { xid: 2, .. })));
        assert!(matches!(lane.released(), Some(Pending::Read { xid: 3, .. })));
        assert!(lane.released().is_none());
        lane.delivered(4);
        assert!(matches!(lane.released(), Some(Pending::Read { xid: 5, .. })));
        assert!(lane.is_clear() && lane.bytes == 0);
    }

    #[test]
    fn a_lane_is_full_by_count_and_by_bytes() {
        let mut lane = Lane::default();
        for xid in 0..i32::try_from(limits::LANE_MAX).unwrap() {
            assert!(!lane.is_full());
            lane.park(write(xid));
        }
        assert!(lane.is_full());
        let mut lane = Lane::default();
        lane.park(write(0));
        let half = limits::LANE_BYTES_MAX / 2;
        lane.park(Pending::Read { xid: 1, op: 3, body: vec![0; half].into(), weight: half, arrived: Millis(0) });
        assert!(lane.is_full());
    }

    #[test]
    #[should_panic(expected = "delivery of xid 2")]
    fn a_delivery_out_of_order_is_a_broken_invariant() {
        let mut lane = Lane::default();
        lane.park(write(1));
        lane.delivered(2);
    }
}
