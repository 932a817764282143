//! Sample: a small log on disk, for the tests of this room.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::ground::ids::{ServerId, Zxid};
use crate::ground::limits::BLOCK;
use crate::ground::time::WallMillis;
use crate::runtime::disk::LogDir;
use crate::storage::appender::{Appender, Contents, Position};
use crate::storage::batch::{framed_len, put_record};
use crate::storage::segment::{SegmentStart, file_name};

const SIZE: u64 = 6 * BLOCK as u64;

/// Writes a log of these batches of records below `dir`, each flushed before the next and ended by a mark. A record's zxid is
/// its number, from 1.
pub fn write_log(dir: &Path, batches: &[Vec<Vec<u8>>]) {
    let log = LogDir::open(dir).unwrap();
    let start = |number| SegmentStart { number, salt: number + 7, size: SIZE };
    let make = |number| log.make(start(number), ServerId(1), WallMillis(0)).unwrap();
    make(1);
    let mut appender = Appender::new(Position::new_log(start(1)), Zxid::ZERO);
    let mut zxid = 0;
    let mut put = |appender: &mut Appender, records: Option<&Vec<Vec<u8>>>| {
        let mut payload = Vec::new();
        records.into_iter().flatten().for_each(|record| put_record(&mut payload, record));
        let len = framed_len(payload.len());
        if !appender.fits(len) {
            let number = appender.position().segment.number + 1;
            make(number);
            appender.roll(start(number));
        }
        let mut out = vec![0; len];
        let placed = match records {
            None => appender.mark_into(Zxid(zxid), &mut out),
            Some(records) => {
                let count = records.len() as u32;
                let contents = Contents { first: Zxid(zxid + 1), last: Zxid(zxid + u64::from(count)), count };
                zxid = contents.last.0;
                appender.frame_into(contents, &[&payload], Zxid(contents.first.0 - 1), &mut out)
            }
        };
        let file = OpenOptions::new().write(true).open(dir.join(file_name(placed.segment))).unwrap();
        file.write_all_at(&out, placed.offset).unwrap();
        appender.flushed(placed.sequence);
    };
    for records in batches {
        put(&mut appender, Some(records));
    }
    put(&mut appender, None);
}
