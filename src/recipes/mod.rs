//! Floor 6: what ZooKeeper is used for, as commands: a lock, an election, data pushed to a program.

mod elect;
mod ended;
mod guard;
mod line;
mod lock;
mod options;
mod signals;
mod watch;

pub use elect::Elect;
pub use lock::Lock;
pub use watch::Watch;
