//! Sync: how a learner's log is made the leader's. Chosen by where it ends, streamed from memory, the log or the whole state.
//!
//! On the wire as in ZooKeeper's `LearnerHandler`: what is agreed goes as a proposal and its commit, to every kind of learner; what is
//! still open goes as a proposal to those that may acknowledge it; then the new leader is to be acknowledged.

use crate::ground::ids::Zxid;
use crate::ground::time::Millis;
use crate::proto::packet::Packet;

use super::books::Books;
use super::history::History;
use super::progress::{Opening, Progress, Stage};
use super::{Link, Out, Record};

/// How a learner is synchronised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// It gets what follows `from`, which is in its log.
    Diff {
        /// The last transaction that it needs not be sent.
        from: Zxid,
    },
    /// It cuts its log after `to`, and gets what follows.
    Trunc {
        /// The last transaction that stays; it is in its log too.
        to: Zxid,
    },
    /// It gets the state whole.
    Snap,
}

/// Chooses, for a learner whose log ends at `last`. `agreed` is the end of what this leader has committed, or will when its epoch stands.
///
/// Cuts are made within an epoch only: a learner that has a transaction of an epoch has all that precede it in that epoch, and Java's
/// server cuts badly where it has to cross one. Nobody is cut at the mark of an epoch (counter 0). A learner that has nothing gets the
/// state, as from Java's server: thus one whose log cannot be cut may ask for it.
#[must_use]
pub fn choose(history: &History, last: Zxid, agreed: Zxid) -> Plan {
    if last == agreed {
        return Plan::Diff { from: last };
    }
    if last == Zxid::ZERO {
        return Plan::Snap;
    }
    let Some(floor) = history.floor(last) else { return Plan::Snap };
    if last.counter() == 0 {
        // It was brought up to the beginning of that epoch, and has nothing of it.
        return Plan::Diff { from: floor.min(agreed) };
    }
    let common = floor.min(agreed);
    if common == last {
        Plan::Diff { from: last }
    } else if common.epoch() == last.epoch() && common.counter() > 0 {
        Plan::Trunc { to: common }
    } else {
        Plan::Snap
    }
}

/// What the streams of a leader have in common.
#[derive(Debug)]
pub struct Streams<'a> {
    /// What there is to send.
    pub books: &'a Books,
    /// The leader's epoch.
    pub epoch: u32,
    /// End of what is committed, or will be when the epoch stands.
    pub agreed: Zxid,
    /// The present.
    pub now: Millis,
}

impl Streams<'_> {
    /// Begins: chooses, and sends what can be sent at once.
    pub fn open(&self, link: Link, learner: &mut Progress, last: Zxid, out: &mut Vec<Out>) {
        match choose(&self.books.history, last, self.agreed) {
            Plan::Diff { from } => self.pump(link, learner, from, Some(Opening::Diff), out),
            Plan::Trunc { to } => self.pump(link, learner, to, Some(Opening::Trunc), out),
            Plan::Snap => self.copy(link, learner, out),
        }
    }

    fn copy(&self, link: Link, learner: &mut Progress, out: &mut Vec<Out>) {
        learner.enter(Stage::Copying, self.now);
        out.push(Out::SendState { link });
        if cfg!(mutant = "m14") {
            out.push(Out::Send { link, packet: Packet::NewLeader { epoch: self.epoch, config: None } });
        }
    }

    /// The next piece of the log has been read, or cannot be.
    pub fn read(
        &self,
        link: Link,
        learner: &mut Progress,
        piece: Option<Vec<Record>>,
        out: &mut Vec<Out>,
    ) -> Result<(), &'static str> {
        let Stage::Reading { mut sent, mut opening } = learner.stage else { return Err("its log is not being read") };
        let Some(records) = piece else {
            // Once the stream has begun it cannot become another.
            return if opening.is_some() {
                self.copy(link, learner, out);
                Ok(())
            } else {
                Err("the log does not reach back far enough")
            };
        };
        assert!(!records.is_empty(), "a piece of the log has something in it");
        self.say_opening(link, sent, opening.take(), out);
        for record in records {
            assert!(History::follows(sent, record.zxid), "the log has no gap: {} after {sent}", record.zxid);
            if record.zxid > self.agreed {
                break;
            }
            sent = record.zxid;
            send_agreed(link, record, out);
        }
        self.pump(link, learner, sent, None, out);
        Ok(())
    }

    /// The state has been sent; it stands at `at`.
    pub fn copied(&self, link: Link, learner: &mut Progress, at: Zxid, out: &mut Vec<Out>) -> Result<(), &'static str> {
        if learner.stage != Stage::Copying {
            return Err("no state is being sent to it");
        }
        if self.books.history.floor(at).is_none() || at > self.agreed {
            return Err("the log does not follow the state that was sent");
        }
        self.pump(link, learner, at, None, out);
        Ok(())
    }

    fn say_opening(&self, link: Link, from: Zxid, opening: Option<Opening>, out: &mut Vec<Out>) {
        match opening {
            Some(Opening::Diff) => out.push(Out::Send { link, packet: Packet::Diff { to: self.agreed } }),
            Some(Opening::Trunc) => out.push(Out::Send { link, packet: Packet::Trunc { to: from } }),
            None => {}
        }
    }

    /// Sends all that memory has, or asks for what comes before that. In the same moment in which nothing is left the learner is attached
    /// to what is live, so that nothing falls between.
    fn pump(&self, link: Link, learner: &mut Progress, sent: Zxid, opening: Option<Opening>, out: &mut Vec<Out>) {
        let history = &self.books.history;
        if sent < self.agreed && history.after(sent).is_none() {
            learner.enter(Stage::Reading { sent, opening }, self.now);
            out.push(Out::Read { link, after: sent, to: self.agreed.min(history.recent_base()) });
            return;
        }
        self.say_opening(link, sent, opening, out);
        let skipped = usize::from(cfg!(mutant = "m20") && opening.is_none());
        for record in history.after(sent.max(history.recent_base())).into_iter().flatten().skip(skipped) {
            if record.zxid <= self.agreed {
                send_agreed(link, record.clone(), out);
            } else if !learner.is_observer() {
                out.push(Out::Send { link, packet: Packet::Proposal { zxid: record.zxid, blob: record.blob.clone() } });
            }
        }
        let config = Some(self.books.members.text.clone());
        out.push(Out::Send { link, packet: Packet::NewLeader { epoch: self.epoch, config } });
        learner.acked = self.agreed;
        learner.enter(Stage::Attached, self.now);
    }
}

