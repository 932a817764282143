//! Peer I/O: the sockets between servers. Bytes of the election port and the quorum port in, [`zab::In`] out; [`zab::Out`] in,
//! bytes out. It decides nothing of Zab's: which connection of two servers stays is the wire's rule (`proto/preamble`).
//!
//! [`Peers`] lives in the sequencer's loop and never blocks. A turn of that loop takes what has come ([`Peers::turn`]), hands it
//! to the engine, performs the effects ([`Peers::perform`]) and writes ([`Peers::flush`]). All sockets are in one epoll set,
//! whose descriptor ([`Peers::descriptor`]) has news when a turn has something to do. On an executor of the sequencer's own it is
//! awaited through the ring; where the sequencer shares an executor with a shard, it is nested in the epoll set of that shard,
//! whose loop rings the sequencer's bell for it (`shard_loop`).

mod acceptor;
mod dial;
mod election;
mod link;
mod peers;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

pub use self::peers::Peers;

use crate::ground::ids::{ServerId, Zxid};
use crate::proto::members::PeerAddress;
use crate::zab::{self, Link};

/// What the sockets between servers are to be.
#[derive(Clone, Debug)]
pub struct PeersConfig {
    /// This server.
    pub me: ServerId,
    /// Where the servers are met, this one among them. Names are resolved each time that one is called.
    pub servers: BTreeMap<ServerId, PeerAddress>,
    /// The own ports are listened on at every address, not at the one of the own line (`quorumListenOnAllIPs`).
    pub listens_everywhere: bool,
    /// `SO_KEEPALIVE` on connections of the election port (`tcpKeepAlive`).
    pub tcp_keepalive: bool,
    /// How long connecting to another server's election port may take (`cnxTimeout`).
    pub connect_timeout: Duration,
    /// How long one try to connect to a leader may take: no longer than `connectToLearnerMasterLimit` ticks, and short enough that a leader that
    /// cannot answer is given up soon.
    pub leader_timeout: Duration,
    /// How long the first message of a connection of the election port may take (`quorumCnxnTimeoutMs`).
    pub greeting_timeout: Duration,
    /// A connection of the election port whose other end has acknowledged nothing for so long is given up (`TCP_USER_TIMEOUT`), so that
    /// the way is tried anew rather than by the system's ever longer pauses.
    pub silence: Duration,
    /// The same for links: as long as a leader and its learners bear each other's silence (`syncLimit` ticks).
    pub link_silence: Duration,
    /// Largest data of a packet, bytes: twice `jute.maxbuffer`, as in a Java server.
    pub packet_max: usize,
    /// Bytes that may wait for one link; a learner that lags more is dropped.
    pub output_max: usize,
}

/// What the sockets have brought.
#[derive(Debug)]
pub enum PeerEvent {
    /// For the engine.
    In(zab::In),
    /// A state follows on a link: nothing more of it is read until [`Peers::take_state`] says where the state goes. The engine has
    /// been handed its `Packet::Snap` by the event before this one.
    StateBegins {
        /// Which link.
        link: Link,
        /// What `Packet::Snap` said: where the leader stood at least when the state began.
        at: Zxid,
    },
}

impl PeerEvent {
    /// Whether it is of this link.
    #[must_use]
    pub fn is_of(&self, of: Link) -> bool {
        match self {
            Self::StateBegins { link, .. } => *link == of,
            Self::In(input) => match input {
                zab::In::LinkDown { link }
                | zab::In::Packet { link, .. }
                | zab::In::Train { link, .. }
                | zab::In::Accepted { link }
                | zab::In::StateSent { link, .. }
                | zab::In::StateReceived { link } => *link == of,
                _ => false,
            },
        }
    }
}

/// A piece of a state that goes out. `Packet::Snap` and the end of the stream are pieces like the others.
#[derive(Debug)]
pub enum StatePiece {
    /// Bytes, 1 MiB or so at most.
    Bytes(Vec<u8>),
    /// That was all.
    End {
        /// The state's own zxid.
        at: Zxid,
    },
    /// There will be no more: the link is given up. A sender that is dropped without a word means the same.
    Failed(String),
}

/// Where the bytes of a state go that comes in. One chunk is under way at a time: the next one is put into `to` only after an answer
/// came out of `from`. Whoever answers rings the sequencer's bell.
#[derive(Debug)]
pub struct StateSink {
    /// Chunks, 1 MiB at most each, none of them empty. Room for one is enough.
    pub to: SyncSender<Vec<u8>>,
    /// Answers, one a chunk.
    pub from: Receiver<Taken>,
}

/// What the taker of a state says to a chunk.
#[derive(Debug)]
pub enum Taken {
    /// It wants the next one.
    More,
    /// The state is whole.
    End {
        /// What of the last chunk stands behind the state: packets.
        rest: Vec<u8>,
    },
    /// It cannot be taken: the link is given up. A sink whose other ends are dropped means the same.
    Failed(String),
}
