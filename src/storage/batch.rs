//! Batch: the unit of a log write. A header, records end to end, zeros up to the block.

use crate::ground::cursor::{Cursor, Short};
use crate::ground::ids::Zxid;

use super::block::round_up;

/// Bytes of a batch's header. It lies inside the first 512 bytes of a block, so a torn write never splits it.
pub const BATCH_HEADER: usize = 80;

/// The batch header version that this code writes, and the newest that it reads.
pub const BATCH_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"RKBATCH\0";
const CRC_AT: usize = BATCH_HEADER - 4;

/// Bytes that a batch with `payload` bytes of records takes in the log, a multiple of 4096.
#[must_use]
pub const fn framed_len(payload: usize) -> usize {
    round_up(BATCH_HEADER + payload)
}

/// Adds one record to a payload: its length, then its bytes.
pub fn put_record(payload: &mut Vec<u8>, record: &[u8]) {
    let len = u32::try_from(record.len()).expect("a record is bounded by TXN_BYTES_MAX");
    payload.extend_from_slice(&len.to_be_bytes());
    payload.extend_from_slice(record);
}

/// What a batch says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Salt of the segment it was written into.
    pub salt: u64,
    /// Position in the whole log, one more for each batch.
    pub sequence: u64,
    /// Zxid of its first record; of a mark, the last zxid of the log.
    pub first: Zxid,
    /// Zxid of its last record; of a mark, the same as `first`.
    pub last: Zxid,
    /// Number of records. 0 makes it a *mark*, which carries only `durable` and `committed`.
    pub count: u32,
    /// Bytes of its records with their lengths.
    pub payload_len: u32,
    /// CRC-32 of those bytes.
    pub payload_crc: u32,
    /// CRC-32 of the header of the batch before, which covers that batch's payload; 0 in the first batch of a log.
    pub chain: u32,
    /// Everything in the log up to this zxid was known durable when this header was written.
    pub durable: Zxid,
    /// Everything up to this zxid was known committed when this header was written.
    pub committed: Zxid,
}

/// Why bytes are not a batch header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchError {
    /// Too few bytes, or they do not begin as a batch does.
    #[error("no batch begins here")]
    Absent,
    /// It begins as a batch but does not match its checksum.
    #[error("the batch header does not match its checksum")]
    Damaged,
    /// Intact, with values that no writer writes.
    #[error("the batch header holds impossible values")]
    Implausible,
    /// Intact, written by a later release into a segment with this salt.
    #[error("the batch has header version {version}")]
    Newer {
        /// The version it names.
        version: u32,
        /// The salt it names.
        salt: u64,
    },
}

impl From<Short> for BatchError {
    fn from(_: Short) -> Self {
        Self::Absent
    }
}

impl BatchHeader {
    /// Bytes of the whole batch in the log, a multiple of 4096.
    #[must_use]
    pub const fn framed_len(&self) -> u64 {
        framed_len(self.payload_len as usize) as u64
    }

    /// Writes the header to the beginning of `out` and returns its checksum, the chain value of the next batch.
    ///
    /// # Panics
    /// If `out` is shorter than [`BATCH_HEADER`].
    pub fn encode(&self, out: &mut [u8]) -> u32 {
        let out = &mut out[..BATCH_HEADER];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&BATCH_VERSION.to_be_bytes());
        out[12..16].copy_from_slice(&self.count.to_be_bytes());
        out[16..24].copy_from_slice(&self.salt.to_be_bytes());
        out[24..32].copy_from_slice(&self.sequence.to_be_bytes());
        out[32..40].copy_from_slice(&self.first.0.to_be_bytes());
        out[40..48].copy_from_slice(&self.last.0.to_be_bytes());
        out[48..56].copy_from_slice(&self.durable.0.to_be_bytes());
        out[56..64].copy_from_slice(&self.committed.0.to_be_bytes());
        out[64..68].copy_from_slice(&self.payload_len.to_be_bytes());
        out[68..72].copy_from_slice(&self.payload_crc.to_be_bytes());
        out[72..76].copy_from_slice(&self.chain.to_be_bytes());
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        crc
    }

    /// The whole batch as it lies in the log, and the checksum of its header.
    ///
    /// # Panics
    /// If `payload` is not as long as the header says.
    #[must_use]
    pub fn framed(&self, payload: &[u8]) -> (Vec<u8>, u32) {
        assert_eq!(payload.len(), self.payload_len as usize, "the header belongs to another payload");
        let mut bytes = vec![0; framed_len(payload.len())];
        bytes[BATCH_HEADER..BATCH_HEADER + payload.len()].copy_from_slice(payload);
        let crc = self.encode(&mut bytes);
        (bytes, crc)
    }

    /// Reads a header from the beginning of `bytes`; with it its checksum, which the next batch must name as its chain.
    pub fn decode(bytes: &[u8]) -> Result<(Self, u32), BatchError> {
        let mut c = Cursor::new(bytes);
        let header = c.take(BATCH_HEADER)?;
        let mut c = Cursor::new(header);
        if c.take(MAGIC.len())? != MAGIC {
            return Err(BatchError::Absent);
        }
        let crc = Cursor::new(&header[CRC_AT..]).u32()?;
        if crc32fast::hash(&header[..CRC_AT]) != crc {
            return Err(BatchError::Damaged);
        }
        // Magic, version, salt and checksum keep their places in every version.
        let version = c.u32()?;
        let count = c.u32()?;
        let salt = c.u64()?;
        if version > BATCH_VERSION {
            return Err(BatchError::Newer { version, salt });
        }
        let (sequence, first, last) = (c.u64()?, Zxid(c.u64()?), Zxid(c.u64()?));
        let (durable, committed) = (Zxid(c.u64()?), Zxid(c.u64()?));
        let (payload_len, payload_crc, chain) = (c.u32()?, c.u32()?, c.u32()?);
        let header = Self { salt, sequence, first, last, count, payload_len, payload_crc, chain, durable, committed };
        if version == 0 || !header.plausible() {
            return Err(BatchError::Implausible);
        }
        Ok((header, crc))
    }

    /// The relations that every batch keeps within itself.
    #[must_use]
    pub fn plausible(&self) -> bool {
        if self.count == 0 {
            self.first == self.last && self.durable <= self.last && self.payload_len == 0
        } else {
            // Zxids only rise, so that many need at least that many values; and a batch is not durable before it is written.
            self.first <= self.last
                && u64::from(self.count - 1) <= self.last.0 - self.first.0
                && self.durable < self.first
                && u64::from(self.payload_len) >= 4 * u64::from(self.count)
        }
    }
}

