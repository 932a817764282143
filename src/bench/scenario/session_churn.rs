//! Session churn: opens a session and closes it, as clients do that live for one question.
//!
//! To open takes a TCP connection and the request until its response; to close takes closeSession until its reply. The client
//! is free for its next session once the server has hung up, which is not measured: until then the server may count the
//! connection against its limits.

use super::cycle::Cycle;
use super::lines::Lines;
use super::tally::Tally;
use super::{Ended, Heard};
use crate::bench::spec::Spec;
use crate::client::ask::Ask;
use crate::client::session::Credentials;

const OPEN: usize = 0;
const CLOSE: usize = 1;

/// What is under way once the session is closed: the server is yet to hang up.
const GONE: usize = 2;

#[derive(Debug)]
pub(super) struct SessionChurn {
    timeout_ms: i32,
    /// Start of the operation under way, of each client, and which it is.
    starts: Vec<(u64, usize)>,
    /// Failures since the last success. Where all clients have failed in a row, and more than once, the server is gone.
    failures: usize,
}

impl SessionChurn {
    pub(super) fn new(spec: &Spec, thread: usize) -> Self {
        let threads = spec.threads.min(spec.connections);
        let clients = (spec.connections - thread).div_ceil(threads);
        Self { timeout_ms: spec.session_timeout_ms, starts: vec![(0, OPEN); clients], failures: 0 }
    }

    fn failed(&mut self, at: usize, now: u64, why: String, lines: &mut Lines, tally: &mut Tally) -> Result<bool, Ended> {
        tally.failed(now, self.starts[at].1, "CONNECTION LOST");
        lines.shut(at);
        self.failures += 1;
        if self.failures > 2 * self.starts.len() {
            return Err(Ended::Lost(lines.server(at).name.clone(), why));
        }
        Ok(true)
    }
}

impl Cycle for SessionChurn {
    const NAMES: &'static [&'static str] = &["open", "close"];
    const HAS_SESSION: bool = false;

    fn begin(&mut self, at: usize, start: u64, lines: &mut Lines) {
        self.starts[at] = (start, OPEN);
        lines.open(at, Credentials::new(self.timeout_ms));
    }

    fn is_asking(&self, at: usize) -> bool {
        self.starts[at].1 != GONE
    }

    fn hear(&mut self, at: usize, now: u64, heard: Heard, lines: &mut Lines, tally: &mut Tally) -> Result<bool, Ended> {
        match heard {
            Heard::Connected(_) => {
                tally.answered(now, OPEN, self.starts[at].0, 0);
                self.starts[at] = (now, CLOSE);
                tally.offered(now);
                lines.ask(at, &Ask::Close);
                Ok(false)
            }
            Heard::Reply(reply) => {
                self.failures = 0;
                tally.answered(now, CLOSE, self.starts[at].0, reply.result.map_or_else(|refusal| refusal.0, |_| 0));
                self.starts[at].1 = GONE;
                Ok(false)
            }
            Heard::Lost(_) if self.starts[at].1 == GONE => {
                self.starts[at].1 = OPEN;
                Ok(true)
            }
            Heard::Lost(why) => self.failed(at, now, why, lines, tally),
            Heard::Expired => self.failed(at, now, "it grants no session".to_owned(), lines, tally),
            other @ Heard::Event(_) => Err(lines.lost(at, now, other)),
        }
    }
}
