//! Founding: how a voter that has nothing finds out whether its ensemble is new, or it has lost what it had.
//!
//! An empty voter that joined an old ensemble with its vote could make a quorum that has forgotten what it acknowledged. So it votes only once
//! every other voter (or a majority with it, where the operator says so) has told that it is empty too; as soon as one tells otherwise it is
//! impaired. It asks with notifications of round 0, which count in nobody's election and are answered by all. A server may repeat what it
//! last said when a connection is made, however old that is, so what comes first on one proves nothing; and what was told has to stand for
//! a while.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ground::ids::{ServerId, Zxid};
use crate::ground::time::Millis;
use crate::proto::vote::{Notification, Standing, Vote};

use super::{Bootstrap, Out, Times};

/// How long what all have told has to stand, ms.
const CALM_MS: u64 = 300;

/// How often the operator is told whom it waits for, ms.
const TOLD_MS: u64 = 10_000;

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The ensemble is new.
    New,
    /// Others have something: this server has lost what it had, or never had it.
    Old {
        /// Who told so.
        by: ServerId,
    },
}

/// An empty voter that asks the others.
#[derive(Debug)]
pub struct Founding {
    me: ServerId,
    others: BTreeSet<ServerId>,
    /// How many of them have to be empty.
    wanted: usize,
    empty: BTreeSet<ServerId>,
    /// With whom a connection was made, and nothing has come on it.
    met: BTreeSet<ServerId>,
    config: Arc<[u8]>,
    every: u64,
    ask_at: Millis,
    calm_at: Option<Millis>,
    tell_at: Millis,
}

impl Founding {
    /// Asks, beginning with the first [`time`](Self::time).
    #[must_use]
    pub fn new(me: ServerId, voters: &[ServerId], rule: Bootstrap, config: Arc<[u8]>, times: Times, now: Millis) -> Self {
        let others: BTreeSet<_> = voters.iter().copied().filter(|voter| *voter != me).collect();
        let wanted = match rule {
            Bootstrap::All => others.len(),
            // A majority with this server in it.
            Bootstrap::Majority => voters.len() / 2,
        };
        let every = times.notification_min;
        let tell_at = now.plus(TOLD_MS);
        Self {
            me,
            others,
            wanted,
            empty: BTreeSet::new(),
            met: BTreeSet::new(),
            config,
            every,
            ask_at: now,
            calm_at: None,
            tell_at,
        }
    }

    /// When [`time`](Self::time) is due.
    #[must_use]
    pub fn deadline(&self) -> Millis {
        self.calm_at.map_or(self.ask_at, |at| at.min(self.ask_at))
    }

    /// Time has passed.
    pub fn time(&mut self, now: Millis, out: &mut Vec<Out>) -> Option<Verdict> {
        if self.wanted == 0 || self.calm_at.is_some_and(|at| now >= at) {
            return Some(Verdict::New);
        }
        if now >= self.ask_at {
            self.ask_at = now.plus(self.every);
            let vote = Some(Vote { epoch: 0, zxid: Zxid::ZERO, leader: self.me });
            let config = Some(Arc::clone(&self.config));
            for to in &self.others {
                let config = config.clone();
                out.push(Out::Notify {
                    to: *to,
                    notification: Notification { standing: Standing::Looking, vote, round: 0, config },
                });
            }
        }
        if now >= self.tell_at {
            self.tell_at = now.plus(TOLD_MS);
            let silent: Vec<String> = self.others.difference(&self.empty).map(|server| server.0.to_string()).collect();
            tracing::warn!(
                "this server has nothing, and waits for server {} to say whether the ensemble is new; ensemble.bootstrap=majority has a new one \
                 begin without all of its voters",
                silent.join(", ")
            );
        }
        None
    }

    /// A connection was made.
    pub fn meet(&mut self, from: ServerId) {
        self.met.insert(from);
    }

