//! Queue: what a member's log still has to write, in order, and whom to tell when it is durable.

use std::collections::VecDeque;

use crate::ground::ids::Zxid;
use crate::storage::appender::Contents;
use crate::storage::batch::put_record;
use crate::zab::{Record, Token, Write};

/// Transactions that are written together.
#[derive(Debug)]
pub(super) struct Framed {
    /// Length-prefixed blobs.
    pub(super) payload: Vec<u8>,
    /// What they are.
    pub(super) contents: Contents,
}

#[derive(Debug)]
enum Item {
    Batch(Framed),
    /// A write that bears nothing beside it.
    Alone(Token, Write),
}

/// What is to be durable before a write is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Until {
    Logged(Zxid),
    /// The task of this name is done.
    Done,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    answers: VecDeque<(Token, Until)>,
    /// A write that bears nothing beside it is under way.
    is_alone: bool,
}

impl Queue {
    /// Transactions are to be logged. Those that wait go together, as far as a batch of `most` bytes reaches.
    pub(super) fn append(&mut self, token: Token, records: &[Record], most: usize) {
        for record in records {
            let fits = |framed: &Framed| framed.payload.len() + record.blob.len() < most;
            match self.items.back_mut() {
                Some(Item::Batch(framed)) if fits(framed) => {
                    put_record(&mut framed.payload, &record.blob);
                    framed.contents.last = record.zxid;
                    framed.contents.count += 1;
                }
                _ => {
                    let mut payload = Vec::new();
                    put_record(&mut payload, &record.blob);
                    let contents = Contents { first: record.zxid, last: record.zxid, count: 1 };
                    self.items.push_back(Item::Batch(Framed { payload, contents }));
                }
            }
        }
        let last = records.last().expect("an append has transactions").zxid;
        self.answers.push_back((token, Until::Logged(last)));
    }

    /// A batch is to be logged as it is.
    pub(super) fn append_framed(&mut self, token: Token, framed: Framed) {
        self.answers.push_back((token, Until::Logged(framed.contents.last)));
        self.items.push_back(Item::Batch(framed));
    }

    /// Something else is to be made durable.
    pub(super) fn alone(&mut self, token: Token, write: Write) {
        self.items.push_back(Item::Alone(token, write));
        self.answers.push_back((token, Until::Done));
    }

    /// Bytes of the batch that is next, unless something else comes first.
    pub(super) fn next_len(&self) -> Option<usize> {
        match self.items.front() {
            Some(Item::Batch(framed)) if !self.is_alone => Some(framed.payload.len()),
            _ => None,
        }
    }

    /// Takes that batch.
    pub(super) fn take_batch(&mut self) -> Option<Framed> {
        self.next_len()?;
        match self.items.pop_front() {
            Some(Item::Batch(framed)) => Some(framed),
            _ => None,
        }
    }

    /// Takes the write that bears nothing beside it, if it is next; nothing may be in flight.
    pub(super) fn take_alone(&mut self) -> Option<(Token, Write)> {
        if self.is_alone || !matches!(self.items.front(), Some(Item::Alone(..))) {
            return None;
        }
        self.is_alone = true;
        match self.items.pop_front() {
            Some(Item::Alone(token, write)) => Some((token, write)),
            _ => None,
        }
    }

    /// That write is durable.
    pub(super) fn alone_is_done(&mut self, token: Token) {
        assert!(self.is_alone, "what ends was under way");
        assert_eq!(self.answers.pop_front(), Some((token, Until::Done)), "writes end in their order");
        self.is_alone = false;
    }

    /// The next append that is answered: everything up to `durable` is in the log.
    pub(super) fn answer(&mut self, durable: Zxid) -> Option<Token> {
        let (token, until) = self.answers.front()?;
        let is_due = matches!(until, Until::Logged(last) if *last <= durable);
        let token = *token;
        is_due.then(|| {
            self.answers.pop_front();
            token
        })
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_empty_of_batches(&self) -> bool {
        self.items.is_empty() && !self.is_alone
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.answers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::limits::BATCH_BYTES_DEFAULT;

    fn record(counter: u32, len: usize) -> Record {
        Record { zxid: Zxid::new(1, counter), blob: vec![7; len].into() }
    }

    #[test]
    fn what_waits_goes_together_but_for_what_bears_nothing_beside_it() {
        let mut queue = Queue::default();
        queue.append(Token(1), &[record(1, 10), record(2, 10)], BATCH_BYTES_DEFAULT);
        queue.append(Token(2), &[record(3, 10)], BATCH_BYTES_DEFAULT);
        queue.alone(Token(3), Write::Restored);
        queue.append(Token(4), &[record(4, 10)], BATCH_BYTES_DEFAULT);
        assert!(queue.take_alone().is_none(), "transactions come first");
        let batch = queue.take_batch().expect("one waits");
        assert_eq!((batch.contents.first, batch.contents.last, batch.contents.count), (Zxid::new(1, 1), Zxid::new(1, 3), 3));
        assert_eq!(batch.payload.len(), 3 * 14);
        assert!(queue.take_batch().is_none());
        assert_eq!(queue.answer(Zxid::new(1, 1)), None);
        assert_eq!((queue.answer(Zxid::new(1, 3)), queue.answer(Zxid::new(1, 3))), (Some(Token(1)), Some(Token(2))));
        assert_eq!(queue.take_alone(), Some((Token(3), Write::Restored)));
        assert!(queue.next_len().is_none() && queue.take_alone().is_none(), "while it is under way nothing is written");
        assert_eq!(queue.answer(Zxid::new(1, 4)), None);
        queue.alone_is_done(Token(3));
        assert_eq!(queue.take_batch().map(|batch| batch.contents.count), Some(1));
        assert!(!queue.is_empty());
        assert_eq!(queue.answer(Zxid::new(1, 4)), Some(Token(4)));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut queue = Queue::default();
        let records: Vec<_> = (1..=5).map(|counter| record(counter, BATCH_BYTES_DEFAULT / 2 - 100)).collect();
        queue.append(Token(1), &records, BATCH_BYTES_DEFAULT);
        let mut counts = Vec::new();
        while let Some(batch) = queue.take_batch() {
            assert!(batch.payload.len() <= BATCH_BYTES_DEFAULT + 4);
            counts.push(batch.contents.count);
        }
        assert_eq!(counts, [2, 2, 1]);
    }
}
