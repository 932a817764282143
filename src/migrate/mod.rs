//! Floor 6: migrate. ZooKeeper's data directories, read and written.

mod adler;
mod change;
pub mod command;
mod compression;
pub mod export;
pub mod flaw;
pub mod import;
pub mod imported;
mod log;
mod model;
pub mod progress;
mod snapshot;
mod source;
