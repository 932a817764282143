//! State in: a state that a leader sends, read from its stream, made exact, made a tree of, and written down as an image under a name of its
//! own. It lies there until it is put in force, or is removed.
//!
//! A ZooKeeper leader goes on while it writes a state, and what it writes may hold effects of later transactions: these are taken in again
//! before it is a tree (see `zab/following`, which says which they are, and `tree/replay`).

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
use crate::ground::ids::{ServerId, Zxid};
use crate::proto::acl::Acl;
use crate::proto::snapshot::{Body, OPEN_LIST, Part, Wrong};
use crate::tree::loader::LoadError;
use crate::tree::replay::fuzzy::{FoldError, Fuzzy};
use crate::tree::replay::model::Misplaced;
use crate::zab::{Link, Members, Record};

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
    /// Who belongs to the ensemble: what `/zookeeper/config` shows, whatever the leader's does.
    pub members: Members,
    /// Largest path, data and list, bytes.
    pub part_max: usize,
}

/// What the engine says of a state that came.
#[derive(Debug)]
pub enum Further {
    /// A transaction belongs into it.
    Fold(Record),
    /// It is exact, standing there.
    Finish(Zxid),
}

/// What became of a state: it is ready, or the link has to be given up.
pub type Arrival = Result<Arrived, Link>;

