//! Conn I/O: the client sockets of one shard, in one epoll set whose descriptor is awaited through the ring.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::acceptor::Guest;
use crate::engine::shard::Shard;
use crate::ground::ids::ConnId;
use crate::ground::limits;
use crate::ground::time::Now;

/// Sockets that bring writes in one turn. Then the writes go inward: their flush runs while the next sockets are read.
const WRITERS_A_TURN: usize = 16;

/// No socket has this slot.
const WAKER: Token = Token(usize::MAX);

/// Nor this one: the set of the other servers' sockets.
const PEERS: Token = Token(usize::MAX - 1);

/// Events taken from the kernel at a time.
const EVENTS: usize = 1024;

struct Socket {
    stream: TcpStream,
    id: ConnId,
    peer: SocketAddr,
    /// Input that no request could be made of yet: an unfinished frame, or requests that wait for room.
    input: Vec<u8>,
    /// Whether the kernel may hold more input (readiness is told once, so it is remembered).
    is_readable: bool,
    /// Whether it stands in the list of sockets to be read.
    is_queued: bool,
    /// Whether the peer has said farewell: after the input there is an end to be read.
    is_half_closed: bool,
    /// Whether the kernel's buffer was full when we last wrote.
    is_clogged: bool,
}

/// The sockets.
pub struct ConnIo {
    poll: Poll,
    events: Events,
    sockets: Vec<Option<Socket>>,
    ready: Vec<ConnId>,
    scratch: Box<[u8]>,
    work: Vec<ConnId>,
    /// Sockets that were clogged and take output again.
    writable: Vec<ConnId>,
    /// Peers whose sockets were closed since they were last asked for.
    closed: Vec<SocketAddr>,
    /// The moment before which a nap began that has ended with news, microseconds; then the kernel need not be asked again.
    napped_from: Option<u64>,
    /// The other servers' sockets have news.
    has_peer_news: bool,
    /// Of those in `ready`, from its front, the ones that were there when the round began.
    round_left: usize,
    round_began: u64,
    heard_up_to: u64,
}

