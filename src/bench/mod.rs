//! Floor 6: the bench, which measures what clients wait for. It works against any server that speaks the client protocol.
//!
//! Open loop: requests arrive at their rate whether the server keeps up or not, and their latency counts from the moment they
//! were meant to start, so a stall shows in full. The closed loop is for saturation; its percentiles forget whoever would have
//! come while the server stood still.

pub mod command;
pub mod compare;
pub mod control;
pub mod echo;
pub mod keeper_bench;
pub mod ladder;
pub mod load;
pub mod machine;
pub mod merge;
pub mod noise;
pub mod process;
pub mod record;
pub mod recorder;
pub mod run;
pub mod scenario;
pub mod show;
pub mod spec;
pub mod truth;
