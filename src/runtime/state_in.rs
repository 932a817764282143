//! State in: a state that a leader sends, read from its stream, made a tree of, and written down as an image under a name of its own. It lies
//! there until it is put in force, or is removed.
//!
//! A state must be exact at its zxid, as those of our own leaders are. A ZooKeeper leader goes on while it writes one, and what it writes may
//! hold effects of later transactions; that is not told apart here.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use super::archivist_loop::Whole;
use super::clock::Clock;
use super::drive;
use super::images::{ImageDir, ImageFault, PIECE};
use super::mesh::Common;
use super::peer_io::{StateSink, Taken};
use crate::auth::AuthConfig;
use crate::engine::archivist::load::Loaded;
use crate::engine::archivist::policy::Policy;
use crate::engine::archivist::{Archivist, Start, Wrote};
use crate::engine::sequencer::{Restore, Restored};
use crate::ground::ids::{ServerId, SessionId, Zxid};
use crate::proto::acl::Acl;
use crate::proto::path::{self, ROOT};
use crate::proto::snapshot::{Body, OPEN_LIST, Part, Wrong};
use crate::tree::loader::{Joiner, LoadError, Loader};
use crate::tree::record::Stored;
use crate::zab::Link;

/// Where the znodes must be: no server is without.
const SYSTEM: &str = "/zookeeper";

/// What the threads are made with.
#[derive(Clone)]
pub struct StateIn {
    /// Where images are.
    pub images: ImageDir,
    /// Whose bell is rung for each answer.
    pub common: Arc<Common>,
    /// The clock.
    pub clock: Clock,
    /// This server.
    pub server: ServerId,
    /// Who may do what.
    pub auth: AuthConfig,
    /// Seeds of trees.
    pub seeds: [u64; 4],
    /// `tickTime`, ms.
    pub tick_ms: u64,
    /// Largest path, data and list, bytes.
    pub part_max: usize,
}

/// A state that came whole.
pub struct Arrived {
    /// By which link.
    pub link: Link,
    /// The last transaction in it.
    pub at: Zxid,
    /// It.
    pub restored: Box<Restored>,
    /// The same, for the archivist.
    pub whole: Whole,
    /// Its file.
    pub file: Received,
}

/// The file of a state that came; durable, but for its name. It is removed where it is not put in force.
#[derive(Debug)]
pub struct Received(Option<PathBuf>);

impl Received {
    /// It is put in force: from now on whoever does that looks after it.
    ///
    /// # Panics
    /// Where that was done before.
    #[must_use]
    pub fn take(mut self) -> PathBuf {
        self.0.take().expect("a state is put in force once")
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // What is left is removed by the next start.
        let _ = self.0.take().map(|path| drive::remove(&path));
    }
}

