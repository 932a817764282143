//! Watches of one shard: who asked to be told about which path, and what a reconnecting client has missed.

pub mod kinds;
pub mod rewatch;
mod slab;
pub mod table;
mod told;

pub use kinds::{Fired, Kind, Kinds, WatcherId};
pub use rewatch::Rewatch;
pub use table::{Summary, Table};
