//! Load: a generator of client load. One thread and one epoll set drive all connections, far cheaper than any server.
//!
//! Closed loop (`--rate 0`): every connection keeps `--depth` requests in flight. Open loop (`--rate R`): requests arrive
//! at R a second whether the server keeps up or not, and their latency counts from the intended start, so a stall shows in
//! full. An arrival that finds every connection at its depth waits and is counted as delayed.
//!
//! The epoll set is used through rustix and not through mio because an open loop needs waits finer than a millisecond.

mod echo;
mod requests;
mod stay;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use echo::echo;
use hdrhistogram::Histogram;
use requests::{Random, Requests, node_path, request};
use ringkeeper::client::answer::{Code, Refusal};
use ringkeeper::client::ask::{Ask, CreateMode};
use ringkeeper::client::blocking::{Client, ClientError};
use ringkeeper::client::session::{Credentials, Incoming, Session};
use ringkeeper::proto::acl::Acl;
use rustix::event::{Timespec, epoll};

type Failure = Box<dyn std::error::Error>;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Workload {
    Read,
    Set,
    Mixed,
    /// Create --nodes znodes with paths of 33 bytes, a thousand to a parent, and leave them there.
    Create,
    /// Sessions that send nothing but pings, three in a timeout, for --seconds.
    Idle,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Arrivals {
    Poisson,
    Constant,
}

/// Client load on a ZooKeeper-compatible server.
#[derive(Parser, Clone, Debug)]
struct Options {
    /// Server, HOST:PORT.
    #[arg(long, default_value = "127.0.0.1:2181")]
    server: String,
    /// What is asked.
    #[arg(long, value_enum, default_value = "read")]
    workload: Workload,
    /// Part of reads in the mixed workload, 0 to 1.
    #[arg(long, default_value_t = 0.8)]
    read_ratio: f64,
    /// Connections, each with its session.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests in flight on one connection at most.
    #[arg(long, default_value_t = 32)]
    depth: usize,
    /// Seconds measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before the measurement.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Bytes of data.
    #[arg(long, default_value_t = 100)]
    value_size: usize,
    /// Znodes under /load.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Arrivals a second over all connections; 0 is the closed loop.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Spacing of arrivals in the open loop.
    #[arg(long, value_enum, default_value = "poisson")]
    arrivals: Arrivals,
    /// Session timeout of the idle workload, ms.
    #[arg(long, default_value_t = 10_000)]
    timeout_ms: i32,
    /// Seed of the choice of znodes and of the arrivals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write the result to this file as JSON.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
    /// Create /load and its znodes first, delete them at the end.
    #[arg(long)]
    setup: bool,
    /// Measure the generator itself against a trivial server inside this process.
    #[arg(long)]
    self_test: bool,
    /// Run something tiny against the inner server (`cargo test` and `cargo bench -- --test` say this).
    #[arg(long)]
    test: bool,
    /// `cargo bench` says this; it has no meaning here.
    #[arg(long, hide = true)]
    bench: bool,
    /// Names that `cargo test` filters by; they have no meaning here.
    #[arg(hide = true)]
    filters: Vec<String>,
}

/// One connection under load.
struct Line {
    stream: TcpStream,
    out: Vec<u8>,
    out_at: usize,
    input: Vec<u8>,
    filled: usize,
    /// Start of each request in flight, ns since the run began, and whether it is a read.
    flying: VecDeque<(u64, bool)>,
    next_xid: i32,
    due_xid: i32,
}

const INPUT: usize = 256 << 10;

impl Line {
    fn open(server: SocketAddr) -> Result<Self, Failure> {
        let mut stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        let mut session = Session::new(Credentials::new(30_000));
        stream.write_all(session.output())?;
        let mut byte = [0; 1];
        // Byte by byte, so that nothing after the connect response is swallowed.
        let granted = loop {
            stream.read_exact(&mut byte)?;
            session.feed(&byte);
            if let Some(incoming) = session.take()? {
                break incoming;
            }
        };
        if !matches!(granted, Incoming::Connected(_)) {
            return Err("the server granted no session".into());
        }
        stream.set_nonblocking(true)?;
        let (out, input) = (Vec::with_capacity(64 << 10), vec![0; INPUT]);
        Ok(Self { stream, out, out_at: 0, input, filled: 0, flying: VecDeque::new(), next_xid: 1, due_xid: 1 })
    }

    #[inline]
    fn ask(&mut self, requests: &Requests, random: &mut Random, start: u64) {
        let read = requests.push(random, self.next_xid, &mut self.out);
        self.next_xid = if self.next_xid == i32::MAX { 1 } else { self.next_xid + 1 };
        self.flying.push_back((start, read));
    }

    /// Sends what the socket takes.
    fn flush(&mut self) -> Result<(), Failure> {
        while self.out_at < self.out.len() {
            match self.stream.write(&self.out[self.out_at..]) {
                Ok(sent) => self.out_at += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.out_at = 0;
        Ok(())
    }

    /// Reads once and counts the replies that came. Returns whether the socket may hold more.
    fn receive(&mut self, clock: &Instant, tally: &mut Tally) -> Result<bool, Failure> {
        let got = match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => return Err("the server hung up".into()),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let full = self.filled + got == INPUT;
        self.filled += got;
        let now = nanos(clock);
        let mut at = 0;
        while let Some(head) = self.input[at..self.filled].first_chunk::<20>() {
            let word = |i: usize| i32::from_be_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
            let len = usize::try_from(word(0))?;
            if !(16..=INPUT - 4).contains(&len) {
                return Err(format!("a reply of {len} bytes").into());
            }
            if at + 4 + len > self.filled {
                break;
            }
            if word(4) != self.due_xid {
                return Err(format!("a reply to xid {} where {} was next", word(4), self.due_xid).into());
            }
            self.due_xid = if self.due_xid == i32::MAX { 1 } else { self.due_xid + 1 };
            let (start, read) = self.flying.pop_front().ok_or("a reply to nothing")?;
            tally.count(now, start, read, word(16));
            at += 4 + len;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(full)
    }
}

fn nanos(clock: &Instant) -> u64 {
    clock.elapsed().as_nanos() as u64
}

/// What is measured.
struct Tally {
    from: u64,
    until: u64,
    reads: Histogram<u64>,
    sets: Histogram<u64>,
    errors: std::collections::BTreeMap<i32, u64>,
    answered: u64,
}

impl Tally {
    fn new(from: u64, until: u64) -> Self {
        let histogram = || Histogram::new_with_bounds(1, 60_000_000, 3).expect("1 us to 60 s in 3 digits is a valid range");
        Self { from, until, reads: histogram(), sets: histogram(), errors: Default::default(), answered: 0 }
    }

    #[inline]
    fn count(&mut self, now: u64, start: u64, read: bool, err: i32) {
        if now < self.from || now >= self.until {
            return;
        }
        self.answered += 1;
        if err != 0 {
            *self.errors.entry(err).or_default() += 1;
            return;
        }
        // Up to the next microsecond: never better than it was.
        let us = now.saturating_sub(start).div_ceil(1000);
        if read { self.reads.saturating_record(us) } else { self.sets.saturating_record(us) }
    }
}

/// The stream of arrivals of an open loop.
struct Schedule {
    next: f64,
    gap: f64,
    arrivals: Arrivals,
}

impl Schedule {
    fn step(&mut self, random: &mut Random) {
        self.next += match self.arrivals {
            Arrivals::Constant => self.gap,
            Arrivals::Poisson => -random.unit().ln() * self.gap,
        };
    }
}

struct Outcome {
    tally: Tally,
    seconds: f64,
    delayed: u64,
    dropped: u64,
    unanswered: usize,
}

/// Arrivals that may wait for a free connection; beyond it they are dropped and counted.
const BACKLOG_MAX: usize = 4 << 20;

fn run(o: &Options, server: SocketAddr) -> Result<Outcome, Failure> {
    let requests = Requests::new(o);
    let mut random = Random::new(o.seed);
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut lines = Vec::new();
    for at in 0..o.connections {
        let line = Line::open(server)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&set, &line.stream, epoll::EventData::new_u64(at as u64), flags)?;
        lines.push(line);
    }
    // A finer slack than the default 50 us lets the open loop start its requests on time.
    if o.rate > 0.0 {
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1000))?;
    }

    let clock = Instant::now();
    let from = (o.warmup * 1e9) as u64;
    let until = from + (o.seconds * 1e9) as u64;
    let mut tally = Tally::new(from, until);
    let mut schedule = Schedule { next: 0.0, gap: 1e9 / o.rate, arrivals: o.arrivals };
    let mut backlog: VecDeque<u64> = VecDeque::new();
    let (mut delayed, mut dropped, mut turn) = (0, 0, 0);
    let (mut arrived, mut judged) = (0u64, 0u64);
    let mut events = Vec::with_capacity(1024);
    if o.rate <= 0.0 {
        for line in &mut lines {
            for _ in 0..o.depth {
                line.ask(&requests, &mut random, nanos(&clock));
            }
            line.flush()?;
        }
    }
    loop {
        let mut now = nanos(&clock);
        if now >= until {
            break;
        }
        let mut wait = until - now;
        if o.rate > 0.0 {
            while schedule.next <= now as f64 {
                if backlog.len() < BACKLOG_MAX {
                    backlog.push_back(schedule.next as u64);
                    arrived += 1;
                } else {
                    dropped += 1;
                }
                schedule.step(&mut random);
            }
            wait = wait.min((schedule.next - now as f64).max(0.0) as u64);
            let mut full = 0;
            while let Some(&start) = backlog.front() {
                turn = (turn + 1) % lines.len();
                if lines[turn].flying.len() >= o.depth {
                    full += 1;
                    if full == lines.len() {
                        break;
                    }
                    continue;
                }
                full = 0;
                backlog.pop_front();
                lines[turn].ask(&requests, &mut random, start);
                lines[turn].flush()?;
            }
        }
        // Whoever arrived since the last turn and still waits is held up by the cap; the others were judged before.
        delayed += arrived - judged.max(arrived - backlog.len() as u64);
        judged = arrived;
        let timeout = Timespec { tv_sec: (wait / 1_000_000_000) as i64, tv_nsec: (wait % 1_000_000_000) as i64 };
        events.clear();
        match epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let line = &mut lines[event.data.u64() as usize];
            loop {
                let before = line.flying.len();
                let more = line.receive(&clock, &mut tally)?;
                let answered = before - line.flying.len();
                if o.rate <= 0.0 && answered > 0 {
                    now = nanos(&clock);
                    for _ in 0..answered {
                        line.ask(&requests, &mut random, now);
                    }
                }
                if !more {
                    break;
                }
            }
            line.flush()?;
        }
    }
    let unanswered = lines.iter().map(|line| line.flying.len()).sum::<usize>() + backlog.len();
    for mut line in lines {
        request(&mut line.out, &Ask::Close);
        // The run is over; a server that is not there any more to be told goodbye changes nothing in it.
        line.stream.set_nonblocking(false)?;
        line.stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        if line.flush().is_ok() {
            while matches!(line.stream.read(&mut line.input), Ok(n) if n > 0) {}
        }
    }
    Ok(Outcome { tally, seconds: o.seconds, delayed, dropped, unanswered })
}

