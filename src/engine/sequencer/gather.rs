//! Gathers: a census under way, until every shard has sent its part.

use std::collections::BTreeMap;

use super::Sequencer;
use super::local::Locals;
use crate::engine::census::{Census, LedgerCensus, ShardCensus, Word};
use crate::ground::ids::Ticket;
use crate::ground::time::Millis;
use crate::session::throttle::Throttle;

/// Censuses that may be under way at a time; beyond that the oldest is given up, and its connection ends unanswered.
const GATHERS_MAX: usize = 64;

pub(super) struct Gathers {
    shards: u16,
    since: Millis,
    next: u64,
    open: BTreeMap<u64, Gather>,
}

struct Gather {
    ticket: Ticket,
    word: Word,
    parts: Vec<ShardCensus>,
}

impl Gathers {
    pub(super) const fn new(shards: u16, since: Millis) -> Self {
        Self { shards, since, next: 0, open: BTreeMap::new() }
    }

    pub(super) fn begin(&mut self, ticket: Ticket, word: Word) -> (u64, Word) {
        if self.open.len() >= GATHERS_MAX {
            self.open.pop_first();
        }
        self.next += 1;
        self.open.insert(self.next, Gather { ticket, word, parts: Vec::new() });
        (self.next, word)
    }

    pub(super) fn part(&mut self, number: u64, part: ShardCensus) -> Option<(Ticket, Word, Census)> {
        let gather = self.open.get_mut(&number)?;
        gather.parts.push(part);
        if gather.parts.len() < usize::from(self.shards) {
            return None;
        }
        let gather = self.open.remove(&number)?;
        let census = Census { shards: gather.parts, since: self.since, ..Census::default() };
        Some((gather.ticket, gather.word, census))
    }
}

impl Sequencer {
    /// The sequencer's part, with the long lists only for the words that show them.
    pub(super) fn census(&self, word: Word) -> LedgerCensus {
        let tree = self.ledger.tree();
        let mut census = LedgerCensus {
            zxid: self.delivered,
            node_count: tree.node_count() as u64 + 1,
            ephemerals: tree.ephemeral_count() as u64,
            data_size: tree.data_size(),
            sessions: self.sessions.len() as u64,
            local_sessions: self.locals().map(|locals| locals.len() as u64),
            log_bytes: self.log_bytes,
            flushes: self.flushes,
            flush: self.adapt.census(),
            transactions: self.transactions,
            logged: self.appender.durable(),
            archive: self.archive,
            standing: self.standing(),
            refusal_chance: self.throttle.as_ref().map_or(0, Throttle::chance),
            throttled: self.throttle.as_ref().map_or(0, Throttle::refused),
            ..LedgerCensus::default()
        };
        if word == Word::Mntr {
            census.stages = Some(Box::new(self.stages.clone()));
        }
        if word == Word::Dump {
            if self.leads() {
                census.buckets = self.sessions.buckets().into_iter().collect();
            } else {
                census.timeouts = Some(self.sessions().collect());
            }
            census.local_buckets = self.locals().map(Locals::buckets).unwrap_or_default();
            census.ephemeral_paths = tree
                .sessions_with_ephemerals()
                .map(|session| (session, tree.ephemerals(session).map(str::to_owned).collect()))
                .collect();
        }
        census
    }
}
