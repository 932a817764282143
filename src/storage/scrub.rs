//! Scrub: reads a segment that the log has left, block by block, and says where it has been damaged since.

use crate::ground::ids::Zxid;
use crate::ground::limits::BLOCK;

use super::batch::{BATCH_HEADER, BatchHeader, framed_len};
use super::scanner::Reason;
use super::segment::SegmentHeader;

/// What a look at a segment has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// All good so far.
    More,
    /// All its batches were read and are good.
    Good,
    /// Not all of it is as it was written.
    Damaged {
        /// Byte of the batch that is bad, or 0 for the header.
        offset: u64,
        /// What is wrong.
        reason: Reason,
        /// Last zxid before the damage; zero if there is none.
        good: Zxid,
    },
}

/// A look at one segment, in memory of a block.
#[derive(Debug)]
pub struct Scrub {
    number: u64,
    /// Sequence of the next batch.
    sequence: u64,
    /// Sequence at which the next segment begins.
    until: u64,
    salt: Option<u64>,
    /// Chain value of the next batch; none before the first.
    chain: Option<u32>,
    good: Zxid,
    offset: u64,
    batch: Option<Open>,
}

/// A batch whose records are being read.
#[derive(Debug)]
struct Open {
    header: BatchHeader,
    crc: u32,
    offset: u64,
    hasher: crc32fast::Hasher,
    payload_left: usize,
    blocks_left: usize,
}

impl Scrub {
    /// A look at segment `number`, which holds the batches from sequence `from` up to `until`, and not that one.
    #[must_use]
    pub const fn new(number: u64, from: u64, until: u64) -> Self {
        Self { number, sequence: from, until, salt: None, chain: None, good: Zxid::ZERO, offset: 0, batch: None }
    }

    /// Takes the next bytes of the file, whole blocks.
    pub fn feed(&mut self, bytes: &[u8]) -> Look {
        for block in bytes.chunks_exact(BLOCK) {
            let look = self.block(block);
            if look != Look::More {
                return look;
            }
            self.offset += BLOCK as u64;
        }
        Look::More
    }

    /// The file has ended, and not all was there.
    #[must_use]
    pub const fn end(&self) -> Look {
        self.damaged(Reason::Cut)
    }

    const fn damaged(&self, reason: Reason) -> Look {
        let offset = match &self.batch {
            Some(batch) => batch.offset,
            None => self.offset,
        };
        Look::Damaged { offset, reason, good: self.good }
    }

    fn block(&mut self, block: &[u8]) -> Look {
        let Some(salt) = self.salt else {
            let Ok(header) = SegmentHeader::decode(self.number, block) else { return self.damaged(Reason::Unreadable) };
            self.salt = Some(header.start.salt);
            return if self.sequence >= self.until { Look::Good } else { Look::More };
        };
        let records = if self.batch.is_some() {
            block
        } else {
            let Ok((header, crc)) = BatchHeader::decode(block) else { return self.damaged(Reason::Unreadable) };
            if header.salt != salt {
                return self.damaged(Reason::OldBytes);
            }
            if header.sequence != self.sequence {
                return self.damaged(Reason::Sequence);
            }
            if self.chain.is_some_and(|chain| chain != header.chain) {
                return self.damaged(Reason::Chain);
            }
            let payload_left = header.payload_len as usize;
            let blocks_left = framed_len(payload_left) / BLOCK;
            let hasher = crc32fast::Hasher::new();
            self.batch = Some(Open { header, crc, offset: self.offset, hasher, payload_left, blocks_left });
            &block[BATCH_HEADER..]
        };
        let Some(batch) = &mut self.batch else { return Look::More };
        let here = batch.payload_left.min(records.len());
        batch.hasher.update(&records[..here]);
        batch.payload_left -= here;
        batch.blocks_left -= 1;
        if batch.blocks_left > 0 {
            return Look::More;
        }
        if batch.hasher.clone().finalize() != batch.header.payload_crc {
            return self.damaged(Reason::Torn);
        }
        self.chain = Some(batch.crc);
        self.good = batch.header.last;
        self.batch = None;
        self.sequence += 1;
        if self.sequence >= self.until { Look::Good } else { Look::More }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ids::ServerId;
    use crate::ground::time::WallMillis;
    use crate::storage::appender::{Appender, Contents, Position};
    use crate::storage::batch::put_record;
    use crate::storage::segment::SegmentStart;

    const SIZE: usize = 16 * BLOCK;

    /// Batches of one, three and one blocks, then a remnant.
    fn segment() -> Vec<u8> {
        let start = SegmentStart { number: 4, salt: 9, size: SIZE as u64 };
        let header = SegmentHeader { start, server: ServerId(1), created: WallMillis(0), recycled: true };
        let mut file = vec![0x5a; SIZE];
        file[..BLOCK].copy_from_slice(&header.encode()[..]);
        let mut log = Appender::new(Position::new_log(start), Zxid(70));
        for (zxid, len) in [(71, 10), (72, 3 * BLOCK - 200), (73, BLOCK - BATCH_HEADER - 4)] {
            let mut payload = Vec::new();
            put_record(&mut payload, &vec![zxid as u8; len]);
            let at = log.position().offset as usize;
            let out = &mut file[at..at + framed_len(payload.len())];
            log.frame_into(Contents { first: Zxid(zxid), last: Zxid(zxid), count: 1 }, &[&payload], Zxid(0), out);
        }
        file
    }

    fn look(file: &[u8], until: u64, step: usize) -> Look {
        let mut scrub = Scrub::new(4, 1, until);
        for piece in file.chunks(step * BLOCK) {
            let look = scrub.feed(piece);
            if look != Look::More {
                return look;
            }
        }
        scrub.end()
    }

    #[test]
    fn a_good_segment_is_good_up_to_its_last_batch() {
        let file = segment();
        for step in [1, 2, 5, 16] {
            assert_eq!([1, 3, 4].map(|until| look(&file, until, step)), [Look::Good; 3]);
            let beyond = Look::Damaged { offset: 6 * BLOCK as u64, reason: Reason::Unreadable, good: Zxid(73) };
            assert_eq!(look(&file, 5, step), beyond);
        }
    }

    #[test]
    fn every_damage_is_found_where_it_begins() {
        let file = segment();
        for (at, batch, good) in
            [(9, 0, 0), (BLOCK + 3, 1, 0), (BLOCK + 85, 1, 0), (4 * BLOCK - 9, 2, 71), (6 * BLOCK - 9, 5, 72)]
        {
            let mut hurt = file.clone();
            hurt[at] ^= 4;
            let Look::Damaged { offset, good: found, .. } = look(&hurt, 4, 3) else { panic!("{at}") };
            assert_eq!((offset, found), ((batch * BLOCK) as u64, Zxid(good)), "{at}");
        }
        let cut = look(&file[..4 * BLOCK], 4, 3);
        assert_eq!(cut, Look::Damaged { offset: 2 * BLOCK as u64, reason: Reason::Cut, good: Zxid(71) });
        let mut swapped = file.clone();
        swapped.copy_within(5 * BLOCK..6 * BLOCK, BLOCK);
        let misplaced = Look::Damaged { offset: BLOCK as u64, reason: Reason::Sequence, good: Zxid::ZERO };
        assert_eq!(look(&swapped, 4, 1), misplaced, "a later batch in the place of the first");
    }
}
