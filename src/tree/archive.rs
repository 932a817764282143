//! Archive: a View written down as chunks of znodes, each an rkyv archive, a slice of work at a time.
//!
//! Znodes are in the order of a walk that goes to the first child before the next sibling: a parent comes before its
//! children, and siblings come as [`View::children`] has them. So a path and what came before it are all that is needed to
//! find the parent, and chunks can be read on several threads and joined in their order ([`super::loader`]).

use rkyv::rancor::Failure;
use rkyv::util::AlignedVec;
use rkyv::with::{InlineAsBox, Map};
use rkyv::{Archive, Serialize};

use super::record::Record;
use super::view::{NONE, SlotId, View};
use crate::ground::limits::INLINE_PAYLOAD_MAX;
use crate::proto::acl::Acl;

/// Bytes at which a chunk is full enough. A slice of work is about a millisecond, and a thread that reads has enough to do.
pub const CHUNK_TARGET: usize = 256 << 10;

/// Data of so many bytes get a chunk of their own, from which they are served after a restart without being copied: what
/// keeps such a chunk in memory is hardly more than they are. Smaller data are copied
/// (`docs/decisions/0003-images.md` has the figures).
pub const LENT_MIN: usize = 16 << 10;

const _: () = assert!(LENT_MIN > INLINE_PAYLOAD_MAX);

/// What a chunk takes for a znode beside path and data, bytes.
const ZNODE_BYTES: usize = 112;

/// `Znode::acl` of the open list; others count from 1.
pub(super) const OPEN: u32 = 0;

/// One chunk.
#[derive(Archive, Serialize)]
pub(super) struct Chunk<'a> {
    /// The distinct lists of its znodes.
    pub(super) acls: Vec<Vec<Entry<'a>>>,
    pub(super) znodes: Vec<Znode<'a>>,
}

/// One entry of an access control list.
#[derive(Archive, Serialize)]
pub(super) struct Entry<'a> {
    pub(super) perms: i32,
    #[rkyv(with = InlineAsBox)]
    pub(super) scheme: &'a str,
    #[rkyv(with = InlineAsBox)]
    pub(super) id: &'a str,
}

/// One znode: see [`super::record::Stored`] for the counters.
#[derive(Archive, Serialize)]
pub(super) struct Znode<'a> {
    #[rkyv(with = InlineAsBox)]
    pub(super) path: &'a str,
    #[rkyv(with = Map<InlineAsBox>)]
    pub(super) data: Option<&'a [u8]>,
    pub(super) acl: u32,
    pub(super) num_children: i32,
    pub(super) czxid: u64,
    pub(super) mzxid: u64,
    pub(super) pzxid: u64,
    pub(super) ctime: i64,
    pub(super) mtime: i64,
    pub(super) ephemeral_owner: i64,
    pub(super) version: i32,
    pub(super) cversion: i32,
    pub(super) aversion: i32,
}

/// The lists met in a chunk so far. Most chunks have none, few have many, and neighbours share theirs.
struct Lists<'a> {
    known: Vec<&'a [Acl]>,
    /// Index of the one met last.
    last: usize,
}

impl<'a> Lists<'a> {
    fn number(&mut self, record: &'a Record) -> u32 {
        if record.is_open() {
            return OPEN;
        }
        let list = record.acl();
        // Equal lists are one allocation while they are interned; where they are not, a list is written twice and no more.
        let same = |known: &&[Acl]| std::ptr::eq(*known, list);
        if !self.known.get(self.last).is_some_and(same) {
            self.last = self.known.iter().rposition(|known| same(&known)).unwrap_or_else(|| {
                self.known.push(list);
                self.known.len() - 1
            });
        }
        u32::try_from(self.last + 1).expect("a chunk is bounded")
    }
}

/// A View on its way into chunks. The View must stay what it is until the end.
#[derive(Debug)]
pub struct Walk {
    /// The znode that comes next, or [`NONE`] at the end.
    next: u32,
    /// Its ancestors, the root first.
    above: Vec<u32>,
    digest: u64,
    znodes: u64,
}

impl Default for Walk {
    fn default() -> Self {
        Self::new()
    }
}

impl Walk {
    /// Before the root.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: SlotId::ROOT.0, above: Vec::new(), digest: 0, znodes: 0 }
    }

    /// The next chunk and how many znodes are in it; nothing at the end.
    pub fn chunk(&mut self, view: &View) -> Option<(AlignedVec, u32)> {
        let mut znodes = Vec::new();
        let mut lists = Lists { known: Vec::new(), last: 0 };
        let mut bytes = 0;
        while self.next != NONE && bytes < CHUNK_TARGET {
            let record = view.record(SlotId(self.next));
            let is_alone = record.data_len() >= LENT_MIN;
            if is_alone && !znodes.is_empty() {
                break;
            }
            bytes += ZNODE_BYTES + record.path_bytes().len() + record.data_len();
            self.digest = self.digest.wrapping_add(u64::from(record.digest()));
            znodes.push(znode(record, lists.number(record)));
            self.step(view);
            if is_alone {
                break;
            }
        }
        if znodes.is_empty() {
            return None;
        }
        let count = u32::try_from(znodes.len()).expect("a chunk is bounded");
        self.znodes += u64::from(count);
        let acls = lists.known.iter().map(|list| list.iter().map(entry).collect()).collect();
        let archived = rkyv::to_bytes::<Failure>(&Chunk { acls, znodes }).expect("memory takes what fits into a chunk");
        Some((archived, count))
    }

    /// Digest and number of the znodes so far: at the end, the View's.
    #[must_use]
    pub const fn so_far(&self) -> (u64, u64) {
        (self.digest, self.znodes)
    }

    fn step(&mut self, view: &View) {
        let (first_child, mut next) = view.onward(self.next);
        if first_child != NONE {
            self.above.push(self.next);
            self.next = first_child;
            return;
        }
        while next == NONE {
            let Some(up) = self.above.pop() else { break };
            next = view.onward(up).1;
        }
        self.next = next;
    }
}

fn znode(record: &Record, acl: u32) -> Znode<'_> {
    let stored = record.stored();
    Znode {
        path: record.path(),
        data: record.data(),
        acl,
        num_children: stored.num_children,
        czxid: stored.czxid.0,
        mzxid: stored.mzxid.0,
        pzxid: stored.pzxid.0,
        ctime: stored.ctime,
        mtime: stored.mtime,
        ephemeral_owner: stored.ephemeral_owner,
        version: stored.version,
        cversion: stored.cversion,
        aversion: stored.aversion,
    }
}

fn entry(acl: &Acl) -> Entry<'_> {
    Entry { perms: acl.perms, scheme: &acl.scheme, id: &acl.id }
}
