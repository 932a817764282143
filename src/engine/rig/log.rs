//! Log: the segments of the rig, in memory, with recovery as the server does it.

use super::{SEEDS, Setup, TICK_MS};
use crate::engine::sequencer::{Restore, Restored};
use crate::ground::ids::{ServerId, Zxid};
use crate::ground::limits::BLOCK;
use crate::ground::time::{Now, WallMillis};
use crate::proto::txn::{self, TxnHeader};
use crate::storage::appender::{Placement, Position};
use crate::storage::recovery::{Recovery, Start};
use crate::storage::segment::{SegmentHeader, SegmentStart};

/// One segment file.
struct File {
    start: SegmentStart,
    bytes: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Log {
    files: Vec<File>,
    salt: u64,
    /// Batches written since the last boot, by sequence, with their last zxid.
    written: Vec<(u64, Zxid)>,
    /// What was durable at boot.
    base: Zxid,
    first_sequence: u64,
    /// The newest image, whole.
    pub(super) image: Option<(Zxid, Vec<u8>)>,
}

impl Log {
    /// The newest image's, or zero.
    pub(super) fn image_zxid(&self) -> Zxid {
        self.image.as_ref().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// Loses every segment but the one in use.
    pub(super) fn purge(&mut self) {
        let in_use = self.files.iter().rposition(|file| file.bytes[BLOCK..2 * BLOCK].iter().any(|&b| b != 0));
        self.files.drain(..in_use.unwrap_or(0));
    }

    fn make(&mut self, number: u64, size: u64) -> SegmentStart {
        self.salt += 1;
        let start = SegmentStart { number, salt: 0x5eed_0000 + self.salt, size };
        let mut bytes = vec![0; usize::try_from(size).unwrap()];
        let header = SegmentHeader { start, server: ServerId(1), created: WallMillis(0), recycled: false };
        bytes[..BLOCK].copy_from_slice(&header.encode()[..]);
        self.files.push(File { start, bytes });
        start
    }

    /// The segment after the last in use: a spare, or a new one.
    pub(super) fn next_segment(&mut self, setup: &Setup) -> SegmentStart {
        let in_use = self.files.iter().rposition(|file| file.bytes[BLOCK..2 * BLOCK].iter().any(|&b| b != 0));
        let next = self.files[in_use.unwrap_or(0)].start.number + 1;
        let spare = self.files.iter().find(|file| file.start.number == next).map(|file| file.start);
        spare.unwrap_or_else(|| self.make(next, setup.segment))
    }

    /// Bytes have reached the disk.
    pub(super) fn write(&mut self, placement: &Placement, bytes: &[u8]) {
        let file = self.files.iter_mut().find(|file| file.start.number == placement.segment).expect("segments are made first");
        let at = usize::try_from(placement.offset).unwrap();
        file.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        if bytes.len() == placement.len {
            let (header, _) = crate::storage::batch::BatchHeader::decode(bytes).expect("a batch was framed");
            self.written.push((placement.sequence, header.last));
        }
    }

    /// Last zxid of the run of batches without a gap: what would survive a crash now.
    pub(super) fn durable_last(&mut self) -> Zxid {
        self.written.sort_unstable();
        let mut last = self.base;
        for (i, &(sequence, zxid)) in (self.first_sequence..).zip(&self.written) {
            if i != sequence {
                break;
            }
            last = zxid;
        }
        last
    }

    /// Reads everything back, as boot does.
    pub(super) fn recover(&mut self, setup: &Setup, now: Now) -> (Restored, Position) {
        let mut restore = match &self.image {
            Some((zxid, file)) => {
                Restore::after(super::archive::load(*zxid, file).expect("the image is good"), SEEDS, TICK_MS, true)
            }
            None => Restore::new(SEEDS, TICK_MS, true),
        };
        let mut recovery = Recovery::new();
        for file in &self.files {
            recovery.segment(file.start.number, &file.bytes, |record| restore.take(record.bytes)).expect("the log reads back");
        }
        let plan = recovery.finish().expect("nothing durable is missing");
        for range in &plan.erase {
            let file = self.files.iter_mut().find(|file| file.start.number == range.segment).unwrap();
            let at = usize::try_from(range.offset).unwrap();
            file.bytes[at..at + usize::try_from(range.len).unwrap()].fill(0);
        }
        assert!(plan.recreate.is_empty() && plan.remove.is_empty(), "the rig makes segments whole");
        let position = match plan.start {
            Start::Continue(position) => position,
            Start::New { number } => Position::new_log(self.make(number, setup.segment)),
        };
        let (restored, orphans) = restore.finish(setup.auth.clone(), now.mono());
        assert_eq!(orphans, [], "ephemerals do not outlive their session");
        self.written.clear();
        self.base = restored.last;
        self.first_sequence = position.sequence;
        (restored, position)
    }

    /// Headers of the transactions after `after` that would survive a crash now.
    pub(super) fn headers(&self, after: Zxid) -> Vec<TxnHeader> {
        let mut headers = Vec::new();
        let mut recovery = Recovery::new();
        for file in &self.files {
            let visit = |record: crate::storage::recovery::Record<'_>| {
                let (header, ..) = txn::decode_blob(record.bytes)?;
                if header.zxid > after {
                    headers.push(header);
                }
                Ok::<_, crate::proto::jute::Malformed>(())
            };
            recovery.segment(file.start.number, &file.bytes, visit).expect("the log reads back");
        }
        headers
    }
}
