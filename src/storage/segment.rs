//! Segment: one file of the log, its name and its header block.

use crate::ground::cursor::{Cursor, Short};
use crate::ground::ids::ServerId;
use crate::ground::limits::BLOCK;
use crate::ground::time::WallMillis;

use super::block::is_zero;

/// The newest format version that this code reads.
pub const FORMAT: u32 = RECYCLED;

/// The version of a segment that was written full of zeros before its use.
const ZEROED: u32 = 1;

/// The version of a segment that was another one before: behind its batches lie those of its older uses, with other salts.
const RECYCLED: u32 = 2;

/// First bytes of every segment.
const MAGIC: [u8; 8] = *b"RKEEPLOG";

/// Where the checksum of the header block lies; it covers everything before it.
const CRC_AT: usize = BLOCK - 4;

/// Largest segment a header may speak of, bytes. Far above any setting, far below any overflow.
const SIZE_MAX: u64 = 1 << 40;

/// The name of a segment's file.
#[must_use]
pub fn file_name(number: u64) -> String {
    format!("log.{number:016x}")
}

/// The segment number in a file name, if it is exactly a name that [`file_name`] makes.
#[must_use]
pub fn number_of(name: &str) -> Option<u64> {
    hex(name.strip_prefix("log.")?)
}

/// The number that is written in just 16 lower-case hexadecimal digits, as the names of segments and images have it.
#[must_use]
pub fn hex(digits: &str) -> Option<u64> {
    let exact = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if exact { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// What an appender must know of a segment to write into it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentStart {
    /// The number in its name; the log goes on from n to n + 1.
    pub number: u64,
    /// Random, new for every use of the file: batches with another salt are bytes of an older use.
    pub salt: u64,
    /// Bytes of the file, header block included; a multiple of [`BLOCK`], at least two.
    pub size: u64,
}

/// The header block. It holds only what is known when a segment is prepared, ahead of its use: where the log
/// stands when it arrives here is written in the batches, which chain across segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Number, salt and size.
    pub start: SegmentStart,
    /// The server that made the segment.
    pub server: ServerId,
    /// When it was made, for people; nothing depends on it.
    pub created: WallMillis,
    /// Whether the file was another segment before, so that what is not this use's is not zero.
    pub recycled: bool,
}

/// Why the first block of a file is not a segment header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// The file is shorter than one block.
    #[error("the file is shorter than its header")]
    Short,
    /// Nothing was ever written, or the write was lost.
    #[error("the header is blank")]
    Blank,
    /// Torn or damaged.
    #[error("the header does not match its checksum")]
    Damaged,
    /// Intact, of another kind of file or with impossible values.
    #[error("the header holds impossible values")]
    Implausible,
    /// Intact, of the segment of another name.
    #[error("the header belongs to segment {0:016x}")]
    Misnamed(u64),
    /// Intact, written by a later release.
    #[error("the header has format version {0}")]
    Newer(u32),
}

