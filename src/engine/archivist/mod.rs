//! Archivist: the engine that remembers. It adopts delivered batches like a shard whose client is the disk, and writes its
//! View down as an image when the policy says so.
//!
//! An image is exact at one zxid because the archivist adopts nothing while it writes one. The driver's duty: hand in every
//! delivered batch in order ([`Archivist::adopt`]) while no image is being written; when [`Archivist::is_due`], call
//! [`Archivist::begin`], then [`Archivist::write`] until it says that the bytes are all there; make them durable under their
//! name, and say so by [`Archivist::finished`], or say by [`Archivist::failed`] or [`Archivist::abandoned`] why there will
//! be no image. Batches wait meanwhile, and what they pin is for the driver to watch ([`limits::ARCHIVIST_BYTES_MAX`]).
//!
//! [`limits::ARCHIVIST_BYTES_MAX`]: crate::ground::limits::ARCHIVIST_BYTES_MAX

pub mod load;
pub mod policy;
mod sessions;

use std::collections::BTreeMap;

use self::policy::{Dice, Policy};
use super::census::ArchiveCensus;
use super::message::{Batch, Outcome};
use crate::ground::ids::{ServerId, SessionId, Zxid};
use crate::ground::time::{Millis, Now};
use crate::storage::image::{ImageHeader, Writer};
use crate::tree::archive::Walk;
use crate::tree::view::View;

/// Kind of a chunk of sessions: ids and timeouts, ascending over all chunks.
pub const KIND_SESSIONS: u32 = 1;

/// Kind of a chunk of znodes (`tree/archive.rs`). All of them come after the sessions.
pub const KIND_ZNODES: u32 = 2;

/// Time before the next attempt after the first that failed, ms; doubled by each that follows.
const RETRY_MS: u64 = 10_000;

/// Longest time before the next attempt, ms.
const RETRY_MAX_MS: u64 = 600_000;

/// What the archivist starts from: the state that the server starts from.
pub struct Start {
    /// The tree at `zxid`.
    pub view: View,
    /// Sessions with the timeouts of their createSession transactions, ms.
    pub sessions: BTreeMap<SessionId, i32>,
    /// The last transaction in both.
    pub zxid: Zxid,
    /// The newest image's, zero where there is none.
    pub archived: Zxid,
    /// Transactions since that image.
    pub transactions: u64,
    /// Their bytes in the log.
    pub bytes: u64,
}

/// What [`Archivist::write`] has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrote {
    /// Appended bytes; there are more.
    More,
    /// Appended the last ones.
    All,
}

/// An image that is being written.
struct Writing {
    writer: Writer,
    /// The last session written.
    session: Option<SessionId>,
    walk: Option<Walk>,
    began: Millis,
    items: u64,
    /// Digest and bytes, once all is framed.
    end: Option<(u64, u64)>,
}

/// The engine.
pub struct Archivist {
    view: View,
    sessions: BTreeMap<SessionId, i32>,
    applied: Zxid,
    /// Transactions and log bytes since the newest image.
    since: (u64, u64),
    /// How many of them make the next one due.
    dice: Dice,
    policy: Policy,
    ordered: bool,
    /// Also where there is one of the same moment: that one, or one before it, is damaged.
    anew: bool,
    server: ServerId,
    /// Attempts that failed one after the other, and the moment before which there is no other.
    failures: u32,
    not_before: Millis,
    writing: Option<Writing>,
    census: ArchiveCensus,
}

impl Archivist {
    /// An archivist of a server that starts; `seed` is random.
    #[must_use]
    pub fn new(start: Start, policy: Policy, server: ServerId, seed: u64) -> Self {
        Self {
            view: start.view,
            sessions: start.sessions,
            applied: start.zxid,
            since: (start.transactions, start.bytes),
            dice: Dice::new(policy, seed),
            policy,
            ordered: false,
            anew: false,
            server,
            failures: 0,
            not_before: Millis(0),
            writing: None,
            census: ArchiveCensus { archived: start.archived, ..ArchiveCensus::default() },
        }
    }

    /// The last transaction adopted.
    #[must_use]
    pub const fn applied(&self) -> Zxid {
        self.applied
    }

