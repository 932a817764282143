//! Dial: calling other servers, each time on a thread of its own, for names are resolved and connections awaited there.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::super::mesh::Common;
use crate::ground::ids::ServerId;

/// Bytes of stack of such a thread: resolvers use tens of KiB.
const STACK: usize = 256 << 10;

/// What a server is called for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// Its election port.
    Election(ServerId),
    /// Its quorum port; the number tells calls apart.
    Leader(ServerId, u64),
}

/// Who calls.
pub(super) struct Dial {
    done: Receiver<(Purpose, io::Result<TcpStream>)>,
    sender: Sender<(Purpose, io::Result<TcpStream>)>,
    common: Arc<Common>,
}

impl Dial {
    /// `common` is what wakes the sequencer's loop when somebody has answered, or has not.
    pub fn new(common: Arc<Common>) -> Self {
        let (sender, done) = mpsc::channel();
        Self { done, sender, common }
    }

    /// Calls. How it ended comes out of [`Dial::done`].
    pub fn call(&self, purpose: Purpose, host: &str, port: u16, timeout: Duration) {
        let (host, sender, common) = (host.to_owned(), self.sender.clone(), Arc::clone(&self.common));
        let call = move || {
            // Nobody listens any more where the server stops.
            let _ = sender.send((purpose, connect(&host, port, timeout)));
            common.ring_sequencer();
        };
        if let Err(error) = thread::Builder::new().name("rk-dial".to_owned()).stack_size(STACK).spawn(call) {
            self.sender.send((purpose, Err(error))).expect("the receiver is here");
            self.common.ring_sequencer();
        }
    }

    /// How the next call ended, if one has.
    pub fn done(&self) -> Option<(Purpose, io::Result<TcpStream>)> {
        self.done.try_recv().ok()
    }
}

/// Connects to the first of the name's addresses that answers; `timeout` is for all of them.
fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let until = Instant::now() + timeout;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            // A port of this machine where nobody listens may be given to the caller itself, which then has called itself.
            Ok(stream) if stream.local_addr()? == address => last = io::ErrorKind::ConnectionRefused.into(),
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