/// A payload's lengths lead beyond its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a record's length leads beyond its batch")]
pub struct Overrun;

/// The records of a payload, one after the other, borrowed.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: Cursor<'a>,
}

impl<'a> Records<'a> {
    /// The records of `payload`.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: Cursor::new(payload) }
    }

    /// Whether the payload is exactly `count` records.
    #[must_use]
    pub fn are_exactly(&self, count: u32) -> bool {
        let mut left = u64::from(count);
        for record in self.clone() {
            if record.is_err() || left == 0 {
                return false;
            }
            left -= 1;
        }
        left == 0
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<&'a [u8], Overrun>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.remaining() == 0 {
            return None;
        }
        let record = self.rest.u32().and_then(|len| self.rest.take(len as usize)).map_err(|Short| Overrun);
        if record.is_err() {
            self.rest = Cursor::new(&[]);
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> BatchHeader {
        BatchHeader {
            salt: 0x0102_0304_0506_0708,
            sequence: 9,
            first: Zxid::new(2, 10),
            last: Zxid::new(2, 12),
            count: 3,
            payload_len: 40,
            payload_crc: 0xdead_beef,
            chain: 0x1234_5678,
            durable: Zxid::new(2, 7),
            committed: Zxid::new(2, 6),
        }
    }

    #[test]
    fn header_round_trip_and_fixed_places() {
        let mut bytes = [0xaa; 100];
        let crc = header().encode(&mut bytes);
        assert_eq!(BatchHeader::decode(&bytes), Ok((header(), crc)));
        assert_eq!(&bytes[..16], b"RKBATCH\0\0\0\0\x01\0\0\0\x03");
        assert_eq!(bytes[16..24], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes[31], 9);
        assert_eq!(bytes[72..76], [0x12, 0x34, 0x56, 0x78]);
        assert_eq!(bytes[76..80], crc.to_be_bytes());
        assert_eq!(bytes[80..], [0xaa; 20]);
        assert_eq!(BatchHeader::decode(&bytes[..79]), Err(BatchError::Absent));
    }

    #[test]
    fn impossible_values_are_refused() {
        let good = header();
        let strange = [
            BatchHeader { first: good.last, last: good.first, ..good },
            BatchHeader { count: 4, ..good },
            BatchHeader { durable: good.first, ..good },
            BatchHeader { payload_len: 11, ..good },
            BatchHeader { count: 0, payload_len: 0, ..good },
            BatchHeader { count: 0, first: good.last, ..good },
        ];
        for header in strange {
            let mut bytes = [0; BATCH_HEADER];
            header.encode(&mut bytes);
            assert_eq!(BatchHeader::decode(&bytes), Err(BatchError::Implausible), "{header:?}");
        }
        let mut bytes = [0; BATCH_HEADER];
        good.encode(&mut bytes);
        bytes[11] = 2;
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(BatchHeader::decode(&bytes), Err(BatchError::Newer { version: 2, salt: good.salt }));
    }

    #[test]
    fn framed_lengths_are_blocks() {
        assert_eq!([framed_len(0), framed_len(4016), framed_len(4017)], [4096, 4096, 8192]);
    }

    proptest! {
        #[test]
        fn records_round_trip(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
            let mut payload = Vec::new();
            for record in &records {
                put_record(&mut payload, record);
            }
            let read: Result<Vec<_>, _> = Records::new(&payload).collect();
            prop_assert_eq!(read.unwrap(), records.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let count = records.len() as u32;
            prop_assert!(Records::new(&payload).are_exactly(count));
            prop_assert!(!Records::new(&payload).are_exactly(count + 1));
            prop_assert!(count == 0 || !Records::new(&payload).are_exactly(count - 1));
        }

        #[test]
        fn arbitrary_payloads_end(payload in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..200)) {
            let records: Vec<_> = Records::new(&payload).collect();
            prop_assert!(records.len() <= payload.len());
            prop_assert!(records.iter().rev().skip(1).all(Result::is_ok), "an overrun is the last thing said");
            let bytes: usize = records.iter().flatten().map(|r| r.len() + 4).sum();
            prop_assert!(bytes <= payload.len());
        }

        #[test]
        fn any_flipped_bit_is_noticed(at in 0..BATCH_HEADER, bit in 0..8u8) {
            let mut bytes = [0; BATCH_HEADER];
            header().encode(&mut bytes);
            bytes[at] ^= 1 << bit;
            prop_assert!(matches!(BatchHeader::decode(&bytes), Err(BatchError::Absent | BatchError::Damaged)));
        }

        #[test]
        fn arbitrary_bytes_are_no_header(tail in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(BatchHeader::decode(&tail).is_err());
            let mut begun = MAGIC.to_vec();
            begun.extend(tail);
            prop_assert!(BatchHeader::decode(&begun).is_err());
        }
    }
}
