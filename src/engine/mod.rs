//! Floor 3: the engines. Each is a plain struct that does no I/O; nothing flows upward except as a returned value.
//!
//! Invariants kept here, asserted inside and checked again by tests from outside:
//!
//! 1. A shard applies zxids in order, with no gap and no repeat.
//! 2. An acknowledgement leaves only after its record is durable.
//! 4. No server answers or shows anything above its delivered mark.
//! 5. On one connection, an event precedes every reply that reveals it.
//! 6. On one connection, replies leave in the order requests arrived (authentication excepted), and their zxids never fall.
//! 7. A write is answered by the shard that delivered it, never before.
//! 8. Views at the same zxid agree (digest).
//! 9. An image at z plus the log after z equals the tree at any later mark.
//! 11. Undoing the ledger to `delivered` restores the digest at `delivered`.
//! 12. Every queue is within its limit; nothing waits inside an engine.
//! 13. A session's ephemerals do not outlive the transaction that closes it.
//! 15. A read begun after a write was acknowledged by this server sees that write.
//! 17. No transaction exceeds what a Java peer reads or a segment holds.
//!
//! (Numbers 3, 10, 14 and 16 belong to the ensemble and the simulator.)

pub mod archivist;
pub mod audit;
pub mod census;
pub mod message;
#[cfg(test)]
mod rig;
pub mod sequencer;
pub mod shard;
pub mod stages;
