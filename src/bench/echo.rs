//! Echo: a server that grants every session and answers every request as if it had done it, at once or with stalls of known
//! length. What the tool measures against it is what the tool itself adds, and whether it tells a stall as it was.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::fd::OwnedFd;

use super::load::patience;
use crate::ground::ids::{SessionId, Zxid};
use crate::proto::connect::{ConnectRequest, ConnectResponse};
use crate::proto::frame::{self, Cut};
use crate::proto::jute::{Malformed, Reader, Writer};
use crate::proto::multi::{self, MultiHeader};
use crate::proto::reply;
use crate::proto::request::Write as Change;
use crate::proto::stat::{self, Stat};
use crate::proto::{code::Code, opcode};

/// Bytes read at once.
const INPUT: usize = 128 << 10;

/// Longest request.
const FRAME_MAX: usize = 4 << 20;

/// Bytes of answers that a peer may leave unread before its requests wait.
const OUTPUT_PAUSE: usize = 4 << 20;

/// Longest sleep, after which the echo looks whether it shall end.
const NAP: Duration = Duration::from_millis(50);

/// Marks the listener in the epoll set.
const LISTENER: u64 = u64::MAX;

/// How it behaves.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Bytes of data in every znode.
    pub value_size: usize,
    /// Whether, for how long and how often it stands still.
    pub stall: Option<Standstill>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { value_size: 100, stall: None }
    }
}

/// Regular stalls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standstill {
    /// Length of each.
    pub length: Duration,
    /// From the begin of one to that of the next; longer than each.
    pub every: Duration,
}

/// An echo that runs on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Vec<Duration>>>>,
}

impl Echo {
    /// Listens and answers.
    pub fn start(listen: &str, manner: Manner) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = Builder::new().name("echo".into()).spawn(move || Loop::new(listener, manner)?.run(&flag))?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hangs up on everybody. Returns how long each of its stalls really was.
    pub fn stop(mut self) -> io::Result<Vec<Duration>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is taken here and in drop only");
        thread.join().expect("the echo does not panic")
    }

    /// Whether it has ended by itself, because the system failed it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // How it ended interests whoever calls `stop`.
            let _ = thread.join();
        }
    }
}

struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    out: Vec<u8>,
    out_at: usize,
    is_connected: bool,
    /// Whole requests wait until the output is gone.
    is_paused: bool,
    /// Hung up on once its output is gone.
    is_closing: bool,
}

/// Answers made once.
struct Answers {
    read: Vec<u8>,
    stat: Vec<u8>,
    value: Vec<u8>,
    sequence: u64,
    sessions: i64,
}

struct Loop {
    set: OwnedFd,
    listener: TcpListener,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    answers: Answers,
    stall: Option<Standstill>,
    chunk: Vec<u8>,
}

impl Loop {
    fn new(listener: TcpListener, manner: Manner) -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&set, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        let answers = Answers::new(manner.value_size);
        let chunk = vec![0; INPUT];
        Ok(Self { set, listener, peers: Vec::new(), free: Vec::new(), answers, stall: manner.stall, chunk })
    }

    fn run(mut self, stop: &AtomicBool) -> io::Result<Vec<Duration>> {
        let mut events = Vec::with_capacity(64);
        let mut stalls = Vec::new();
        let mut next_stall = self.stall.map(|stall| (stall, Instant::now() + stall.every));
        while !stop.load(Ordering::Relaxed) {
            let mut wait = NAP;
            if let Some((stall, next)) = &mut next_stall {
                let now = Instant::now();
                if now >= *next {
                    // To the moment at which it should end: a late begin does not make it end late.
                    std::thread::sleep((*next + stall.length).saturating_duration_since(Instant::now()));
                    stalls.push(now.elapsed());
                    *next += stall.every;
                }
                wait = wait.min(next.saturating_duration_since(Instant::now()));
            }
            events.clear();
            patience::wait(&self.set, &mut events, wait)?;
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    at => self.serve(at as usize),
                }
            }
        }
        Ok(stalls)
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            // Nobody, one that is gone already, or no descriptors: those that are here are served on.
            let Ok((stream, _)) = self.listener.accept() else { return Ok(()) };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let at = self.free.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() - 1
            });
            epoll::add(&self.set, &stream, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
            let (input, out) = (Vec::new(), Vec::new());
            self.peers[at] =
                Some(Peer { stream, input, out, out_at: 0, is_connected: false, is_paused: false, is_closing: false });
        }
    }

    fn serve(&mut self, at: usize) {
        let Some(peer) = self.peers.get_mut(at).and_then(Option::as_mut) else { return };
        let was_full = !peer.out.is_empty();
        let mut is_gone = peer.turn(&mut self.chunk, &mut self.answers).is_err();
        let is_full = !peer.out.is_empty();
        if !is_gone && was_full != is_full {
            let flags = if is_full { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            is_gone = epoll::modify(&self.set, &peer.stream, epoll::EventData::new_u64(at as u64), flags).is_err();
        }
        if is_gone {
            // Closed with its descriptor, which leaves the set.
            self.peers[at] = None;
            self.free.push(at);
        }
    }
}