fn report(o: &Options, outcome: &Outcome) -> Result<f64, Failure> {
    let mut all = outcome.tally.reads.clone();
    all.add(&outcome.tally.sets)?;
    let rate = all.len() as f64 / outcome.seconds;
    let mut line = format!("{rate:.0} ops/s");
    for (name, q) in QUANTILES {
        write!(line, "  {name} {}", all.value_at_quantile(q))?;
    }
    write!(line, "  max {} us  errors", all.max())?;
    if outcome.tally.errors.is_empty() {
        line.push_str(" none");
    }
    for (code, count) in &outcome.tally.errors {
        write!(line, " {}: {count}", Refusal(*code))?;
    }
    if o.rate > 0.0 {
        write!(line, "  delayed {} dropped {} unanswered {}", outcome.delayed, outcome.dropped, outcome.unanswered)?;
    }
    println!("{line}");
    if let Some(file) = &o.json {
        std::fs::write(file, json(o, outcome, &all, rate)?)?;
    }
    Ok(rate)
}

const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

fn json(o: &Options, outcome: &Outcome, all: &Histogram<u64>, rate: f64) -> Result<String, std::fmt::Error> {
    let mut s = String::new();
    writeln!(s, "{{")?;
    writeln!(s, "  \"workload\": \"{:?}\", \"read_ratio\": {}, \"connections\": {},", o.workload, o.read_ratio, o.connections)?;
    writeln!(s, "  \"depth\": {}, \"value_size\": {}, \"nodes\": {}, \"seed\": {},", o.depth, o.value_size, o.nodes, o.seed)?;
    writeln!(s, "  \"rate\": {}, \"arrivals\": \"{:?}\",", o.rate, o.arrivals)?;
    writeln!(s, "  \"seconds\": {}, \"warmup\": {}, \"ops_per_s\": {rate:.1},", o.seconds, o.warmup)?;
    writeln!(s, "  \"answered\": {}, \"delayed\": {},", outcome.tally.answered, outcome.delayed)?;
    writeln!(s, "  \"dropped\": {}, \"unanswered\": {},", outcome.dropped, outcome.unanswered)?;
    for (name, histogram) in [("all", all), ("reads", &outcome.tally.reads), ("sets", &outcome.tally.sets)] {
        write!(s, "  \"{name}_us\": {{\"count\": {}, \"mean\": {:.1}", histogram.len(), histogram.mean())?;
        for (quantile, q) in QUANTILES {
            write!(s, ", \"{quantile}\": {}", histogram.value_at_quantile(q))?;
        }
        writeln!(s, ", \"max\": {}}},", histogram.max())?;
    }
    let errors: Vec<String> = outcome.tally.errors.iter().map(|(code, n)| format!("\"{code}\": {n}")).collect();
    writeln!(s, "  \"errors\": {{{}}}\n}}", errors.join(", "))?;
    Ok(s)
}

