//! Snapshot: the whole state of a server as ZooKeeper writes it, in its snapshot files and on the way to a learner.
//!
//! The body is the sessions, the access control lists by number, and the znodes, parents before children. A file has a head before it and
//! check values behind it; on the way to a learner there is neither, and [`SIGNATURE`] follows.

use super::acl::{self, Acl};
use super::jute::{Malformed, Reader, Writer};
use super::path::ROOT;
use crate::ground::cursor::{Cursor, Short};
use crate::ground::ids::{SessionId, Zxid};

/// The number of the open list, which the lists leave out.
pub const OPEN_LIST: i64 = -1;

/// As a path it ends the znodes; in a file it follows each check value too.
pub const END: &str = "/";

/// Follows the body on its way to a learner.
pub const SIGNATURE: &str = "BenWasHere";

/// What a znode has besides path, data and list (`StatPersisted`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Persisted {
    /// zxid of the creation.
    pub czxid: Zxid,
    /// zxid of the last setData.
    pub mzxid: Zxid,
    /// Time of the creation, ms since 1970.
    pub ctime: i64,
    /// Time of the last setData, ms since 1970.
    pub mtime: i64,
    /// setData calls (wraps).
    pub version: i32,
    /// Children ever created; deletions do not count.
    pub cversion: i32,
    /// setACL calls (wraps).
    pub aversion: i32,
    /// Owning session, 0, or the mark of a container or TTL znode.
    pub ephemeral_owner: i64,
    /// zxid of the last creation or deletion of a child.
    pub pzxid: Zxid,
}

impl Persisted {
    /// Bytes of one.
    pub const LEN: usize = 60;

    /// Appends the 60 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.long(self.czxid.as_wire());
        out.long(self.mzxid.as_wire());
        out.long(self.ctime);
        out.long(self.mtime);
        out.int(self.version);
        out.int(self.cversion);
        out.int(self.aversion);
        out.long(self.ephemeral_owner);
        out.long(self.pzxid.as_wire());
    }

    /// Reads the 60 bytes.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let mut c = Cursor::new(bytes);
        let mut read = || {
            let (czxid, mzxid) = (Zxid(c.u64()?), Zxid(c.u64()?));
            let (ctime, mtime) = (c.i64()?, c.i64()?);
            let (version, cversion, aversion) = (c.i32()?, c.i32()?, c.i32()?);
            let (ephemeral_owner, pzxid) = (c.i64()?, Zxid(c.u64()?));
            Ok::<_, Short>(Self { czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, pzxid })
        };
        read().expect("the fields have 60 bytes")
    }
}

/// Appends a session; their count stands before the first.
pub fn put_session(out: &mut Vec<u8>, session: SessionId, timeout_ms: i32) {
    out.long(session.0);
    out.int(timeout_ms);
}

/// Appends a list; their count stands before the first.
pub fn put_list(out: &mut Vec<u8>, number: i64, list: &[Acl]) {
    out.long(number);
    acl::encode(out, list);
}

/// Appends a znode.
pub fn put_znode(out: &mut Vec<u8>, path: &str, data: Option<&[u8]>, list: i64, persisted: &Persisted) {
    out.string(if path == ROOT { "" } else { path });
    out.buffer(data);
    out.long(list);
    persisted.encode(out);
}

/// Appends what ends the znodes.
pub fn put_end(out: &mut Vec<u8>) {
    out.string(END);
}

/// Appends what ends the body on its way to a learner.
pub fn put_signature(out: &mut Vec<u8>) {
    out.string(SIGNATURE);
}

/// A part of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part<'a> {
    /// So many sessions follow. Nothing vouches for the number.
    Sessions(usize),
    /// A session and its time-out, ms.
    Session(SessionId, i32),
    /// So many lists follow. Nothing vouches for the number.
    Lists(usize),
    /// A list and its number.
    List(i64, Vec<Acl>),
    /// A znode.
    Znode {
        /// Its path; that of the root is `/`.
        path: &'a str,
        /// Its data.
        data: Option<&'a [u8]>,
        /// The number of its list, or [`OPEN_LIST`].
        list: i64,
        /// The rest of it.
        persisted: Persisted,
    },
    /// The znodes are over.
    Znodes,
    /// The signature: the body was whole.
    End,
}

/// Why bytes are no body on its way to a learner.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Wrong {
    /// A path, data or a list are longer than allowed, or have a length that cannot be.
    #[error("a part of the state claims {0} bytes, {1} are allowed")]
    Length(i64, usize),
    /// A path or a list is null.
    #[error("a part of the state is null")]
    Null,
    /// A path that is not UTF-8: nobody could ask for it.
    #[error("the state has a path that is not UTF-8")]
    Path,
    /// The znodes ended and something else followed.
    #[error("the state does not end with the signature")]
    Signature,
}

/// How far a body has been read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    SessionCount,
    Sessions(usize),
    ListCount,
    Lists(usize),
    Znodes,
    Signature,
    Over,
}

/// Why there is no part.
enum Stop {
    More,
    Wrong(Wrong),
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Short => Self::More,
            _ => Self::Wrong(Wrong::Null),
        }
    }
}