    /// A server tells how things stand there.
    pub fn hear(&mut self, now: Millis, from: ServerId, said: &Notification) -> Option<Verdict> {
        if !self.others.contains(&from) {
            return None;
        }
        let is_empty =
            said.standing == Standing::Looking && said.vote.is_some_and(|vote| (vote.epoch, vote.zxid) == (0, Zxid::ZERO));
        let is_first = self.met.remove(&from) && !cfg!(mutant = "m39");
        if !is_empty {
            return Some(Verdict::Old { by: from });
        }
        // It may be from before it had anything; it is asked again soon.
        if is_first {
            return None;
        }
        if self.empty.insert(from) && self.empty.len() >= self.wanted {
            self.calm_at = Some(now.plus(CALM_MS));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times =
        Times { tick: 1000, init_limit: 10, sync_limit: 5, notification_min: 200, notification_max: 1000, finalize_wait: 200 };

    fn founding(rule: Bootstrap) -> Founding {
        let voters: Vec<_> = (1..=5).map(ServerId).collect();
        Founding::new(ServerId(1), &voters, rule, b"version=0".as_slice().into(), TIMES, Millis(0))
    }

    fn says(standing: Standing, vote: Option<(u32, u64)>) -> Notification {
        let vote = vote.map(|(epoch, zxid)| Vote { epoch, zxid: Zxid(zxid), leader: ServerId(2) });
        Notification { standing, vote, round: 1, config: None }
    }

    #[test]
    fn all_have_to_be_empty_and_stay_so() {
        for (rule, wanted) in [(Bootstrap::All, 4), (Bootstrap::Majority, 2)] {
            let (mut this, mut out) = (founding(rule), Vec::new());
            assert_eq!(this.time(Millis(0), &mut out), None);
            assert_eq!(out.len(), 4, "it asks every other voter");
            for from in 2..2 + wanted {
                assert_eq!(this.time(Millis(1000), &mut out), None);
                assert_eq!(this.hear(Millis(1000), ServerId(from), &says(Standing::Looking, Some((0, 0)))), None);
            }
            assert_eq!(this.deadline(), Millis(1200));
            assert_eq!((this.time(Millis(1299), &mut out), this.time(Millis(1300), &mut out)), (None, Some(Verdict::New)));
        }
    }

    #[test]
    fn what_comes_first_on_a_connection_may_be_old() {
        let empty = says(Standing::Looking, Some((0, 0)));
        let (mut this, mut out) = (founding(Bootstrap::Majority), Vec::new());
        this.meet(ServerId(2));
        this.meet(ServerId(3));
        for from in [2, 3, 3] {
            assert_eq!(this.hear(Millis(0), ServerId(from), &empty), None);
        }
        assert_eq!(this.time(Millis(400), &mut out), None, "of server 2 nothing is known");
        this.meet(ServerId(2));
        assert_eq!(this.hear(Millis(400), ServerId(2), &empty), None, "it may be the same word again");
        assert_eq!(this.time(Millis(800), &mut out), None);
        assert_eq!(this.hear(Millis(800), ServerId(2), &empty), None);
        assert_eq!((this.time(Millis(1099), &mut out), this.time(Millis(1100), &mut out)), (None, Some(Verdict::New)));

        let mut this = founding(Bootstrap::All);
        this.meet(ServerId(4));
        let old = Some(Verdict::Old { by: ServerId(4) });
        assert_eq!(
            this.hear(Millis(0), ServerId(4), &says(Standing::Following, Some((1, 7)))),
            old,
            "who had something is not new"
        );
    }

    #[test]
    fn one_that_has_something_is_enough() {
        for said in [
            says(Standing::Looking, Some((1, 0))),
            says(Standing::Looking, Some((0, 7))),
            says(Standing::Following, Some((0, 0))),
            says(Standing::Leading, Some((0, 0))),
            says(Standing::Looking, None),
        ] {
            let mut this = founding(Bootstrap::All);
            assert_eq!(this.hear(Millis(0), ServerId(9), &said), None, "it is no voter");
            assert_eq!(this.hear(Millis(0), ServerId(4), &says(Standing::Looking, Some((0, 0)))), None);
            assert_eq!(this.hear(Millis(1), ServerId(4), &said), Some(Verdict::Old { by: ServerId(4) }));
        }
    }
}
