//! A record: one state of one znode, immutable, counted, shared by the writer and all Views.

use smallvec::SmallVec;
use triomphe::{Arc, ThinArc};

use super::acls::{self, AclList};
use crate::ground::ids::{SessionId, Zxid};
use crate::ground::limits::INLINE_PAYLOAD_MAX;
use crate::proto::acl::Acl;
use crate::proto::jute;
use crate::proto::path::ROOT;
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

/// Owner of a container (ZooKeeper's `EphemeralType.CONTAINER_EPHEMERAL_OWNER`).
const CONTAINER_OWNER: i64 = i64::MIN;

/// Upper 24 bits of a TTL znode's owner: the mark 0xff, then two bytes of features, all 0.
const TTL_MARK: u64 = 0xff_0000;

/// Below this path nothing counts towards the digest.
const UNDIGESTED: &[u8] = b"/zookeeper/";

/// In `Meta::path_len`: the data is null.
const NULL_DATA: u32 = 1 << 31;

/// A payload of its own: the CRC-32 of path and data before it, so that a change of counters does not read it again.
type Payload = ThinArc<u32, u8>;

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
    ephemeral_owner: i64,
    acl: Option<Arc<AclList>>,
    payload: Option<Payload>,
    cversion: i32,
    aversion: i32,
    num_children: i32,
    path_len: u32,
}

const _: () = assert!(size_of::<Meta>() <= 88);
const _: () = assert!(size_of::<Option<Record>>() == 8);

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
        let len = u32::try_from(path.len()).ok().filter(|len| len & NULL_DATA == 0).expect("paths are shorter than frames");
        let inline = data.unwrap_or_default();
        let prefix = prefix_crc(path, inline);
        let path_len = if data.is_none() { len | NULL_DATA } else { len };
        if inline.len() > INLINE_PAYLOAD_MAX {
            let payload = ThinArc::from_header_and_slice(prefix, inline);
            return Self::assemble(path, path_len, prefix, acl, Some(payload), path, stored);
        }
        let mut slice: SmallVec<[u8; 512]> = SmallVec::with_capacity(path.len() + inline.len());
        slice.extend_from_slice(path);
        slice.extend_from_slice(inline);
        Self::assemble(path, path_len, prefix, acl, None, &slice, stored)
    }

    fn assemble(
        path: &[u8],
        path_len: u32,
        prefix: u32,
        acl: Option<Arc<AclList>>,
        payload: Option<Payload>,
        slice: &[u8],
        stored: &Stored,
    ) -> Self {
        let meta = Meta {
            digest: if path.starts_with(UNDIGESTED) { 0 } else { stat_crc(prefix, stored) },
            version: stored.version,
            pzxid: stored.pzxid,
            czxid: stored.czxid,
            mzxid: stored.mzxid,
            ctime: stored.ctime,
            mtime: stored.mtime,
            ephemeral_owner: stored.ephemeral_owner,
            acl,
            payload,
            cversion: stored.cversion,
            aversion: stored.aversion,
            num_children: stored.num_children,
            path_len,
        };
        Self(ThinArc::from_header_and_slice(meta, slice))
    }

    /// The same path and data with other counters and ACL. A payload counted apart is shared, not copied.
    fn revise(&self, acl: Option<Arc<AclList>>, stored: &Stored) -> Self {
        let meta = self.meta();
        let path = self.path_bytes();
        let prefix = match &meta.payload {
            Some(payload) => payload.header.header,
            None => prefix_crc(path, self.inline()),
        };
        Self::assemble(path, meta.path_len, prefix, acl, meta.payload.clone(), &self.0.slice, stored)
    }

    /// The same znode with other counters.
    #[must_use]
    pub fn with_stored(&self, stored: &Stored) -> Self {
        self.revise(self.meta().acl.clone(), stored)
    }

    /// The same znode with another ACL and other counters.
    #[must_use]
    pub fn with_acl(&self, acl: Option<Arc<AclList>>, stored: &Stored) -> Self {
        self.revise(acl, stored)
    }

    /// The same znode with other data and other counters.
    #[must_use]
    pub fn with_data(&self, data: Option<&[u8]>, stored: &Stored) -> Self {
        Self::build(self.path_bytes(), data, self.meta().acl.clone(), stored)
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

    fn inline(&self) -> &[u8] {
        &self.0.slice[self.path_len()..]
    }

    /// The data; null and empty are two things.
    #[inline]
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        let meta = self.meta();
        match &meta.payload {
            Some(payload) => Some(&payload.slice),
            None if meta.path_len & NULL_DATA == 0 => Some(self.inline()),
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
            ephemeral_owner: meta.ephemeral_owner,
        }
    }

    /// The access control list.
    #[must_use]
    pub fn acl(&self) -> &[Acl] {
        match &self.meta().acl {
            Some(list) => &list.0,
            None => acls::open(),
        }
    }

    /// Whether the ACL is world:anyone:31, so that nothing needs checking.
    #[inline]
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.meta().acl.is_none()
    }

    /// The owner as stored: a session, 0, or the mark of a container or TTL znode.
    #[must_use]
    pub fn ephemeral_owner(&self) -> i64 {
        self.meta().ephemeral_owner
    }

    /// The session whose end removes the znode, or [`SessionId::NONE`].
    #[must_use]
    pub fn owner(&self) -> SessionId {
        let owner = self.meta().ephemeral_owner;
        let marked = owner == CONTAINER_OWNER || owner.cast_unsigned() >> 40 == TTL_MARK;
        if marked { SessionId::NONE } else { SessionId(owner) }
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
        matches!((&self.meta().payload, &other.meta().payload), (Some(a), Some(b)) if a.ptr() == b.ptr())
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("path", &self.path()).field("stored", &self.stored()).finish_non_exhaustive()
    }
}

/// CRC-32 of path and data, where the digest of both begins.
fn prefix_crc(path: &[u8], data: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(if path == ROOT.as_bytes() { b"" } else { path });
    crc.update(data);
    crc.finalize()
}

/// The digest, given the CRC-32 of what comes before the counters.
fn stat_crc(prefix: u32, stored: &Stored) -> u32 {
    let mut bytes = [0u8; 60];
    bytes[0..8].copy_from_slice(&stored.czxid.0.to_be_bytes());
    bytes[8..16].copy_from_slice(&stored.mzxid.0.to_be_bytes());
    bytes[16..24].copy_from_slice(&stored.pzxid.0.to_be_bytes());
    bytes[24..32].copy_from_slice(&stored.ctime.to_be_bytes());
    bytes[32..40].copy_from_slice(&stored.mtime.to_be_bytes());
    bytes[40..44].copy_from_slice(&stored.version.to_be_bytes());
    bytes[44..48].copy_from_slice(&stored.cversion.to_be_bytes());
    bytes[48..52].copy_from_slice(&stored.aversion.to_be_bytes());
    bytes[52..60].copy_from_slice(&stored.ephemeral_owner.to_be_bytes());
    let mut crc = crc32fast::Hasher::new_with_initial(prefix);
    crc.update(&bytes);
    crc.finalize()
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
