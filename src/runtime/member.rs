//! Member: what the sequencer's loop has beside its own in a member of an ensemble. The sockets to the other servers, the log read for those
//! that lag, states that go out and come in, and what the log undergoes beside being appended to.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use super::archivist_loop::Whole;
use super::clock::Clock;
use super::history::HistoryReader;
use super::images::ImageDir;
use super::keeper::Keeper;
use super::member_log::{self, Ended, Task};
use super::mesh::{Common, SequencerPort};
use super::peer_io::{PeerEvent, Peers};
use super::preparer::Preparer;
use super::sequencer_loop::fatal;
use super::state_in::{Arrival, Arrived, Further, StateIn};
use super::state_out::StateOut;
use crate::auth::AuthConfig;
use crate::engine::sequencer::{Done, Restored, Sequencer};
use crate::ground::ids::{ServerId, Zxid};
use crate::ground::time::Now;
use crate::storage::appender::Appender;
use crate::storage::promise::Promise;
use crate::storage::segment::SegmentStart;
use crate::zab::{In, Link, Members, Out, Record, Role, Token, Write};

/// Bytes that may wait for a link while more of the log is handed in for it.
const WAITING_MAX: usize = 1 << 20;

/// What a member's part of the loop is made with.
pub struct MemberSetup {
    /// The sockets to the other servers.
    pub peers: Peers,
    /// The log's directory.
    pub dir: PathBuf,
    /// Where images are.
    pub images: ImageDir,
    /// Where the log begins: the image that the server was started from, or zero (`zab::Found::base`).
    pub base: Zxid,
    /// This server.
    pub server: ServerId,
    /// Who belongs to the ensemble.
    pub members: Members,
    /// Who may do what.
    pub auth: AuthConfig,
    /// Seeds of trees.
    pub seeds: [u64; 4],
    /// `tickTime`, ms.
    pub tick_ms: u64,
    /// `jute.maxbuffer`, bytes.
    pub frame_max: usize,
    /// The clock.
    pub clock: Clock,
    /// Told of every role that this server comes to.
    pub tell: fn(Role),
}

/// A write that bears nothing beside it, under way.
struct Begun {
    token: Token,
    stage: Stage,
}

enum Stage {
    /// Segments are wanted for it.
    Gathers { write: Write, blank: Vec<SegmentStart> },
    /// The keeper does it. What is to be put in force then.
    Runs(Option<(Zxid, Box<Restored>, Whole)>),
}

/// A member's part of the loop.
pub struct Member {
    peers: Peers,
    events: Vec<PeerEvent>,
    history: HistoryReader,
    out: StateOut,
    states: StateIn,
    arrived: (Sender<Arrival>, Receiver<Arrival>),
    /// States that came, and whether their link has ended. Such a one may still have to be put in force.
    received: BTreeMap<Link, (Arrived, bool)>,
    /// Links by which a state comes, and the way to those who take it.
    incoming: BTreeMap<Link, Sender<Further>>,
    /// Links for which the log is read.
    reads: BTreeSet<Link>,
    /// Pieces of it that wait until their link has room.
    pieces: Vec<(Link, Option<Vec<Record>>)>,
    task: Option<Begun>,
    ended: (Sender<Ended>, Receiver<Ended>),
    common: Arc<Common>,
    base: Zxid,
    is_leaving: bool,
    tell: fn(Role),
    /// The role told last.
    told: Option<Role>,
}

impl Member {
    /// A member's part. An error says that a thread cannot be started, or that a server alone was made a member.
    pub fn start(setup: MemberSetup, keeper: &Keeper, port: &SequencerPort) -> std::io::Result<Self> {
        let MemberSetup { peers, dir, images, base, server, members, auth, seeds, tick_ms, frame_max, clock, tell } = setup;
        let common = Arc::clone(port.common());
        let history = HistoryReader::start(dir, keeper.clone(), Arc::clone(&common))?;
        let archivist = port.archivist().ok_or_else(|| std::io::Error::other("a member has an archivist"))?.clone();
        let out = StateOut {
            images: images.clone(),
            keeper: keeper.clone(),
            archivist,
            pins: history.pins(),
            common: Arc::clone(&common),
            seeds,
        };
        let states = StateIn {
            images,
            common: Arc::clone(&common),
            clock,
            server,
            members,
            auth,
            seeds,
            tick_ms,
            part_max: frame_max.saturating_mul(2),
        };
        Ok(Self {
            peers,
            events: Vec::new(),
            history,
            out,
            states,
            arrived: mpsc::channel(),
            received: BTreeMap::new(),
            incoming: BTreeMap::new(),
            reads: BTreeSet::new(),
            pieces: Vec::new(),
            task: None,
            ended: mpsc::channel(),
            common,
            base,
            is_leaving: false,
            tell,
            told: None,
        })
    }