/// Creates /load and its znodes, or deletes them, in a pipeline.
fn furnish(o: &Options, server: SocketAddr, create: bool) -> Result<(), Failure> {
    let mut client = Client::connect(server, 30_000, Duration::from_secs(60))?;
    let value = vec![b'v'; o.value_size];
    let acl = [Acl::open()];
    let ask = |client: &mut Client, path: &str, data: &[u8]| {
        client.submit(&if create {
            Ask::Create { path, data: Some(data), acl: &acl, mode: CreateMode::Persistent }
        } else {
            Ask::Delete { path, version: -1 }
        })
    };
    let take = |client: &mut Client| match client.next_reply()?.result {
        Err(e) if !e.is(if create { Code::NodeExists } else { Code::NoNode }) => Err(ClientError::from(e)),
        _ => Ok(()),
    };
    if create {
        ask(&mut client, "/load", b"")?;
        take(&mut client)?;
    }
    for batch in (0..o.nodes).collect::<Vec<_>>().chunks(1024) {
        for &node in batch {
            ask(&mut client, &node_path(node), &value)?;
        }
        for _ in batch {
            take(&mut client)?;
        }
    }
    if !create {
        client.delete("/load", -1)?;
    }
    client.close()?;
    Ok(())
}

/// Drives the inner server and fails below `floor` requests for a second of this thread's processor time: on a machine
/// that has other things to do, the wall clock would measure those.
fn self_test(o: &Options, floor: f64) -> Result<(), Failure> {
    let server = echo(o.connections, o.value_size)?;
    let before = processor_seconds()?;
    let outcome = run(o, server)?;
    let rate = report(o, &outcome)? * (o.seconds + o.warmup) / (processor_seconds()? - before);
    println!("{rate:.0} requests a second of the generator's processor time");
    if rate < floor || !outcome.tally.errors.is_empty() {
        return Err(format!("{floor:.0} were expected, and no errors").into());
    }
    Ok(())
}

