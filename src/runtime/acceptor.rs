//! Acceptor: a thread a port that accepts whoever comes there and hands them to the least loaded shard.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};

use super::mesh::Common;
use crate::ground::ids::ShardId;

/// How long to wait when descriptors have run out.
const BACK_OFF: Duration = Duration::from_millis(20);

/// How often to speak of clients turned away.
const SPEAK_EVERY: Duration = Duration::from_secs(10);

const LISTENER: Token = Token(0);
const STOP: Token = Token(1);

/// Who comes to a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guest {
    /// Clients, and whoever has an admin word.
    Client,
    /// Whoever collects metrics. Limits on clients are not theirs.
    Collector,
}

/// Sockets on their way to one shard.
#[derive(Default)]
pub struct Inbox {
    has_news: AtomicBool,
    sockets: Mutex<Vec<(TcpStream, SocketAddr, Guest)>>,
}

impl Inbox {
    /// What has come since the last time.
    pub fn take(&self) -> Vec<(TcpStream, SocketAddr, Guest)> {
        if !self.has_news.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut *self.sockets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, stream: TcpStream, peer: SocketAddr, guest: Guest) {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).push((stream, peer, guest));
        self.has_news.store(true, Ordering::Release);
    }
}

/// Who is inside, by shard and by address.
pub struct Doorway {
    loads: Vec<AtomicUsize>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    /// Connections of one address at most; 0 is no limit (`maxClientCnxns`).
    per_address: Arc<AtomicUsize>,
    /// Connections at most; 0 is no limit (`maxCnxns`).
    in_all: AtomicUsize,
}

impl Doorway {
    /// A doorway to `shards` shards.
    #[must_use]
    pub fn new(shards: usize, per_address: usize, in_all: usize) -> Self {
        Self {
            loads: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            by_address: Mutex::new(HashMap::new()),
            per_address: Arc::new(AtomicUsize::new(per_address)),
            in_all: AtomicUsize::new(in_all),
        }
    }

    /// Other limits from now on; 0 is none. Whoever is inside stays.
    pub fn set_limits(&self, per_address: usize, in_all: usize) {
        self.per_address.store(per_address, Ordering::Relaxed);
        self.in_all.store(in_all, Ordering::Relaxed);
    }

    /// Connections of one address at most, as it is and comes to be; 0 is no limit.
    #[must_use]
    pub fn per_address(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.per_address)
    }

    /// A connection of this address has left the shard.
    pub fn gone(&self, shard: ShardId, address: IpAddr) {
        self.loads[usize::from(shard.0)].fetch_sub(1, Ordering::AcqRel);
        let mut counts = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }

    /// Lets a guest in, to the least loaded shard, unless a limit forbids it.
    fn enter(&self, address: IpAddr, guest: Guest) -> Option<usize> {
        let mut counts = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let (per_address, in_all) = (self.per_address.load(Ordering::Relaxed), self.in_all.load(Ordering::Relaxed));
        let loads = self.loads.iter().map(|load| load.load(Ordering::Acquire));
        if guest == Guest::Client && in_all != 0 && loads.clone().sum::<usize>() >= in_all {
            return None;
        }
        let count = counts.entry(address).or_insert(0);
        if guest == Guest::Client && per_address != 0 && *count >= per_address {
            return None;
        }
        *count += 1;
        let (shard, _) = loads.enumerate().min_by_key(|&(_, load)| load)?;
        self.loads[shard].fetch_add(1, Ordering::AcqRel);
        Some(shard)
    }
}

/// The thread, and the means to stop it.
pub struct Acceptor {
    waker: Waker,
    thread: JoinHandle<()>,
}

impl Acceptor {
    /// Starts accepting.
    pub fn start(
        listener: TcpListener,
        guest: Guest,
        doorway: Arc<Doorway>,
        inboxes: Vec<Arc<Inbox>>,
        common: Arc<Common>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), STOP)?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut accepting = Accepting { listener, guest, doorway, inboxes, common, spare: spare(), spoke: None, turned_away: 0 };
        let name = if guest == Guest::Client { "rk-acceptor" } else { "rk-metrics" };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || accepting.run(poll))?;
        Ok(Self { waker, thread })
    }

    /// Stops accepting; the listener is closed when this returns.
    pub fn stop(self) {
        if self.waker.wake().is_ok() {
            // A thread that has panicked has ended the process already.
            let _ = self.thread.join();
        }
    }
}

struct Accepting {
    listener: mio::net::TcpListener,
    guest: Guest,
    doorway: Arc<Doorway>,
    inboxes: Vec<Arc<Inbox>>,
    common: Arc<Common>,
    /// A descriptor to give up when there are no others, so that a client can be told to go rather than left waiting.
    spare: Option<File>,
    spoke: Option<Instant>,
    turned_away: usize,
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

impl Accepting {
    fn run(&mut self, mut poll: Poll) {
        let mut events = Events::with_capacity(8);
        loop {
            match poll.poll(&mut events, None) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => super::sequencer_loop::fatal(&format!("cannot wait for clients: {error}")),
            }
            if events.iter().any(|event| event.token() == STOP) {
                return;
            }
            self.accept_all(&mut poll, &mut events);
        }
    }

    fn accept_all(&mut self, poll: &mut Poll, events: &mut Events) {
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => self.admit(stream.into(), unmapped(peer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_exhaustion(&error) => {
                    self.make_way();
                    // Readiness is told once, so the wait is bounded and the listener is tried again.
                    if poll.poll(events, Some(BACK_OFF)).is_ok() && events.iter().any(|event| event.token() == STOP) {
                        // Seen again by the caller's next wait.
                        let _ = Waker::new(poll.registry(), STOP).and_then(|waker| waker.wake());
                        return;
                    }
                }
                // A client that left while it waited in the queue.
                Err(_) => {}
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Some(shard) = self.doorway.enter(peer.ip(), self.guest) else {
            self.turned_away += 1;
            self.speak(&format!("too many connections from {} (maxClientCnxns, maxCnxns)", peer.ip()));
            return;
        };
        if stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).is_err() {
            // The client has reset the connection already.
            self.doorway.gone(ShardId(u16::try_from(shard).expect("shards are counted in u16")), peer.ip());
            return;
        }
        self.inboxes[shard].put(stream, peer, self.guest);
        self.common.ring(ShardId(u16::try_from(shard).expect("shards are counted in u16")));
    }

    /// Descriptors have run out: gives up the spare one, takes a client with it and lets that client go.
    fn make_way(&mut self) {
        self.spare = None;
        if self.listener.accept().is_ok() {
            self.turned_away += 1;
        }
        self.spare = spare();
        self.speak("file descriptors have run out; raise the limit of open files (ulimit -n, LimitNOFILE=)");
    }

    fn speak(&mut self, why: &str) {
        if self.spoke.is_none_or(|when| when.elapsed() >= SPEAK_EVERY) {
            tracing::warn!("turned away {} client(s): {why}", self.turned_away);
            self.spoke = Some(Instant::now());
            self.turned_away = 0;
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A client of IPv4 is named by its IPv4 address, also where the listener is dual.
fn unmapped(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
