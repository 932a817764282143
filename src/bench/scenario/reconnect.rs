//! Reconnect: everybody's connection is lost, and they come back to their sessions with their watches.
//!
//! Each connection has as many data watches as are asked for, on znodes one after the other, and where one connection ends the
//! next begins, so that all znodes have equally many. All connections are dropped without a word and opened again at once:
//! `reattach` is from a connect to its response, `rewatch` from the sending of setWatches (in several where their paths are
//! too long for one, as clients do it) to the reply to the last.
//!
//! Then some znodes are set, each twice, and whoever watches one must have heard of it once. That the event is there is looked
//! at when a read of the znode is answered which began after the set: nobody may see a change before its event.

use std::collections::{BTreeMap, VecDeque};

use super::fan_out::{MISSED, SURPLUS};
use super::place::Place;
use super::round::{self, PATIENCE_NS, Rounds};
use super::{Ended, Heard, Outcome};
use crate::bench::control::{Control, RunError};
use crate::bench::spec::Spec;
use crate::client::ask::Ask;
use crate::client::session::Credentials;
use crate::proto::opcode;

const REATTACH: usize = 0;
const REWATCH: usize = 1;
const NAMES: &[&str] = &["reattach", "rewatch"];

/// Bytes of paths in one setWatches, as in the Java client.
const PATHS_MAX: usize = 128 << 10;

/// Reads of one connection in flight while the watches are set for the first time.
const FLYING: usize = 32;

/// Znodes set after each round.
const SAMPLE: usize = 8;

/// Connections begun between two looks at what has come.
const GUST: usize = 16;

pub(super) fn run(watches: usize, spec: &Spec, place: &Place, control: &Control) -> Result<Outcome, RunError> {
    let paths: Vec<String> = (0..spec.nodes).map(|node| format!("{}/node-{node:08}", place.root)).collect();
    let data = vec![b'v'; spec.value_size];
    place.create(paths.iter().cloned(), &data)?;
    let watched = Watched { paths, watches };
    round::run((spec, place, control), NAMES, spec.connections + 1, |rounds| {
        rounds.open_all()?;
        watched.begin(rounds)?;
        rounds.start();
        let mut round = 0;
        while let Some(start) = rounds.next()? {
            watched.come_back(rounds, start)?;
            watched.prove(rounds, round, &data)?;
            round += 1;
        }
        Ok(())
    })
}

/// Who watches what.
struct Watched {
    paths: Vec<String>,
    watches: usize,
}

/// The last line is the writer's.
const fn writer(rounds: &Rounds<'_>) -> usize {
    rounds.lines.len() - 1
}

impl Watched {
    /// Watch number `nth` of a connection.
    fn path(&self, at: usize, nth: usize) -> &str {
        &self.paths[(at * self.watches + nth) % self.paths.len()]
    }

    fn is_watched_by(&self, node: usize, at: usize) -> bool {
        let count = self.paths.len();
        (node + count - at * self.watches % count) % count < self.watches
    }

    /// Sets all watches, by reads.
    fn begin(&self, rounds: &mut Rounds<'_>) -> Result<(), Ended> {
        let count = writer(rounds);
        let mut asked = vec![self.watches.min(FLYING); count];
        let mut left = count * self.watches;
        for (at, asked) in asked.iter().enumerate() {
            for nth in 0..*asked {
                rounds.lines.ask(at, &Ask::GetData { path: self.path(at, nth), watch: true });
            }
        }
        // As long as they come at all.
        while left > 0 {
            let before = left;
            let deadline = rounds.lines.now() + PATIENCE_NS;
            rounds.listen(deadline, |rounds, at, now, heard| {
                let Heard::Reply(reply) = heard else { return Err(rounds.lines.lost(at, now, heard)) };
                reply.result.map_err(|refusal| Ended::Other(format!("a watch was refused: {refusal}")))?;
                left -= 1;
                if asked[at] < self.watches {
                    rounds.lines.ask(at, &Ask::GetData { path: self.path(at, asked[at]), watch: true });
                    asked[at] += 1;
                }
                Ok(left == 0)
            })?;
            if left == before {
                return Err(Ended::Lost(rounds.lines.server(0).name.clone(), format!("{left} watches are not set")));
            }
        }
        Ok(())
    }

