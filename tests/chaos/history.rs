//! History: every invocation and completion of one client, in its own order, with the time that all clients share.

use std::fmt::Write as _;
use std::time::Instant;

use ringkeeper::client::answer::{Body, Refusal};

use super::model::Op;

pub enum Event {
    Asked(Op),
    Told {
        zxid: i64,
        result: Result<Body, Refusal>,
    },
    /// What a reader or the nemesis does and what happens to connections.
    Note(String),
}

/// Of one client.
pub struct History {
    began: Instant,
    who: String,
    events: Vec<(u128, Event)>,
}

impl History {
    pub const fn new(began: Instant, who: String) -> Self {
        Self { began, who, events: Vec::new() }
    }

    pub fn push(&mut self, event: Event) {
        self.events.push((self.began.elapsed().as_micros(), event));
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.push(Event::Note(text.into()));
    }

    pub fn clear(&mut self) {
        self.events.clear();
    }

    /// Lines with their times, µs.
    pub fn lines(&self) -> Vec<(u128, String)> {
        let mut lines = Vec::new();
        for (at, event) in &self.events {
            let mut line = format!("{at:>12} {:<10} ", self.who);
            let _ = match event {
                Event::Asked(op) => write!(line, "asks {op:?}"),
                Event::Told { zxid, result } => write!(line, "is told {zxid:#x} {result:?}"),
                Event::Note(text) => write!(line, "{text}"),
            };
            lines.push((*at, line));
        }
        lines
    }
}