/// A state that is ready to be put in force.
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
    /// It does not become exact.
    #[error(transparent)]
    Fold(#[from] FoldError),
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
    /// Takes the state at `at` that comes by `link`, then what the engine says of it. What becomes of it is in `arrived`, unless the link
    /// ends before.
    pub fn take(&self, link: Link, at: Zxid, further: Receiver<Further>, arrived: Sender<Arrival>) -> io::Result<StateSink> {
        let (to, chunks) = mpsc::sync_channel(1);
        let (answers, from) = mpsc::channel();
        let answers = Answers { to: answers, common: Arc::clone(&self.common) };
        let this = self.clone();
        thread::Builder::new().name("rk-state-in".to_owned()).spawn(move || {
            let began = Instant::now();
            let fuzzy = match this.receive(&chunks, &answers) {
                Ok(Some((fuzzy, rest))) => {
                    tracing::info!("received the state at {at} in {} ms", began.elapsed().as_millis());
                    answers.say(Taken::End { rest });
                    fuzzy
                }
                Ok(None) => return,
                Err(failed) => {
                    tracing::warn!("the state that the leader sends cannot be taken: {failed}");
                    answers.say(Taken::Failed(failed.to_string()));
                    return;
                }
            };
            let state = match this.finish(link, fuzzy, &further) {
                Ok(Some(state)) => {
                    tracing::info!("the state is ready at {}, {} ms after it began", state.at, began.elapsed().as_millis());
                    Ok(state)
                }
                Ok(None) => return,
                Err(failed) => {
                    tracing::warn!("the state that the leader sent cannot be put in force: {failed}: it is asked for again");
                    Err(link)
                }
            };
            // Where nobody listens any more the server ends.
            let _ = arrived.send(state);
            this.common.ring_sequencer();
        })?;
        Ok(StateSink { to, from })
    }

    /// The state and the bytes behind it; nothing where the link has ended before.
    fn receive(&self, chunks: &Receiver<Vec<u8>>, answers: &Answers) -> Result<Option<(Fuzzy, Vec<u8>)>, Failed> {
        let mut body = Body::new(self.part_max);
        let mut state = State::default();
        let mut held = Vec::new();
        loop {
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
                return Ok(Some((state.fuzzy, held)));
            }
            if !answers.say(Taken::More) {
                return Ok(None);
            }
        }
    }

    /// Takes in what the leader has committed since, until the state is exact, and makes it ready; nothing where the link has ended before.
    fn finish(&self, link: Link, mut fuzzy: Fuzzy, further: &Receiver<Further>) -> Result<Option<Arrived>, Failed> {
        let mut folded = 0u64;
        let at = loop {
            match further.recv() {
                Ok(Further::Fold(record)) => {
                    fuzzy.fold(record.zxid, &record.blob)?;
                    folded += 1;
                }
                Ok(Further::Finish(at)) => break at,
                Err(_) => return Ok(None),
            }
        };
        if folded > 0 {
            tracing::info!("took {folded} transactions into the state that came, up to {at}");
        }
        let loaded = Loaded::settled(fuzzy.finish()?, at, self.seeds)?;
        let sessions = loaded.sessions.clone();
        let restore = Restore::after(loaded, self.seeds, self.tick_ms, true);
        let now = self.clock.now();
        let (mut restored, orphans) = restore.finish(self.auth.clone(), now.mono());
        restored.show_configuration(&self.members, now.wall);
        for session in orphans {
            tracing::warn!(
                "session {session} has ephemerals in the state that came but is closed there; they stay until they are deleted"
            );
        }
        let view = restored.ledger.tree().view().clone();
        let whole = Whole { view, sessions, zxid: at };
        let (whole, file) = self.write(link, whole)?;
        Ok(Some(Arrived { link, at, restored: Box::new(restored), whole, file }))
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

/// A state on its way.
#[derive(Default)]
struct State {
    fuzzy: Fuzzy,
    lists: BTreeMap<i64, Arc<[Acl]>>,
}

impl State {
    fn add(&mut self, part: Part<'_>) -> Result<(), Failed> {
        match part {
            Part::Session(session, timeout_ms) => {
                self.fuzzy.sessions.insert(session, timeout_ms);
            }
            Part::List(number, list) => {
                self.lists.insert(number, self.fuzzy.model.list(list));
            }
            Part::Znode { path, data, list, persisted } => {
                // A list may be younger than the lists that came; then a transaction tells it.
                let list = match list {
                    OPEN_LIST => Ok(self.fuzzy.model.list(vec![Acl::open()])),
                    number => self.lists.get(&number).cloned().ok_or(number),
                };
                let placed = self.fuzzy.model.place(path, data.map(Into::into), list, persisted.into());
                placed.map_err(|why| match why {
                    Misplaced::Twice => LoadError::Twice(path.into()),
                    Misplaced::Path | Misplaced::Orphan => LoadError::Astray(path.into()),
                })?;
            }
            Part::Sessions(_) | Part::Lists(_) | Part::Znodes | Part::End => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::state_out::{self, Out};
    use super::*;
    use crate::ground::ids::SessionId;
    use crate::proto::jute::Writer;
    use crate::proto::opcode;
    use crate::proto::packet::{Packet, Side};
    use crate::proto::snapshot::{Persisted, put_end, put_list, put_session, put_signature, put_znode};
    use crate::proto::txn::{Txn, TxnHeader};
    use crate::runtime::peer_io::StatePiece;
    use crate::tree::record::Stored;

    const SEEDS: [u64; 4] = [4, 3, 2, 1];

    const CONFIG: &str = "/zookeeper/config";

    const AT: Zxid = Zxid(0x2_0000_0007);

    fn members() -> Members {
        let text = b"server.1=a:2888:3888:participant\nserver.2=b:2888:3888:participant\nversion=0";
        Members { voters: vec![ServerId(1), ServerId(2)], observers: Vec::new(), text: text.as_slice().into(), version: 0 }
    }

    fn states(dir: &std::path::Path) -> StateIn {
        StateIn {
            images: ImageDir::open(dir).unwrap(),
            common: Arc::default(),
            clock: Clock::default(),
            server: ServerId(2),
            auth: AuthConfig::default(),
            seeds: SEEDS,
            tick_ms: 2000,
            members: members(),
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

    /// All but what each server says for itself.
    fn seen(tree: &crate::tree::tree::Tree) -> Seen {
        let of =
            |record: &crate::tree::record::Record| (record.data().map(<[u8]>::to_vec), record.acl().to_vec(), record.stored());
        let records = tree.view().records().filter(|record| record.path() != CONFIG);
        records.map(|record| (record.path().to_owned(), of(record))).collect()
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

    /// Feeds a stream in chunks, then what the engine says; what the stream came to, and what became of the state.
    fn feed_and(states: &StateIn, bytes: &[u8], chunk: usize, say: Vec<Further>) -> (Taken, Option<Arrival>) {
        let (sender, arrived) = mpsc::channel();
        let (further, from_engine) = mpsc::channel();
        let sink = states.take(Link(3), AT, from_engine, sender).unwrap();
        for chunk in bytes.chunks(chunk) {
            sink.to.send(chunk.to_vec()).unwrap();
            match sink.from.recv().unwrap() {
                Taken::More => {}
                taken => {
                    // One that has failed hears no more.
                    say.into_iter().for_each(|word| drop(further.send(word)));
                    drop(further);
                    return (taken, arrived.recv().ok());
                }
            }
        }
        drop(sink.to);
        // The thread ends, and says nothing.
        assert!(sink.from.recv().is_err() && arrived.recv().is_err());
        (Taken::More, None)
    }

    fn feed(states: &StateIn, bytes: &[u8], chunk: usize) -> (Taken, Option<Arrived>) {
        let (taken, arrived) = feed_and(states, bytes, chunk, vec![Further::Finish(AT)]);
        (taken, arrived.map(|arrival| arrival.unwrap_or_else(|_| panic!("the state cannot be finished"))))
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
            for config in [tree.get(CONFIG), whole.view.get(CONFIG)].map(Option::unwrap) {
                assert_eq!((config.data(), config.stored().version), (Some(&*members().text), -1));
            }
            assert_eq!((whole.view.digest(), &whole.sessions), (truth.1, &sessions));
            assert_eq!(
                restored.sessions.iter().map(|(id, session)| (id, session.timeout_ms)).collect::<BTreeMap<_, _>>(),
                sessions
            );
            fs::rename(file.take(), states.images.path_of(AT)).unwrap();
            let loaded = states.images.load(AT, SEEDS).unwrap();
            assert_eq!(loaded.tree.get(CONFIG).unwrap().data(), Some(&*members().text));
            assert_eq!((seen(&loaded.tree), loaded.sessions), (truth.0.clone(), sessions.clone()));
        }
    }

    /// The stream of a state as a Java leader writes it: some znodes as they are in one tree, the rest as in a later one.
    fn java_stream(before: &Loaded, after: &Loaded, turn: usize) -> Vec<u8> {
        let key = |path: &str| path.bytes().map(|byte| if byte == b'/' { 0 } else { byte }).collect::<Vec<u8>>();
        let sorted = |loaded: &Loaded| {
            let records = loaded.tree.view().records();
            records.map(|record| (key(record.path()), record.clone())).collect::<BTreeMap<_, _>>()
        };
        let (old, new) = (sorted(before), sorted(after));
        let mut bytes = Vec::new();
        let all: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        bytes.int(i32::try_from(before.sessions.len()).unwrap());
        before.sessions.iter().for_each(|(session, timeout_ms)| put_session(&mut bytes, *session, *timeout_ms));
        // The lists are written first: those that come later have numbers that nobody knows.
        let lists = [vec![Acl::new(1, "world", "anyone")], vec![Acl::new(31, "digest", "a:b"), Acl::open()]];
        bytes.int(2);
        (1..).zip(&lists).for_each(|(number, list)| put_list(&mut bytes, number, list));
        let number_of = |list: &[Acl]| match lists.iter().position(|known| known == list) {
            Some(place) => i64::try_from(place).unwrap() + 1,
            None if list == [Acl::open()] => OPEN_LIST,
            None => 9,
        };
        for (place, key) in all.into_iter().enumerate() {
            if let Some(record) = (if place < turn { &old } else { &new }).get(key) {
                let path = if record.path() == "/" { "" } else { record.path() };
                put_znode(&mut bytes, path, record.data(), number_of(record.acl()), &record.stored().into());
            }
        }
        put_end(&mut bytes);
        put_signature(&mut bytes);
        bytes
    }

    #[test]
    fn a_fuzzy_state_and_what_was_committed_meanwhile_are_the_exact_state() {
        let blob = |n: u32, kind: i32, txn: &Txn<'_>| {
            let mut blob = Vec::new();
            TxnHeader { session: SessionId(78), cxid: 1, zxid: Zxid(AT.0 + u64::from(n)), time: 2000, kind }.encode(&mut blob);
            txn.encode(&mut blob);
            blob
        };
        let create = |path: &'static str, list: Vec<Acl>, ephemeral, parent_cversion| Txn::Create {
            path: path.into(),
            data: Some(b"new"),
            acl: list.into(),
            ephemeral,
            parent_cversion,
        };
        let delete = |path: &'static str| Txn::Delete { path: path.into() };
        let young = vec![Acl::new(7, "digest", "later:x")];
        let root = state().tree.get("/").unwrap().cversion();
        let n0 = state().tree.get("/n0").unwrap().cversion();
        let txns = [
            (opcode::CREATE_SESSION, Txn::CreateSession { timeout_ms: 6000 }),
            (opcode::CREATE, create("/a", young.clone(), false, root + 1)),
            (opcode::CREATE, create("/a/b", vec![Acl::open()], true, 1)),
            (opcode::SET_DATA, Txn::SetData { path: "/n1".into(), data: Some(b"other"), version: 1 }),
            (opcode::DELETE, delete("/n0/n7")),
            (opcode::CREATE, create("/n0/n7", vec![Acl::open()], false, n0 + 1)),
            (opcode::DELETE, delete("/n0/n14")),
            (opcode::SET_ACL, Txn::SetAcl { path: "/n2".into(), acl: young.into(), version: 1 }),
            (opcode::CREATE, create("/zz", vec![Acl::open()], true, root + 2)),
            (opcode::CLOSE_SESSION, Txn::CloseSession { paths: vec!["/a/b".into(), "/zz".into()] }),
            (opcode::CREATE, create("/z", vec![Acl::open()], false, root + 3)),
            (opcode::ERROR, Txn::Error { err: -101 }),
        ];
        let blobs: Vec<Vec<u8>> = (1..).zip(&txns).map(|(n, (kind, txn))| blob(n, *kind, txn)).collect();
        let after = |count: usize| {
            let mut restore = Restore::after(state(), SEEDS, 2000, true);
            blobs[..count].iter().for_each(|blob| restore.take(blob).unwrap());
            restore.into_loaded()
        };
        let truth = after(blobs.len());
        let (dir, end) = (tempfile::tempdir().unwrap(), Zxid(AT.0 + blobs.len() as u64));
        let states = states(dir.path());
        for (written, turn) in [(0, 0), (blobs.len(), 0), (3, 0), (9, 5), (9, 2000), (10, 900), (12, 1500), (6, 3005), (12, 3006)]
        {
            let bytes = java_stream(&state(), &after(written), turn);
            let folds =
                (1..).zip(&blobs).map(|(n, blob)| Further::Fold(Record { zxid: Zxid(AT.0 + n), blob: blob.as_slice().into() }));
            let say = folds.chain([Further::Finish(end)]).collect();
            let (taken, arrival) = feed_and(&states, &bytes, 1 << 20, say);
            assert!(matches!(taken, Taken::End { .. }), "{taken:?}");
            let Some(Ok(Arrived { at, restored, whole, file, .. })) = arrival else { panic!("{written} {turn}") };
            let tree = restored.ledger.tree();
            assert_eq!((at, restored.last, tree.digest()), (end, end, truth.tree.digest()), "{written} {turn}");
            assert!(seen(tree) == seen(&truth.tree) && whole.sessions == truth.sessions, "{written} {turn}");
            drop(file);
        }
        let strange = Record { zxid: Zxid(AT.0 + 1), blob: blob(1, 77, &Txn::Error { err: -1 }).as_slice().into() };
        let bytes = java_stream(&state(), &state(), 0);
        let (_, arrival) = feed_and(&states, &bytes, 1 << 20, vec![Further::Fold(strange), Further::Finish(end)]);
        assert!(matches!(arrival, Some(Err(Link(3)))), "the link is given up");
        let (_, arrival) = feed_and(&states, &bytes, 1 << 20, vec![]);
        assert!(arrival.is_none(), "the link has ended");
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
        let refused = |paths: &[(&str, i64)]| {
            let (taken, arrival) = feed_and(&states, &znodes(paths), 100, vec![Further::Finish(AT)]);
            matches!(taken, Taken::End { .. }) && matches!(arrival, Some(Err(Link(3))))
        };
        assert!(refused(&[]) && refused(&[("/", -1)]), "a tree has a root, and /zookeeper");
        assert!(refused(&[("/", -1), ("/zookeeper", -1), ("/a", 3)]), "nobody tells the list");
        assert!(line(&znodes(&[("/", -1), ("/a/b", -1)])).contains("not where its parent is"));
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
