//! History: a thread of low priority that reads the log back for learners that lag, a piece at a time, from wherever they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::keeper::{Keeper, Pin};
use super::member_log::zxid_of;
use super::mesh::Common;
use crate::ground::ids::Zxid;
use crate::ground::limits::{BATCH_BYTES_MAX, BLOCK};
use crate::storage::batch::{BATCH_HEADER, BatchHeader, Records};
use crate::storage::segment::{SegmentHeader, file_name};
use crate::storage::selection::Extent;
use crate::zab::{Link, Record};

/// Bytes of a piece, or one transaction that has more.
const PIECE: usize = 1 << 20;

/// Largest batch that is read, bytes. Nobody writes one nearly as large.
const BATCH_MAX: usize = 2 * BATCH_BYTES_MAX;

/// How long the log after a learner's place is kept for it when it asks for nothing.
const PATIENCE: Duration = Duration::from_secs(300);

/// How much nicer than others the thread is to them.
const NICE: i32 = 5;

/// What the thread is asked.
enum Ask {
    /// The transactions after `after`, up to `to`. `base` is where the log begins.
    Read { link: Link, after: Zxid, to: Zxid, base: Zxid },
    /// The log after a state that was sent is kept until the learner has read it.
    Keep { link: Link, pin: Pin },
    /// The link has ended.
    End { link: Link },
}

/// A piece, or nothing where the log does not reach back so far, or cannot be read.
pub type Piece = (Link, Option<Vec<Record>>);

/// The way to the thread, which ends with it.
pub struct HistoryReader {
    asks: Sender<Ask>,
    pieces: Receiver<Piece>,
}

/// Keeps the log for learners that were sent a state.
#[derive(Clone)]
pub struct HistoryPins(Sender<Ask>);

impl HistoryPins {
    /// The log stays as the pin says until the learner of this link has read it, or for some minutes.
    pub fn keep(&self, link: Link, pin: Pin) {
        // Where the thread has ended so has the server.
        let _ = self.0.send(Ask::Keep { link, pin });
    }
}

impl HistoryReader {
    /// Starts the thread for the log in `dir`.
    pub fn start(dir: PathBuf, keeper: Keeper, common: Arc<Common>) -> io::Result<Self> {
        let (asks, inbox) = mpsc::channel();
        let (answers, pieces) = mpsc::channel();
        thread::Builder::new().name("rk-history".to_owned()).spawn(move || {
            // Where the system does not let it step back, it works all the same.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
            let mut work = Work { dir, keeper, places: BTreeMap::new() };
            loop {
                let ask = if work.places.is_empty() { inbox.recv().map_err(Into::into) } else { inbox.recv_timeout(PATIENCE) };
                match ask {
                    Ok(Ask::Read { link, after, to, base }) => {
                        let piece = work.read(link, after, to, base);
                        if answers.send((link, piece)).is_err() {
                            return;
                        }
                        common.ring_sequencer();
                    }
                    Ok(Ask::Keep { link, pin }) => {
                        work.places.insert(link, Place { pin, at: None, since: Instant::now() });
                    }
                    Ok(Ask::End { link }) => drop(work.places.remove(&link)),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                work.places.retain(|_, place| place.since.elapsed() < PATIENCE);
            }
        })?;
        Ok(Self { asks, pieces })
    }

    /// Asks for the transactions after `after`, up to `to`, all of which are durable. `base` is the transaction, or the state, that the log's
    /// first transaction follows. One piece is answered for each.
    pub fn read(&self, link: Link, after: Zxid, to: Zxid, base: Zxid) {
        let _ = self.asks.send(Ask::Read { link, after, to, base });
    }

    /// A link has ended: nothing is kept for it any more.
    pub fn end(&self, link: Link) {
        let _ = self.asks.send(Ask::End { link });
    }

    /// How the log is kept for learners that are sent a state.
    #[must_use]
    pub fn pins(&self) -> HistoryPins {
        HistoryPins(self.asks.clone())
    }

    /// The next piece that was read.
    #[must_use]
    pub fn piece(&self) -> Option<Piece> {
        self.pieces.try_recv().ok()
    }
}

/// Where the next piece for a learner begins.
struct Place {
    pin: Pin,
    at: Option<Spot>,
    since: Instant,
}

/// A batch of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Spot {
    segment: u64,
    offset: u64,
    /// Its sequence and its chain; `None` in the first segment that is looked at.
    next: Option<(u64, u32)>,
    /// The transaction before the one wanted next, which is in this batch or behind it.
    last: Zxid,
}

