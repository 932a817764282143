//! Connect storm: everybody opens a session at once, as after a network has come back.
//!
//! Sockets are connected as fast as this machine does it. A session takes from its own connect until its response, the whole
//! storm from the first connect to the last response. Then all close, which is not measured.

use super::place::Place;
use super::round::{self, PATIENCE_NS, Rounds};
use super::{Ended, Heard, Outcome};
use crate::bench::control::{Control, RunError};
use crate::bench::spec::Spec;
use crate::client::session::Credentials;

const SESSION: usize = 0;
const WHOLE: usize = 1;
const NAMES: &[&str] = &["session", "whole-storm"];

/// Connections begun between two looks at what has come.
const GUST: usize = 16;

pub(super) fn run(spec: &Spec, place: &Place, control: &Control) -> Result<Outcome, RunError> {
    round::run((spec, place, control), NAMES, spec.connections, |rounds| {
        rounds.start();
        while let Some(start) = rounds.next()? {
            storm(rounds, start)?;
        }
        Ok(())
    })
}

/// What has come of a storm.
struct Storm {
    /// When each began, until it has its session or has failed.
    begun: Vec<Option<u64>>,
    /// Those without a session so far.
    left: usize,
    /// Why the last that failed did.
    failure: Option<String>,
    failures: usize,
    last: u64,
}

fn storm(rounds: &mut Rounds<'_>, start: u64) -> Result<(), Ended> {
    let count = rounds.lines.len();
    let mut storm = Storm { begun: Vec::with_capacity(count), left: count, failure: None, failures: 0, last: start };
    rounds.tally.offered(start);
    for at in 0..count {
        let now = rounds.lines.now();
        storm.begun.push(Some(now));
        rounds.tally.offered(now);
        rounds.lines.open(at, Credentials::new(rounds.spec.session_timeout_ms));
        if at % GUST == GUST - 1 {
            rounds.listen(0, |rounds, at, now, heard| storm.hear(rounds, at, now, heard))?;
        }
    }
    if storm.left > 0 && !rounds.listen(start + PATIENCE_NS, |rounds, at, now, heard| storm.hear(rounds, at, now, heard))? {
        for _ in 0..storm.left {
            rounds.tally.failed(rounds.lines.now(), SESSION, "NO ANSWER");
        }
        storm.failures += storm.left;
    }
    let now = rounds.lines.now();
    match storm.failure {
        Some(why) if storm.failures >= count => return Err(Ended::Lost(rounds.lines.server(0).name.clone(), why)),
        None if storm.failures == 0 => rounds.tally.answered(storm.last, WHOLE, start, 0),
        _ => rounds.tally.failed(now, WHOLE, "SESSIONS FAILED"),
    }
    rounds.lines.close();
    Ok(())
}

impl Storm {
    /// `true` once nobody is left.
    fn hear(&mut self, rounds: &mut Rounds<'_>, at: usize, now: u64, heard: Heard) -> Result<bool, Ended> {
        let begun = self.begun[at].take();
        match heard {
            Heard::Connected(_) => {
                rounds.tally.answered(now, SESSION, begun.expect("a line connects once"), 0);
                self.last = now;
            }
            Heard::Lost(why) => {
                rounds.tally.failed(now, SESSION, "CONNECTION LOST");
                (self.failure, self.failures) = (Some(why), self.failures + 1);
            }
            Heard::Expired => {
                rounds.lines.shut(at);
                rounds.tally.failed(now, SESSION, "NO SESSION");
                (self.failure, self.failures) = (Some("it grants no session".to_owned()), self.failures + 1);
            }
            other => return Err(rounds.lines.lost(at, now, other)),
        }
        // One that had its session and was lost after it is no longer waited for.
        self.left -= usize::from(begun.is_some());
        Ok(self.left == 0)
    }
}
