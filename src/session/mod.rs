//! Sessions: their ids, their passwords, and when they expire.

pub mod ids;
pub mod secret;
pub mod table;
pub mod throttle;
mod wheel;

pub use ids::Ids;
pub use table::{Session, State, Table, negotiate};
