//! Requests: borrowed decoding of what clients send.

use std::borrow::Cow;

use super::acl::{self, AclRefs};
use super::jute::{Malformed, Reader};
use super::opcode;
use crate::ground::ids::Zxid;

/// RequestHeader, the 8 bytes before every body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// Chosen by the client and echoed.
    pub xid: i32,
    /// Operation code.
    pub op: i32,
}

impl RequestHeader {
    /// Bytes it has.
    pub const LEN: usize = 8;

    /// Reads the 8 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { xid: r.int()?, op: r.int()? })
    }
}

/// A path and whether a watch is wanted: exists, getData, getChildren, getChildren2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathWatch<'a> {
    /// The znode.
    pub path: Cow<'a, str>,
    /// Leave a one-shot watch.
    pub watch: bool,
}

impl<'a> PathWatch<'a> {
    /// Reads the record.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { path: r.string()?, watch: r.bool()? })
    }
}

/// CreateRequest and CreateTTLRequest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Create<'a> {
    /// Operation code, which decides the transaction type.
    pub op: i32,
    /// Path, or its prefix for a sequential znode; null where a hostile client sends null.
    pub path: Option<Cow<'a, str>>,
    /// Data; null is not empty.
    pub data: Option<&'a [u8]>,
    /// Wanted ACL, null where a hostile client sends null.
    pub acl: Option<AclRefs<'a>>,
    /// CreateMode, 0 to 6.
    pub flags: i32,
    /// Time to live, ms; -1 where the opcode has none.
    pub ttl_ms: i64,
}

impl<'a> Create<'a> {
    fn decode(op: i32, r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let path = r.string_or_null()?;
        let data = r.buffer()?;
        let acl = acl::decode_or_null(r)?;
        let flags = r.int()?;
        let ttl_ms = if op == opcode::CREATE_TTL { r.long()? } else { -1 };
        Ok(Self { op, path, data, acl, flags, ttl_ms })
    }
}

/// A write, as the sequencer's ledger reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write<'a> {
    /// create, create2, createContainer, createTTL.
    Create(Create<'a>),
    /// delete.
    Delete {
        /// The znode.
        path: Cow<'a, str>,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// setData.
    SetData {
        /// The znode.
        path: Cow<'a, str>,
        /// New data; null is not empty.
        data: Option<&'a [u8]>,
        /// Expected version, -1 for any.
        version: i32,
    },
    /// setACL.
    SetAcl {
        /// The znode.
        path: Cow<'a, str>,
        /// New list.
        acl: AclRefs<'a>,
        /// Expected aversion, -1 for any.
        version: i32,
    },
    /// check, inside a multi only.
    Check {
        /// The znode.
        path: Cow<'a, str>,
        /// Expected version, -1 for any.
        version: i32,
    },
}

impl<'a> Write<'a> {
    /// Reads the record of a single write, or of a member of a multi, by its operation code. [`Malformed::Null`] is a null path of a
    /// record that is whole otherwise.
    pub fn decode(op: i32, r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match op {
            opcode::CREATE | opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL => {
                Self::Create(Create::decode(op, r)?)
            }
            opcode::DELETE => {
                let (path, version) = (r.string_or_null()?, r.int()?);
                Self::Delete { path: there(path)?, version }
            }
            opcode::SET_DATA => {
                let (path, data, version) = (r.string_or_null()?, r.buffer()?, r.int()?);
                Self::SetData { path: there(path)?, data, version }
            }
            opcode::SET_ACL => {
                let (path, acl, version) = (r.string_or_null()?, acl::decode_or_null(r)?.unwrap_or_default(), r.int()?);
                Self::SetAcl { path: there(path)?, acl, version }
            }
            opcode::CHECK => {
                let (path, version) = (r.string_or_null()?, r.int()?);
                Self::Check { path: there(path)?, version }
            }
            _ => return Err(Malformed::Value),
        })
    }
}

