//! Floor 6: the bench, which measures what clients wait for. It works against any server that speaks the client protocol.
//!
//! Open loop: requests arrive at their rate whether the server keeps up or not, and their latency counts from the moment they
//! were meant to start, so a stall shows in full. The closed loop is for saturation; its percentiles forget whoever would have
//! come while the server stood still.

pub mod control;
pub mod latency;
pub mod machine;
pub mod record;
pub mod recorder;
pub mod scenario;
pub mod spec;