impl From<Short> for HeaderError {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

impl SegmentHeader {
    /// The header block, to be written and made durable before any batch goes into the segment.
    #[must_use]
    pub fn encode(&self) -> Box<[u8; BLOCK]> {
        let SegmentStart { number, salt, size } = self.start;
        assert!(plausible_size(size), "a segment is whole blocks, a header and room for a batch");
        let mut block = Box::new([0; BLOCK]);
        block[..8].copy_from_slice(&MAGIC);
        let version = if self.recycled { RECYCLED } else { ZEROED };
        block[8..12].copy_from_slice(&version.to_be_bytes());
        block[12..16].copy_from_slice(&u32::from(self.server.0).to_be_bytes());
        block[16..24].copy_from_slice(&number.to_be_bytes());
        block[24..32].copy_from_slice(&salt.to_be_bytes());
        block[32..40].copy_from_slice(&size.to_be_bytes());
        block[40..48].copy_from_slice(&self.created.0.to_be_bytes());
        let crc = crc32fast::hash(&block[..CRC_AT]);
        block[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        block
    }

    /// Reads the header of segment `number` from the first bytes of its file.
    pub fn decode(number: u64, file: &[u8]) -> Result<Self, HeaderError> {
        let block = file.get(..BLOCK).ok_or(HeaderError::Short)?;
        let crc = Cursor::new(&block[CRC_AT..]).u32()?;
        if crc32fast::hash(&block[..CRC_AT]) != crc {
            return Err(if is_zero(block) { HeaderError::Blank } else { HeaderError::Damaged });
        }
        let mut c = Cursor::new(block);
        if c.take(MAGIC.len())? != MAGIC {
            return Err(HeaderError::Implausible);
        }
        // Magic, version and checksum keep their places in every version; nothing else may be believed before this check.
        let version = c.u32()?;
        if version > FORMAT {
            return Err(HeaderError::Newer(version));
        }
        let server = c.u32()?;
        let start = SegmentStart { number: c.u64()?, salt: c.u64()?, size: c.u64()? };
        let created = WallMillis(c.i64()?);
        let server = u8::try_from(server).map_err(|_| HeaderError::Implausible)?;
        if version == 0 || !plausible_size(start.size) {
            return Err(HeaderError::Implausible);
        }
        if start.number != number {
            return Err(HeaderError::Misnamed(start.number));
        }
        Ok(Self { start, server: ServerId(server), created, recycled: version == RECYCLED })
    }
}

const fn plausible_size(size: u64) -> bool {
    size.is_multiple_of(BLOCK as u64) && size >= 2 * BLOCK as u64 && size <= SIZE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> SegmentHeader {
        let start = SegmentStart { number: 0xabc, salt: 0x1122_3344_5566_7788, size: 64 << 20 };
        SegmentHeader { start, server: ServerId(3), created: WallMillis(1_700_000_000_000), recycled: false }
    }

    fn reseal(block: &mut [u8; BLOCK]) {
        let crc = crc32fast::hash(&block[..CRC_AT]);
        block[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
    }

    #[test]
    fn names_go_both_ways() {
        assert_eq!(file_name(0x1f), "log.000000000000001f");
        assert_eq!(number_of("log.000000000000001f"), Some(0x1f));
        assert_eq!(number_of("log.ffffffffffffffff"), Some(u64::MAX));
        for other in ["log.1f", "log.000000000000001F", "log.+00000000000001f", "log.000000000000001f.tmp", "snapshot.0", ""] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }

    #[test]
    fn header_round_trip_and_fixed_places() {
        let block = header().encode();
        assert_eq!(SegmentHeader::decode(0xabc, &block[..]), Ok(header()));
        assert_eq!(&block[..12], b"RKEEPLOG\0\0\0\x01");
        assert_eq!(block[12..16], [0, 0, 0, 3]);
        assert_eq!(block[22..24], [0x0a, 0xbc]);
        assert_eq!(block[24..32], [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
        assert_eq!(block[32..40], [0, 0, 0, 0, 4, 0, 0, 0]);
        let recycled = SegmentHeader { recycled: true, ..header() };
        let block = recycled.encode();
        assert_eq!((block[11], SegmentHeader::decode(0xabc, &block[..])), (2, Ok(recycled)));
    }

    #[test]
    fn each_way_of_being_wrong_has_its_name() {
        let good = header().encode();
        assert_eq!(SegmentHeader::decode(0xabc, &good[..BLOCK - 1]), Err(HeaderError::Short));
        assert_eq!(SegmentHeader::decode(0xabc, &[0; BLOCK]), Err(HeaderError::Blank));
        assert_eq!(SegmentHeader::decode(0xabd, &good[..]), Err(HeaderError::Misnamed(0xabc)));
        let mut torn = good.clone();
        torn[BLOCK - 512..].fill(0);
        assert_eq!(SegmentHeader::decode(0xabc, &torn[..]), Err(HeaderError::Damaged));
        let mut newer = good.clone();
        newer[8..12].copy_from_slice(&9u32.to_be_bytes());
        assert_eq!(SegmentHeader::decode(0xabc, &newer[..]), Err(HeaderError::Damaged), "a version is believed only if intact");
        reseal(&mut newer);
        assert_eq!(SegmentHeader::decode(0xabc, &newer[..]), Err(HeaderError::Newer(9)));
        for (at, value) in [(0, 0), (11, 0), (14, 1), (39, 1)] {
            let mut strange = good.clone();
            strange[at] = value;
            reseal(&mut strange);
            assert_eq!(SegmentHeader::decode(0xabc, &strange[..]), Err(HeaderError::Implausible), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(at in 0..BLOCK, bit in 0..8u8) {
            let mut block = header().encode();
            block[at] ^= 1 << bit;
            prop_assert_eq!(SegmentHeader::decode(0xabc, &block[..]), Err(HeaderError::Damaged));
        }
    }
}
