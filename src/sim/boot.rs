//! Boot: what a simulated server makes of its disk when it starts. The same judges as in the real one: papers, selection, recovery.

use std::collections::{BTreeMap, VecDeque};

use super::disk::{Dir, Disk, Op};
use super::log::{Entry, Found, Log, UNFINISHED, erase, used};
use super::papers::Cabinet;
use super::snapshot::{SEEDS, Snapshot};
use crate::auth::AuthConfig;
use crate::engine::sequencer::{Restore, Restored};
use crate::ground::ids::{ServerId, Zxid};
use crate::ground::limits::BLOCK;
use crate::ground::time::Now;
use crate::proto::packet::Blob;
use crate::storage::appender::{Appender, Position};
use crate::storage::manifest;
use crate::storage::papers;
use crate::storage::promise;
use crate::storage::recovery::{Known, Recovery, Start};
use crate::storage::segment::{SegmentHeader, SegmentStart, file_name, hex, number_of};
use crate::storage::selection::{Begin, Extent, HEAD, Selection, superseded};
use crate::storage::watermark;
use crate::zab::Record;

/// Name of an image that is being written.
pub const IMAGE_UNFINISHED: &str = "image.tmp";

/// Name of an image that is being received.
pub const RECEIVED: &str = "received.tmp";

/// The file that says that this server may have forgotten something.
pub const IMPAIRED: &str = "impaired";

/// The name of an image.
#[must_use]
pub fn image_name(at: Zxid) -> String {
    format!("image.{:016x}", at.0)
}

/// What a start found and has to do before it goes on.
#[derive(Debug)]
pub struct Boot {
    /// To be done in order.
    pub ops: VecDeque<Op>,
    /// The log then.
    pub log: Log,
    /// Where it goes on.
    pub appender: Appender,
    /// The papers then.
    pub cabinet: Cabinet,
    /// The image.
    pub image: Snapshot,
    /// Known committed.
    pub committed: Zxid,
    /// The server may have forgotten something.
    pub is_impaired: bool,
}

/// A new server's disk.
pub fn found(disk: &mut Disk, me: ServerId, segment_bytes: u64, salt: u64, is_impaired: bool) {
    Log::found(disk, me, segment_bytes, salt);
    Cabinet::found(disk, me);
    if is_impaired {
        disk.apply(&Op::Create(Dir::Log, IMPAIRED.into()));
    }
    disk.apply(&Op::SyncNames(Dir::Log));
}

/// Reads a disk. Changes nothing. Errors are what an operator would read.
pub fn boot(disk: &Disk, me: ServerId, segment_bytes: u64) -> Result<Boot, String> {
    let line = |error: &dyn std::fmt::Display| error.to_string();
    let papers = papers::judge(Cabinet::files(disk), Some(me)).map_err(|error| line(&error))?;
    let papers = papers.ok_or("the papers are gone")?;
    let numbers: Vec<u64> = disk.names(Dir::Log).filter_map(number_of).collect();
    let bytes = |number: u64| disk.read(Dir::Log, &file_name(number)).expect("it was listed");
    let extents: Vec<Extent> = numbers
        .iter()
        .map(|&number| Extent::of(number, &bytes(number)[..bytes(number).len().min(HEAD)], bytes(number).len() as u64))
        .collect();
    let images = images(disk);
    let snapshot = images.last().cloned().unwrap_or_default();
    let image = snapshot.state;
    let said = papers.manifest.said;
    let selection = Selection::of(&extents, said.oldest, image.at).map_err(|error| line(&error))?;
    let mut recovery = Recovery::knowing(Known { durable: papers.durable(), image: image.at, newest: said.image });
    let doubtful = selection.kept.iter().filter(|extent| extent.begin.is_none()).map(|extent| extent.number);
    for number in selection.leftovers.iter().copied().chain(doubtful) {
        superseded(number, bytes(number), image.at).map_err(|error| line(&error))?;
    }
    let mut entries = Vec::new();
    for extent in &selection.read {
        recovery
            .segment(extent.number, bytes(extent.number), |record| {
                let entry = Entry::of(&record.bytes.into()).ok_or("a record without a zxid")?;
                if entry.mark.zxid > image.at {
                    entries.push(entry);
                }
                Ok::<(), &'static str>(())
            })
            .map_err(|stop| line(&stop))?;
    }
    let plan = recovery.finish().map_err(|error| line(&error))?;
    let last = plan.last.max(image.at);
    // An epoch's history may be written before the epoch is joined; never before it is accepted.
    let accepted = papers.promise.said.accepted;
    if last.epoch() > accepted {
        return Err(format!("the log ends at {last}, and epoch {accepted} was the last accepted"));
    }
    let mut ops = VecDeque::new();
    // After the end of a process alone, what is read may not be durable yet: it must be before anything is built on it. (The log's part of
    // this is in the plan.)
    let papers_found = [manifest::FORM, promise::FORM, watermark::FORM].into_iter();
    for form in papers_found.filter(|form| disk.read(Dir::Log, form.name).is_some() && !cfg!(mutant = "m37")) {
        ops.push_back(Op::Sync(Dir::Log, form.name.into()));
    }
    ops.push_back(Op::SyncNames(Dir::Log));
    ops.push_back(Op::SyncNames(Dir::Images));
    plan.erase.iter().for_each(|range| ops.extend(erase(range)));
    ops.extend(plan.sync.iter().map(|number| Op::Sync(Dir::Log, file_name(*number))));
    let mut spares: VecDeque<SegmentStart> = plan.spares.into();
    let mut going: Vec<u64> = plan.recreate.iter().chain(&plan.remove).copied().collect();
    let position = match plan.start {
        Start::Continue(position) => position,
        Start::New { .. } => return Err("there is no segment to go on in".to_owned()),
    };
    let expected = position.segment.number + 1..;
    let count = spares.iter().zip(expected).take_while(|(spare, number)| spare.number == *number).count();
    going.extend(spares.drain(count..).map(|spare| spare.number));
    going.sort_unstable();
    for number in going.iter().rev() {
        ops.push_back(Op::Remove(Dir::Log, file_name(*number)));
        ops.push_back(Op::SyncNames(Dir::Log));
    }
    clear(disk, &mut ops);
    let (cabinet, more) = Cabinet::establish(&papers, plan.last);
    ops.extend(more);
    let segments = in_use(&selection, &position);
    let mut starts: BTreeMap<u64, SegmentStart> = spares.iter().map(|spare| (spare.number, *spare)).collect();
    for extent in &segments {
        let header = SegmentHeader::decode(extent.number, bytes(extent.number)).map_err(|error| line(&error))?;
        starts.insert(extent.number, header.start);
    }
    let mut pool: VecDeque<u64> = disk.names(Dir::Log).filter_map(|name| number_of(name.strip_prefix("used-")?)).collect();
    for number in &selection.leftovers {
        ops.push_back(Op::Rename(Dir::Log, file_name(*number), used(*number)));
        pool.push_back(*number);
    }
    ops.push_back(Op::SyncNames(Dir::Log));
    let found = Found { position, segments, starts, spares, pool, entries, image };
    Ok(Boot {
        ops,
        log: Log::new(me, segment_bytes, found),
        appender: Appender::new(position, image.at),
        cabinet,
        image: snapshot,
        committed: plan.committed.max(image.at),
        is_impaired: disk.read(Dir::Log, IMPAIRED).is_some(),
    })
}

