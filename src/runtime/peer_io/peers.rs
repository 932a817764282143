//! Peers: all sockets to other servers, in one epoll set.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use mio::Poll;

use super::super::mesh::Common;
use super::{PeerEvent, PeersConfig, StatePiece, StateSink};
use crate::zab::{self, Link};

/// All sockets to other servers.
pub struct Peers {
    poll: Poll,
}

impl Peers {
    /// Begins to listen on the election port and the quorum port. `common` is what wakes the sequencer's loop.
    pub fn start(_config: PeersConfig, _common: Arc<Common>) -> io::Result<Self> {
        Ok(Self { poll: Poll::new()? })
    }

    /// The descriptor that has news when a turn has something to do.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Takes what has come, never blocks. Whether there was anything, or more is there already: then the next turn must not wait.
    pub fn turn(&mut self, _events: &mut Vec<PeerEvent>) -> bool {
        false
    }

    /// Performs [`zab::Out::Notify`], [`zab::Out::Connect`], [`zab::Out::HangUp`] and [`zab::Out::Send`]; the others are not of sockets.
    pub fn perform(&mut self, _out: zab::Out) {}

    /// Writes what waits, never blocks. Whether anything was written.
    pub fn flush(&mut self) -> bool {
        false
    }

    /// Bytes that wait for a link. What is read from the log for a learner may wait until it has room.
    #[must_use]
    pub fn waiting(&self, _link: Link) -> usize {
        0
    }

    /// The state goes out in the stream of the link; packets sent after this wait behind it. Its end is told by
    /// [`zab::In::StateSent`], its failure by [`zab::In::LinkDown`].
    pub fn begin_state(&mut self, _link: Link, _pieces: Receiver<StatePiece>) {}

    /// Says where the state goes that [`PeerEvent::StateBegins`] told of. Its end is told by [`zab::In::StateReceived`], its failure by
    /// [`zab::In::LinkDown`].
    pub fn take_state(&mut self, _link: Link, _sink: StateSink) {}
}