/// The peer is done for.
struct Gone;

impl Peer {
    fn turn(&mut self, chunk: &mut [u8], answers: &mut Answers) -> Result<(), Gone> {
        if !self.catch_up(answers)? {
            return Ok(());
        }
        match self.stream.read(chunk) {
            Ok(0) => return Err(Gone),
            Ok(got) => self.take(&chunk[..got], answers)?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Err(Gone),
        }
        let is_through = self.catch_up(answers)?;
        if is_through && self.is_closing { Err(Gone) } else { Ok(()) }
    }

    /// Sends, and goes on with requests that waited for it; `true` once nothing is left of either.
    fn catch_up(&mut self, answers: &mut Answers) -> Result<bool, Gone> {
        loop {
            while self.out_at < self.out.len() {
                match self.stream.write(&self.out[self.out_at..]) {
                    Ok(sent) => self.out_at += sent,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return Err(Gone),
                }
            }
            self.out.clear();
            self.out_at = 0;
            if !self.is_paused {
                return Ok(true);
            }
            self.take(&[], answers)?;
        }
    }

    /// Answers all whole frames, without a copy where nothing is left over from before.
    fn take(&mut self, got: &[u8], answers: &mut Answers) -> Result<(), Gone> {
        if self.input.is_empty() {
            let used = self.answer_all(got, answers)?;
            self.input.extend_from_slice(&got[used..]);
        } else {
            let mut input = std::mem::take(&mut self.input);
            input.extend_from_slice(got);
            let used = self.answer_all(&input, answers)?;
            input.drain(..used);
            self.input = input;
        }
        Ok(())
    }

    fn answer_all(&mut self, input: &[u8], answers: &mut Answers) -> Result<usize, Gone> {
        let mut at = 0;
        if !self.is_connected && input.first_chunk::<4>().is_some_and(|word| word.is_ascii() && word[0] != 0) {
            if input.starts_with(b"srvr") {
                self.out.extend_from_slice(b"Zookeeper version: echo, built on nothing\nMode: standalone\n");
            }
            self.is_closing = true;
            return Ok(input.len());
        }
        self.is_paused = false;
        while let Cut::Frame(body, used) = frame::cut(&input[at..], FRAME_MAX).map_err(|_| Gone)? {
            if self.is_connected {
                self.is_closing |= answers.answer(body, &mut self.out).map_err(|_| Gone)?;
            } else {
                answers.grant(body, &mut self.out).map_err(|_| Gone)?;
                self.is_connected = true;
            }
            at += used;
            if self.out.len() > OUTPUT_PAUSE {
                self.is_paused = true;
                break;
            }
        }
        Ok(at)
    }
}

impl Answers {
    fn new(value_size: usize) -> Self {
        let value = vec![b'v'; value_size];
        let (mut read, mut plain) = (Vec::new(), Vec::new());
        reply::ok(&mut read, 0, Zxid(1), |out| stat::encode_data(out, Some(&value), &Stat::default()));
        reply::ok(&mut plain, 0, Zxid(1), |out| Stat::default().encode(out));
        Self { read, stat: plain, value, sequence: 0, sessions: 0 }
    }

    fn grant(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let request = ConnectRequest::decode(body)?;
        self.sessions += 1;
        let session = if request.session == SessionId::NONE { SessionId(self.sessions) } else { request.session };
        let timeout_ms = request.timeout_ms.max(1);
        ConnectResponse { timeout_ms, session, password: [7; 16], read_only: request.read_only }.encode(out);
        Ok(())
    }

