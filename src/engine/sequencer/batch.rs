//! Batch builder: transactions gathered into one log write, and the rule that closes it.

use std::mem;

use crate::engine::message::{Batch, Entry, Outcome};
use crate::engine::stages::{Stage, Stages};
use crate::ground::ids::{SessionId, Ticket};
use crate::ground::limits;
use crate::proto::txn::TxnHeader;
use crate::tree::change::Step;

/// How group commit behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushKnobs {
    /// Flushes in flight at most, 1 to [`limits::FLIGHTS_MAX`].
    pub flights: usize,
    /// Microseconds a batch may wait for company while another flush is in flight.
    pub linger_us: u64,
    /// Payload bytes at which a batch waits no longer.
    pub batch_bytes: usize,
    /// Whether a controller moves flights and linger from there on.
    pub adapts: bool,
}

impl Default for FlushKnobs {
    fn default() -> Self {
        Self { flights: 4, linger_us: 0, batch_bytes: limits::BATCH_BYTES_DEFAULT, adapts: false }
    }
}

/// The batch being filled.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// Length-prefixed blobs.
    pub(super) payload: Vec<u8>,
    pub(super) batch: Batch,
    opened_us: u64,
    /// When transactions joined, and how many at each moment.
    joined: Vec<(u64, u64)>,
}

impl Builder {
    pub(super) fn is_empty(&self) -> bool {
        self.batch.entries.is_empty()
    }

    /// When its first transaction joined, us; now where there is none.
    pub(super) fn opened_us(&self, now_us: u64) -> u64 {
        if self.is_empty() { now_us } else { self.opened_us }
    }

    /// Whether another transaction may join: there is room for the largest one.
    pub(super) fn has_room(&self, knobs: &FlushKnobs) -> bool {
        self.payload.len() < knobs.batch_bytes.min(limits::BATCH_BYTES_DEFAULT)
    }

    /// The closing rule: at once when no flush is in flight; with fewer than K in flight, when the linger has passed or the
    /// bytes are enough. Latency falls when idle, throughput rises under load.
    pub(super) fn is_due(&self, knobs: &FlushKnobs, in_flight: usize, now_us: u64) -> bool {
        !self.is_empty()
            && (in_flight == 0
                || in_flight < knobs.flights
                    && (self.payload.len() >= knobs.batch_bytes || now_us.saturating_sub(self.opened_us) >= knobs.linger_us))
    }

    /// Microseconds until the linger is over, where that is what the batch waits for.
    pub(super) fn linger_left(&self, knobs: &FlushKnobs, in_flight: usize, now_us: u64) -> Option<u64> {
        (!self.is_empty() && in_flight < knobs.flights).then(|| (self.opened_us + knobs.linger_us).saturating_sub(now_us))
    }

    /// Adds a transaction: `make` appends the blob and the changes and says what became of the request.
    pub(super) fn add(
        &mut self,
        header: TxnHeader,
        op: i32,
        ticket: Option<Ticket>,
        cost: u32,
        now_us: u64,
        make: impl FnOnce(TxnHeader, &mut Vec<u8>, &mut Vec<Step>) -> Outcome,
    ) {
        if self.is_empty() {
            self.opened_us = now_us;
            self.batch.first = header.zxid;
        }
        match self.joined.last_mut().filter(|(at, _)| *at == now_us) {
            Some((_, count)) => *count += 1,
            None => self.joined.push((now_us, 1)),
        }
        let (zxid, session, xid): (_, SessionId, _) = (header.zxid, header.session, header.cxid);
        let start = self.payload.len();
        self.payload.extend_from_slice(&[0; 4]);
        let outcome = make(header, &mut self.payload, &mut self.batch.steps);
        let len = u32::try_from(self.payload.len() - start - 4).expect("a transaction is bounded");
        assert!(len as usize <= limits::TXN_BYTES_MAX, "transaction {zxid} of {len} bytes exceeds the limit");
        self.payload[start..start + 4].copy_from_slice(&len.to_be_bytes());
        self.batch.last = zxid;
        let steps_end = u32::try_from(self.batch.steps.len()).expect("changes of a batch are bounded by its bytes");
        self.batch.entries.push(Entry { zxid, session, xid, op, ticket, cost, steps_end, outcome });
    }

    /// Throws away what was gathered, and yields who waits for it.
    pub(super) fn abandon(&mut self) -> Batch {
        self.payload.clear();
        self.joined.clear();
        mem::take(&mut self.batch)
    }

    /// Closes the batch: what shards get, while the payload stays to be framed.
    pub(super) fn close(&mut self, stages: &mut Stages, now_us: u64) -> Batch {
        for (since, count) in self.joined.drain(..) {
            stages.record(Stage::Batch, since, now_us, count);
        }
        let mut batch = mem::take(&mut self.batch);
        batch.times.closed = now_us;
        batch.bytes = self.payload.len();
        batch
    }
}
