//! A record: one state of one znode, immutable, counted, shared by the writer and all Views.

use std::ops::Range;

use rkyv::util::AlignedVec;
use smallvec::SmallVec;
use triomphe::{Arc, ThinArc};

use super::acls::{self, AclList};
use crate::ground::ids::{SessionId, Zxid};
use crate::ground::limits::INLINE_PAYLOAD_MAX;
use crate::proto::acl::Acl;
use crate::proto::jute;
use crate::proto::owner::Owner;
use crate::proto::path::ROOT;
use crate::proto::snapshot::Persisted;
use crate::proto::stat::Stat;

/// What a znode's Stat is made from, as stored and as the digest covers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stored {
    /// zxid of the creation.
    pub czxid: Zxid,
    /// zxid of the last setData.
    pub mzxid: Zxid,
    /// zxid of the last creation or deletion of a child.
    pub pzxid: Zxid,
    /// Time of the creation, ms since 1970.
    pub ctime: i64,
    /// Time of the last setData, ms since 1970.
    pub mtime: i64,
    /// setData calls (wraps).
    pub version: i32,
    /// Children ever created; deletions do not count. Numbers sequential children.
    pub cversion: i32,
    /// setACL calls (wraps).
    pub aversion: i32,
    /// Children there are. Not covered by the digest.
    pub num_children: i32,
    /// Owning session, 0, or the mark of a container or TTL znode.
    pub ephemeral_owner: i64,
}

/// The children there are cannot be known from one znode: none, until they are counted.
impl From<Persisted> for Stored {
    fn from(persisted: Persisted) -> Self {
        let Persisted { czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, pzxid } = persisted;
        Self { czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, num_children: 0, ephemeral_owner }
    }
}

impl From<Stored> for Persisted {
    fn from(stored: Stored) -> Self {
        let Stored { czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, num_children: _, ephemeral_owner } = stored;
        Self { czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, pzxid }
    }
}

/// Below this path nothing counts towards the digest.
const UNDIGESTED: &[u8] = b"/zookeeper/";

/// In `Meta::path_len`: the data is null.
const NULL_DATA: u32 = 1 << 31;

/// A payload counted apart, with the CRC-32 of path and data, so that a change of counters does not read it again.
#[derive(Clone)]
enum Payload {
    /// In an allocation of its own, behind its CRC.
    Own(ThinArc<u32, u8>),
    /// In the chunk of an image, which holds little else.
    Lent(Arc<Lent>),
}

/// A payload served from the chunk that it was read in. It keeps the whole chunk in memory.
struct Lent {
    crc: u32,
    chunk: AlignedVec,
    at: Range<usize>,
}

impl Payload {
    fn own(path: &[u8], data: &[u8]) -> Self {
        Self::Own(ThinArc::from_header_and_slice(prefix_crc(path, data), data))
    }

    fn crc(&self) -> u32 {
        match self {
            Self::Own(own) => own.header.header,
            Self::Lent(lent) => lent.crc,
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(own) => &own.slice,
            Self::Lent(lent) => &lent.chunk[lent.at.clone()],
        }
    }
}

/// What most znodes do not have, counted apart and shared by the records of a znode that differ in counters only.
struct Rare {
    /// `None` is the open list.
    acl: Option<Arc<AclList>>,
    /// `None` where the data is null, or small and in its record.
    payload: Option<Payload>,
    ephemeral_owner: i64,
}

impl Rare {
    fn of(acl: Option<Arc<AclList>>, payload: Option<Payload>, ephemeral_owner: i64) -> Option<Arc<Self>> {
        let any = acl.is_some() || payload.is_some() || ephemeral_owner != 0;
        any.then(|| Arc::new(Self { acl, payload, ephemeral_owner }))
    }
}

/// In front of path and payload. The order is that of use: the reference count and what adopting needs share the first
/// cache line, the path's length is next to the path.
#[repr(C)]
struct Meta {
    digest: u32,
    version: i32,
    pzxid: Zxid,
    czxid: Zxid,
    mzxid: Zxid,
    ctime: i64,
    mtime: i64,
    rare: Option<Arc<Rare>>,
    cversion: i32,
    aversion: i32,
    num_children: i32,
    path_len: u32,
}

const _: () = assert!(size_of::<Meta>() <= 72);
const _: () = assert!(size_of::<Option<Record>>() == 8);

/// Path, small data and counters of most znodes, one behind the other: what the digest covers.
type Scratch = SmallVec<[u8; 512]>;

/// One state of one znode: path, data, ACL and Stat. Cloning counts a reference.
#[derive(Clone)]
pub struct Record(ThinArc<Meta, u8>);

