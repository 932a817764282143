//! Job: work for the disk of a simulated server, and what it was for.

use std::collections::VecDeque;

use super::boot::Boot;
use super::disk::Op;
use super::log::{Log, State};
use super::snapshot::Snapshot;
use crate::engine::archivist::load::Loaded;
use crate::ground::ids::Zxid;
use crate::storage::appender::Appender;
use crate::storage::cut::Cut;
use crate::storage::promise::Promise;
use crate::storage::segment::SegmentStart;
use crate::zab::Token;

/// Work for the disk, and what follows when it is done.
pub struct Job {
    /// What to do, in order.
    pub ops: VecDeque<Op>,
    /// What it was for.
    pub then: Then,
}

/// What a piece of work was for.
pub enum Then {
    /// A batch of the log.
    Flight(u64),
    /// Epochs promised.
    Promise(Token, Promise),
    /// The log was cut.
    Cut(Token, Zxid, Box<Cut>),
    /// A state has taken the place of everything.
    Install(Token, State, Box<(Log, Appender, Loaded)>),
    /// The server has all again.
    Restored(Token),
    /// A segment was made.
    Made(SegmentStart),
    /// An image was written.
    Image(Box<Snapshot>),
    /// The manifest asks for less.
    Released(Vec<Zxid>, Vec<u64>),
    /// Segments are out of use; these may be used again.
    Retired(Vec<u64>),
    /// Nothing follows.
    Chore,
    /// Recovery has ended.
    Boot(Box<Boot>),
}

impl Then {
    /// What it was for, in a word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Flight(_) => "batch durable",
            Self::Promise(..) => "promise durable",
            Self::Cut(..) => "log cut",
            Self::Install(..) => "state in force",
            Self::Restored(_) => "unimpaired",
            Self::Made(_) => "segment made",
            Self::Image(_) => "image written",
            Self::Released(..) => "manifest written",
            Self::Retired(_) => "segments out of use",
            Self::Chore => "chore done",
            Self::Boot(_) => "ready to start",
        }
    }
}
