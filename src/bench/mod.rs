//! Floor 6: the bench, which measures what clients wait for. It works against any server that speaks the client protocol.
//!
//! Open loop: requests arrive at their rate whether the server keeps up or not, and their latency counts from the moment they
//! were meant to start, so a stall shows in full. The closed loop is for saturation; its percentiles forget whoever would have
//! come while the server stood still.

pub mod arrivals;
pub mod axis;
pub mod caption;
pub mod chart;
pub mod command;
pub mod compare;
pub mod control;
pub mod date;
pub mod echo;
pub mod figure;
pub mod generator;
pub mod grid;
pub mod hlog;
pub mod keeper_bench;
pub mod ladder;
pub mod latency;
pub mod line;
pub mod machine;
pub mod merge;
pub mod noise;
pub mod origin;
pub mod patience;
pub mod pen;
pub mod plot;
pub mod process;
pub mod random;
pub mod record;
pub mod recorder;
pub mod report;
pub mod requests;
pub mod results;
pub mod run;
#[cfg(test)]
mod sample;
pub mod scenario;
pub mod setup;
pub mod spec;
pub mod table;
pub mod truth;