/// Parts out of the bytes of a body on its way to a learner, whatever pieces they come in. It keeps no bytes.
#[derive(Debug)]
pub struct Body {
    at: At,
    max: usize,
}

impl Body {
    /// At its beginning. `max` bounds each path, each data and each list, bytes.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self { at: At::SessionCount, max }
    }

    /// The part at the start of `input`, and how many bytes of it that is; `None` where more are needed, which happens with twice the limit
    /// and a hundred bytes at the most. After [`Part::End`] there is nothing.
    pub fn part<'a>(&mut self, input: &'a [u8]) -> Result<Option<(Part<'a>, usize)>, Wrong> {
        let mut r = Reader::new(input);
        match self.read(&mut r) {
            Ok((part, at)) => {
                self.at = at;
                Ok(Some((part, input.len() - r.rest().len())))
            }
            Err(Stop::More) => Ok(None),
            Err(Stop::Wrong(wrong)) => Err(wrong),
        }
    }

    fn read<'a>(&self, r: &mut Reader<'a>) -> Result<(Part<'a>, At), Stop> {
        let lists = |left| if left == 0 { At::Znodes } else { At::Lists(left) };
        let sessions = |left| if left == 0 { At::ListCount } else { At::Sessions(left) };
        Ok(match self.at {
            At::SessionCount => {
                let count = usize::try_from(r.int()?).unwrap_or(0);
                (Part::Sessions(count), sessions(count))
            }
            At::Sessions(left) => (Part::Session(SessionId(r.long()?), r.int()?), sessions(left - 1)),
            At::ListCount => {
                let count = usize::try_from(r.int()?).unwrap_or(0);
                (Part::Lists(count), lists(count))
            }
            At::Lists(left) => (Part::List(r.long()?, self.list(r)?), lists(left - 1)),
            At::Znodes => {
                let path = buffer(r, self.max)?.ok_or(Stop::Wrong(Wrong::Null))?;
                let path = str::from_utf8(path).map_err(|_| Stop::Wrong(Wrong::Path))?;
                if path == END {
                    return Ok((Part::Znodes, At::Signature));
                }
                let path = if path.is_empty() { ROOT } else { path };
                let (data, list) = (buffer(r, self.max)?, r.long()?);
                let persisted = r.rest().first_chunk().ok_or(Stop::More)?;
                *r = Reader::new(&r.rest()[Persisted::LEN..]);
                (Part::Znode { path, data, list, persisted: Persisted::decode(persisted) }, At::Znodes)
            }
            At::Signature => match buffer(r, self.max)? {
                Some(text) if text == SIGNATURE.as_bytes() => (Part::End, At::Over),
                _ => return Err(Stop::Wrong(Wrong::Signature)),
            },
            At::Over => return Err(Stop::More),
        })
    }

    fn list(&self, r: &mut Reader<'_>) -> Result<Vec<Acl>, Stop> {
        let count = r.count()?.ok_or(Stop::Wrong(Wrong::Null))?;
        // No entry is shorter than its permissions and two lengths.
        if count > self.max / 12 {
            return Err(Stop::Wrong(Wrong::Length(count as i64 * 12, self.max)));
        }
        let (whole, mut list) = (r.rest().len(), Vec::new());
        for _ in 0..count {
            let perms = r.int()?;
            let mut string = || -> Result<_, Stop> {
                let left = self.max.saturating_sub(whole - r.rest().len());
                Ok(String::from_utf8_lossy(buffer(r, left)?.ok_or(Malformed::Null)?))
            };
            let (scheme, id) = (string()?, string()?);
            list.push(Acl::new(perms, &scheme, &id));
        }
        Ok(list)
    }
}

