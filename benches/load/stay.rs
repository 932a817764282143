//! Stay: what stays and does little. A tree that is made once, sessions that only ping.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
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
        let path = format!("{group}/znode-{node:08}");
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

/// One session that only pings.
struct Idler {
    stream: TcpStream,
    session: Session,
    /// The ping without an answer, if there is one.
    asked: Option<Instant>,
    /// When the last ping left.
    sent: Instant,
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
        Ok(Self { stream, session, asked: None, sent: Instant::now() })
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

/// Keeps `count` sessions of `timeout_ms` alive by pings alone, and says how many the server has ended.
pub fn idle(server: SocketAddr, count: usize, timeout_ms: i32, seconds: f64) -> Result<(), Failure> {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut idlers = Vec::new();
    for at in 0..count {
        let idler = Idler::open(server, timeout_ms)?;
        epoll::add(&set, &idler.stream, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
        idlers.push(Some(idler));
    }
    let granted = idlers.iter().flatten().map(|idler| idler.session.credentials().timeout_ms).max().unwrap_or(0);
    let third = Duration::from_millis(u64::from(granted.unsigned_abs())) / 3;
    let began = Instant::now();
    let end = began + Duration::from_secs_f64(seconds);
    // Spread over the first third, as clients that came at different times are.
    let mut due: BinaryHeap<_> = (0..count).map(|at| Reverse((began + third.mul_f64(at as f64 / count as f64), at))).collect();
    let mut answers = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let (mut pings, mut ended, mut late, mut longest) = (0u64, 0, 0u64, Duration::ZERO);
    let mut events = Vec::with_capacity(1024);
    loop {
        let mut now = Instant::now();
        if now >= end {
            break;
        }
        while let Some(&Reverse((when, at))) = due.peek()
            && when <= now
        {
            due.pop();
            let Some(idler) = &mut idlers[at] else { continue };
            let silent = idler.sent.elapsed();
            longest = longest.max(silent);
            late += u64::from(silent > third * 2);
            match idler.ping() {
                Ok(()) => pings += 1,
                // The end of it is read below.
                Err(_) => continue,
            }
            due.push(Reverse((when.max(now - third / 2) + third, at)));
            now = Instant::now();
        }
        let next = due.peek().map_or(end, |&Reverse((when, _))| when.min(end));
        let wait = next.saturating_duration_since(now).max(Duration::from_micros(100));
        let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
        events.clear();
        match epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let idler = &mut idlers[event.data.u64() as usize];
            if let Some(one) = idler
                && !one.hear(&mut answers)?
            {
                epoll::delete(&set, &one.stream)?;
                *idler = None;
                ended += 1;
            }
        }
    }
    println!(
        "{count} sessions of {granted} ms, {pings} pings in {:.0} s: {ended} ended by the server; pings answered within \
         p50 {} us, p99 {} us, max {} us; longest silence of ours {} ms, {late} times over two thirds of the timeout",
        began.elapsed().as_secs_f64(),
        answers.value_at_quantile(0.5),
        answers.value_at_quantile(0.99),
        answers.max(),
        longest.as_millis()
    );
    Ok(())
}
