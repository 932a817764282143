//! Floor 6: the bench, which measures what clients wait for. It works against any server that speaks the client protocol.
//!
//! Open loop: requests arrive at their rate whether the server keeps up or not, and their latency counts from the moment they
//! were meant to start, so a stall shows in full. The closed loop is for saturation; its percentiles forget whoever would have
//! come while the server stood still.

pub mod axis;
pub mod caption;
pub mod chart;
pub mod date;
pub mod figure;
pub mod grid;
pub mod hlog;
pub mod latency;
pub mod merge;
pub mod origin;
pub mod pen;
pub mod plot;
pub mod record;
pub mod report;
pub mod results;
#[cfg(test)]
mod sample;
pub mod spec;
pub mod table;