/// `buffer`, no longer than allowed though it is not all there.
fn buffer<'a>(r: &mut Reader<'a>, max: usize) -> Result<Option<&'a [u8]>, Stop> {
    let claimed = r.clone().int()?;
    match usize::try_from(claimed) {
        Ok(len) if len > max => Err(Stop::Wrong(Wrong::Length(i64::from(claimed), max))),
        Err(_) if claimed != -1 => Err(Stop::Wrong(Wrong::Length(i64::from(claimed), max))),
        _ => Ok(r.buffer()?),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1000;

    /// A body's parts, as they are given back.
    #[derive(Clone, PartialEq, Debug)]
    struct State {
        sessions: Vec<(SessionId, i32)>,
        lists: Vec<(i64, Vec<Acl>)>,
        znodes: Vec<(String, Option<Vec<u8>>, i64, Persisted)>,
    }

    fn encoded(state: &State) -> Vec<u8> {
        let mut out = Vec::new();
        out.count(state.sessions.len());
        state.sessions.iter().for_each(|(session, timeout_ms)| put_session(&mut out, *session, *timeout_ms));
        out.count(state.lists.len());
        state.lists.iter().for_each(|(number, list)| put_list(&mut out, *number, list));
        for (path, data, list, persisted) in &state.znodes {
            put_znode(&mut out, path, data.as_deref(), *list, persisted);
        }
        put_end(&mut out);
        put_signature(&mut out);
        out
    }

    /// Reads `bytes`, which come `piece` at a time; how many were used, and whether the end was there.
    fn read(bytes: &[u8], piece: usize) -> Result<(State, usize, bool), Wrong> {
        let mut body = Body::new(MAX);
        let mut state = State { sessions: vec![], lists: vec![], znodes: vec![] };
        let (mut at, mut have) = (0, 0);
        loop {
            match body.part(&bytes[at..have])? {
                None if have == bytes.len() => return Ok((state, at, false)),
                None => {
                    assert!(have - at <= 2 * MAX + 100 + piece, "more is held than can be needed");
                    have = bytes.len().min(have + piece);
                }
                Some((part, used)) => {
                    at += used;
                    match part {
                        Part::Session(session, timeout_ms) => state.sessions.push((session, timeout_ms)),
                        Part::List(number, list) => state.lists.push((number, list)),
                        Part::Znode { path, data, list, persisted } => {
                            state.znodes.push((path.to_owned(), data.map(Into::into), list, persisted));
                        }
                        Part::Sessions(_) | Part::Lists(_) | Part::Znodes => {}
                        Part::End => return Ok((state, at, true)),
                    }
                }
            }
        }
    }

    fn any_state() -> impl Strategy<Value = State> {
        let entry = (any::<i32>(), "[a-z]{0,5}", ".{0,6}").prop_map(|(perms, scheme, id)| Acl::new(perms, &scheme, &id));
        let persisted = (prop::array::uniform6(any::<i64>()), prop::array::uniform3(any::<i32>())).prop_map(|(l, n)| Persisted {
            czxid: Zxid::from_wire(l[0]),
            mzxid: Zxid::from_wire(l[1]),
            ctime: l[2],
            mtime: l[3],
            version: n[0],
            cversion: n[1],
            aversion: n[2],
            ephemeral_owner: l[4],
            pzxid: Zxid::from_wire(l[5]),
        });
        let path = "(/[a-z\u{e9}]{1,5}){1,3}".prop_map(|path| if path == "/a" { "/".to_owned() } else { path });
        let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..60));
        (
            prop::collection::vec((any::<i64>().prop_map(SessionId), any::<i32>()), 0..5),
            prop::collection::vec((any::<i64>(), prop::collection::vec(entry, 0..4)), 0..4),
            prop::collection::vec((path, data, any::<i64>(), persisted), 0..6),
        )
            .prop_map(|(sessions, lists, znodes)| State { sessions, lists, znodes })
    }

    #[test]
    fn lengths_have_limits() {
        let znodes = [0; 8];
        for (claimed, wrong) in [(1001, Wrong::Length(1001, MAX)), (-2, Wrong::Length(-2, MAX)), (-1, Wrong::Null)] {
            let mut bytes = znodes.to_vec();
            bytes.int(claimed);
            assert_eq!(read(&bytes, 9), Err(wrong));
        }
        let mut list = vec![0, 0, 0, 0, 0, 0, 0, 1];
        list.long(1);
        list.int(84);
        assert_eq!(read(&list, 9), Err(Wrong::Length(84 * 12, MAX)));
        let mut list = vec![0, 0, 0, 0, 0, 0, 0, 1];
        put_list(&mut list, 1, &[Acl::new(0, &"a".repeat(600), &"b".repeat(600))]);
        assert_eq!(read(&list, 9), Err(Wrong::Length(600, 392)));
        let mut null = vec![0, 0, 0, 0, 0, 0, 0, 1];
        null.long(1);
        null.int(-1);
        assert_eq!(read(&null, 9), Err(Wrong::Null));
        let mut end = znodes.to_vec();
        put_end(&mut end);
        end.string("BenWasHerf");
        assert_eq!(read(&end, 9), Err(Wrong::Signature));
        let mut path = znodes.to_vec();
        path.buffer(Some(b"\xff"));
        assert_eq!(read(&path, 9), Err(Wrong::Path));
        // Counts below zero are none, as the Java server's loops have it.
        let mut none = vec![0xff; 8];
        put_end(&mut none);
        put_signature(&mut none);
        assert!(read(&none, 9).unwrap().2);
    }

    proptest! {
        #[test]
        fn states_come_back_however_they_are_cut(state in any_state(), piece in 1..90usize, more in prop::collection::vec(any::<u8>(), 0..9)) {
            let mut bytes = encoded(&state);
            let len = bytes.len();
            bytes.extend_from_slice(&more);
            prop_assert_eq!(read(&bytes, piece), Ok((state.clone(), len, true)));
            let (_, _, whole) = read(&bytes[..len - 1], piece).unwrap();
            prop_assert!(!whole);
        }

        #[test]
        fn hostile_bytes_are_read_or_refused(
            state in any_state(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0u8), Just(0xff), any::<u8>()]), 0..6),
            piece in 1..90usize,
        ) {
            let mut bytes = encoded(&state);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok((read, ..)) = read(&bytes, piece) {
                let entries: usize = read.lists.iter().map(|(_, list)| list.len()).sum();
                prop_assert!(read.sessions.len() * 12 + entries * 12 + read.znodes.len() * 76 <= bytes.len());
            }
        }
    }
}
