//! Watermark: up to which zxid the log is known durable, kept outside the log.
//!
//! A batch's header vouches for the batches before it, so the end of the log has nobody to vouch for it: rot there, or the loss
//! of whole files, looks like a torn tail. This file vouches. It is refreshed when the log falls quiet and now and then under
//! load, from durable zxids only, so it may lag and never leads.

use crate::ground::cursor::Cursor;
use crate::ground::ids::Zxid;

use super::slots::Form;

/// The file.
pub const FORM: Form = Form { name: "watermark", magic: *b"RKWATERM", version: 1 };

/// A durable zxid as a slot's payload.
#[must_use]
pub const fn encode(durable: Zxid) -> [u8; 8] {
    durable.0.to_be_bytes()
}

/// From a slot's payload; `None` if it is something else.
#[must_use]
pub fn decode(payload: &[u8]) -> Option<Zxid> {
    let mut c = Cursor::new(payload);
    let durable = Zxid(c.u64().ok()?);
    (c.remaining() == 0).then_some(durable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        assert_eq!(decode(&encode(Zxid(0x1_0203))), Some(Zxid(0x1_0203)));
        assert_eq!((decode(&[0; 7]), decode(&[0; 9])), (None, None));
    }
}