impl ConnIo {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            sockets: Vec::new(),
            ready: Vec::new(),
            scratch: vec![0; limits::READ_CHUNK].into(),
            work: Vec::new(),
            writable: Vec::new(),
            closed: Vec::new(),
            napped_from: None,
            has_peer_news: false,
            round_left: 0,
            round_began: 0,
            heard_up_to: 0,
        })
    }

    /// The descriptor to be awaited.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Takes a new guest. On error it is dropped, which closes it.
    pub fn add(
        &mut self,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        guest: Guest,
        shard: &mut Shard,
        now: Now,
    ) -> io::Result<()> {
        let mut stream = TcpStream::from_std(stream);
        let id = match guest {
            Guest::Client => shard.open(peer, now),
            Guest::Collector => shard.open_for_metrics(peer, now),
        };
        let slot = id.slot as usize;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE) {
            shard.closed(id);
            return Err(error);
        }
        if self.sockets.len() <= slot {
            self.sockets.resize_with(slot + 1, || None);
        }
        self.sockets[slot] = Some(Socket {
            stream,
            id,
            peer,
            input: Vec::new(),
            is_readable: false,
            is_queued: false,
            is_half_closed: false,
            is_clogged: false,
        });
        Ok(())
    }

    /// Reads what sockets have and hands it to the shard; returns how many sockets brought something.
    pub fn read(&mut self, shard: &mut Shard, now: Now) -> usize {
        // What the kernel was asked after that moment, it has told: what came in a pause of this process, after the nap and before
        // now, is not among it.
        let asked = self.napped_from.take().unwrap_or_else(|| {
            self.collect(Duration::ZERO);
            now.micros
        });
        let mut work = std::mem::take(&mut self.work);
        work.clear();
        shard.take_resumed(&mut work);
        for id in work.drain(..) {
            self.resume(id, shard, now);
        }
        if self.round_left == 0 {
            self.round_left = self.ready.len();
            self.round_began = asked;
        }
        let mut brought = 0;
        std::mem::swap(&mut work, &mut self.ready);
        let mut writers = 0;
        let mut taken = 0;
        for &id in &work {
            let parked = shard.parked();
            brought += usize::from(self.read_one(id, shard, now));
            // Its answers leave at once: the next socket's reads need not be waited for.
            self.write_one(id, shard, now);
            taken += 1;
            writers += usize::from(shard.parked() > parked);
            if writers == WRITERS_A_TURN {
                break;
            }
        }
        // The others come next turn, before those that were put back meanwhile: nobody is overtaken.
        work.drain(..taken);
        work.append(&mut self.ready);
        std::mem::swap(&mut work, &mut self.ready);
        self.work = work;
        self.round_left = self.round_left.saturating_sub(taken);
        if self.round_left == 0 {
            self.heard_up_to = self.round_began;
        }
        brought
    }

    /// The moment, in microseconds of [`Now`], up to which everything has been read that clients had sent and may send.
    #[must_use]
    pub const fn heard_up_to(&self) -> u64 {
        self.heard_up_to
    }

    /// From now on the set of the other servers' sockets is part of this one; it stays open for as long as this one is used.
    pub fn watch(&self, peers: RawFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&peers), PEERS, Interest::READABLE)
    }

    /// Whether the other servers' sockets have had news since this was last asked.
    #[must_use]
    pub const fn take_peer_news(&mut self) -> bool {
        std::mem::replace(&mut self.has_peer_news, false)
    }

    /// What ends a nap from without.
    pub fn waker(&self) -> io::Result<mio::Waker> {
        mio::Waker::new(self.poll.registry(), WAKER)
    }

    /// Sleeps until a socket has news, the waker is used, or the time is over.
    pub fn nap(&mut self, at_most: Duration, now: Now) {
        self.collect(at_most);
        self.napped_from = (!self.events.is_empty()).then_some(now.micros);
    }

    /// Asks the kernel which sockets have news, and waits for some for so long.
    fn collect(&mut self, wait: Duration) {
        if let Err(error) = self.poll.poll(&mut self.events, Some(wait))
            && error.kind() != io::ErrorKind::Interrupted
        {
            panic!("epoll failed: {error}");
        }
        for event in &self.events {
            self.has_peer_news |= event.token() == PEERS;
            let Some(Some(socket)) = self.sockets.get_mut(event.token().0) else { continue };
            if has_input(event) {
                socket.is_readable = true;
                socket.is_half_closed |= event.is_read_closed() || event.is_error();
                if !socket.is_queued {
                    socket.is_queued = true;
                    self.ready.push(socket.id);
                }
            }
            if socket.is_clogged && (event.is_writable() || event.is_error()) {
                socket.is_clogged = false;
                self.writable.push(socket.id);
            }
        }
    }

    fn socket(&mut self, id: ConnId) -> Option<&mut Socket> {
        self.sockets.get_mut(id.slot as usize)?.as_mut().filter(|socket| socket.id == id)
    }

    /// Input that waited in our buffer goes on, and then the socket is read again.
    fn resume(&mut self, id: ConnId, shard: &mut Shard, now: Now) {
        let Some(socket) = self.socket(id) else { return };
        if !socket.input.is_empty() {
            let used = shard.receive(id, &socket.input, now);
            socket.input.drain(..used);
        }
        if socket.is_readable && !socket.is_queued {
            socket.is_queued = true;
            self.ready.push(id);
        }
    }

    fn read_one(&mut self, id: ConnId, shard: &mut Shard, now: Now) -> bool {
        let Self { sockets, scratch, ready, .. } = self;
        let Some(socket) = sockets.get_mut(id.slot as usize).and_then(Option::as_mut).filter(|socket| socket.id == id) else {
            return false;
        };
        socket.is_queued = false;
        if !shard.may_read(id, now) && !shard.is_ending(id) {
            // Left unread: the shard remembers the connection and names it when it may go on.
            return false;
        }
        match socket.stream.read(scratch) {
            Ok(0) => {
                self.close(id, shard);
                true
            }
            Ok(n) => {
                if socket.input.is_empty() {
                    let used = shard.receive(id, &scratch[..n], now);
                    socket.input.extend_from_slice(&scratch[used..n]);
                } else {
                    socket.input.extend_from_slice(&scratch[..n]);
                    let used = shard.receive(id, &socket.input, now);
                    socket.input.drain(..used);
                }
                if socket.input.is_empty() && socket.input.capacity() > limits::READ_CHUNK {
                    socket.input = Vec::new();
                }
                // A short read has emptied the kernel's buffer, but for a farewell that stands behind the input.
                socket.is_readable = n == scratch.len() || socket.is_half_closed;
                if socket.is_readable {
                    socket.is_queued = true;
                    ready.push(id);
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.is_readable = false;
                false
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                socket.is_queued = true;
                ready.push(id);
                true
            }
            Err(_) => {
                self.close(id, shard);
                true
            }
        }
    }

    /// Writes what connections have to say, and closes those that end.
    pub fn write(&mut self, shard: &mut Shard, now: Now) -> usize {
        let mut work = std::mem::take(&mut self.work);
        work.clear();
        work.append(&mut self.writable);
        shard.take_dirty(&mut work);
        let count = work.len();
        for id in work.drain(..) {
            self.write_one(id, shard, now);
        }
        self.work = work;
        count
    }

    /// Peers whose sockets were closed since this was last asked.
    pub fn closed(&mut self) -> std::vec::Drain<'_, SocketAddr> {
        self.closed.drain(..)
    }

    /// Whether sockets wait to be read although epoll has nothing new to tell.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    fn write_one(&mut self, id: ConnId, shard: &mut Shard, now: Now) {
        let Some(socket) = self.socket(id) else { return };
        loop {
            let output = shard.output(id);
            if output.is_empty() {
                break;
            }
            match socket.stream.write(output) {
                Ok(n) => shard.wrote(id, n, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    shard.wrote(id, 0, now);
                    socket.is_clogged = true;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.close(id, shard),
            }
        }
        if shard.is_ending(id) {
            self.close(id, shard);
        }
    }

    /// Shuts the socket and lets it go. Without the shutdown its end would leave only when the ring gets to it.
    fn close(&mut self, id: ConnId, shard: &mut Shard) {
        if self.socket(id).is_none() {
            return;
        }
        let Some(mut socket) = self.sockets[id.slot as usize].take() else { return };
        // Both may fail on a socket that the peer has reset; it is gone then, as wanted.
        let _ = socket.stream.shutdown(Shutdown::Both);
        let _ = self.poll.registry().deregister(&mut socket.stream);
        shard.closed(id);
        self.closed.push(socket.peer);
    }
}

fn has_input(event: &Event) -> bool {
    event.is_readable() || event.is_read_closed() || event.is_error()
}
