//! The znode tree: the writer's [`tree::Tree`], the [`view::View`] each shard reads, and the records they share.
//!
//! The writer applies a transaction once and yields [`change::Step`]s; a View adopts them and decides nothing. A
//! [`record::Record`] is built once, is never changed, and is shared by all who hold it, so that a View is an index
//! and the links between children: no payloads and no paths of its own.

pub mod acls;
pub mod archive;
pub mod change;
mod configuration;
pub mod expiry;
mod index;
mod journal;
pub mod loader;
mod owners;
pub mod quota;
pub mod record;
pub mod replay;
#[expect(clippy::module_inception, reason = "the room is named for its main noun")]
pub mod tree;
pub mod view;
