//! multi and multiRead: several operations in one request.

use super::jute::{Malformed, Reader, Writer};
use super::opcode;
use super::request::{PathWatch, Write};

/// MultiHeader, the 9 bytes before every member and at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MultiHeader {
    /// Operation code of the member, -1 at the end and for errors.
    pub op: i32,
    /// Set on the last one.
    pub done: bool,
    /// Error code of the member.
    pub err: i32,
}

impl MultiHeader {
    /// Ends every list.
    pub const END: Self = Self { op: -1, done: true, err: -1 };

    /// Reads the 9 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { op: r.int()?, done: r.bool()?, err: r.int()? })
    }

    /// Appends the 9 bytes.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.int(self.op);
        out.bool(self.done);
        out.int(self.err);
    }
}

/// Appends an error as a member of a response: header and ErrorResponse.
pub fn encode_error(out: &mut Vec<u8>, err: i32) {
    MultiHeader { op: opcode::ERROR, done: false, err }.encode(out);
    out.int(err);
}

/// Why the members of a multi cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// A record is malformed, or none that a multi may have.
    #[error(transparent)]
    Record(#[from] Malformed),
    /// A list of ACL is null, other than a createTTL's. A ZooKeeper trips over it sooner.
    #[error("null ACL")]
    NullAcl,
}

/// Reads the members of a multi: writes and checks only. Of a create the mode decides which one it is: of a container whatever the
/// operation says, and without a time to live where the mode has none, as observed on ZooKeeper. It looks at paths when it has read them all:
/// whatever else is wrong with any member comes before a null path.
pub fn decode_writes<'a>(r: &mut Reader<'a>) -> Result<Vec<(i32, Write<'a>)>, Unreadable> {
    let (mut members, mut has_null_path) = (Vec::new(), false);
    loop {
        let header = MultiHeader::decode(r)?;
        if header.done {
            return if has_null_path { Err(Malformed::Null.into()) } else { Ok(members) };
        }
        if header.op == opcode::SET_ACL {
            return Err(Malformed::Value.into());
        }
        let (mut op, mut write) = match Write::decode(header.op, r) {
            Ok(write) => (header.op, write),
            Err(Malformed::Null) => {
                has_null_path = true;
                continue;
            }
            Err(malformed) => return Err(malformed.into()),
        };
        if let Write::Create(create) = &mut write {
            has_null_path |= create.path.is_none();
            let is_mode = (0..=6).contains(&create.flags);
            if is_mode && create.acl.is_none() && op != opcode::CREATE_TTL {
                return Err(Unreadable::NullAcl);
            }
            match (op, create.flags) {
                // One that is no mode is the member's own mistake.
                (opcode::CREATE_TTL, ..0 | 5..) => {}
                (_, 4) => op = opcode::CREATE_CONTAINER,
                (opcode::CREATE_TTL, 0..=3) => op = opcode::CREATE,
                (_, 0..=3) => {}
                _ => return Err(Malformed::Value.into()),
            }
            if op != opcode::CREATE_TTL {
                create.ttl_ms = -1;
            }
            create.op = op;
        }
        members.push((op, write));
    }
}