    /// The descriptor that has news when the sockets have.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.peers.descriptor()
    }

    /// Hands the engine what has come: from the sockets, the log, and time. Says whether anything had.
    pub fn turn(&mut self, engine: &mut Sequencer, now: Now) -> bool {
        let mut events = std::mem::take(&mut self.events);
        let mut any = self.peers.turn(&mut events);
        while let Ok(arrival) = self.arrived.1.try_recv() {
            any = true;
            match arrival {
                // What belongs to a link that has ended is nobody's.
                Ok(arrived) if self.incoming.remove(&arrived.link).is_some() => {
                    let link = arrived.link;
                    self.received.insert(link, (arrived, false));
                    engine.step(In::StateFinished { link }, now);
                }
                Err(link) if self.incoming.remove(&link).is_some() => {
                    self.peers.perform(Out::HangUp { link, why: "the state that came cannot be put in force" });
                    events.retain(|event| !event.is_of(link));
                    self.forget(link);
                    engine.step(In::LinkDown { link }, now);
                }
                _ => {}
            }
        }
        for event in events.drain(..) {
            any = true;
            match event {
                PeerEvent::In(input) => {
                    if let In::LinkDown { link } = input {
                        self.forget(link);
                    }
                    engine.step(input, now);
                }
                PeerEvent::StateBegins { link, at } => {
                    let (further, from_engine) = mpsc::channel();
                    match self.states.take(link, at, from_engine, self.arrived.0.clone()) {
                        Ok(sink) => {
                            self.incoming.insert(link, further);
                            self.peers.take_state(link, sink);
                        }
                        Err(error) => fatal(&format!("cannot start a thread: {error}")),
                    }
                }
            }
        }
        self.events = events;
        while let Some(piece) = self.history.piece() {
            self.pieces.push(piece);
        }
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.retain_mut(|(link, records)| {
            if self.reads.contains(link) && self.peers.waiting(*link) >= WAITING_MAX {
                return true;
            }
            // What belongs to a link that has ended is nobody's.
            if self.reads.remove(link) {
                any = true;
                engine.step(In::History { link: *link, records: records.take() }, now);
            }
            false
        });
        self.pieces.append(&mut pieces);
        if engine.deadline().is_some_and(|deadline| deadline <= now.mono()) {
            any = true;
            engine.step(In::Time, now);
        }
        any
    }

    /// Carries out what the engine wants of the sockets and of the log.
    pub fn perform(&mut self, engine: &mut Sequencer) -> bool {
        let role = engine.role();
        if role != self.told
            && let Some(role) = role
        {
            (self.tell)(role);
            self.told = Some(role);
        }
        let effects = engine.effects();
        let any = !effects.is_empty();
        for out in effects {
            match out {
                Out::Read { link, after, to } => {
                    self.reads.insert(link);
                    self.history.read(link, after, to, self.base);
                }
                Out::SendState { link } => match self.out.send(link, self.base, engine.delivered()) {
                    Ok(pieces) => self.peers.begin_state(link, pieces),
                    Err(error) => fatal(&format!("cannot start a thread: {error}")),
                },
                Out::Fold { link, record } => self.say_further(link, Further::Fold(record)),
                Out::Finish { link, at } => self.say_further(link, Further::Finish(at)),
                out => {
                    if let Out::HangUp { link, .. } = out {
                        self.forget(link);
                    }
                    self.peers.perform(out);
                }
            }
        }
        any
    }

    /// Writes to the sockets what waits for them.
    pub fn flush(&mut self) -> bool {
        self.peers.flush()
    }

    /// Where the state's taker has failed, it has said so, or is about to.
    fn say_further(&self, link: Link, further: Further) {
        let _ = self.incoming.get(&link).map(|taker| taker.send(further));
    }

    fn forget(&mut self, link: Link) {
        self.incoming.remove(&link);
        self.reads.remove(&link);
        self.pieces.retain(|(of, _)| *of != link);
        if let Some((_, has_ended)) = self.received.get_mut(&link) {
            *has_ended = true;
        }
        self.history.end(link);
    }

    /// Begins the engine's next task, if there is one.
    pub fn begin(&mut self, engine: &mut Sequencer, preparer: &mut Preparer, keeper: &Keeper) -> bool {
        if self.task.is_none()
            && let Some((token, write)) = engine.task()
        {
            self.task = Some(Begun { token, stage: Stage::Gathers { write, blank: Vec::new() } });
        }
        if self.task.is_none() && engine.is_at_rest() {
            // Nobody will ask for it any more.
            self.received.retain(|_, (_, has_ended)| !*has_ended);
        }
        let Some(begun) = &mut self.task else { return false };
        let Stage::Gathers { write, blank } = &mut begun.stage else { return false };
        while !has_enough(write, blank) {
            match preparer.take() {
                Ok(Some(next)) => blank.push(next),
                Ok(None) => return false,
                // It was told when it failed. The leader does not wait for this server for long; it is done when there is room.
                Err(error) => {
                    tracing::debug!("the log cannot be changed: {error}");
                    return false;
                }
            }
        }
        let mut state = None;
        let blank = std::mem::take(blank);
        let task = match write {
            Write::Promise { accepted, current } => Task::Promise(Promise { accepted: *accepted, current: *current }),
            Write::Restored => Task::Restored,
            Write::Cut { to } => Task::Cut { to: *to, base: self.base, blank: blank[0] },
            Write::Install { link, at, tail } => {
                let arrived = self.received.remove(link).filter(|(arrived, _)| arrived.at == *at);
                let Some((Arrived { restored, whole, file, .. }, _)) = arrived else {
                    fatal("the state that is to be put in force is not there: stopping, acknowledged data is intact");
                };
                state = Some((*at, restored, whole));
                Task::Install { received: file.take(), at: *at, tail: std::mem::take(tail), blank }
            }
            Write::Append(_) => unreachable!("transactions are framed"),
        };
        begun.stage = Stage::Runs(state);
        let (ended, common) = (self.ended.0.clone(), Arc::clone(&self.common));
        keeper.perform(task, move |what| {
            // The loop listens for as long as the keeper lives.
            let _ = ended.send(what);
            common.ring_sequencer();
        });
        true
    }

    /// What the keeper has done, if it has.
    pub fn ended(&mut self) -> Option<Ended> {
        self.ended.1.try_recv().ok()
    }

    /// Tells the engine, and the archivist where the state is another one. Whether the log goes on elsewhere. What the engine had to hand out
    /// before was handed out.
    pub fn finish(
        &mut self,
        ended: Ended,
        engine: &mut Sequencer,
        preparer: &mut Preparer,
        port: &SequencerPort,
        now: Now,
    ) -> bool {
        let begun = self.task.take().expect("what has ended was begun");
        let Stage::Runs(state) = begun.stage else { unreachable!("what has ended ran") };
        let (done, is_moved) = match (ended, state) {
            (Ended::Plain, _) => (Done::Plain, false),
            (Ended::Moved { position, blank }, None) => {
                preparer.give_back(blank);
                (Done::Cut(Appender::new(position, self.base)), true)
            }
            (Ended::Moved { position, blank }, Some((at, restored, whole))) => {
                preparer.give_back(blank);
                self.base = at;
                if let Some(archivist) = port.archivist() {
                    archivist.reset(whole);
                }
                (Done::Installed { restored, appender: Appender::new(position, at) }, true)
            }
        };
        engine.task_done(begun.token, done, now);
        is_moved
    }

    /// Makes way; then whether that is done, and nothing is under way any more.
    pub fn leave(&mut self, engine: &mut Sequencer, now: Now) -> bool {
        if !std::mem::replace(&mut self.is_leaving, true) {
            // What it has to say for it goes out in the next turn.
            engine.leave(now);
            return false;
        }
        self.task.is_none() && engine.role() == Some(Role::Looking)
    }
}

/// Whether so many blank segments are enough for a write.
fn has_enough(write: &Write, blank: &[SegmentStart]) -> bool {
    match write {
        Write::Cut { .. } => !blank.is_empty(),
        Write::Install { tail, .. } => member_log::has_enough(blank, tail),
        Write::Promise { .. } | Write::Restored | Write::Append(_) => true,
    }
}