    /// All connections but the writer's are lost, and come back.
    fn come_back(&self, rounds: &mut Rounds<'_>, start: u64) -> Result<(), Ended> {
        let count = writer(rounds);
        let mut all: Vec<Credentials> = Vec::with_capacity(count);
        for at in 0..count {
            let credentials = rounds.lines.credentials(at);
            all.push(credentials.ok_or_else(|| rounds.lines.lost(at, start, Heard::Lost("the connection is gone".to_owned())))?);
            rounds.lines.drop(at);
        }
        let mut back = Back { starts: vec![0; count], chunks: vec![0; count], left: count, all: &all, watched: self };
        for (at, credentials) in all.iter().enumerate() {
            let now = rounds.lines.now();
            back.starts[at] = now;
            rounds.tally.offered(now);
            rounds.lines.open(at, *credentials);
            if at % GUST == GUST - 1 {
                rounds.listen(0, |rounds, at, now, heard| back.hear(rounds, at, now, heard))?;
            }
        }
        if back.left > 0 && !rounds.listen(start + PATIENCE_NS, |rounds, at, now, heard| back.hear(rounds, at, now, heard))? {
            let why = format!("{} of {count} connections are not back with their watches", back.left);
            return Err(Ended::Lost(rounds.lines.server(0).name.clone(), why));
        }
        Ok(())
    }

    /// Sends the watches again, and says in how many packets.
    fn send(&self, rounds: &mut Rounds<'_>, at: usize, credentials: &Credentials) -> usize {
        let (mut nth, mut packets) = (0, 0);
        while nth < self.watches {
            let (mut data, mut bytes) = (Vec::new(), 0);
            while nth < self.watches && (data.is_empty() || bytes + self.path(at, nth).len() <= PATHS_MAX) {
                data.push(self.path(at, nth));
                bytes += self.path(at, nth).len();
                nth += 1;
            }
            let relative_zxid = credentials.last_zxid_seen;
            rounds.lines.ask(at, &Ask::SetWatches { relative_zxid, data: &data, exist: &[], child: &[] });
            packets += 1;
        }
        packets
    }

    /// Sets some znodes and sees that everybody hears of it once; the watches are set again by this.
    fn prove(&self, rounds: &mut Rounds<'_>, round: usize, data: &[u8]) -> Result<(), Ended> {
        let writer = writer(rounds);
        let count = self.paths.len();
        let sample: Vec<usize> = (0..SAMPLE.min(count)).map(|nth| (nth * count / SAMPLE.min(count) + round) % count).collect();
        // How often each watcher has heard of each node.
        let mut events: BTreeMap<(usize, usize), u32> = BTreeMap::new();
        for node in &sample {
            let watchers = (0..writer).filter(|at| self.is_watched_by(*node, *at));
            events.extend(watchers.map(|at| ((at, *node), 0)));
            for _ in 0..2 {
                rounds.lines.ask(writer, &Ask::SetData { path: &self.paths[*node], data: Some(data), version: -1 });
            }
        }
        let mut left = 2 * sample.len();
        let deadline = rounds.lines.now() + PATIENCE_NS;
        let is_set = rounds.listen(deadline, |rounds, at, now, heard| {
            match heard {
                Heard::Event(event) => self.hear(rounds, &mut events, at, now, &event.path),
                Heard::Reply(reply) if at == writer => {
                    reply.result.map_err(|refusal| Ended::Other(format!("a set was refused: {refusal}")))?;
                    left -= 1;
                }
                other => return Err(rounds.lines.lost(at, now, other)),
            }
            Ok(left == 0)
        })?;
        if !is_set {
            return Err(Ended::Lost(rounds.lines.server(writer).name.clone(), "no answer to a set".to_owned()));
        }
        // The sync is for servers that follow another.
        let mut reads = vec![VecDeque::new(); writer];
        for &(at, node) in events.keys() {
            let path = &self.paths[node];
            rounds.lines.ask(at, &Ask::Sync { path });
            rounds.lines.ask(at, &Ask::GetData { path, watch: true });
            reads[at].push_back(node);
        }
        let mut left = events.len();
        let deadline = rounds.lines.now() + PATIENCE_NS;
        let is_read = left == 0
            || rounds.listen(deadline, |rounds, at, now, heard| {
                match heard {
                    Heard::Event(event) => self.hear(rounds, &mut events, at, now, &event.path),
                    Heard::Reply(reply) if reply.op == opcode::SYNC => {}
                    Heard::Reply(reply) if reply.op == opcode::GET_DATA && at < writer => {
                        reply.result.map_err(|refusal| Ended::Other(format!("a read was refused: {refusal}")))?;
                        let node = reads[at].pop_front().expect("replies are matched to requests");
                        if events[&(at, node)] == 0 {
                            rounds.tally.wrong(now, REWATCH, MISSED);
                        }
                        left -= 1;
                    }
                    other => return Err(rounds.lines.lost(at, now, other)),
                }
                Ok(left == 0)
            })?;
        if is_read { Ok(()) } else { Err(Ended::Lost(rounds.lines.server(0).name.clone(), "no answer to a read".to_owned())) }
    }

