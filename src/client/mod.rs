//! Floor 4: our own small client, for the command line, the benchmarks and the tests. A session that does no I/O, and a
//! blocking driver for it.

pub mod answer;
pub mod ask;
pub mod blocking;
pub mod session;