    /// Appends the answer to a request; `true` if it closes the session.
    #[inline]
    fn answer(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<bool, Malformed> {
        let mut r = Reader::new(body);
        let (xid, op) = (r.int()?, r.int()?);
        let template = match op {
            opcode::GET_DATA => &self.read,
            opcode::SET_DATA | opcode::EXISTS => &self.stat,
            _ => return self.answer_rarely(xid, op, r, out),
        };
        let start = out.len();
        out.extend_from_slice(template);
        out[start + 4..start + 8].copy_from_slice(&xid.to_be_bytes());
        Ok(false)
    }

    fn answer_rarely(&mut self, xid: i32, op: i32, mut r: Reader<'_>, out: &mut Vec<u8>) -> Result<bool, Malformed> {
        let start = frame::open(out);
        reply::header(out, xid, Zxid(1), 0);
        match op {
            opcode::MULTI => {
                for (op, change) in multi::decode_writes(&mut r).map_err(|_| Malformed::Value)? {
                    MultiHeader { op, done: false, err: 0 }.encode(out);
                    self.change(op, &change, out);
                }
                MultiHeader::END.encode(out);
            }
            opcode::MULTI_READ => {
                for read in multi::decode_reads(&mut r)? {
                    let op = if matches!(read, multi::Read::Data(_)) { opcode::GET_DATA } else { opcode::GET_CHILDREN };
                    MultiHeader { op, done: false, err: 0 }.encode(out);
                    self.look(op, out);
                }
                MultiHeader::END.encode(out);
            }
            opcode::CREATE | opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL => {
                let change = Change::decode(op, &mut r)?;
                self.change(op, &change, out);
            }
            opcode::SYNC => out.string(&r.string()?),
            opcode::SET_ACL => Stat::default().encode(out),
            opcode::ADD_WATCH => out.int(Code::Ok.as_wire()),
            _ => self.look(op, out),
        }
        frame::close(out, start);
        Ok(op == opcode::CLOSE_SESSION)
    }

    fn change(&mut self, op: i32, change: &Change<'_>, out: &mut Vec<u8>) {
        match change {
            Change::Create(create) => {
                let path = create.path.as_deref().unwrap_or_default();
                let is_sequential = matches!(create.flags, 2 | 3 | 6);
                if is_sequential {
                    out.string(&format!("{path}{:010}", self.sequence));
                    self.sequence += 1;
                } else {
                    out.string(path);
                }
                if op != opcode::CREATE {
                    Stat::default().encode(out);
                }
            }
            Change::SetData { .. } | Change::SetAcl { .. } => Stat::default().encode(out),
            _ => {}
        }
    }

    /// What a read finds: the data, and no children.
    fn look(&self, op: i32, out: &mut Vec<u8>) {
        match op {
            opcode::GET_DATA => stat::encode_data(out, Some(&self.value), &Stat::default()),
            opcode::GET_CHILDREN | opcode::GET_EPHEMERALS => out.count(0),
            opcode::GET_CHILDREN2 => {
                out.count(0);
                Stat::default().encode(out);
            }
            opcode::GET_ALL_CHILDREN_NUMBER => out.int(0),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ask::{Ask, CreateMode};
    use crate::client::blocking::Client;

    fn client(echo: &Echo) -> Client {
        Client::connect(echo.address(), 10_000, Duration::from_secs(10)).unwrap()
    }

    #[test]
    fn every_operation_gets_an_answer_of_its_shape() {
        let echo = Echo::start("127.0.0.1:0", Manner { value_size: 7, stall: None }).unwrap();
        let mut client = client(&echo);
        assert_eq!(client.get("/a", false).unwrap().0, b"vvvvvvv");
        assert!(client.exists("/a", false).unwrap().is_some());
        client.set("/a", b"x", -1).unwrap();
        assert_eq!(client.create("/a/b", b"", CreateMode::Persistent).unwrap().0, "/a/b");
        assert_eq!(client.create("/a/b-", b"", CreateMode::EphemeralSequential).unwrap().0, "/a/b-0000000000");
        assert!(client.children("/a", false).unwrap().0.is_empty());
        let members = [Ask::SetData { path: "/a", data: None, version: -1 }, Ask::Delete { path: "/b", version: -1 }];
        assert_eq!(client.multi(&members).unwrap().len(), 2);
        let reads = [Ask::GetData { path: "/a", watch: false }, Ask::GetChildren { path: "/b", watch: false }];
        assert!(client.call(&Ask::MultiRead(&reads)).is_ok());
        client.sync("/").unwrap();
        client.ping().unwrap();
        client.delete("/a", -1).unwrap();
        client.close().unwrap();
        assert!(!echo.is_over());
        assert_eq!(echo.stop().unwrap(), Vec::<Duration>::new());
    }

    #[test]
    fn it_stands_still_as_long_as_it_was_told() {
        let (length, every) = (Duration::from_millis(60), Duration::from_millis(120));
        let echo = Echo::start("127.0.0.1:0", Manner { value_size: 1, stall: Some(Standstill { length, every }) }).unwrap();
        let mut client = client(&echo);
        let begin = Instant::now();
        let mut longest = Duration::ZERO;
        while begin.elapsed() < Duration::from_millis(500) {
            let asked = Instant::now();
            client.ping().unwrap();
            longest = longest.max(asked.elapsed());
        }
        assert!(longest >= Duration::from_millis(50), "{longest:?}");
        let stalls = echo.stop().unwrap();
        assert!((2..=5).contains(&stalls.len()), "{stalls:?}");
    }

    #[test]
    fn whoever_does_not_speak_the_protocol_is_hung_up_on() {
        let echo = Echo::start("127.0.0.1:0", Manner::default()).unwrap();
        for (said, answer) in [(&b"srvr"[..], "Zookeeper version: echo"), (b"GET / HTTP/1.1", ""), (b"\x00\xff\xff\xff", "")] {
            let mut stream = TcpStream::connect(echo.address()).unwrap();
            stream.write_all(said).unwrap();
            let mut got = Vec::new();
            // A reset, which unread input makes of the end, says the same.
            let _ = stream.read_to_end(&mut got);
            assert!(got.starts_with(answer.as_bytes()) && got.is_empty() == answer.is_empty(), "{got:?}");
        }
    }
}
