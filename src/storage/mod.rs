//! Storage: the transaction log as bytes and plans. No I/O: the runtime writes what this room frames and does what it plans.
//!
//! `docs/storage.md` draws the format, and says what is assumed of the disk and what follows from it.

pub mod appender;
pub mod batch;
pub mod block;
pub mod cut;
pub mod image;
pub mod manifest;
pub mod papers;
pub mod promise;
pub mod recovery;
pub mod refusal;
pub mod restart;
pub mod retention;
pub mod scanner;
pub mod scrub;
pub mod segment;
pub mod selection;
pub mod slots;
pub mod watermark;