/// The images whose end is there, ascending.
#[must_use]
pub fn images(disk: &Disk) -> Vec<Snapshot> {
    let named = disk.names(Dir::Images).filter_map(|name| Some((name, Zxid(hex(name.strip_prefix("image.")?)?))));
    named
        .filter_map(|(name, at)| Snapshot::decode(disk.read(Dir::Images, name)?).filter(|snapshot| snapshot.state.at == at))
        .collect()
}

impl Boot {
    /// The tree and the sessions as far as they are known to be committed, and the transactions of the log beyond that. The digest in each
    /// transaction is held against the tree.
    pub fn restore(&self, tick: u64, now: Now) -> Result<(Restored, Vec<Record>), String> {
        let image = self.image.load().map_err(|error| format!("an image is {error}"))?;
        let mut restore = Restore::after(image, SEEDS, tick, true);
        let known = self.log.after(self.committed);
        for entry in self.log.entries().take(known) {
            restore.take(&entry.blob).map_err(|error| error.to_string())?;
        }
        let pending = self.log.entries().skip(known);
        let pending = pending.map(|entry| Record { zxid: entry.mark.zxid, blob: Blob::clone(&entry.blob) }).collect();
        let (restored, orphans) = restore.finish(AuthConfig::default(), now.mono());
        if orphans.is_empty() { Ok((restored, pending)) } else { Err(format!("ephemerals without their sessions {orphans:?}")) }
    }
}

/// Removes what a crash left half made.
fn clear(disk: &Disk, ops: &mut VecDeque<Op>) {
    for (dir, name) in [(Dir::Log, UNFINISHED), (Dir::Images, IMAGE_UNFINISHED), (Dir::Images, RECEIVED)] {
        if disk.read(dir, name).is_some() {
            ops.push_back(Op::Remove(dir, name.into()));
            ops.push_back(Op::SyncNames(dir));
        }
    }
}

/// The segments that hold the log, as they are once the plan was carried out.
fn in_use(selection: &Selection, position: &Position) -> Vec<Extent> {
    let active = position.segment.number;
    let before = selection.kept.iter().chain(&selection.read).filter(|extent| extent.number < active).copied();
    let found = selection.read.iter().find(|extent| extent.number == active).and_then(|extent| extent.begin);
    let begin = found.filter(|_| position.offset > BLOCK as u64);
    let begin = begin.or_else(|| (position.sequence > 1).then_some(Begin { after: position.last, sequence: position.sequence }));
    before.chain([Extent { number: active, begin, bytes: position.segment.size }]).collect()
}