impl Record {
    /// A record. `acl` of `None` is the open list. Computes the digest.
    ///
    /// # Panics
    /// Where the path has 2^31 bytes or more: paths come in through frames far smaller than that.
    #[must_use]
    pub fn new(path: &str, data: Option<&[u8]>, acl: Option<Arc<AclList>>, stored: &Stored) -> Self {
        Self::build(path.as_bytes(), data, acl, stored)
    }

    fn build(path: &[u8], data: Option<&[u8]>, acl: Option<Arc<AclList>>, stored: &Stored) -> Self {
        let path_len = if data.is_none() { len_of(path) | NULL_DATA } else { len_of(path) };
        let (inline, apart) = match data {
            Some(data) if data.len() > INLINE_PAYLOAD_MAX => (&[][..], Some(data)),
            data => (data.unwrap_or_default(), None),
        };
        let payload = apart.map(|data| Payload::own(path, data));
        Self::assemble(path, inline, path_len, Rare::of(acl, payload, stored.ephemeral_owner), stored)
    }

    /// A record whose data are bytes `at` of a chunk, more than fit inside a record, and stay there.
    pub(super) fn lent(path: &str, chunk: AlignedVec, at: Range<usize>, acl: Option<Arc<AclList>>, stored: &Stored) -> Self {
        assert!(at.len() > INLINE_PAYLOAD_MAX, "small payloads lie in their record");
        let path = path.as_bytes();
        let crc = prefix_crc(path, &chunk[at.clone()]);
        let payload = Payload::Lent(Arc::new(Lent { crc, chunk, at }));
        Self::assemble(path, &[], len_of(path), Rare::of(acl, Some(payload), stored.ephemeral_owner), stored)
    }

    fn assemble(path: &[u8], inline: &[u8], path_len: u32, rare: Option<Arc<Rare>>, stored: &Stored) -> Self {
        let mut scratch = Scratch::with_capacity(path.len() + inline.len() + COUNTERS);
        scratch.extend_from_slice(path);
        scratch.extend_from_slice(inline);
        let kept = scratch.len();
        let digest = if path.starts_with(UNDIGESTED) {
            0
        } else if let Some(payload) = rare.as_ref().and_then(|rare| rare.payload.as_ref()) {
            let mut crc = crc32fast::Hasher::new_with_initial(payload.crc());
            crc.update(&counters(stored));
            crc.finalize()
        } else {
            scratch.extend_from_slice(&counters(stored));
            crc32fast::hash(&scratch[usize::from(path == ROOT.as_bytes())..])
        };
        let meta = Meta {
            digest,
            version: stored.version,
            pzxid: stored.pzxid,
            czxid: stored.czxid,
            mzxid: stored.mzxid,
            ctime: stored.ctime,
            mtime: stored.mtime,
            rare,
            cversion: stored.cversion,
            aversion: stored.aversion,
            num_children: stored.num_children,
            path_len,
        };
        Self(ThinArc::from_header_and_slice(meta, &scratch[..kept]))
    }

    /// The same znode with other counters. A payload counted apart is shared, not copied.
    #[must_use]
    pub fn with_stored(&self, stored: &Stored) -> Self {
        if self.ephemeral_owner() != stored.ephemeral_owner {
            return self.with_acl(self.shared_acl(), stored);
        }
        let meta = self.meta();
        Self::assemble(self.path_bytes(), self.inline(), meta.path_len, meta.rare.clone(), stored)
    }

    /// The same znode with another ACL and other counters. A payload counted apart is shared, not copied.
    #[must_use]
    pub fn with_acl(&self, acl: Option<Arc<AclList>>, stored: &Stored) -> Self {
        let rare = Rare::of(acl, self.payload().cloned(), stored.ephemeral_owner);
        Self::assemble(self.path_bytes(), self.inline(), self.meta().path_len, rare, stored)
    }

    /// The same znode with other data and other counters.
    #[must_use]
    pub fn with_data(&self, data: Option<&[u8]>, stored: &Stored) -> Self {
        Self::build(self.path_bytes(), data, self.shared_acl(), stored)
    }

    #[inline]
    fn meta(&self) -> &Meta {
        &self.0.header.header
    }

    #[inline]
    fn path_len(&self) -> usize {
        (self.meta().path_len & !NULL_DATA) as usize
    }

    /// The path's bytes, for comparing.
    #[inline]
    #[must_use]
    pub fn path_bytes(&self) -> &[u8] {
        &self.0.slice[..self.path_len()]
    }

    /// The path, `/` for the root.
    #[must_use]
    pub fn path(&self) -> &str {
        std::str::from_utf8(self.path_bytes()).expect("a record is made from a str")
    }

    /// The path from byte `start` on, which must lie on a character's border.
    pub(super) fn path_from(&self, start: usize) -> &str {
        std::str::from_utf8(&self.path_bytes()[start..]).expect("a record is made from a str")
    }

    fn payload(&self) -> Option<&Payload> {
        self.meta().rare.as_ref().and_then(|rare| rare.payload.as_ref())
    }