/// A batch that was read.
struct Found {
    header: BatchHeader,
    crc: u32,
    /// Empty where all of it comes before what is wanted.
    payload: Vec<u8>,
}

struct Work {
    dir: PathBuf,
    keeper: Keeper,
    places: BTreeMap<Link, Place>,
}

impl Work {
    fn read(&mut self, link: Link, after: Zxid, to: Zxid, base: Zxid) -> Option<Vec<Record>> {
        // Kept first, looked for then.
        let place = self.places.remove(&link);
        let spot = place.as_ref().and_then(|place| place.at).filter(|spot| spot.last == after);
        let pin = match place {
            Some(place) if spot.is_some() => place.pin,
            _ => self.keeper.pin(after),
        };
        let segments = self.keeper.segments();
        let (records, at) = collect(&self.dir, &segments, spot, after, to, base).unwrap_or_else(|error| {
            tracing::warn!("cannot read the log for a server that lags, after zxid {after}: {error}");
            None
        })?;
        if records.last().is_some_and(|last| last.zxid < to) {
            let at = Some(at);
            self.places.insert(link, Place { pin, at, since: Instant::now() });
        }
        (!records.is_empty()).then_some(records)
    }
}

/// The first transactions after `after`, up to `to`, and where those after them are. `None` where the log does not have the one before.
fn collect(
    dir: &Path,
    segments: &[Extent],
    spot: Option<Spot>,
    after: Zxid,
    to: Zxid,
    base: Zxid,
) -> io::Result<Option<(Vec<Record>, Spot)>> {
    let known = spot.and_then(|spot| Some((segments.iter().position(|segment| segment.number == spot.segment)?, spot)));
    let (mut index, mut spot) = match known {
        Some(known) => known,
        None => {
            let found = segments.iter().rposition(|segment| segment.begin.is_some_and(|begin| begin.after <= after));
            let Some(index) = found.or((after == base && !segments.is_empty()).then_some(0)) else { return Ok(None) };
            let last = segments[index].begin.map_or(Zxid::ZERO, |begin| begin.after);
            (index, Spot { segment: segments[index].number, offset: BLOCK as u64, next: None, last })
        }
    };
    let (mut records, mut bytes) = (Vec::new(), 0);
    let mut file = Segment::open(dir, spot.segment)?;
    loop {
        let Some(batch) = file.batch(&spot, after)? else {
            // The log goes on in the next segment that has something, if it does.
            let Some(next) = segments.get(index + 1) else { return Ok(Some((records, spot))) };
            index += 1;
            spot = Spot { segment: next.number, offset: BLOCK as u64, ..spot };
            file = Segment::open(dir, spot.segment)?;
            continue;
        };
        for blob in Records::new(&batch.payload) {
            let blob = blob.map_err(io::Error::other)?;
            let zxid = zxid_of(blob).ok_or_else(|| io::Error::other("a batch holds what is no transaction"))?;
            if zxid <= after {
                spot.last = zxid;
                continue;
            }
            if records.is_empty() && spot.last != after && after != base {
                return Ok(None);
            }
            if zxid > to || bytes >= PIECE {
                return Ok(Some((records, spot)));
            }
            bytes += blob.len();
            records.push(Record { zxid, blob: blob.into() });
            spot.last = zxid;
        }
        spot.last = spot.last.max(batch.header.last);
        spot.offset += batch.header.framed_len();
        spot.next = Some((batch.header.sequence + 1, batch.crc));
        if spot.last >= to {
            return Ok(Some((records, spot)));
        }
    }
}