/// Processor time of this thread so far, from the kernel's scheduler statistics.
fn processor_seconds() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().ok_or("schedstat is empty")?.parse::<f64>()? / 1e9)
}

fn work(o: &Options) -> Result<(), Failure> {
    if o.connections == 0 || o.depth == 0 || o.nodes == 0 {
        return Err("connections, depth and nodes must be at least 1".into());
    }
    if o.self_test {
        return self_test(o, 1_500_000.0);
    }
    if o.test {
        let tiny = Options { connections: 4, depth: 4, seconds: 0.1, warmup: 0.0, nodes: 10, ..o.clone() };
        for (workload, rate) in [(Workload::Read, 0.0), (Workload::Mixed, 0.0), (Workload::Set, 1000.0)] {
            self_test(&Options { workload, rate, ..tiny.clone() }, 10.0)?;
        }
        return Ok(());
    }
    let server = o.server.to_socket_addrs()?.next().ok_or("the server has no address")?;
    match o.workload {
        Workload::Create => return stay::create(server, o.nodes, o.value_size),
        Workload::Idle => return stay::idle(server, o.connections, o.timeout_ms, o.seconds),
        _ => {}
    }
    if o.setup {
        furnish(o, server, true)?;
    }
    let outcome = run(o, server);
    if o.setup {
        furnish(o, server, false)?;
    }
    report(o, &outcome?)?;
    Ok(())
}

fn main() -> ExitCode {
    // `cargo test --benches` runs this bare, `cargo bench` says `--bench`: neither names a server, so neither means work.
    let mut o = Options::parse();
    o.test |= std::env::args().skip(1).all(|word| word == "--bench");
    match work(&o) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
