//! Stat: what a client learns of a znode besides its data.

use super::jute::{Malformed, Reader, Writer};
use crate::ground::ids::Zxid;

/// The 68 bytes of a Stat, as clients see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// zxid of the creation.
    pub czxid: Zxid,
    /// zxid of the last setData.
    pub mzxid: Zxid,
    /// Time of the creation, ms since 1970.
    pub ctime: i64,
    /// Time of the last setData, ms since 1970.
    pub mtime: i64,
    /// setData calls so far (wraps).
    pub version: i32,
    /// Children created and deleted so far: twice the stored counter less the children there are.
    pub cversion: i32,
    /// setACL calls so far.
    pub aversion: i32,
    /// Owning session of an ephemeral znode, else 0.
    pub ephemeral_owner: i64,
    /// Bytes of data; null data counts 0.
    pub data_length: i32,
    /// Children there are.
    pub num_children: i32,
    /// zxid of the last creation or deletion of a child.
    pub pzxid: Zxid,
}

impl Stat {
    /// Appends the 68 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut bytes = [0u8; 68];
        bytes[0..8].copy_from_slice(&self.czxid.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.mzxid.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.ctime.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.mtime.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.version.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.cversion.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.aversion.to_be_bytes());
        bytes[44..52].copy_from_slice(&self.ephemeral_owner.to_be_bytes());
        bytes[52..56].copy_from_slice(&self.data_length.to_be_bytes());
        bytes[56..60].copy_from_slice(&self.num_children.to_be_bytes());
        bytes[60..68].copy_from_slice(&self.pzxid.0.to_be_bytes());
        out.extend_from_slice(&bytes);
    }

    /// Reads the 68 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            czxid: Zxid::from_wire(r.long()?),
            mzxid: Zxid::from_wire(r.long()?),
            ctime: r.long()?,
            mtime: r.long()?,
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            ephemeral_owner: r.long()?,
            data_length: r.int()?,
            num_children: r.int()?,
            pzxid: Zxid::from_wire(r.long()?),
        })
    }
}

/// Appends data and Stat in the order every reply has them.
pub fn encode_data(out: &mut Vec<u8>, data: Option<&[u8]>, stat: &Stat) {
    out.buffer(data);
    stat.encode(out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sixty_eight_bytes_round_trip() {
        let stat = Stat {
            czxid: Zxid(1),
            mzxid: Zxid(2),
            ctime: 3,
            mtime: 4,
            version: 5,
            cversion: 6,
            aversion: 7,
            ephemeral_owner: -8,
            data_length: 9,
            num_children: 10,
            pzxid: Zxid(11),
        };
        let mut out = Vec::new();
        stat.encode(&mut out);
        assert_eq!(out.len(), 68);
        assert_eq!(Stat::decode(&mut Reader::new(&out)), Ok(stat));
    }

    proptest! {
        #[test]
        fn whatever_sixty_eight_bytes_say_is_said_again(bytes in prop::collection::vec(any::<u8>(), 68)) {
            let stat = Stat::decode(&mut Reader::new(&bytes)).unwrap();
            let mut out = Vec::new();
            stat.encode(&mut out);
            prop_assert_eq!(out, bytes.clone());
            prop_assert_eq!(Stat::decode(&mut Reader::new(&bytes[..67])), Err(Malformed::Short));
        }
    }
}
