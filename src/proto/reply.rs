//! Replies: the header, and bodies encoded straight into a connection's output.

use super::code::Code;
use super::frame;
use super::jute::{Malformed, Reader, Writer};
use super::stat::Stat;
use crate::ground::ids::Zxid;

/// xid of every answer to a ping, whatever xid the ping had.
pub const PING_XID: i32 = -2;

/// ReplyHeader, the 16 bytes before every body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHeader {
    /// xid of the request.
    pub xid: i32,
    /// The newest transaction this reply reflects.
    pub zxid: i64,
    /// 0 or an error code; with an error no body follows.
    pub err: i32,
}

impl ReplyHeader {
    /// Reads the 16 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { xid: r.int()?, zxid: r.long()?, err: r.int()? })
    }
}

/// Appends a ReplyHeader.
#[inline]
pub fn header(out: &mut Vec<u8>, xid: i32, zxid: Zxid, err: i32) {
    let mut bytes = [0u8; 16];
    bytes[0..4].copy_from_slice(&xid.to_be_bytes());
    bytes[4..12].copy_from_slice(&zxid.0.to_be_bytes());
    bytes[12..16].copy_from_slice(&err.to_be_bytes());
    out.extend_from_slice(&bytes);
}

/// Appends a whole frame: header and the body that `body` writes.
#[inline]
pub fn ok(out: &mut Vec<u8>, xid: i32, zxid: Zxid, body: impl FnOnce(&mut Vec<u8>)) {
    let start = frame::open(out);
    header(out, xid, zxid, 0);
    body(out);
    frame::close(out, start);
}

/// Appends a whole frame of a header without a body.
pub fn bare(out: &mut Vec<u8>, xid: i32, zxid: Zxid, code: Code) {
    let start = frame::open(out);
    header(out, xid, zxid, code.as_wire());
    frame::close(out, start);
}

/// Create2Response and its like: a path and a Stat.
pub fn path_and_stat(out: &mut Vec<u8>, path: &str, stat: &Stat) {
    out.string(path);
    stat.encode(out);
}
