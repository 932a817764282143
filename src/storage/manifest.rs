//! Manifest: whose data this is, and what of it must be there: the oldest segment needed and the newest image.

use crate::ground::cursor::Cursor;
use crate::ground::ids::{ServerId, Zxid};

use super::slots::Form;

/// The file. The version is that of what the payload means.
pub const FORM: Form = Form { name: "manifest", magic: *b"RKMANIFE", version: 1 };

/// What must be there. Files that are not named here are leftovers of a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The server whose data this is.
    pub server: ServerId,
    /// 1 where the server is a member of an ensemble, 0 where it runs alone.
    pub ensemble: u64,
    /// The oldest log segment that must be there. Raised durably before an older one goes.
    pub oldest: u64,
    /// The newest image known finished; zero before the first. The state was once this far.
    pub image: Zxid,
}

impl Manifest {
    /// As a slot's payload: four 8-byte integers.
    #[must_use]
    pub fn encode(&self) -> [u8; 32] {
        let mut payload = [0; 32];
        let words = [u64::from(self.server.0), self.ensemble, self.oldest, self.image.0];
        for (to, word) in payload.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        payload
    }

    /// From a slot's payload; `None` if it holds impossible values.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(payload);
        let server = ServerId(u8::try_from(c.u64().ok()?).ok()?);
        let manifest = Self { server, ensemble: c.u64().ok()?, oldest: c.u64().ok()?, image: Zxid(c.u64().ok()?) };
        (c.remaining() == 0).then_some(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_fixed_places() {
        let manifest = Manifest { server: ServerId(3), ensemble: 0, oldest: 0x1_02, image: Zxid::new(4, 5) };
        let payload = manifest.encode();
        assert_eq!(Manifest::decode(&payload), Some(manifest));
        assert_eq!((payload[7], &payload[22..24], &payload[24..]), (3, &[1, 2][..], &[0, 0, 0, 4, 0, 0, 0, 5][..]));
        assert_eq!(Manifest::decode(&payload[..31]), None);
        assert_eq!(Manifest::decode(&[&payload[..], &[0]].concat()), None);
        assert_eq!(Manifest::decode(&[0xff; 32]), None);
    }
}
