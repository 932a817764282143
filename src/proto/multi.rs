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

/// Reads the members of a multi: writes and checks only, create modes within range.
pub fn decode_writes<'a>(r: &mut Reader<'a>) -> Result<Vec<(i32, Write<'a>)>, Malformed> {
    let mut members = Vec::new();
    loop {
        let header = MultiHeader::decode(r)?;
        if header.done {
            return Ok(members);
        }
        if header.op == opcode::SET_ACL {
            return Err(Malformed::Value);
        }
        let write = Write::decode(header.op, r)?;
        if let Write::Create(create) = &write
            && !(0..=6).contains(&create.flags)
        {
            return Err(Malformed::Value);
        }
        members.push((header.op, write));
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
            assert_eq!(decode_writes(&mut Reader::new(&out)), Err(Malformed::Value), "{op}");
        }
        let mut out = Vec::new();
        MultiHeader { op: opcode::DELETE, done: false, err: -1 }.encode(&mut out);
        out.string("/a");
        out.int(-1);
        assert_eq!(decode_writes(&mut Reader::new(&out)), Err(Malformed::Short));
    }

    /// A member by its type, with a record for it.
    fn member() -> impl Strategy<Value = (i32, Vec<u8>)> {
        ("/[a-z]{0,6}", any::<i32>(), 0..7i32).prop_map(|(path, number, flags)| {
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
                prop_assert_eq!(decode_writes(&mut Reader::new(&out[..len])), Err(Malformed::Short));
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