fn send_agreed(link: Link, record: Record, out: &mut Vec<Out>) {
    let Record { zxid, blob } = record;
    out.push(Out::Send { link, packet: Packet::Proposal { zxid, blob } });
    out.push(Out::Send { link, packet: Packet::Commit { zxid } });
}

#[cfg(test)]
mod tests {
    use super::super::Found;
    use super::*;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(epoch, counter)
    }

    /// A log with (2,5] .. 2,8, then 4,1 .. 4,3, then 6,1 .. 6,4, agreed to 6,2.
    fn plan(last: Zxid) -> Plan {
        let found = Found {
            accepted: 6,
            current: 6,
            base: z(2, 5),
            ends: vec![z(2, 8), z(4, 3), z(6, 4)],
            delivered: z(6, 2),
            is_impaired: false,
            is_new: None,
        };
        choose(&History::new(&found, 0), last, z(6, 2))
    }

    #[test]
    fn by_where_the_learner_ends() {
        let cases = [
            (Zxid::ZERO, Plan::Snap),
            (z(2, 4), Plan::Snap),
            (z(2, 5), Plan::Diff { from: z(2, 5) }),
            (z(2, 7), Plan::Diff { from: z(2, 7) }),
            (z(2, 9), Plan::Trunc { to: z(2, 8) }),
            (z(4, 9), Plan::Trunc { to: z(4, 3) }),
            (z(6, 2), Plan::Diff { from: z(6, 2) }),
            (z(6, 3), Plan::Trunc { to: z(6, 2) }),
            (z(6, 9), Plan::Trunc { to: z(6, 2) }),
        ];
        for (last, expected) in cases {
            assert_eq!(plan(last), expected, "{last}");
        }
    }

    #[test]
    fn never_across_epochs_and_never_at_a_mark() {
        assert_eq!(plan(z(3, 1)), Plan::Snap);
        assert_eq!(plan(z(5, 2)), Plan::Snap);
        assert_eq!(plan(z(3, 0)), Plan::Diff { from: z(2, 8) });
        assert_eq!(plan(z(5, 0)), Plan::Diff { from: z(4, 3) });
        assert_eq!(plan(z(6, 0)), Plan::Diff { from: z(4, 3) });
        assert_eq!(plan(z(2, 0)), Plan::Snap);
    }

    #[test]
    fn two_that_have_nothing_agree() {
        let found = Found {
            accepted: 0,
            current: 0,
            base: Zxid::ZERO,
            ends: vec![],
            delivered: Zxid::ZERO,
            is_impaired: false,
            is_new: None,
        };
        assert_eq!(choose(&History::new(&found, 0), Zxid::ZERO, Zxid::ZERO), Plan::Diff { from: Zxid::ZERO });
    }
}