/// A path that must not be null, looked at when the whole record has been read: one that ends early is that before all else.
fn there(path: Option<Cow<'_, str>>) -> Result<Cow<'_, str>, Malformed> {
    path.ok_or(Malformed::Null)
}

/// SetWatches and SetWatches2: the watches a client had before it reconnected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetWatches<'a> {
    /// What the client has seen; changes after it are told at once.
    pub relative_zxid: Zxid,
    /// Data watches left by getData.
    pub data: Vec<Cow<'a, str>>,
    /// Data watches left by exists on a missing znode.
    pub exist: Vec<Cow<'a, str>>,
    /// Child watches.
    pub child: Vec<Cow<'a, str>>,
    /// Persistent watches; SetWatches has none.
    pub persistent: Vec<Cow<'a, str>>,
    /// Persistent recursive watches; SetWatches has none.
    pub recursive: Vec<Cow<'a, str>>,
}

impl<'a> SetWatches<'a> {
    /// Reads the record that goes with the operation code, setWatches or setWatches2.
    pub fn decode(op: i32, r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let relative_zxid = Zxid::from_wire(r.long()?);
        // The Java server trips over a list that is null.
        let mut list = || r.strings_or_null()?.ok_or(Malformed::Null);
        let (data, exist, child) = (list()?, list()?, list()?);
        let (persistent, recursive) = if op == opcode::SET_WATCHES2 { (list()?, list()?) } else { (Vec::new(), Vec::new()) };
        Ok(Self { relative_zxid, data, exist, child, persistent, recursive })
    }
}

/// How long and how deep a watch left by addWatch looks (`ZooDefs.AddWatchModes`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchMode {
    /// At its path, until it is removed.
    Persistent,
    /// At its path and all below, until it is removed.
    Recursive,
}

/// AddWatchRequest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddWatch<'a> {
    /// What is watched; null reads as empty, and no znode has either path.
    pub path: Cow<'a, str>,
    /// How.
    pub mode: WatchMode,
}

impl<'a> AddWatch<'a> {
    /// Reads the record. A mode that is none is malformed, as to ZooKeeper.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let path = r.string_or_null()?.unwrap_or_default();
        let mode = match r.int()? {
            0 => WatchMode::Persistent,
            1 => WatchMode::Recursive,
            _ => return Err(Malformed::Value),
        };
        Ok(Self { path, mode })
    }
}

/// Which watches are asked for or removed (`Watcher.WatcherType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchType {
    /// One-shot child watches.
    Children,
    /// One-shot data watches.
    Data,
    /// Every watch there is.
    Any,
    /// Persistent ones.
    Persistent,
    /// Persistent recursive ones.
    Recursive,
}

/// CheckWatchesRequest and RemoveWatchesRequest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchesOf<'a> {
    /// What they watch; null reads as empty, as in [`AddWatch`].
    pub path: Cow<'a, str>,
    /// Which of them.
    pub kind: WatchType,
}

impl<'a> WatchesOf<'a> {
    /// Reads the record. A type that is none is malformed, as to ZooKeeper.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let path = r.string_or_null()?.unwrap_or_default();
        let kind = match r.int()? {
            1 => WatchType::Children,
            2 => WatchType::Data,
            3 => WatchType::Any,
            4 => WatchType::Persistent,
            5 => WatchType::Recursive,
            _ => return Err(Malformed::Value),
        };
        Ok(Self { path, kind })
    }
}

/// AuthPacket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auth<'a> {
    /// Scheme whose provider is asked. Null reads as empty: neither has a provider.
    pub scheme: Cow<'a, str>,
    /// Credentials; null is not empty.
    pub auth: Option<&'a [u8]>,
}