    fn shared_acl(&self) -> Option<Arc<AclList>> {
        self.meta().rare.as_ref().and_then(|rare| rare.acl.clone())
    }

    fn inline(&self) -> &[u8] {
        &self.0.slice[self.path_len()..]
    }

    /// The data; null and empty are two things.
    #[inline]
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        match self.payload() {
            Some(payload) => Some(payload.bytes()),
            None if self.meta().path_len & NULL_DATA == 0 => Some(self.inline()),
            None => None,
        }
    }

    /// Bytes of data, 0 where it is null.
    #[inline]
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.data().map_or(0, <[u8]>::len)
    }

    /// The Stat as clients see it: cversion counts deletions too; containers and TTL znodes have no owner.
    #[must_use]
    pub fn stat(&self) -> Stat {
        let meta = self.meta();
        Stat {
            czxid: meta.czxid,
            mzxid: meta.mzxid,
            ctime: meta.ctime,
            mtime: meta.mtime,
            version: meta.version,
            cversion: meta.cversion.wrapping_mul(2).wrapping_sub(meta.num_children),
            aversion: meta.aversion,
            ephemeral_owner: self.owner().0,
            data_length: jute::length(self.data_len()),
            num_children: meta.num_children,
            pzxid: meta.pzxid,
        }
    }

    /// The counters as stored.
    #[must_use]
    pub fn stored(&self) -> Stored {
        let meta = self.meta();
        Stored {
            czxid: meta.czxid,
            mzxid: meta.mzxid,
            pzxid: meta.pzxid,
            ctime: meta.ctime,
            mtime: meta.mtime,
            version: meta.version,
            cversion: meta.cversion,
            aversion: meta.aversion,
            num_children: meta.num_children,
            ephemeral_owner: self.ephemeral_owner(),
        }
    }

    /// The access control list.
    #[must_use]
    pub fn acl(&self) -> &[Acl] {
        match self.meta().rare.as_ref().and_then(|rare| rare.acl.as_ref()) {
            Some(list) => &list.0,
            None => acls::open(),
        }
    }

    /// Whether the ACL is world:anyone:31, so that nothing needs checking.
    #[inline]
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.meta().rare.as_ref().is_none_or(|rare| rare.acl.is_none())
    }

    /// The owner as stored: a session, 0, or the mark of a container or TTL znode.
    #[must_use]
    pub fn ephemeral_owner(&self) -> i64 {
        self.meta().rare.as_ref().map_or(0, |rare| rare.ephemeral_owner)
    }

    /// The session whose end removes the znode, or [`SessionId::NONE`].
    #[must_use]
    pub fn owner(&self) -> SessionId {
        if let Owner::Session(session) = Owner::of(self.ephemeral_owner()) { session } else { SessionId::NONE }
    }

    /// Whether a session owns the znode.
    #[must_use]
    pub fn is_ephemeral(&self) -> bool {
        self.owner() != SessionId::NONE
    }

    /// setData calls.
    #[must_use]
    pub fn version(&self) -> i32 {
        self.meta().version
    }

    /// Children ever created, as stored; clients see another number (see [`Self::stat`]).
    #[must_use]
    pub fn cversion(&self) -> i32 {
        self.meta().cversion
    }

    /// setACL calls.
    #[must_use]
    pub fn aversion(&self) -> i32 {
        self.meta().aversion
    }

    /// Children there are.
    #[must_use]
    pub fn num_children(&self) -> i32 {
        self.meta().num_children
    }

    /// zxid of the creation.
    #[must_use]
    pub fn czxid(&self) -> Zxid {
        self.meta().czxid
    }

    /// zxid of the last setData.
    #[must_use]
    pub fn mzxid(&self) -> Zxid {
        self.meta().mzxid
    }

    /// Time of the last setData, ms since 1970.
    #[must_use]
    pub fn mtime(&self) -> i64 {
        self.meta().mtime
    }

    /// zxid of the last creation or deletion of a child.
    #[must_use]
    pub fn pzxid(&self) -> Zxid {
        self.meta().pzxid
    }

    /// The znode's part of the tree's digest: ZooKeeper's version 2, CRC-32 of path (the root's is empty), data and
    /// counters; 0 below `/zookeeper/`.
    #[inline]
    #[must_use]
    pub fn digest(&self) -> u32 {
        self.meta().digest
    }

    /// Whether both have one and the same payload, counted apart.
    #[must_use]
    pub fn shares_payload(&self, other: &Self) -> bool {
        matches!((self.payload(), other.payload()), (Some(a), Some(b)) if std::ptr::eq(a.bytes(), b.bytes()))
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("path", &self.path()).field("stored", &self.stored()).finish_non_exhaustive()
    }
}