    /// Digest of its View.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.view.digest()
    }

    /// What there is to tell.
    #[must_use]
    pub fn census(&self) -> ArchiveCensus {
        ArchiveCensus { under_way: self.writing.as_ref().map(|writing| writing.items), ..self.census }
    }

    /// Takes the next delivered batch.
    ///
    /// # Panics
    /// While an image is being written, and where the batch does not follow: the driver's invariants.
    pub fn adopt(&mut self, batch: &Batch) {
        assert!(self.writing.is_none(), "an image is exact at one zxid");
        assert!(batch.first > self.applied, "batches come in order: {} after {}", batch.first, self.applied);
        for step in &batch.steps {
            self.view.adopt(step);
        }
        for entry in &batch.entries {
            match entry.outcome {
                Outcome::Opened { timeout_ms } => {
                    self.sessions.insert(entry.session, timeout_ms);
                }
                Outcome::Closed => {
                    self.sessions.remove(&entry.session);
                }
                Outcome::Done | Outcome::Refused(_) | Outcome::Multi(_) => {}
            }
        }
        self.applied = batch.last;
        self.since.0 += batch.entries.len() as u64;
        self.since.1 += batch.bytes as u64;
    }

    /// The whole state was replaced by this one, of which there is an image: it goes on from there.
    ///
    /// # Panics
    /// While an image is being written.
    pub fn reset(&mut self, view: View, sessions: BTreeMap<SessionId, i32>, zxid: Zxid) {
        assert!(self.writing.is_none(), "an image is exact at one zxid");
        (self.view, self.sessions, self.applied) = (view, sessions, zxid);
        (self.since, self.ordered) = ((0, 0), false);
        self.census.archived = zxid;
    }

    /// An image is wanted of what was adopted so far, whatever the policy says. Nothing comes of it where there is one already.
    pub fn order(&mut self) {
        self.ordered |= self.applied > self.census.archived;
    }

    /// An image is wanted in any case: one that was there is damaged.
    pub const fn order_anew(&mut self) {
        self.anew = true;
    }

    /// Whether an image is to be begun now.
    #[must_use]
    pub fn is_due(&self, now: Millis) -> bool {
        self.is_wanted() && self.writing.is_none() && now >= self.not_before
    }

    /// Whether an image would be due, were it not for the time that has to pass after a failure: how long yet, ms.
    #[must_use]
    pub fn due_in(&self, now: Millis) -> Option<u64> {
        (self.is_wanted() && self.writing.is_none()).then(|| self.not_before.since(now))
    }

    const fn is_wanted(&self) -> bool {
        self.anew || self.applied.0 > self.census.archived.0 && (self.ordered || self.dice.is_due(self.since))
    }

    /// Begins an image of what was adopted, and yields its zxid. Its first bytes are appended to `out`.
    ///
    /// # Panics
    /// While one is being written.
    pub fn begin(&mut self, now: Now, out: &mut Vec<u8>) -> Zxid {
        assert!(self.writing.is_none(), "one image at a time");
        let header = ImageHeader { server: self.server, zxid: self.applied, created: now.wall };
        let writer = Writer::begin(&header, out);
        (self.ordered, self.anew) = (false, false);
        self.writing = Some(Writing { writer, session: None, walk: None, began: now.mono(), items: 0, end: None });
        self.applied
    }

    /// Appends the next chunk to `out`: about a millisecond of work.
    ///
    /// # Panics
    /// Where no image is being written, or all of it was.
    pub fn write(&mut self, out: &mut Vec<u8>) -> Wrote {
        let Some(writing) = &mut self.writing else { unreachable!("an image is begun before it is written") };
        assert!(writing.end.is_none(), "an image has one end");
        if writing.walk.is_none() {
            if let Some((payload, count, last)) = sessions::chunk(&self.sessions, writing.session) {
                writing.writer.chunk(KIND_SESSIONS, count, &payload, out);
                writing.session = Some(last);
                writing.items += u64::from(count);
                return Wrote::More;
            }
            writing.walk = Some(Walk::new());
        }
        let Some(walk) = &mut writing.walk else { unreachable!("made above") };
        if let Some((payload, count)) = walk.chunk(&self.view) {
            writing.writer.chunk(KIND_ZNODES, count, &payload, out);
            writing.items += u64::from(count);
            return Wrote::More;
        }
        assert_eq!(walk.so_far(), (self.view.digest(), self.view.len() as u64), "the walk met every znode once");
        let (totals, bytes) = writing.writer.end(self.view.digest(), out);
        writing.end = Some((totals.digest, bytes));
        Wrote::All
    }

    /// The image is durable under its name. Yields its zxid: everything up to it survives without the log.
    ///
    /// # Panics
    /// Where not all of it was written.
    pub fn finished(&mut self, now: Now) -> Zxid {
        let writing = self.writing.take().expect("an image is begun before it is finished");
        let (digest, bytes) = writing.end.expect("an image is written before it is finished");
        self.census.archived = self.applied;
        (self.census.digest, self.census.bytes, self.census.items) = (digest, bytes, writing.items);
        self.census.finished = now.wall.0;
        self.census.took.record(now.mono().since(writing.began));
        self.since = (0, 0);
        self.dice.roll(self.policy);
        self.failures = 0;
        self.applied
    }

    /// The image could not be written. Yields the ms until the next attempt.
    pub fn failed(&mut self, now: Now) -> u64 {
        self.census.errors += 1;
        self.give_up(now)
    }

    /// The image was given up for what waited for it. Yields the ms until the next attempt.
    pub fn abandoned(&mut self, now: Now) -> u64 {
        self.census.abandoned += 1;
        self.give_up(now)
    }

    fn give_up(&mut self, now: Now) -> u64 {
        self.writing = None;
        // Whoever wanted it still does.
        self.anew = true;
        let wait = RETRY_MS.saturating_mul(1 << self.failures.min(16)).min(RETRY_MAX_MS);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.mono().plus(wait);
        wait
    }
}