/// A segment that is read.
struct Segment {
    file: File,
    salt: u64,
}

impl Segment {
    fn open(dir: &Path, number: u64) -> io::Result<Self> {
        let file = File::open(dir.join(file_name(number)))?;
        let mut block = [0; BLOCK];
        file.read_exact_at(&mut block, 0)?;
        let header = SegmentHeader::decode(number, &block).map_err(io::Error::other)?;
        Ok(Self { file, salt: header.start.salt })
    }

    /// The batch there, if it is the next one; its records only where some of them come after `after`.
    fn batch(&self, spot: &Spot, after: Zxid) -> io::Result<Option<Found>> {
        let mut head = [0; BATCH_HEADER];
        match self.file.read_exact_at(&mut head, spot.offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let Ok((header, crc)) = BatchHeader::decode(&head) else { return Ok(None) };
        let is_next = spot.next.is_none_or(|next| next == (header.sequence, header.chain));
        if header.salt != self.salt || !is_next {
            return Ok(None);
        }
        let mut payload = Vec::new();
        if header.last > after && header.count > 0 {
            if header.payload_len as usize > BATCH_MAX {
                return Err(io::Error::other(format!("a batch of {} bytes at offset {}", header.payload_len, spot.offset)));
            }
            payload = vec![0; header.payload_len as usize];
            self.file.read_exact_at(&mut payload, spot.offset + BATCH_HEADER as u64)?;
            if crc32fast::hash(&payload) != header.payload_crc {
                return Err(io::Error::other(format!("the batch at offset {} does not match its checksum", spot.offset)));
            }
        }
        Ok(Some(Found { header, crc, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ids::{ServerId, SessionId};
    use crate::ground::time::WallMillis;
    use crate::proto::opcode;
    use crate::proto::txn::{Txn, TxnHeader};
    use crate::storage::appender::{Appender, Contents, Position};
    use crate::storage::batch::{framed_len, put_record};
    use crate::storage::segment::SegmentStart;
    use crate::storage::selection::Begin;

    fn blob(zxid: Zxid) -> Vec<u8> {
        let mut blob = Vec::new();
        TxnHeader { session: SessionId(1), cxid: 1, zxid, time: 1000, kind: opcode::ERROR }.encode(&mut blob);
        Txn::Error { err: -1 }.encode(&mut blob);
        blob.resize(1500, 7);
        blob
    }

    fn start(number: u64) -> SegmentStart {
        SegmentStart { number, salt: number + 70, size: 6 * BLOCK as u64 }
    }

    /// Batches of these transactions, from segment 3 on, each segment followed by a blank one where it is odd.
    fn log(dir: &Path, batches: &[Vec<Zxid>]) -> Vec<Extent> {
        let make = |number: u64| {
            let header = SegmentHeader { start: start(number), server: ServerId(1), created: WallMillis(0), recycled: false };
            let mut file = vec![0; 6 * BLOCK];
            file[..BLOCK].copy_from_slice(&header.encode()[..]);
            file
        };
        let mut number = 3;
        let mut file = make(number);
        let mut log = Appender::new(Position::new_log(start(number)), Zxid::ZERO);
        let begin = |log: &Appender| Some(Begin { after: log.last(), sequence: log.position().sequence });
        let extent = |number, begin| Extent { number, begin, bytes: 6 * BLOCK as u64 };
        let mut segments = vec![extent(number, begin(&log))];
        for batch in batches {
            let mut payload = Vec::new();
            batch.iter().for_each(|zxid| put_record(&mut payload, &blob(*zxid)));
            let len = framed_len(payload.len());
            if !log.fits(len) {
                std::fs::write(dir.join(file_name(number)), &file).unwrap();
                number += 1;
                if number % 2 == 1 {
                    std::fs::write(dir.join(file_name(number)), make(number)).unwrap();
                    segments.push(extent(number, None));
                    log.roll(start(number));
                    number += 1;
                }
                file = make(number);
                log.roll(start(number));
                segments.push(extent(number, begin(&log)));
            }
            let mut out = vec![0; len];
            let contents = Contents { first: batch[0], last: batch[batch.len() - 1], count: u32::try_from(batch.len()).unwrap() };
            let at = log.frame_into(contents, &[&payload], Zxid::ZERO, &mut out);
            let from = usize::try_from(at.offset).unwrap();
            file[from..from + len].copy_from_slice(&out);
            log.flushed(at.sequence);
        }
        std::fs::write(dir.join(file_name(number)), &file).unwrap();
        segments
    }

    #[test]
    fn any_part_of_the_log_is_found_and_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<Zxid> = (1..=20).map(|n| Zxid::new(1, n)).chain((1..=9).map(|n| Zxid::new(3, n))).collect();
        // An epoch begins within a batch, too.
        let mut batches: Vec<Vec<Zxid>> = all.chunks(3).map(<[Zxid]>::to_vec).collect();
        batches.insert(2, batches[2][..1].to_vec());
        batches[3].remove(0);
        let segments = log(dir.path(), &batches);
        assert!(segments.len() == 6 && segments.iter().any(|segment| segment.begin.is_none()));
        let zxids = |records: &[Record]| records.iter().map(|record| record.zxid).collect::<Vec<_>>();
        let befores: Vec<Zxid> = std::iter::once(Zxid::ZERO).chain(all.iter().copied()).collect();
        for (i, after) in befores.iter().enumerate() {
            for j in i + 1..befores.len() {
                let (records, spot) = collect(dir.path(), &segments, None, *after, befores[j], Zxid::ZERO).unwrap().unwrap();
                assert_eq!(zxids(&records), all[i..j], "after {after}");
                assert!(records.iter().all(|record| record.blob[..] == blob(record.zxid)));
                assert_eq!(spot.last, befores[j]);
                if let Some(next) = befores.get(j + 1) {
                    let (records, _) =
                        collect(dir.path(), &segments, Some(spot), befores[j], *next, Zxid::ZERO).unwrap().unwrap();
                    assert_eq!(zxids(&records), [*next]);
                }
            }
        }
        let find = |after, base| collect(dir.path(), &segments, None, after, Zxid::new(9, 9), base).unwrap();
        assert!(find(Zxid::new(1, 21), Zxid::ZERO).is_none() && find(Zxid::new(2, 0), Zxid::ZERO).is_none());
        assert!(collect(dir.path(), &segments[3..], None, Zxid::new(1, 2), Zxid::new(9, 9), Zxid::ZERO).unwrap().is_none());
        // Behind a state the log goes on with whatever comes after it.
        assert_eq!(zxids(&find(Zxid::new(2, 7), Zxid::new(2, 7)).unwrap().0)[0], Zxid::new(3, 1));
        // Nothing is made of what is damaged.
        let path = dir.path().join(file_name(segments[0].number));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[BLOCK + 1000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = collect(dir.path(), &segments, None, Zxid::ZERO, Zxid::new(1, 5), Zxid::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "the batch at offset 4096 does not match its checksum");
    }

    #[test]
    fn pieces_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<Zxid> = (1..=1600).map(|n| Zxid::new(1, n)).collect();
        let batches: Vec<Vec<Zxid>> = all.chunks(7).map(<[Zxid]>::to_vec).collect();
        let segments = log(dir.path(), &batches);
        let (mut spot, mut after, mut pieces) = (None, Zxid::ZERO, 0);
        while after < Zxid::new(1, 1600) {
            let (records, at) = collect(dir.path(), &segments, spot, after, Zxid::new(1, 1600), Zxid::ZERO).unwrap().unwrap();
            assert!(records.iter().map(|record| record.blob.len()).sum::<usize>() < PIECE + 2000);
            assert_eq!((records[0].zxid.0, at.last), (after.0.max(1 << 32) + 1, records[records.len() - 1].zxid));
            (after, spot, pieces) = (at.last, Some(at), pieces + 1);
        }
        assert_eq!(pieces, 3);
    }
}
