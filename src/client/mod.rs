//! Floor 4: our own small client, for the command line, the benchmarks and the tests. A session that does no I/O, a
//! blocking driver for it, and a session kept over connections.

pub mod answer;
pub mod ask;
pub mod blocking;
pub mod lasting;
pub mod session;
pub mod started;
pub mod target;
pub mod word;