/// A member of a multiRead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read<'a> {
    /// getData; its watch flag is ignored.
    Data(PathWatch<'a>),
    /// getChildren; its watch flag is ignored.
    Children(PathWatch<'a>),
}

/// Reads the members of a multiRead.
pub fn decode_reads<'a>(r: &mut Reader<'a>) -> Result<Vec<Read<'a>>, Malformed> {
    let mut members = Vec::new();
    loop {
        let header = MultiHeader::decode(r)?;
        if header.done {
            return Ok(members);
        }
        members.push(match header.op {
            opcode::GET_DATA => Read::Data(PathWatch::decode(r)?),
            opcode::GET_CHILDREN => Read::Children(PathWatch::decode(r)?),
            _ => return Err(Malformed::Value),
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_empty_multi_is_nine_bytes() {
        let mut out = Vec::new();
        MultiHeader::END.encode(&mut out);
        assert_eq!(out, [0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(decode_writes(&mut Reader::new(&out)), Ok(vec![]));
        assert_eq!(decode_reads(&mut Reader::new(&out)), Ok(vec![]));
    }

    #[test]
    fn unknown_members_reads_among_writes_and_missing_ends_are_malformed() {
        for op in [99, opcode::GET_DATA, opcode::MULTI, opcode::SET_ACL] {
            let mut out = Vec::new();
            MultiHeader { op, done: false, err: -1 }.encode(&mut out);
            out.string("/a");
            out.int(0);
            out.int(0);
            MultiHeader::END.encode(&mut out);
            assert_eq!(decode_writes(&mut Reader::new(&out)), Err(Unreadable::Record(Malformed::Value)), "{op}");
        }
        let mut out = Vec::new();
        MultiHeader { op: opcode::DELETE, done: false, err: -1 }.encode(&mut out);
        out.string("/a");
        out.int(-1);
        assert_eq!(decode_writes(&mut Reader::new(&out)), Err(Malformed::Short.into()));
    }

    #[test]
    fn the_mode_decides_which_create_a_member_is() {
        const TTL: i32 = opcode::CREATE_TTL;
        for (op, flags, read) in [
            (opcode::CREATE, 3, Some(opcode::CREATE)),
            (opcode::CREATE, 4, Some(opcode::CREATE_CONTAINER)),
            (opcode::CREATE, 5, None),
            (opcode::CREATE2, 0, Some(opcode::CREATE2)),
            (opcode::CREATE2, 4, Some(opcode::CREATE_CONTAINER)),
            (opcode::CREATE2, 6, None),
            (opcode::CREATE_CONTAINER, 0, Some(opcode::CREATE_CONTAINER)),
            (opcode::CREATE_CONTAINER, 5, None),
            (TTL, 0, Some(opcode::CREATE)),
            (TTL, 4, Some(opcode::CREATE_CONTAINER)),
            (TTL, 6, Some(TTL)),
            (TTL, 7, Some(TTL)),
            (TTL, -1, Some(TTL)),
        ] {
            let mut out = Vec::new();
            MultiHeader { op, done: false, err: -1 }.encode(&mut out);
            out.string("/a");
            out.buffer(None);
            out.count(0);
            out.int(flags);
            if op == TTL {
                out.long(77);
            }
            MultiHeader::END.encode(&mut out);
            let Ok(members) = decode_writes(&mut Reader::new(&out)) else {
                assert_eq!(read, None, "{op} {flags}");
                continue;
            };
            let [(op, Write::Create(create))] = &members[..] else { panic!("one create") };
            let ttl_ms = if *op == TTL { 77 } else { -1 };
            assert_eq!((Some(*op), create.op, create.ttl_ms), (read, *op, ttl_ms));
        }
    }

    #[test]
    fn a_null_list_of_acl_is_told_from_what_is_malformed() {
        let malformed = Some(Unreadable::Record(Malformed::Value));
        let cases = [
            (opcode::CREATE, 0, Some(Unreadable::NullAcl)),
            (opcode::CREATE, 6, Some(Unreadable::NullAcl)),
            (opcode::CREATE, -1, malformed),
            (opcode::CREATE_TTL, 0, None),
        ];
        for (op, flags, wrong) in cases {
            let mut out = Vec::new();
            MultiHeader { op, done: false, err: -1 }.encode(&mut out);
            out.string("/a");
            out.buffer(None);
            out.int(-1);
            out.int(flags);
            if op == opcode::CREATE_TTL {
                out.long(1);
            }
            MultiHeader::END.encode(&mut out);
            assert_eq!(decode_writes(&mut Reader::new(&out)).err(), wrong, "{op} {flags}");
        }
    }

    #[test]
    fn a_null_path_is_what_is_wrong_last() {
        let member = |out: &mut Vec<u8>, op, path: Option<&str>, has_acl: bool, flags| {
            MultiHeader { op, done: false, err: -1 }.encode(out);
            match path {
                Some(path) => out.string(path),
                None => out.int(-1),
            }
            if op == opcode::CREATE {
                out.buffer(None);
                out.int(if has_acl { 0 } else { -1 });
            }
            out.int(flags);
        };
        let read = |members: &[(i32, Option<&str>, bool, i32)]| {
            let mut out = Vec::new();
            for &(op, path, has_acl, flags) in members {
                member(&mut out, op, path, has_acl, flags);
            }
            MultiHeader::END.encode(&mut out);
            decode_writes(&mut Reader::new(&out)).err()
        };
        let (null_path, null_acl) = (Some(Malformed::Null.into()), Some(Unreadable::NullAcl));
        let no_mode = Some(Unreadable::Record(Malformed::Value));
        for op in [opcode::CREATE, opcode::DELETE, opcode::CHECK] {
            let first = (op, None, true, 0);
            assert_eq!(read(&[first]), null_path);
            assert_eq!(read(&[first, (opcode::CREATE, Some("/a"), true, 0)]), null_path);
            assert_eq!(read(&[first, (opcode::CREATE, Some("/a"), false, 0)]), null_acl);
            assert_eq!(read(&[first, (opcode::CREATE, Some("/a"), true, 9)]), no_mode);
        }
        assert_eq!(read(&[(opcode::CREATE, None, false, 0)]), null_acl);
        assert_eq!(read(&[(opcode::CREATE, None, false, 9)]), no_mode);
    }

    /// A member by its type, with a record for it.
    fn member() -> impl Strategy<Value = (i32, Vec<u8>)> {
        ("/[a-z]{0,6}", any::<i32>(), 0..4i32).prop_map(|(path, number, flags)| {
            let mut record = Vec::new();
            record.string(&path);
            let op = match number.rem_euclid(4) {
                0 => {
                    record.buffer(None);
                    record.count(0);
                    record.int(flags);
                    opcode::CREATE2
                }
                1 => {
                    record.buffer(Some(b"d"));
                    record.int(number);
                    opcode::SET_DATA
                }
                2 => {
                    record.int(number);
                    opcode::DELETE
                }
                _ => {
                    record.int(number);
                    opcode::CHECK
                }
            };
            (op, record)
        })
    }

    proptest! {
        #[test]
        fn members_come_back_one_by_one_and_every_cut_is_short(members in prop::collection::vec(member(), 0..6)) {
            let mut out = Vec::new();
            for (op, record) in &members {
                MultiHeader { op: *op, done: false, err: -1 }.encode(&mut out);
                out.extend_from_slice(record);
            }
            MultiHeader::END.encode(&mut out);
            let read = decode_writes(&mut Reader::new(&out)).unwrap();
            let expected: Vec<_> =
                members.iter().map(|(op, record)| (*op, Write::decode(*op, &mut Reader::new(record)).unwrap())).collect();
            prop_assert_eq!(read, expected);
            for len in 0..out.len() {
                prop_assert_eq!(decode_writes(&mut Reader::new(&out[..len])), Err(Malformed::Short.into()));
            }
        }

        #[test]
        fn arbitrary_bytes_make_no_more_members_than_they_hold(
            bytes in prop::collection::vec(prop_oneof![4 => Just(0u8), 1 => 0..23u8, 1 => any::<u8>()], 0..300),
        ) {
            if let Ok(members) = decode_writes(&mut Reader::new(&bytes)) {
                prop_assert!(members.len() * 17 + 9 <= bytes.len());
            }
            if let Ok(members) = decode_reads(&mut Reader::new(&bytes)) {
                prop_assert!(members.len() * 14 + 9 <= bytes.len());
            }
        }
    }
}
