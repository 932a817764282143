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
}
