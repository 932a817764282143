//! Trace: what happened last, in words. Written only where somebody asks for it: a run is repeated exactly when it has failed.

use std::collections::VecDeque;

use crate::proto::packet::Packet;
use crate::zab::{In, Out, Record, Write};

/// Lines that are kept.
const KEPT: usize = 50;

/// The last lines.
#[derive(Debug)]
pub struct Trace {
    is_on: bool,
    prints: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// One that keeps lines, or does nothing.
    #[must_use]
    pub const fn new(is_on: bool) -> Self {
        Self { is_on, prints: false, lines: VecDeque::new() }
    }

    /// Every line goes to standard output at once.
    pub const fn print(&mut self) {
        self.prints = true;
        self.is_on = true;
    }

    /// Something happened at a time, us; the line is made only if it is wanted.
    pub fn note(&mut self, now: u64, line: impl FnOnce() -> String) {
        if !self.is_on {
            return;
        }
        let line = format!("{:>12.6} {}", now as f64 / 1e6, line());
        if self.prints {
            println!("{line}");
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The last lines, oldest first.
    #[must_use]
    pub fn last(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

/// What can be told in a line.
pub trait Told: std::fmt::Debug {
    /// The line.
    fn told(&self) -> String;
}

/// A line about something.
pub fn short(what: &impl Told) -> String {
    what.told()
}

fn span(records: &[Record]) -> String {
    match records {
        [] => "nothing".to_owned(),
        [one] => one.zxid.to_string(),
        [first, .., last] => format!("{}..{} ({})", first.zxid, last.zxid, records.len()),
    }
}

impl Told for Packet {
    fn told(&self) -> String {
        match self {
            Self::Proposal { zxid, .. } => format!("Proposal {zxid}"),
            Self::Inform { zxid, .. } => format!("Inform {zxid}"),
            Self::NewLeader { epoch, .. } => format!("NewLeader {epoch}"),
            other => format!("{other:?}"),
        }
    }
}

impl Told for In {
    fn told(&self) -> String {
        match self {
            Self::Packet { link, packet } => format!("{} {}", link.0, packet.told()),
            Self::Train { link, packets } => {
                format!("{} train: {}", link.0, packets.iter().map(Told::told).collect::<Vec<_>>().join(", "))
            }
            Self::Propose(records) => format!("Propose {}", span(records)),
            Self::History { link, records } => {
                format!("{} History {}", link.0, records.as_ref().map_or("none".to_owned(), |records| span(records)))
            }
            Self::Met { from } => format!("Met {}", from.0),
            Self::Notification { from, notification } => {
                let (standing, vote, round) = (notification.standing, notification.vote, notification.round);
                format!("Notification of {}: {standing:?} {vote:?} round {round}", from.0)
            }
            other => format!("{other:?}"),
        }
    }
}

impl Told for Out {
    fn told(&self) -> String {
        match self {
            Self::Send { link, packet } => format!("{} {}", link.0, packet.told()),
            Self::Store { token, write: Write::Append(records) } => format!("{} Append {}", token.0, span(records)),
            Self::Store { token, write: Write::Install { at, tail, .. } } => {
                format!("{} Install {at} and {}", token.0, span(tail))
            }
            Self::Store { token, write } => format!("{} {write:?}", token.0),
            Self::Fold { link, record } => format!("{} Fold {}", link.0, record.zxid),
            Self::Notify { to, notification } => {
                let (standing, vote, round) = (notification.standing, notification.vote, notification.round);
                format!("Notify {}: {standing:?} {vote:?} round {round}", to.0)
            }
            other => format!("{other:?}"),
        }
    }
}
