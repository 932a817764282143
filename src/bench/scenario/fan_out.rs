//! Fan-out: one znode changes, and everybody who watches it hears of it.
//!
//! Each watcher has a session and a data watch on the znode; a writer with a session of its own sets it. Times count from the
//! sending of the set: to the first event, to the last, and to each one. Setting the watches again is not measured.

use super::place::Place;
use super::round::{self, PATIENCE_NS, Rounds};
use super::{Ended, Heard, Outcome};
use crate::bench::control::{Control, RunError};
use crate::bench::spec::Spec;
use crate::client::ask::Ask;
use crate::proto::opcode;

const FIRST: usize = 0;
const LAST: usize = 1;
const EACH: usize = 2;
const NAMES: &[&str] = &["first-event", "last-event", "event"];

/// An event that never came.
pub(super) const MISSED: &str = "MISSED WATCH";

/// An event too many.
pub(super) const SURPLUS: &str = "SURPLUS WATCH";

pub(super) fn run(watchers: usize, spec: &Spec, place: &Place, control: &Control) -> Result<Outcome, RunError> {
    let path = format!("{}/watched", place.root);
    let data = vec![b'v'; spec.value_size];
    place.create([path.clone()], &data)?;
    round::run((spec, place, control), NAMES, watchers + 1, |rounds| {
        rounds.open_all()?;
        watch(rounds, &path)?;
        rounds.start();
        while let Some(start) = rounds.next()? {
            change(rounds, &path, &data, start)?;
            watch(rounds, &path)?;
        }
        Ok(())
    })
}

/// The last line is the writer's.
const fn writer(rounds: &Rounds<'_>) -> usize {
    rounds.lines.len() - 1
}

/// Sets the znode and waits for everybody's event.
fn change(rounds: &mut Rounds<'_>, path: &str, data: &[u8], start: u64) -> Result<(), Ended> {
    let writer = writer(rounds);
    let (mut waits, mut left, mut is_set) = (vec![true; writer], writer, false);
    for _ in 0..writer + 2 {
        rounds.tally.offered(start);
    }
    rounds.lines.ask(writer, &Ask::SetData { path, data: Some(data), version: -1 });
    let is_all = rounds.listen(start + PATIENCE_NS, |rounds, at, now, heard| {
        match heard {
            Heard::Event(event) if at < writer && event.path == path => {
                if std::mem::take(&mut waits[at]) {
                    if left == writer {
                        rounds.tally.answered(now, FIRST, start, 0);
                    }
                    left -= 1;
                    rounds.tally.answered(now, EACH, start, 0);
                    if left == 0 {
                        rounds.tally.answered(now, LAST, start, 0);
                    }
                } else {
                    rounds.tally.wrong(now, EACH, SURPLUS);
                }
            }
            Heard::Reply(reply) if at == writer => {
                reply.result.map_err(|refusal| Ended::Other(format!("the set was refused: {refusal}")))?;
                is_set = true;
            }
            other => return Err(rounds.lines.lost(at, now, other)),
        }
        Ok(left == 0 && is_set)
    })?;
    if !is_all {
        let now = rounds.lines.now();
        for _ in 0..left {
            rounds.tally.failed(now, EACH, MISSED);
        }
        rounds.tally.failed(now, LAST, MISSED);
        if !is_set {
            return Err(Ended::Lost(rounds.lines.server(writer).name.clone(), "no answer to the set".to_owned()));
        }
    }
    Ok(())
}

/// Everybody sets a watch.
fn watch(rounds: &mut Rounds<'_>, path: &str) -> Result<(), Ended> {
    let writer = writer(rounds);
    let mut left = writer;
    for at in 0..writer {
        rounds.lines.ask(at, &Ask::GetData { path, watch: true });
    }
    let deadline = rounds.lines.now() + PATIENCE_NS;
    let is_all = rounds.listen(deadline, |rounds, at, now, heard| {
        match heard {
            Heard::Reply(reply) if reply.op == opcode::GET_DATA => {
                reply.result.map_err(|refusal| Ended::Other(format!("a watch was refused: {refusal}")))?;
                left -= 1;
            }
            Heard::Event(_) => rounds.tally.wrong(now, EACH, SURPLUS),
            other => return Err(rounds.lines.lost(at, now, other)),
        }
        Ok(left == 0)
    })?;
    if is_all { Ok(()) } else { Err(Ended::Lost(rounds.lines.server(0).name.clone(), format!("{left} watches are not set"))) }
}
