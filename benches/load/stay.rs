//! Stay: what stays and does little. A tree that is made once, sessions that only ping.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::Client;
use ringkeeper::client::session::{Credentials, Incoming, Session};
use ringkeeper::proto::acl::Acl;
use rustix::event::{Timespec, epoll};

use super::Failure;

/// Znodes of one parent.
const BROOD: usize = 1000;

/// Requests in flight.
const FLYING: usize = 2048;

/// Creates `count` znodes of `size` bytes, their paths 33 bytes long, in one pipeline, and closes the session.
pub fn create(server: SocketAddr, count: usize, size: usize) -> Result<(), Failure> {
    let mut client = Client::connect(server, 30_000, Duration::from_secs(60))?;
    let (acl, data) = ([Acl::open()], vec![b'v'; size]);
    let began = Instant::now();
    let ask = |client: &mut Client, path: &str, data: &[u8]| {
        client.submit(&Ask::Create { path, data: Some(data), acl: &acl, mode: CreateMode::Persistent })
    };
    ask(&mut client, "/memory", b"")?;
    for node in 0..count {
        let group = format!("/memory/group-{:04}", node / BROOD);
        if node % BROOD == 0 {
            ask(&mut client, &group, b"")?;
        }
        let path = znode(node);
        assert_eq!(path.len(), 33, "a tree of up to ten million znodes");
        ask(&mut client, &path, &data)?;
        while client.pending() > FLYING {
            client.next_reply()?.result?;
        }
    }
    while client.pending() > 0 {
        client.next_reply()?.result?;
    }
    client.close()?;
    println!("created {count} znodes of {size} bytes in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// The path of the tree's znode with this number.
fn znode(node: usize) -> String {
    format!("/memory/group-{:04}/znode-{node:08}", node / BROOD)
}

/// Sets the data of random znodes of the tree that [`create`] made, `rate` a second, to `size` bytes, up to `spread` more or less.
pub fn overwrite(server: SocketAddr, count: usize, size: usize, spread: usize, rate: f64, seconds: f64) -> Result<(), Failure> {
    let spread = spread.min(size);
    let mut client = Client::connect(server, 30_000, Duration::from_secs(60))?;
    let data = vec![b'w'; size + spread];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(state) * n as u128) >> 64) as usize
    };
    let (began, mut sets) = (Instant::now(), 0u64);
    while began.elapsed().as_secs_f64() < seconds {
        let due = (began.elapsed().as_secs_f64() * rate) as u64;
        while sets < due {
            let data = &data[..size - spread + below(2 * spread + 1)];
            client.submit(&Ask::SetData { path: &znode(below(count)), data: Some(data), version: -1 })?;
            sets += 1;
            while client.pending() > FLYING {
                client.next_reply()?.result?;
            }
        }
        while client.pending() > 0 {
            client.next_reply()?.result?;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    client.close()?;
    println!("{sets} overwrites of {count} znodes in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// One session that only pings.
struct Idler {
    stream: TcpStream,
    session: Session,
    /// The ping without an answer, if there is one.
    asked: Option<Instant>,
    /// When the last ping left.
    sent: Instant,
    /// The longest we were silent.
    silence: Duration,
}

impl Idler {
    fn open(server: SocketAddr, timeout_ms: i32) -> Result<Self, Failure> {
        let mut stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        let mut session = Session::new(Credentials::new(timeout_ms));
        stream.write_all(session.output())?;
        let sent = session.output().len();
        session.sent(sent);
        let mut chunk = [0; 256];
        while !session.is_connected() {
            match stream.read(&mut chunk)? {
                0 => return Err("the server granted no session".into()),
                got => session.feed(&chunk[..got]),
            }
            if let Some(Incoming::Expired) = session.take()? {
                return Err("the server granted no session".into());
            }
        }
        stream.set_nonblocking(true)?;
        Ok(Self { stream, session, asked: None, sent: Instant::now(), silence: Duration::ZERO })
    }

    fn ping(&mut self) -> Result<(), Failure> {
        self.session.submit(&Ask::Ping);
        let sent = self.stream.write(self.session.output())?;
        self.session.sent(sent);
        self.sent = Instant::now();
        self.asked.get_or_insert(self.sent);
        Ok(())
    }

    /// Takes what has come; `false` if the server has hung up.
    fn hear(&mut self, answers: &mut Histogram<u64>) -> Result<bool, Failure> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(got) => self.session.feed(&chunk[..got]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        while self.session.take()?.is_some() {
            if let Some(asked) = self.asked.take() {
                answers.saturating_record(asked.elapsed().as_micros() as u64);
            }
        }
        Ok(true)
    }
}

/// The sessions that are watched over.
struct Vigil {
    set: OwnedFd,
    idlers: Vec<Option<Idler>>,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Between two pings.
    third: Duration,
    answers: Histogram<u64>,
    pings: u64,
    ended: u64,
    /// Of those that ended, the ones that we had let lapse.
    lapsed: u64,
    longest: Duration,
}

impl Vigil {
    fn join(&mut self, idler: Idler) -> Result<(), Failure> {
        let at = self.idlers.len();
        epoll::add(&self.set, &idler.stream, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
        self.due.push(Reverse((idler.sent + self.third, at)));
        self.idlers.push(Some(idler));
        Ok(())
    }

    /// Sends the pings that are due, and takes what comes until the next is, or until `end`.
    fn turn(&mut self, end: Instant) -> Result<(), Failure> {
        let now = Instant::now();
        while let Some(&Reverse((when, at))) = self.due.peek()
            && when <= now
        {
            self.due.pop();
            let Some(idler) = &mut self.idlers[at] else { continue };
            idler.silence = idler.silence.max(idler.sent.elapsed());
            self.longest = self.longest.max(idler.silence);
            // Where it fails the end of the connection is read below.
            if idler.ping().is_ok() {
                self.pings += 1;
                self.due.push(Reverse((when.max(now - self.third / 2) + self.third, at)));
            }
        }
        let next = self.due.peek().map_or(end, |&Reverse((when, _))| when.min(end));
        let wait = next.saturating_duration_since(Instant::now());
        let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
        let mut events = Vec::with_capacity(1024);
        match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let idler = &mut self.idlers[event.data.u64() as usize];
            if let Some(one) = idler
                && !one.hear(&mut self.answers)?
            {
                epoll::delete(&self.set, &one.stream)?;
                // Who was silent for most of the timeout has no claim: this machine kept us from the processor.
                let ours = one.silence.max(one.sent.elapsed()) > self.third * 9 / 4;
                *(if ours { &mut self.lapsed } else { &mut self.ended }) += 1;
                *idler = None;
            }
        }
        Ok(())
    }
}

/// Keeps `count` sessions of `timeout_ms` alive by pings alone, and says how many the server has ended.
pub fn idle(server: SocketAddr, count: usize, timeout_ms: i32, seconds: f64) -> Result<(), Failure> {
    let first = Idler::open(server, timeout_ms)?;
    let granted = first.session.credentials().timeout_ms;
    let third = Duration::from_millis(u64::from(granted.unsigned_abs())) / 3;
    let mut vigil = Vigil {
        set: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        idlers: Vec::new(),
        due: BinaryHeap::new(),
        third,
        answers: Histogram::new_with_bounds(1, 60_000_000, 3)?,
        pings: 0,
        ended: 0,
        lapsed: 0,
        longest: Duration::ZERO,
    };
    vigil.join(first)?;
    // One after the other over a third of the timeout, so that they do not ping all at once; those that are open are kept so.
    for _ in 1..count {
        let end = Instant::now() + third / u32::try_from(count)?;
        while Instant::now() < end {
            vigil.turn(end)?;
        }
        vigil.join(Idler::open(server, timeout_ms)?)?;
    }
    let began = Instant::now();
    let end = began + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        vigil.turn(end)?;
    }
    let Vigil { answers, pings, ended, lapsed, longest, .. } = vigil;
    println!(
        "{count} sessions of {granted} ms, {pings} pings in {:.0} s: {ended} ended by the server, {lapsed} after a silence of ours; \
         pings answered within p50 {} us, p99 {} us, max {} us; our longest silence {} ms",
        began.elapsed().as_secs_f64(),
        answers.value_at_quantile(0.5),
        answers.value_at_quantile(0.99),
        answers.max(),
        longest.as_millis()
    );
    Ok(())
}