    /// An event came of a znode that was set.
    fn hear(&self, rounds: &mut Rounds<'_>, events: &mut BTreeMap<(usize, usize), u32>, at: usize, now: u64, path: &str) {
        let node = self.paths.binary_search_by(|other| other.as_str().cmp(path));
        match node.ok().and_then(|node| events.get_mut(&(at, node))) {
            Some(count) if *count == 0 => *count = 1,
            _ => rounds.tally.wrong(now, REWATCH, SURPLUS),
        }
    }
}

/// Connections that come back.
struct Back<'a> {
    /// When the operation of each began.
    starts: Vec<u64>,
    /// Replies to setWatches that each waits for.
    chunks: Vec<usize>,
    left: usize,
    all: &'a [Credentials],
    watched: &'a Watched,
}

impl Back<'_> {
    /// `true` once everybody is back.
    fn hear(&mut self, rounds: &mut Rounds<'_>, at: usize, now: u64, heard: Heard) -> Result<bool, Ended> {
        match heard {
            Heard::Connected(session) if session == self.all[at].session => {
                rounds.tally.answered(now, REATTACH, self.starts[at], 0);
                self.starts[at] = rounds.lines.now();
                rounds.tally.offered(self.starts[at]);
                self.chunks[at] = self.watched.send(rounds, at, &self.all[at]);
            }
            Heard::Reply(reply) if reply.op == opcode::SET_WATCHES => {
                reply.result.map_err(|refusal| Ended::Other(format!("watches were refused: {refusal}")))?;
                self.chunks[at] -= 1;
                if self.chunks[at] == 0 {
                    rounds.tally.answered(now, REWATCH, self.starts[at], 0);
                    self.left -= 1;
                }
            }
            // Nothing has changed while they were away.
            Heard::Event(_) => rounds.tally.wrong(now, REWATCH, SURPLUS),
            Heard::Expired => {
                rounds.tally.failed(now, REATTACH, "SESSION EXPIRED");
                return Err(rounds.lines.lost(at, now, Heard::Expired));
            }
            other => return Err(rounds.lines.lost(at, now, other)),
        }
        Ok(self.left == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_watches_a_znode_is_who_was_given_it() {
        for (count, watches) in [(10, 3), (7, 7), (1, 1), (100, 64)] {
            let watched = Watched { paths: (0..count).map(|node| format!("/{node}")).collect(), watches };
            for at in 0..50 {
                let mine: Vec<&str> = (0..watches).map(|nth| watched.path(at, nth)).collect();
                for node in 0..count {
                    assert_eq!(watched.is_watched_by(node, at), mine.contains(&format!("/{node}").as_str()));
                }
            }
        }
    }
}
