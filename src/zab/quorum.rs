//! Quorum: what a majority of the voters is.

use crate::ground::ids::{ServerId, Zxid};

/// The voters, and when they are enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quorum {
    voters: Vec<ServerId>,
}

impl Quorum {
    /// Of these voters.
    #[must_use]
    pub const fn new(voters: Vec<ServerId>) -> Self {
        assert!(!voters.is_empty(), "an ensemble has voters");
        Self { voters }
    }

    /// Whether a server has a vote.
    #[must_use]
    pub fn has(&self, server: ServerId) -> bool {
        self.voters.contains(&server)
    }

    /// They.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.voters.iter().copied()
    }

    /// Whether these are enough; each is named once.
    #[must_use]
    pub fn is_met(&self, servers: impl Iterator<Item = ServerId>) -> bool {
        let votes = servers.filter(|server| self.has(*server)).count();
        assert!(votes <= self.voters.len(), "no voter counts twice");
        votes > self.voters.len() / 2
    }

    /// The highest mark that a majority has reached, of these marks, one a server; `None` where they are too few.
    #[must_use]
    pub fn mark(&self, marks: impl Iterator<Item = (ServerId, Zxid)>) -> Option<Zxid> {
        let mut reached: Vec<Zxid> = marks.filter(|(server, _)| self.has(*server)).map(|(_, mark)| mark).collect();
        assert!(reached.len() <= self.voters.len(), "no voter counts twice");
        reached.sort_unstable_by(|a, b| b.cmp(a));
        reached.get(self.voters.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(n: u8) -> Quorum {
        Quorum::new((1..=n).map(ServerId).collect())
    }

    #[test]
    fn a_majority_of_voters_counts_and_nobody_else() {
        for (voters, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            let quorum = of(voters);
            assert!(quorum.is_met((1..=needed).map(ServerId)));
            assert!(!quorum.is_met((1..needed).map(ServerId)));
            assert!(!quorum.is_met((1..needed).chain(100..150).map(ServerId)));
        }
    }

    #[test]
    fn the_mark_is_the_lowest_of_the_best_majority() {
        let marks = [(ServerId(1), Zxid(9)), (ServerId(2), Zxid(4)), (ServerId(7), Zxid(50)), (ServerId(3), Zxid(6))];
        assert_eq!(of(3).mark(marks.into_iter()), Some(Zxid(6)));
        assert_eq!(of(5).mark(marks.into_iter()), Some(Zxid(4)));
        assert_eq!(of(5).mark(marks.into_iter().take(2)), None);
    }
}
