//! State out: the newest image as ZooKeeper's stream, for a learner whose log cannot be made the leader's. A thread of low priority for each,
//! which reads the image twice in memory of a few chunks: the lists come before the znodes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use super::archivist_loop::ArchivistFeed;
use super::history::HistoryPins;
use super::images::{ImageDir, ImageFault};
use super::keeper::{Keeper, Pin};
use super::mesh::Common;
use super::peer_io::StatePiece;
use crate::engine::archivist::load::{Inspection, Loader};
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::acl::Acl;
use crate::proto::jute::Writer;
use crate::proto::packet::{Packet, Side};
use crate::proto::snapshot::{OPEN_LIST, put_end, put_list, put_session, put_signature, put_znode};
use crate::tree::record::Record;
use crate::tree::tree::Tree;
use crate::tree::view::{SlotId, View};
use crate::zab::Link;

/// Bytes of a piece, and a znode more.
const PIECE: usize = 256 << 10;

/// Pieces that wait for the socket.
const PIECES: usize = 4;

/// Between two looks for the image that was ordered.
const LOOK: Duration = Duration::from_millis(20);

/// Between two orders of an image.
const ORDER: Duration = Duration::from_millis(200);

/// How long an image may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// How much nicer than others the threads are to them.
const NICE: i32 = 5;

/// What the threads are made with.
#[derive(Clone)]
pub struct StateOut {
    /// Where images are.
    pub images: ImageDir,
    /// Keeps them while they are read.
    pub keeper: Keeper,
    /// Makes one where there is none.
    pub archivist: ArchivistFeed,
    /// Keeps the log behind the state for the learner.
    pub pins: HistoryPins,
    /// Whose bell is rung for each piece.
    pub common: Arc<Common>,
    /// Seeds of trees.
    pub seeds: [u64; 4],
}

/// Why a state cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// An image cannot be read.
    #[error("snapshot {0} {1}")]
    Image(Zxid, ImageFault),
    /// There is none, and none comes.
    #[error("there is no snapshot at zxid {0} or after it, and none could be made in time")]
    None(Zxid),
    /// It is not what it was a moment ago.
    #[error("a snapshot has changed while it was read")]
    Changed,
    /// Nobody takes it any more.
    #[error("the link has ended")]
    Gone,
}

/// Where a state comes from.
enum Chosen {
    Image(Zxid, Pin),
    /// Nothing was ever delivered.
    Fresh(Pin),
}

impl StateOut {
    /// Sends a state on `link`: one at `base` or after it, from where on the log has all. `delivered` is how far it could be.
    pub fn send(&self, link: Link, base: Zxid, delivered: Zxid) -> io::Result<Receiver<StatePiece>> {
        let (pieces, receiver) = mpsc::sync_channel(PIECES);
        let this = self.clone();
        thread::Builder::new().name("rk-state-out".to_owned()).spawn(move || {
            // Where the system does not let it step back, it works all the same.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
            let mut out = Out::new(pieces, &this.common);
            let began = Instant::now();
            let ended = match this.run(link, base, delivered, &mut out) {
                Ok(at) => {
                    tracing::info!(
                        "sent the state at {at} to a learner: {} bytes in {} ms",
                        out.sent,
                        began.elapsed().as_millis()
                    );
                    StatePiece::End { at }
                }
                Err(Failed::Gone) => return,
                Err(failed) => StatePiece::Failed(failed.to_string()),
            };
            // Where nobody listens any more, nobody misses it.
            let _ = out.pieces.send(ended);
            this.common.ring_sequencer();
        })?;
        Ok(receiver)
    }

    fn run(&self, link: Link, base: Zxid, delivered: Zxid, out: &mut Out<'_>) -> Result<Zxid, Failed> {
        match self.choose(base, delivered)? {
            Chosen::Fresh(pin) => {
                fresh(&Tree::new(self.seeds), out)?;
                self.pins.keep(link, pin);
                Ok(Zxid::ZERO)
            }
            Chosen::Image(at, pin) => {
                let sent = image(&self.images, self.seeds, at, out);
                if matches!(sent, Err(Failed::Image(..))) {
                    // Whoever comes next shall find a good one.
                    self.archivist.order_anew();
                }
                sent?;
                self.pins.keep(link, pin);
                Ok(at)
            }
        }
    }

    /// The newest image at `base` or after it; one is ordered where there is none.
    fn choose(&self, base: Zxid, delivered: Zxid) -> Result<Chosen, Failed> {
        // Nothing goes while this one looks.
        let all = self.keeper.pin(Zxid::ZERO);
        let (began, mut orders) = (Instant::now(), 0);
        loop {
            let newest = self.images.list().unwrap_or_default().first().copied();
            if let Some(at) = newest.filter(|at| *at >= base) {
                return Ok(Chosen::Image(at, self.keeper.pin(at)));
            }
            if base == Zxid::ZERO && delivered == Zxid::ZERO {
                return Ok(Chosen::Fresh(all));
            }
            if began.elapsed() > PATIENCE {
                return Err(Failed::None(base));
            }
            // What was delivered a moment ago may not have come to the archivist yet.
            if began.elapsed() >= ORDER * orders {
                self.archivist.order_first();
                orders += 1;
            }
            thread::sleep(LOOK);
        }
    }
}

