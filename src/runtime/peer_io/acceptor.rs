//! Acceptor: the listener of one of the two ports on which other servers come.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the system holds before they are accepted.
const BACKLOG: i32 = 128;

/// How often a port that is taken, or a name that is not known yet, is tried (`electionPortBindRetry`).
const TRIES: u32 = 3;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Connections accepted in one turn.
const A_TURN: usize = 16;

/// How often to speak of connections that could not be accepted.
const SPEAK_EVERY: Duration = Duration::from_secs(10);

/// The listener of one port.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: mio::net::TcpListener,
    is_ready: bool,
    spoke: Option<Instant>,
}

/// Binds a port of this server: at the address of its own line, or at every address.
pub(super) fn bind(host: &str, port: u16, everywhere: bool) -> io::Result<TcpListener> {
    let mut tries = 1;
    loop {
        match bind_once(host, port, everywhere) {
            Err(_) if tries < TRIES => {
                tries += 1;
                thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

fn bind_once(host: &str, port: u16, everywhere: bool) -> io::Result<TcpListener> {
    if everywhere {
        let dual = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        // A machine without IPv6.
        return listen(dual).or_else(|_| listen(SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port))));
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Acceptor {
    /// Watches the listener under `token`.
    pub fn new(listener: TcpListener, registry: &Registry, token: Token) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Self { listener, is_ready: true, spoke: None })
    }

    /// Somebody has come.
    pub const fn note(&mut self) {
        self.is_ready = true;
    }

    /// Those who have come; not all of them at once where they are many. Whether there may be more at once.
    pub fn accept(&mut self, mut take: impl FnMut(TcpStream)) -> bool {
        if !self.is_ready {
            return false;
        }
        for _ in 0..A_TURN {
            match self.listener.accept() {
                Ok((stream, _)) => take(stream.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_ready = false;
                    return false;
                }
                Err(error) if is_exhaustion(&error) => {
                    // Readiness is told once: the next turn tries again, but need not hurry.
                    if self.spoke.is_none_or(|when| when.elapsed() >= SPEAK_EVERY) {
                        tracing::warn!("cannot accept another server: {error}");
                        self.spoke = Some(Instant::now());
                    }
                    return false;
                }
                // One that left while it waited in the queue.
                Err(_) => {}
            }
        }
        true
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