/// A path's length as `Meta` has it.
fn len_of(path: &[u8]) -> u32 {
    u32::try_from(path.len()).ok().filter(|len| len & NULL_DATA == 0).expect("paths are shorter than frames")
}

/// CRC-32 of path and data, with which the digest begins.
fn prefix_crc(path: &[u8], data: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(if path == ROOT.as_bytes() { b"" } else { path });
    crc.update(data);
    crc.finalize()
}

/// Bytes of the counters in the digest.
const COUNTERS: usize = 60;

/// The counters in the digest's order.
fn counters(stored: &Stored) -> [u8; COUNTERS] {
    let mut bytes = [0; COUNTERS];
    bytes[0..8].copy_from_slice(&stored.czxid.0.to_be_bytes());
    bytes[8..16].copy_from_slice(&stored.mzxid.0.to_be_bytes());
    bytes[16..24].copy_from_slice(&stored.pzxid.0.to_be_bytes());
    bytes[24..32].copy_from_slice(&stored.ctime.to_be_bytes());
    bytes[32..40].copy_from_slice(&stored.mtime.to_be_bytes());
    bytes[40..44].copy_from_slice(&stored.version.to_be_bytes());
    bytes[44..48].copy_from_slice(&stored.cversion.to_be_bytes());
    bytes[48..52].copy_from_slice(&stored.aversion.to_be_bytes());
    bytes[52..60].copy_from_slice(&stored.ephemeral_owner.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_the_fresh_znodes() {
        // Checked against a file ZooKeeper 3.8.0 wrote.
        assert_eq!(Record::new("/", Some(b""), None, &Stored::default()).digest(), 68_323_592);
        assert_eq!(Record::new("/zookeeper", Some(b""), None, &Stored::default()).digest(), 1_303_661_912);
        assert_eq!(Record::new("/zookeeper/quota", Some(b""), None, &Stored::default()).digest(), 0);
    }

    #[test]
    fn null_empty_small_and_large_data() {
        let large = [7u8; INLINE_PAYLOAD_MAX + 1];
        for data in [None, Some(&b""[..]), Some(&large[1..]), Some(&large[..])] {
            let record = Record::new("/a", data, None, &Stored::default());
            assert_eq!((record.data(), record.data_len()), (data, data.unwrap_or_default().len()));
            assert_eq!(record.stat().data_length as usize, record.data_len());
            assert_eq!(record.path(), "/a");
            let revised = record.with_stored(&Stored { cversion: 1, ..Stored::default() });
            assert_eq!((revised.data(), revised.path()), (data, "/a"));
            assert_ne!(revised.digest(), record.digest());
            assert_eq!(revised.with_stored(&Stored::default()).digest(), record.digest());
            assert_eq!(record.shares_payload(&revised), data.is_some_and(|data| data.len() > INLINE_PAYLOAD_MAX));
        }
    }

    #[test]
    fn the_digest_is_one_crc_over_path_data_and_counters() {
        let stored = Stored { czxid: Zxid(0x0102), version: -3, cversion: 4, ephemeral_owner: -5, ..Stored::default() };
        for len in [0, INLINE_PAYLOAD_MAX, INLINE_PAYLOAD_MAX + 1] {
            let mut bytes = b"/a".to_vec();
            bytes.resize(2 + len, 9);
            for long in [0x0102i64, 0, 0, 0, 0] {
                bytes.extend_from_slice(&long.to_be_bytes());
            }
            for int in [-3i32, 4, 0] {
                bytes.extend_from_slice(&int.to_be_bytes());
            }
            bytes.extend_from_slice(&(-5i64).to_be_bytes());
            assert_eq!(Record::new("/a", Some(&vec![9; len]), None, &stored).digest(), crc32fast::hash(&bytes));
        }
    }

    #[test]
    fn only_sessions_are_owners() {
        let record = |ephemeral_owner| Record::new("/a", None, None, &Stored { ephemeral_owner, ..Stored::default() });
        let session = 0x0100_0000_0000_0000;
        assert_eq!((record(session).stat().ephemeral_owner, record(session).is_ephemeral()), (session, true));
        for mark in [0, i64::MIN, 0xff00_0000_0000_2710_u64.cast_signed()] {
            assert_eq!((record(mark).stat().ephemeral_owner, record(mark).is_ephemeral()), (0, false));
            assert_eq!(record(mark).ephemeral_owner(), mark);
        }
        // A session of server 255 begins with the same byte as a TTL znode's mark.
        assert!(record(0xff01_94a1_7f00_0000_u64.cast_signed()).is_ephemeral());
    }

    #[test]
    fn clients_count_deletions_too() {
        let stored = Stored { cversion: 3, num_children: 1, ..Stored::default() };
        let record = Record::new("/a", None, None, &stored);
        assert_eq!((record.stat().cversion, record.cversion(), record.stored()), (5, 3, stored));
    }
}
