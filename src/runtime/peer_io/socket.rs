//! Socket: a connection to another server, with what waits to be written to it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Room of an output buffer that is kept while nothing waits, bytes.
const OUT_KEPT: usize = 1 << 20;

/// What a connection is set to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// It is given up when the other end has taken nothing for so long.
    pub silence: Duration,
    /// `SO_KEEPALIVE`.
    pub keepalive: bool,
}

/// What a read has brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Brought {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing that is there now.
    Nothing,
    /// The other end has closed it.
    End,
    /// It has broken: the other end is gone, or cannot be reached.
    Broken,
}

/// A connection to another server.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    peer: SocketAddr,
    out: Vec<u8>,
    /// How far `out` is written.
    at: usize,
    /// The kernel may hold input: readiness is told once, so it is remembered.
    is_readable: bool,
    /// The other end has said farewell: behind the input there is an end to be read.
    is_half_closed: bool,
    /// The kernel's buffer was full when we last wrote.
    is_clogged: bool,
}

impl Socket {
    /// A connection that was just made, watched under `token`.
    pub fn new(stream: std::net::TcpStream, manner: Manner, registry: &Registry, token: Token) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let silence = u32::try_from(manner.silence.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(&stream, silence)?;
        rustix::net::sockopt::set_socket_keepalive(&stream, manner.keepalive)?;
        let peer = stream.peer_addr()?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, peer, out: Vec::new(), at: 0, is_readable: true, is_half_closed: false, is_clogged: false })
    }

    /// The same connection under another token.
    pub fn rename(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        // What is ready is told again to the new name.
        registry.reregister(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// The other end.
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Takes what the kernel has told.
    pub fn note(&mut self, event: &Event) {
        self.is_half_closed |= event.is_read_closed() || event.is_error();
        self.is_readable |= event.is_readable() || self.is_half_closed;
        if event.is_writable() || event.is_error() {
            self.is_clogged = false;
        }
    }

    /// Whether there may be input.
    pub const fn is_readable(&self) -> bool {
        self.is_readable
    }

    /// Reads once.
    pub fn read(&mut self, into: &mut [u8]) -> Brought {
        loop {
            match self.stream.read(into) {
                Ok(0) => return Brought::End,
                Ok(n) => {
                    // A short read has emptied the kernel's buffer.
                    self.is_readable = n == into.len() || self.is_half_closed;
                    return Brought::Bytes(n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_readable = false;
                    return Brought::Nothing;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Brought::Broken,
            }
        }
    }

    /// The end of the output, to be appended to.
    pub fn out(&mut self) -> &mut Vec<u8> {
        if self.at > OUT_KEPT && self.at > self.out.len() / 2 {
            self.out.drain(..self.at);
            self.at = 0;
        }
        &mut self.out
    }

    /// Bytes that wait to be written.
    pub const fn waiting(&self) -> usize {
        self.out.len() - self.at
    }

    /// Writes what waits, as far as the kernel takes it; whether it took anything.
    pub fn write(&mut self) -> io::Result<bool> {
        let mut any = false;
        while self.at < self.out.len() && !self.is_clogged {
            match self.stream.write(&self.out[self.at..]) {
                Ok(n) => {
                    self.at += n;
                    any = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_clogged = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.at == self.out.len() {
            self.at = 0;
            self.out.clear();
            if self.out.capacity() > 2 * OUT_KEPT {
                self.out.shrink_to(OUT_KEPT);
            }
        }
        Ok(any)
    }

    /// Shuts it and lets it go. Without the shutdown its end would leave only when nobody awaits the epoll set any more.
    pub fn close(mut self, registry: &Registry) {
        // Both may fail where the other end has reset it; it is gone then, as wanted.
        let _ = self.stream.shutdown(Shutdown::Both);
        let _ = registry.deregister(&mut self.stream);
    }
}
