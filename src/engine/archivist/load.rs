//! Load: an image back into a tree and sessions. Payloads are checked and made records of on any thread, then joined in their
//! order on one.

use std::collections::BTreeMap;

use rkyv::util::AlignedVec;

use super::{KIND_SESSIONS, KIND_ZNODES, sessions};
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::acl::Acl;
use crate::storage::image::{Frame, ImageError, Totals};
use crate::tree::loader::{self, Joiner, LoadError as TreeError, Survey, Znodes};
use crate::tree::record::{Record, Stored};
use crate::tree::replay::fuzzy::Exact;
use crate::tree::tree::Tree;

/// Why an image is not loaded. Nothing of it was used then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not whole.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The chunks do not make a tree.
    #[error("damaged at offset {offset}: {source}")]
    Tree {
        /// Byte of the file at which the chunk's payload begins.
        offset: u64,
        /// What is wrong.
        source: TreeError,
    },
    /// A chunk of sessions is none, or comes behind znodes, or repeats a session.
    #[error("damaged at offset {0}: the sessions")]
    Sessions(u64),
    /// A chunk is of a kind that this release does not know.
    #[error("damaged at offset {offset}: a chunk of kind {kind}")]
    Kind {
        /// Byte of the file at which the chunk's payload begins.
        offset: u64,
        /// Its kind.
        kind: u32,
    },
    /// Everything was read, and it is not what the end says.
    #[error("{0}")]
    Whole(TreeError),
}

/// Makes [`Part`]s of payloads; shared by the threads that do.
pub struct Loader {
    tree: loader::Loader,
}

/// What one chunk holds.
pub struct Part {
    offset: u64,
    content: Content,
}

enum Content {
    Sessions(Vec<(SessionId, i32)>),
    Znodes(Znodes),
}

impl Part {
    /// Its sessions with their timeouts, ms, if it is one of sessions.
    #[must_use]
    pub fn sessions(&self) -> &[(SessionId, i32)] {
        if let Content::Sessions(sessions) = &self.content { sessions } else { &[] }
    }

    /// Its records, if it is one of znodes.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let znodes = if let Content::Znodes(znodes) = &self.content { Some(znodes) } else { None };
        znodes.into_iter().flat_map(Znodes::records)
    }
}

impl Loader {
    /// For a tree with these seeds.
    #[must_use]
    pub fn new(seeds: [u64; 4]) -> Self {
        Self { tree: loader::Loader::new(seeds) }
    }

    /// Checks the bytes that follow a frame, all of it: checksum, structure, values.
    /// What is left in `bytes` is of no use but for its room.
    pub fn read(&self, frame: &Frame, bytes: &mut AlignedVec) -> Result<Part, LoadError> {
        let payload = frame.is_intact(bytes)?;
        let offset = frame.offset;
        let content = match frame.kind {
            KIND_SESSIONS => Content::Sessions(sessions::read(payload, frame.items).ok_or(LoadError::Sessions(offset))?),
            KIND_ZNODES => {
                let znodes = self.tree.read(bytes, frame.len, frame.items);
                Content::Znodes(znodes.map_err(|source| LoadError::Tree { offset, source })?)
            }
            kind => return Err(LoadError::Kind { offset, kind }),
        };
        Ok(Part { offset, content })
    }
}

/// An image as it was when it was written.
pub struct Loaded {
    /// The tree at `zxid`.
    pub tree: Tree,
    /// Sessions with the timeouts of their createSession transactions, ms.
    pub sessions: BTreeMap<SessionId, i32>,
    /// The last transaction in both.
    pub zxid: Zxid,
}

impl Loaded {
    /// The state of these znodes, which come from elsewhere; each parent is followed by its children's subtrees.
    pub fn planted<'a>(
        znodes: impl Iterator<Item = (&'a str, Option<&'a [u8]>, &'a [Acl], Stored)>,
        sessions: BTreeMap<SessionId, i32>,
        zxid: Zxid,
        digest: u64,
        seeds: [u64; 4],
    ) -> Result<Self, TreeError> {
        let loader = loader::Loader::new(seeds);
        let mut joiner = Joiner::new(&loader);
        joiner.add(loader.plant(znodes))?;
        Ok(Self { tree: joiner.finish(loader, digest)?, sessions, zxid })
    }

    /// The state that a fuzzy one has become, which stands at `zxid`.
    pub fn settled(exact: Exact, zxid: Zxid, seeds: [u64; 4]) -> Result<Self, TreeError> {
        let Exact { znodes, sessions, digest } = exact;
        let znodes = znodes.iter().map(|znode| (&*znode.path, znode.data.as_deref(), &*znode.acl, znode.stored));
        Self::planted(znodes, sessions, zxid, digest, seeds)
    }
}

/// Checks the parts, in the order of their chunks, as [`Assembly`] does, and keeps none of them but the sessions.
#[derive(Default)]
pub struct Inspection {
    survey: Survey,
    sessions: BTreeMap<SessionId, i32>,
    has_znodes: bool,
}

impl Inspection {
    /// Looks at the next part.
    pub fn add(&mut self, part: &Part) -> Result<(), LoadError> {
        let offset = part.offset;
        match &part.content {
            Content::Sessions(sessions) => join_sessions(&mut self.sessions, sessions, self.has_znodes, offset),
            Content::Znodes(znodes) => {
                self.has_znodes = true;
                self.survey.add(znodes).map_err(|source| LoadError::Tree { offset, source })
            }
        }
    }

    /// The sessions, and how many znodes there were, if the whole is what the end of the image says.
    pub fn finish(self, totals: &Totals) -> Result<(BTreeMap<SessionId, i32>, u64), LoadError> {
        Ok((self.sessions, self.survey.finish(totals.digest).map_err(LoadError::Whole)?))
    }
}

fn join_sessions(
    all: &mut BTreeMap<SessionId, i32>,
    sessions: &[(SessionId, i32)],
    has_znodes: bool,
    offset: u64,
) -> Result<(), LoadError> {
    for &(id, timeout_ms) in sessions {
        let is_next = all.last_key_value().is_none_or(|(last, _)| *last < id);
        if has_znodes || !is_next {
            return Err(LoadError::Sessions(offset));
        }
        all.insert(id, timeout_ms);
    }
    Ok(())
}

/// Joins the parts, in the order of their chunks.
pub struct Assembly {
    joiner: Joiner,
    sessions: BTreeMap<SessionId, i32>,
    has_znodes: bool,
}

impl Assembly {
    /// Before the first part.
    #[must_use]
    pub fn new(loader: &Loader) -> Self {
        Self { joiner: Joiner::new(&loader.tree), sessions: BTreeMap::new(), has_znodes: false }
    }

    /// Takes the next part.
    pub fn add(&mut self, part: Part) -> Result<(), LoadError> {
        let offset = part.offset;
        match part.content {
            Content::Sessions(sessions) => join_sessions(&mut self.sessions, &sessions, self.has_znodes, offset),
            Content::Znodes(znodes) => {
                self.has_znodes = true;
                self.joiner.add(znodes).map_err(|source| LoadError::Tree { offset, source })
            }
        }
    }

    /// The whole, if it is what the end of the image says.
    pub fn finish(self, loader: Loader, zxid: Zxid, totals: &Totals) -> Result<Loaded, LoadError> {
        let tree = self.joiner.finish(loader.tree, totals.digest).map_err(LoadError::Whole)?;
        Ok(Loaded { tree, sessions: self.sessions, zxid })
    }
}