/// Sends the image at `at`.
pub(super) fn image(images: &ImageDir, seeds: [u64; 4], at: Zxid, out: &mut Out<'_>) -> Result<(), Failed> {
    let failed = |fault| Failed::Image(at, fault);
    let loader = Loader::new(seeds);
    let (mut inspection, mut lists) = (Inspection::default(), Lists::default());
    let totals = images.parts(at, &loader, &mut |part| {
        part.records().for_each(|record| lists.add(record));
        inspection.add(&part)?;
        Ok(true)
    });
    let totals = totals.map_err(failed)?.expect("all of it was wanted");
    let (sessions, _) = inspection.finish(&totals).map_err(|error| failed(error.into()))?;
    begin(at, sessions.into_iter(), &mut lists, out)?;
    let mut put = Ok(());
    let loader = Loader::new(seeds);
    let read = images.parts(at, &loader, &mut |part| {
        put = part.records().try_for_each(|record| lists.put(record, out));
        Ok(put.is_ok())
    });
    read.map_err(failed)?;
    put?;
    end(out)
}

/// What comes before the znodes.
fn begin(
    at: Zxid,
    sessions: impl ExactSizeIterator<Item = (SessionId, i32)>,
    lists: &mut Lists,
    out: &mut Out<'_>,
) -> Result<(), Failed> {
    Packet::Snap { at }.encode(Side::Leader, &mut out.bytes);
    out.bytes.count(sessions.len());
    for (session, timeout_ms) in sessions {
        put_session(&mut out.bytes, session, timeout_ms);
        out.push_if_full()?;
    }
    out.bytes.count(lists.numbers.len());
    for (number, (list, its)) in (1..).zip(&mut lists.numbers) {
        *its = number;
        put_list(&mut out.bytes, number, list);
        out.push_if_full()?;
    }
    Ok(())
}

/// What comes behind them.
fn end(out: &mut Out<'_>) -> Result<(), Failed> {
    put_end(&mut out.bytes);
    put_signature(&mut out.bytes);
    out.push()
}

/// The state of a server that has done nothing.
fn fresh(tree: &Tree, out: &mut Out<'_>) -> Result<(), Failed> {
    let view = tree.view();
    let mut lists = Lists::default();
    let mut all = Vec::new();
    walk(view, SlotId::ROOT, &mut all);
    all.iter().for_each(|slot| lists.add(view.record(*slot)));
    begin(Zxid::ZERO, std::iter::empty(), &mut lists, out)?;
    all.iter().try_for_each(|slot| lists.put(view.record(*slot), out))?;
    end(out)
}

/// A small tree, each znode before its children.
fn walk(view: &View, slot: SlotId, all: &mut Vec<SlotId>) {
    all.push(slot);
    view.child_slots(slot).for_each(|child| walk(view, child, all));
}

/// The lists of the znodes but for the open one, and their numbers.
#[derive(Default)]
struct Lists {
    numbers: BTreeMap<Vec<Acl>, i64>,
}

impl Lists {
    fn add(&mut self, record: &Record) {
        if !record.is_open() && !self.numbers.contains_key(record.acl()) {
            self.numbers.insert(record.acl().to_vec(), 0);
        }
    }

    fn put(&self, record: &Record, out: &mut Out<'_>) -> Result<(), Failed> {
        let list = if record.is_open() { OPEN_LIST } else { *self.numbers.get(record.acl()).ok_or(Failed::Changed)? };
        put_znode(&mut out.bytes, record.path(), record.data(), list, &record.stored().into());
        out.push_if_full()
    }
}

/// Bytes on their way.
pub(super) struct Out<'a> {
    bytes: Vec<u8>,
    sent: u64,
    pieces: SyncSender<StatePiece>,
    common: &'a Common,
}

impl<'a> Out<'a> {
    pub(super) fn new(pieces: SyncSender<StatePiece>, common: &'a Common) -> Self {
        Self { bytes: Vec::with_capacity(PIECE + (PIECE >> 2)), sent: 0, pieces, common }
    }

    fn push_if_full(&mut self) -> Result<(), Failed> {
        if self.bytes.len() < PIECE { Ok(()) } else { self.push() }
    }

    fn push(&mut self) -> Result<(), Failed> {
        self.sent += self.bytes.len() as u64;
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(PIECE + (PIECE >> 2)));
        self.pieces.send(StatePiece::Bytes(bytes)).map_err(|_| Failed::Gone)?;
        self.common.ring_sequencer();
        Ok(())
    }
}