impl<'a> Auth<'a> {
    /// Reads the record.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let _kind = r.int()?;
        Ok(Self { scheme: r.string_or_null()?.unwrap_or_default(), auth: r.buffer()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::acl::{Acl, AclRef};
    use crate::proto::jute::Writer;

    fn list(out: &mut Vec<u8>, strings: &[String]) {
        out.count(strings.len());
        strings.iter().for_each(|s| out.string(s));
    }

    proptest! {
        #[test]
        fn what_clients_write_is_read(
            path in "/.{0,9}", data in prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), number in any::<i32>(),
            long in any::<i64>(), watch in any::<bool>(),
        ) {
            let acl = [Acl::new(number, "digest", "a:b")];
            let mut create = Vec::new();
            create.string(&path);
            create.buffer(data.as_deref());
            acl::encode(&mut create, &acl);
            create.int(number);
            create.long(long);
            let refs: AclRefs<'_> = [AclRef { perms: number, scheme: Some("digest".into()), id: Some("a:b".into()) }].into_iter().collect();
            for op in [opcode::CREATE, opcode::CREATE2, opcode::CREATE_CONTAINER, opcode::CREATE_TTL] {
                let ttl_ms = if op == opcode::CREATE_TTL { long } else { -1 };
                let (path, data, acl) = (Cow::Borrowed(&*path), data.as_deref(), refs.clone());
                let expected = Write::Create(Create { op, path: Some(path), data, acl: Some(acl), flags: number, ttl_ms });
                prop_assert_eq!(Write::decode(op, &mut Reader::new(&create)), Ok(expected));
            }
            let mut set = Vec::new();
            set.string(&path);
            set.buffer(data.as_deref());
            set.int(number);
            let expected = Write::SetData { path: (&*path).into(), data: data.as_deref(), version: number };
            prop_assert_eq!(Write::decode(opcode::SET_DATA, &mut Reader::new(&set)), Ok(expected));
            let mut ask = Vec::new();
            ask.string(&path);
            ask.bool(watch);
            prop_assert_eq!(PathWatch::decode(&mut Reader::new(&ask)), Ok(PathWatch { path: (&*path).into(), watch }));
        }

        #[test]
        fn watches_round_trip_and_null_lists_do_not(
            relative in any::<i64>(), lists in prop::collection::vec(prop::collection::vec("[/a-z]{0,9}", 0..4), 5), null in 0..6usize,
        ) {
            let mut out = Vec::new();
            out.long(relative);
            for (i, strings) in lists.iter().enumerate() {
                if i == null { out.int(-1) } else { list(&mut out, strings) }
            }
            for (op, count) in [(opcode::SET_WATCHES, 3), (opcode::SET_WATCHES2, 5)] {
                match SetWatches::decode(op, &mut Reader::new(&out)) {
                    Err(malformed) => prop_assert!(null < count && malformed == Malformed::Null),
                    Ok(SetWatches { relative_zxid, data, exist, child, persistent, recursive }) => {
                        prop_assert!(null >= count);
                        prop_assert_eq!(relative_zxid.as_wire(), relative);
                        let (read, rest) = ([data, exist, child, persistent, recursive], vec![Vec::<String>::new(); 5 - count]);
                        prop_assert_eq!(&read[..count], &lists[..count]);
                        prop_assert_eq!(&read[count..], &rest);
                    }
                }
            }
        }

        #[test]
        fn modes_and_types_are_read_by_their_numbers(path in "/.{0,9}", number in -2..8i32) {
            let mut out = Vec::new();
            out.string(&path);
            out.int(number);
            let path: Cow<'_, str> = (&*path).into();
            let modes = [WatchMode::Persistent, WatchMode::Recursive];
            let mode = usize::try_from(number).ok().and_then(|n| modes.get(n).copied());
            let expected = mode.map(|mode| AddWatch { path: path.clone(), mode }).ok_or(Malformed::Value);
            prop_assert_eq!(AddWatch::decode(&mut Reader::new(&out)), expected);
            let types = [WatchType::Children, WatchType::Data, WatchType::Any, WatchType::Persistent, WatchType::Recursive];
            let kind = usize::try_from(number - 1).ok().and_then(|n| types.get(n).copied());
            let expected = kind.map(|kind| WatchesOf { path, kind }).ok_or(Malformed::Value);
            prop_assert_eq!(WatchesOf::decode(&mut Reader::new(&out)), expected);
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(
            op in -2..25i32,
            bytes in prop::collection::vec(prop_oneof![4 => Just(0u8), 1 => 0..9u8, 1 => any::<u8>()], 0..200),
        ) {
            let r = || Reader::new(&bytes);
            let _ = (RequestHeader::decode(&mut r()), PathWatch::decode(&mut r()), Auth::decode(&mut r()));
            let _ = Write::decode(op, &mut r());
            let _ = (AddWatch::decode(&mut r()), WatchesOf::decode(&mut r()));
            for (op, lists) in [(opcode::SET_WATCHES, 3), (opcode::SET_WATCHES2, 5)] {
                if let Ok(SetWatches { data, exist, child, persistent, recursive, .. }) = SetWatches::decode(op, &mut r()) {
                    let strings: usize = [data, exist, child, persistent, recursive].iter().map(Vec::len).sum();
                    prop_assert!((strings + lists) * 4 + 8 <= bytes.len());
                }
            }
        }
    }
}
