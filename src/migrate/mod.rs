//! Floor 6: migrate. ZooKeeper's data directories, read and written.

mod adler;
pub mod command;
mod compression;
pub mod export;
pub mod flaw;
pub mod import;
pub mod imported;
mod log;
pub mod progress;
mod snapshot;
mod source;
