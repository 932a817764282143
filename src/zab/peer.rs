//! Peer: one server's part in the ensemble, put together from election, discovery, synchronisation and broadcast.

use crate::ground::ids::{ServerId, Zxid};
use crate::ground::time::Millis;

use super::{Found, In, Link, Members, Out, Role, Times};

/// One server's part in the ensemble.
#[derive(Debug)]
pub struct Peer {
    me: ServerId,
    members: Members,
    times: Times,
    found: Found,
    role: Role,
    deadline: Millis,
}

impl Peer {
    /// A server that starts, looking for a leader. What is to be done first is handed out with it.
    #[must_use]
    pub fn new(me: ServerId, members: Members, times: Times, found: Found, now: Millis) -> (Self, Vec<Out>) {
        let peer = Self { me, members, times, found, role: Role::Looking, deadline: now };
        (peer, vec![Out::Became(Role::Looking)])
    }

    /// Takes what comes, and says what is to be done, in this order.
    pub fn step(&mut self, now: Millis, input: In, _out: &mut Vec<Out>) {
        assert!(self.members.voters.contains(&self.me) || self.members.observers.contains(&self.me), "a member");
        if input == In::Time {
            self.deadline = now.plus(self.times.tick / 2);
        }
    }

    /// When [`In::Time`] is due.
    #[must_use]
    pub const fn deadline(&self) -> Millis {
        self.deadline
    }

    /// What it is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// End of the log as far as it is durable.
    #[must_use]
    pub fn logged(&self) -> Zxid {
        self.found.last()
    }

    /// The delivered mark.
    #[must_use]
    pub const fn delivered(&self) -> Zxid {
        self.found.delivered
    }

    /// The newest epoch accepted and the newest joined, as far as they are durable.
    #[must_use]
    pub const fn promise(&self) -> (u32, u32) {
        (self.found.accepted, self.found.current)
    }

    /// The link to the leader, for what the crafts above have to send there; while it follows or observes.
    #[must_use]
    pub const fn leader_link(&self) -> Option<Link> {
        None
    }
}