/// Why a state is not taken.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// The bytes are no state.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// The znodes are no tree.
    #[error(transparent)]
    Tree(#[from] LoadError),
    /// A znode has a list that is none of the lists.
    #[error("znode {0:?} has the unknown access control list {1}")]
    List(Box<str>, i64),
    /// A server cannot be without.
    #[error("the state has no {0}")]
    Missing(&'static str),
    /// It cannot be written down.
    #[error(transparent)]
    Image(#[from] ImageFault),
}

/// The bell, and what is said with it.
struct Answers {
    to: Sender<Taken>,
    common: Arc<Common>,
}

impl Answers {
    /// Whether anybody listens.
    fn say(&self, taken: Taken) -> bool {
        let is_heard = self.to.send(taken).is_ok();
        self.common.ring_sequencer();
        is_heard
    }
}

impl StateIn {
    /// Takes the state at `at` that comes by `link`. Where it has come whole it is in `arrived` before the sink says so.
    pub fn take(&self, link: Link, at: Zxid, arrived: Sender<Arrived>) -> io::Result<StateSink> {
        let (to, chunks) = mpsc::sync_channel(1);
        let (answers, from) = mpsc::channel();
        let answers = Answers { to: answers, common: Arc::clone(&self.common) };
        let this = self.clone();
        thread::Builder::new().name("rk-state-in".to_owned()).spawn(move || {
            let began = Instant::now();
            match this.run(link, at, &chunks, &answers) {
                Ok(Some((state, rest))) => {
                    tracing::info!("received the state at {at} in {} ms", began.elapsed().as_millis());
                    // Where nobody listens any more the server ends.
                    if arrived.send(state).is_ok() {
                        answers.say(Taken::End { rest });
                    }
                }
                Ok(None) => {}
                Err(failed) => {
                    tracing::warn!("the state that the leader sends cannot be taken: {failed}");
                    answers.say(Taken::Failed(failed.to_string()));
                }
            }
        })?;
        Ok(StateSink { to, from })
    }

    /// The state and the bytes behind it; nothing where the link has ended before.
    fn run(
        &self,
        link: Link,
        at: Zxid,
        chunks: &Receiver<Vec<u8>>,
        answers: &Answers,
    ) -> Result<Option<(Arrived, Vec<u8>)>, Failed> {
        let mut body = Body::new(self.part_max);
        let mut state = State::default();
        let mut held = Vec::new();
        let rest = loop {
            let Ok(chunk) = chunks.recv() else { return Ok(None) };
            held.extend_from_slice(&chunk);
            let mut used = 0;
            let is_whole = loop {
                match body.part(&held[used..])? {
                    None => break false,
                    Some((Part::End, n)) => {
                        used += n;
                        break true;
                    }
                    Some((part, n)) => {
                        state.add(part)?;
                        used += n;
                    }
                }
            };
            held.drain(..used);
            if is_whole {
                break held;
            }
            if !answers.say(Taken::More) {
                return Ok(None);
            }
        };
        let loaded = state.grow(at, self.seeds)?;
        let sessions = loaded.sessions.clone();
        let restore = Restore::after(loaded, self.seeds, self.tick_ms, true);
        let (restored, orphans) = restore.finish(self.auth.clone(), self.clock.now().mono());
        for session in orphans {
            tracing::warn!(
                "session {session} has ephemerals in the state that came but is closed there; they stay until they are deleted"
            );
        }
        let view = restored.ledger.tree().view().clone();
        let whole = Whole { view, sessions, zxid: at };
        let (whole, file) = self.write(link, whole)?;
        Ok(Some((Arrived { link, at, restored: Box::new(restored), whole, file }, rest)))
    }

    /// Writes it down, at full speed: nobody is served meanwhile.
    fn write(&self, link: Link, whole: Whole) -> Result<(Whole, Received), Failed> {
        let Whole { view, sessions, zxid } = whole;
        let copy = Whole { view: view.clone(), sessions: sessions.clone(), zxid };
        let start = Start { view, sessions, zxid, archived: Zxid::ZERO, transactions: 0, bytes: 0 };
        let mut archivist = Archivist::new(start, Policy::default(), self.server, 0);
        let mut out = Vec::new();
        archivist.begin(self.clock.now(), &mut out);
        let mut file = self.images.receive(link.0, PIECE).map_err(ImageFault::from)?;
        loop {
            let wrote = archivist.write(&mut out);
            file.write(&out, &mut |_| ()).map_err(ImageFault::from)?;
            out.clear();
            if wrote == Wrote::All {
                break;
            }
        }
        Ok((copy, Received(Some(file.close(zxid, &mut |_| ())?))))
    }
}

/// One znode as it came, its children counted as they come.
struct Znode {
    path: Box<str>,
    data: Option<Box<[u8]>>,
    list: i64,
    stored: Stored,
}

/// A state on its way.
#[derive(Default)]
struct State {
    sessions: BTreeMap<SessionId, i32>,
    lists: BTreeMap<i64, Vec<Acl>>,
    znodes: Vec<Znode>,
    /// Places of the latest znode and its ancestors, the root first.
    open: Vec<usize>,
}

impl State {
    fn add(&mut self, part: Part<'_>) -> Result<(), Failed> {
        match part {
            Part::Session(session, timeout_ms) => {
                self.sessions.insert(session, timeout_ms);
            }
            Part::List(number, list) => {
                self.lists.insert(number, list);
            }
            Part::Znode { path, data, list, persisted } => {
                if list != OPEN_LIST && !self.lists.contains_key(&list) {
                    return Err(Failed::List(path.into(), list));
                }
                if path != ROOT {
                    let parent = path::split(path).map_or("", |(parent, _)| parent);
                    while self.open.last().is_some_and(|open| *self.znodes[*open].path != *parent) {
                        self.open.pop();
                    }
                    let Some(open) = self.open.last() else { return Err(LoadError::Astray(path.into()).into()) };
                    self.znodes[*open].stored.num_children += 1;
                }
                self.open.push(self.znodes.len());
                self.znodes.push(Znode { path: path.into(), data: data.map(Into::into), list, stored: persisted.into() });
            }
            Part::Sessions(_) | Part::Lists(_) | Part::Znodes | Part::End => {}
        }
        Ok(())
    }

    /// A tree of it.
    fn grow(self, at: Zxid, seeds: [u64; 4]) -> Result<Loaded, Failed> {
        let Self { sessions, mut lists, znodes, .. } = self;
        lists.insert(OPEN_LIST, vec![Acl::open()]);
        let loader = Loader::new(seeds);
        let mut joiner = Joiner::new(&loader);
        let records = loader
            .plant(znodes.iter().map(|Znode { path, data, list, stored }| (&**path, data.as_deref(), &*lists[list], *stored)));
        drop(znodes);
        let digest = records.records().fold(0u64, |digest, record| digest.wrapping_add(u64::from(record.digest())));
        joiner.add(records)?;
        let tree = joiner.finish(loader, digest)?;
        if tree.get(SYSTEM).is_none() {
            return Err(Failed::Missing(SYSTEM));
        }
        Ok(Loaded { tree, sessions, zxid: at })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::state_out::{self, Out};
    use super::*;
    use crate::proto::jute::Writer;
    use crate::proto::opcode;
    use crate::proto::packet::{Packet, Side};
    use crate::proto::snapshot::{Persisted, put_end, put_signature, put_znode};
    use crate::proto::txn::{Txn, TxnHeader};
    use crate::runtime::peer_io::StatePiece;

    const SEEDS: [u64; 4] = [4, 3, 2, 1];

    const AT: Zxid = Zxid(0x2_0000_0007);

    fn states(dir: &std::path::Path) -> StateIn {
        StateIn {
            images: ImageDir::open(dir).unwrap(),
            common: Arc::default(),
            clock: Clock::default(),
            server: ServerId(2),
            auth: AuthConfig::default(),
            seeds: SEEDS,
            tick_ms: 2000,
            part_max: 2 << 20,
        }
    }

    /// Many znodes, large ones, lists, sessions and their ephemerals.
    fn state() -> Loaded {
        let mut restore = Restore::new(SEEDS, 2000, true);
        let mut zxid = Zxid::new(2, 0);
        let mut take = |kind, txn: &Txn<'_>| {
            zxid = zxid.next().unwrap();
            let mut blob = Vec::new();
            TxnHeader { session: SessionId(77), cxid: 1, zxid, time: 1000, kind }.encode(&mut blob);
            txn.encode(&mut blob);
            restore.take(&blob).unwrap();
        };
        take(opcode::CREATE_SESSION, &Txn::CreateSession { timeout_ms: 9000 });
        let lists = [vec![Acl::open()], vec![Acl::new(1, "world", "anyone")], vec![Acl::new(31, "digest", "a:b"), Acl::open()]];
        let large = vec![9; 600 << 10];
        for n in 0..3000usize {
            let path = format!("{}/n{n}", if n > 0 && n % 7 == 0 { "/n0" } else { "" });
            let data = if n % 1000 == 5 { &large[..] } else { path.as_bytes() };
            let data = Some(data).filter(|_| n % 3 != 1);
            let (acl, ephemeral) = (lists[n % 3].clone().into(), n > 0 && n % 11 == 0);
            take(opcode::CREATE, &Txn::Create { path: path.clone().into(), data, acl, ephemeral, parent_cversion: -1 });
        }
        for (n, ttl_ms) in [None, Some(90_000)].into_iter().enumerate() {
            let (path, acl) = (format!("/l{n}").into(), lists[0].clone().into());
            let kind = if ttl_ms.is_some() { opcode::CREATE_TTL } else { opcode::CREATE_CONTAINER };
            take(kind, &Txn::CreateLasting { path, data: None, acl, parent_cversion: -1, ttl_ms });
        }
        let mut loaded = restore.into_loaded();
        loaded.zxid = AT;
        loaded
    }

    type Seen = BTreeMap<String, (Option<Vec<u8>>, Vec<Acl>, Stored)>;

    fn seen(tree: &crate::tree::tree::Tree) -> Seen {
        let of =
            |record: &crate::tree::record::Record| (record.data().map(<[u8]>::to_vec), record.acl().to_vec(), record.stored());
        tree.view().records().map(|record| (record.path().to_owned(), of(record))).collect()
    }

    /// The stream of a state, with its packet before it.
    fn stream(loaded: Loaded, dir: &std::path::Path) -> Vec<u8> {
        let states = states(dir);
        let whole = Whole { view: loaded.tree.into_view(), sessions: loaded.sessions, zxid: loaded.zxid };
        let (_, file) = states.write(Link(1), whole).unwrap();
        fs::rename(file.take(), states.images.path_of(AT)).unwrap();
        let (pieces, receiver) = mpsc::sync_channel(1000);
        let common = Common::default();
        state_out::image(&states.images, SEEDS, AT, &mut Out::new(pieces, &common)).unwrap();
        let mut bytes = Vec::new();
        while let Ok(StatePiece::Bytes(piece)) = receiver.try_recv() {
            bytes.extend(piece);
        }
        bytes
    }

    /// Feeds a stream in chunks; what was said at last, and what arrived.
    fn feed(states: &StateIn, bytes: &[u8], chunk: usize) -> (Taken, Option<Arrived>) {
        let (sender, arrived) = mpsc::channel();
        let sink = states.take(Link(3), AT, sender).unwrap();
        for chunk in bytes.chunks(chunk) {
            sink.to.send(chunk.to_vec()).unwrap();
            match sink.from.recv().unwrap() {
                Taken::More => {}
                taken => return (taken, arrived.try_recv().ok()),
            }
        }
        drop(sink.to);
        // The thread ends, and says nothing.
        assert!(sink.from.recv().is_err() && arrived.recv().is_err());
        (Taken::More, None)
    }

    #[test]
    fn a_state_comes_as_it_went() {
        let (there, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sessions = state().sessions;
        let truth = (seen(&state().tree), state().tree.digest());
        let bytes = stream(state(), there.path());
        let mut snap = Vec::new();
        Packet::Snap { at: AT }.encode(Side::Leader, &mut snap);
        let bytes = bytes.strip_prefix(&snap[..]).unwrap();
        let states = states(here.path());
        for chunk in [1000, 1 << 20] {
            let mut with_more = bytes.to_vec();
            with_more.extend(b"packets");
            let (taken, arrived) = feed(&states, &with_more, chunk);
            let Taken::End { mut rest } = taken else { panic!("{taken:?}") };
            rest.truncate(7);
            assert!(b"packets".starts_with(&rest[..]));
            let Arrived { link, at, restored, whole, file } = arrived.unwrap();
            assert_eq!((link, at, restored.last, whole.zxid), (Link(3), AT, AT, AT));
            let tree = restored.ledger.tree();
            assert_eq!((seen(tree), tree.digest()), truth);
            assert_eq!((whole.view.digest(), &whole.sessions), (truth.1, &sessions));
            assert_eq!(
                restored.sessions.iter().map(|(id, session)| (id, session.timeout_ms)).collect::<BTreeMap<_, _>>(),
                sessions
            );
            fs::rename(file.take(), states.images.path_of(AT)).unwrap();
            let loaded = states.images.load(AT, SEEDS).unwrap();
            assert_eq!((seen(&loaded.tree), loaded.sessions), (truth.0.clone(), sessions.clone()));
        }
    }

    #[test]
    fn what_is_no_state_is_refused_and_leaves_nothing() {
        let here = tempfile::tempdir().unwrap();
        let states = states(here.path());
        let znodes = |paths: &[(&str, i64)]| {
            let mut bytes = vec![0; 8];
            paths.iter().for_each(|(path, list)| put_znode(&mut bytes, path, None, *list, &Persisted::default()));
            put_end(&mut bytes);
            put_signature(&mut bytes);
            bytes
        };
        let line = |bytes: &[u8]| match feed(&states, bytes, 100) {
            (Taken::Failed(line), None) => line,
            other => panic!("{:?}", other.0),
        };
        assert_eq!(line(&znodes(&[("/", -1)])), "the state has no /zookeeper");
        assert!(line(&znodes(&[])).contains("no root"));
        assert!(line(&znodes(&[("/", -1), ("/a/b", -1)])).contains("not where its parent is"));
        assert!(line(&znodes(&[("/", -1), ("/a", 3)])).contains("unknown access control list 3"));
        assert!(line(&znodes(&[("/", -1), ("/zookeeper", -1), ("/zookeeper", -1)])).contains("twice"));
        let mut huge = vec![0; 8];
        huge.int(i32::MAX);
        assert!(line(&huge).contains("claims"));
        let whole = znodes(&[("/", -1), ("/zookeeper", -1)]);
        let (taken, arrived) = feed(&states, &whole[..whole.len() - 1], 7);
        assert!(matches!(taken, Taken::More) && arrived.is_none());
        let (taken, arrived) = feed(&states, &whole, whole.len());
        assert!(matches!(taken, Taken::End { rest } if rest.is_empty()));
        // Given up, its file goes with it.
        drop(arrived.unwrap());
        let names: Vec<_> = fs::read_dir(here.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["lock"]);
    }
}
