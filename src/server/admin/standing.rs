//! The standing: what the words tell of a server's part in its ensemble.

use crate::engine::census::{Census, ProposalSizes, Standing};
use crate::zab::Role;

/// What a server is called that serves reads alone.
pub(super) const READ_ONLY: &str = "read-only";

/// What `srvr` calls a server, `stat` and `mntr` too; none for one that does not serve.
pub(super) const fn mode(census: &Census) -> Option<&'static str> {
    let Some(standing) = &census.ledger.standing else { return Some("standalone") };
    match standing.role {
        Role::Leading { .. } => Some("leader"),
        Role::Following { .. } => Some("follower"),
        Role::Observing { .. } => Some("observer"),
        Role::Looking | Role::Joining { .. } if standing.is_read_only => Some(READ_ONLY),
        Role::Looking | Role::Joining { .. } => None,
    }
}

/// What a leader has proposed; none where this server does not lead.
pub(super) fn proposals(census: &Census) -> Option<ProposalSizes> {
    census.ledger.standing.as_ref().filter(|standing| leads(standing)).map(|standing| standing.proposals)
}

const fn leads(standing: &Standing) -> bool {
    matches!(standing.role, Role::Leading { .. })
}

/// What a member is at, in the words of `mntr`.
pub(super) const fn peer_state(standing: &Standing) -> &'static str {
    match standing.role {
        Role::Leading { .. } => "leading - broadcast",
        Role::Following { .. } => "following - broadcast",
        Role::Observing { .. } => "observing - broadcast",
        Role::Joining { .. } => "following - synchronization",
        Role::Looking => "looking - election",
    }
}

/// A leader's learners in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Learners {
    /// All of them.
    pub(super) all: usize,
    /// Those with a vote that have what is live.
    pub(super) followers: usize,
    /// Those without one that have it.
    pub(super) observers: usize,
    /// Those that do not have it yet.
    pub(super) behind: usize,
}

/// The learners; none where this server does not lead.
pub(super) fn learners(standing: &Standing) -> Option<Learners> {
    if !leads(standing) {
        return None;
    }
    let count = |is_observer| {
        let of = |learner: &&crate::zab::Learner| learner.is_up_to_date && learner.is_observer == is_observer;
        standing.learners.iter().filter(of).count()
    };
    let (all, followers, observers) = (standing.learners.len(), count(false), count(true));
    Some(Learners { all, followers, observers, behind: all - followers - observers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::census::LedgerCensus;
    use crate::ground::ids::{ServerId, Zxid};
    use crate::zab::{Learner, Link};

    fn standing(role: Role) -> Standing {
        let learner = |link, is_observer, is_up_to_date| Learner {
            link: Link(link),
            server: None,
            is_observer,
            is_up_to_date,
            acked: None,
        };
        let learners = vec![learner(1, false, true), learner(2, false, false), learner(3, true, true), learner(4, true, true)];
        Standing {
            role,
            is_read_only: false,
            is_impaired: false,
            promise: (1, 1),
            proposed: Zxid::ZERO,
            learners,
            voters: 3,
            proposals: ProposalSizes::default(),
        }
    }

    #[test]
    fn roles_have_names() {
        let leader = ServerId(2);
        for (role, name, state) in [
            (Role::Leading { epoch: 1 }, Some("leader"), "leading - broadcast"),
            (Role::Following { leader, epoch: 1 }, Some("follower"), "following - broadcast"),
            (Role::Observing { leader, epoch: 1 }, Some("observer"), "observing - broadcast"),
            (Role::Joining { leader }, None, "following - synchronization"),
            (Role::Looking, None, "looking - election"),
        ] {
            let ledger = LedgerCensus { standing: Some(standing(role)), ..LedgerCensus::default() };
            assert_eq!(mode(&Census { ledger, ..Census::default() }), name);
            assert_eq!(peer_state(&standing(role)), state);
            assert_eq!(learners(&standing(role)).is_some(), name == Some("leader"));
        }
        assert_eq!(mode(&Census::default()), Some("standalone"));
        let reads = Standing { is_read_only: true, ..standing(Role::Looking) };
        let ledger = LedgerCensus { standing: Some(reads), ..LedgerCensus::default() };
        assert_eq!(mode(&Census { ledger, ..Census::default() }), Some("read-only"));
    }

    #[test]
    fn learners_are_counted() {
        let counted = learners(&standing(Role::Leading { epoch: 1 }));
        assert_eq!(counted, Some(Learners { all: 4, followers: 1, observers: 2, behind: 1 }));
    }
}
