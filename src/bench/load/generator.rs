//! Generator: one thread and one epoll set that drive many connections, far cheaper than any server serves them.
//!
//! The epoll set is used through rustix because an open loop needs waits finer than a millisecond.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::epoll;

use super::arrivals::Schedule;
use super::line::{Line, LineError, Server, nanos};
use super::patience;
use super::random::Random;
use super::requests::Maker;
use crate::bench::control::RunError;
use crate::bench::machine::thread_seconds;
use crate::bench::record::Slice;
use crate::bench::recorder::Recorder;
use crate::bench::spec::{Pace, Spec};
use crate::show::latency::Latency;

/// Arrivals of one thread that may wait for a free connection; beyond it they are dropped and counted.
pub const BACKLOG_MAX: usize = 1 << 20;

/// Connections that wait for their sessions at once.
const CONNECTING: usize = 128;

/// Events taken at once: few, so that arrivals are not late because of replies.
const EVENTS: usize = 64;

/// Longest sleep, after which a thread looks whether it shall end, ns.
const NAP: u64 = 50_000_000;

/// How often connections are looked at that may be quiet for too long, ns.
const PING_ROUND: u64 = 250_000_000;

/// How long a server may take to close a session.
const GOODBYE: Duration = Duration::from_secs(2);

/// How much later than asked the kernel may wake a generator thread, ns.
const SLACK: u64 = 1000;

const SECOND: u64 = 1_000_000_000;

/// What the threads of one run share.
#[derive(Debug)]
pub struct Shared {
    /// Set from elsewhere: the run ends.
    pub stop: Arc<AtomicBool>,
    over: AtomicBool,
    alive: AtomicUsize,
    why: Mutex<Option<String>>,
    losses: Mutex<Vec<String>>,
    seconds: Vec<Mutex<Option<Slice>>>,
}

impl Shared {
    /// For `connections` connections over `threads` threads.
    #[must_use]
    pub fn new(stop: Arc<AtomicBool>, connections: usize, threads: usize) -> Self {
        Self {
            stop,
            over: AtomicBool::new(false),
            alive: AtomicUsize::new(connections),
            why: Mutex::new(None),
            losses: Mutex::new(Vec::new()),
            seconds: (0..threads).map(|_| Mutex::new(None)).collect(),
        }
    }

    /// Whether the run shall end before its time.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed)
    }

    /// Ends the run before its time.
    fn end(&self, why: String) {
        lock(&self.why).get_or_insert(why);
        self.over.store(true, Ordering::Relaxed);
    }

    /// Why the run ended before its time.
    pub fn why(&self) -> Option<String> {
        let stopped = || self.stop.load(Ordering::Relaxed).then(|| "stopped from outside".to_owned());
        lock(&self.why).clone().or_else(stopped)
    }

    /// Why connections were lost, one line for each.
    pub fn losses(&self) -> Vec<String> {
        lock(&self.losses).clone()
    }

    /// What all threads have seen in the newest second that all of it lies in the past, once.
    pub fn take_second(&self) -> Option<Slice> {
        let mut all: Option<Slice> = None;
        for second in &self.seconds {
            let Some(slice) = lock(second).take() else { continue };
            match &mut all {
                None => all = Some(slice),
                Some(all) => {
                    all.offered += slice.offered;
                    all.errors += slice.errors;
                    all.latency.add(&slice.latency);
                }
            }
        }
        all
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is guarded is whole after every statement, also where a thread has panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one thread has to do.
pub struct Job<M> {
    /// Makes its requests.
    pub maker: M,
    /// The run.
    pub spec: Spec,
    /// All servers.
    pub servers: Vec<Server>,
    /// Its place among the threads.
    pub thread: usize,
    /// The core it is bound to.
    pub core: Option<core_affinity::CoreId>,
    /// What it shares with the others.
    pub shared: Arc<Shared>,
}

/// What one thread has seen.
#[derive(Debug)]
pub struct Seen {
    /// Answers.
    pub recorder: Recorder,
    /// How late requests of the open loop left that did not have to wait for a connection.
    pub late: Latency,
    /// Processor time in the measured part, seconds.
    pub processor_seconds: f64,
    /// When it ended, ns since the run began.
    pub end: u64,
}

impl<M: Maker> Job<M> {
    /// Opens the connections, says so, waits for the common start and drives them to the end.
    pub fn run(self, ready: &SyncSender<Result<(), RunError>>, go: &Receiver<Instant>) -> Result<Option<Seen>, RunError> {
        if let Some(core) = self.core {
            // A thread that is not bound measures too; it is only disturbed more.
            core_affinity::set_for_current(core);
        }
        let mut worker = match Worker::new(self) {
            Ok(worker) => worker,
            Err(error) => {
                // The starter may have given up on another thread's failure.
                let _ = ready.send(Err(error));
                return Ok(None);
            }
        };
        if ready.send(Ok(())).is_err() {
            return Ok(None);
        }
        let waited = Instant::now();
        let start = loop {
            match go.recv_timeout(Duration::from_millis(100)) {
                Ok(start) => break start,
                Err(RecvTimeoutError::Timeout) => worker.keep_alive(nanos(&waited)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        };
        let seen = worker.drive(start)?;
        Ok(Some(seen))
    }
}

/// An open loop's arrivals.
struct Open {
    schedule: Schedule,
    backlog: VecDeque<u64>,
    /// Arrivals up to here have been judged whether they had to wait.
    judged: u64,
    /// Connections with requests to send.
    dirty: Vec<usize>,
    /// Starts of requests that are to leave now.
    fresh: Vec<u64>,
}

struct Worker<M> {
    maker: M,
    spec: Spec,
    thread: usize,
    shared: Arc<Shared>,
    set: rustix::fd::OwnedFd,
    /// `None`: lost.
    lines: Vec<Option<Line>>,
    names: Vec<String>,
    /// Lines that are not lost.
    alive: usize,
    /// Requests in flight on all lines.
    flying: usize,
    turn: usize,
    random: Random,
    recorder: Recorder,
    late: Latency,
    is_used_up: bool,
}

impl<M: Maker> Worker<M> {
    fn new(job: Job<M>) -> Result<Self, RunError> {
        let Job { maker, spec, servers, thread, shared, .. } = job;
        let machine = |what| move |error: rustix::io::Errno| RunError::Machine(what, error.into());
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(machine("epoll"))?;
        // A finer slack than the default 50 us lets the open loop start its requests on time.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(SLACK)).map_err(machine("timer slack"))?;
        let (mut lines, mut names) = (Vec::new(), Vec::new());
        let mine: Vec<&Server> =
            (thread..spec.connections).step_by(spec.threads).map(|connection| &servers[connection % servers.len()]).collect();
        for part in mine.chunks(CONNECTING) {
            if shared.is_over() {
                return Err(RunError::Prepare(part[0].name.clone(), "stopped before all connections were open".into()));
            }
            let mut opened =
                part.iter().map(|server| Line::connect(server, spec.session_timeout_ms)).collect::<Result<Vec<_>, _>>()?;
            for (line, server) in opened.iter_mut().zip(part) {
                line.granted(server)?;
                let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
                let data = epoll::EventData::new_u64(names.len() as u64);
                epoll::add(&set, line.stream(), data, flags).map_err(machine("epoll"))?;
                names.push(server.name.clone());
            }
            lines.extend(opened.into_iter().map(Some));
        }
        let from = (spec.warmup * 1e9) as u64;
        let recorder = Recorder::new(maker.names(), from, from + (spec.seconds * 1e9) as u64);
        let random = Random::new(spec.seed, thread as u64);
        let alive = lines.len();
        let late = Latency::default();
        Ok(Self {
            maker,
            spec,
            thread,
            shared,
            set,
            lines,
            names,
            alive,
            flying: 0,
            turn: 0,
            random,
            recorder,
            late,
            is_used_up: false,
        })
    }

    /// Pings on all connections that are quiet.
    fn keep_alive(&mut self, now: u64) {
        for at in 0..self.lines.len() {
            if let Some(line) = &mut self.lines[at]
                && line.ping_if_quiet(now)
                && let Err(error) = line.flush(now)
            {
                self.lose(at, now, &error);
            }
        }
    }

    fn drive(mut self, clock: Instant) -> Result<Seen, RunError> {
        let from = (self.spec.warmup * 1e9) as u64;
        let until = from + (self.spec.seconds * 1e9) as u64;
        let mut open = match self.spec.pace {
            Pace::Open { rate, arrivals } => Some(Open {
                schedule: Schedule::new(arrivals, rate, self.thread, self.spec.threads, &mut self.random),
                backlog: VecDeque::new(),
                judged: 0,
                dirty: Vec::new(),
                fresh: Vec::new(),
            }),
            Pace::Closed => None,
        };
        for line in self.lines.iter_mut().flatten() {
            line.heard_at_start();
        }
        if open.is_none() {
            for at in 0..self.lines.len() {
                self.refill(at, self.spec.in_flight, nanos(&clock));
            }
        }
        let mut events = Vec::with_capacity(EVENTS);
        let mut used_before = None;
        let (mut next_round, mut next_second) = (PING_ROUND, from + SECOND);
        loop {
            let now = nanos(&clock);
            if now >= from && used_before.is_none() {
                used_before = Some(thread_seconds());
            }
            if now >= until || self.shared.is_over() {
                break;
            }
            let mut wait = (until - now).min(NAP);
            if let Some(open) = &mut open {
                let next = self.start_due(open, now, &clock);
                wait = wait.min(next.saturating_sub(nanos(&clock)));
            }
            if self.is_used_up && self.flying == 0 {
                if let Err(why) = self.maker.ended() {
                    self.shared.end(why);
                }
                break;
            }
            if now >= next_round {
                self.keep_alive(now);
                next_round = now + PING_ROUND;
            }
            if now >= next_second {
                *lock(&self.shared.seconds[self.thread]) = self.recorder.second(next_second - SECOND).cloned();
                next_second += SECOND;
            }
            events.clear();
            patience::wait(&self.set, &mut events, Duration::from_nanos(wait))
                .map_err(|error| RunError::Machine("epoll", error.into()))?;
            for event in &events {
                self.serve(event.data.u64() as usize, event.flags, &clock, open.is_none());
            }
        }
        let end = nanos(&clock).min(until);
        let processor_seconds = used_before.map_or(0.0, |before| thread_seconds() - before);
        let waiting = open.map_or(0, |open| self.waiting_at(end, open));
        self.recorder.unanswered(self.flying as u64 + waiting);
        self.say_goodbye();
        Ok(Seen { recorder: self.recorder, late: self.late, processor_seconds, end })
    }

    /// Starts the requests of an open loop that are due, as far as connections have room. Returns when the next one is.
    fn start_due(&mut self, open: &mut Open, now: u64, clock: &Instant) -> u64 {
        while open.schedule.next() <= now && !self.is_used_up {
            let start = open.schedule.next();
            self.recorder.offered(start);
            if open.backlog.len() < BACKLOG_MAX && self.alive > 0 {
                open.backlog.push_back(start);
            } else {
                self.recorder.held_up(start, true);
            }
            open.schedule.step(&mut self.random);
        }
        while self.flying < self.alive * self.spec.in_flight && !self.is_used_up {
            let Some(&start) = open.backlog.front() else { break };
            let at = self.next_free();
            let line = self.lines[at].as_mut().expect("a line with room is not lost");
            if !line.ask(&mut self.maker, &mut self.random, start) {
                self.is_used_up = true;
                break;
            }
            open.backlog.pop_front();
            self.flying += 1;
            if open.dirty.last() != Some(&at) {
                open.dirty.push(at);
            }
            if start > open.judged {
                open.fresh.push(start);
            }
        }
        for at in open.dirty.drain(..) {
            self.flush(at, now);
        }
        if !open.fresh.is_empty() {
            let left = nanos(clock);
            for start in open.fresh.drain(..) {
                if self.recorder.covers(start) {
                    self.late.record_ns(left.saturating_sub(start));
                }
            }
        }
        // Whoever arrived since the last turn and still waits is held up by the cap; the others were judged before.
        for start in open.backlog.iter().rev().take_while(|start| **start > open.judged) {
            self.recorder.held_up(*start, false);
        }
        open.judged = now;
        if self.is_used_up { u64::MAX } else { open.schedule.next() }
    }

    /// Arrivals that have not started at the end. Those since the last turn are counted here.
    fn waiting_at(&mut self, end: u64, mut open: Open) -> u64 {
        let mut waiting = open.backlog.len() as u64;
        while open.schedule.next() < end && !self.is_used_up {
            self.recorder.offered(open.schedule.next());
            waiting += 1;
            open.schedule.step(&mut self.random);
        }
        waiting
    }

    /// The next connection in turn that has room; there must be one.
    fn next_free(&mut self) -> usize {
        loop {
            self.turn = if self.turn + 1 == self.lines.len() { 0 } else { self.turn + 1 };
            if self.lines[self.turn].as_ref().is_some_and(|line| line.in_flight() < self.spec.in_flight) {
                return self.turn;
            }
        }
    }

    /// Starts `count` requests of a closed loop.
    #[inline]
    fn refill(&mut self, at: usize, count: usize, now: u64) {
        let Some(line) = &mut self.lines[at] else { return };
        for _ in 0..count {
            if !line.ask(&mut self.maker, &mut self.random, now) {
                self.is_used_up = true;
                break;
            }
            self.flying += 1;
            self.recorder.offered(now);
        }
        self.flush(at, now);
    }

    #[inline]
    fn flush(&mut self, at: usize, now: u64) {
        if let Some(line) = &mut self.lines[at]
            && let Err(error) = line.flush(now)
        {
            self.lose(at, now, &error);
        }
    }

    /// Takes what came on a connection, and sends what waits for it.
    #[inline]
    fn serve(&mut self, at: usize, flags: epoll::EventFlags, clock: &Instant, is_closed_loop: bool) {
        let ended = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        loop {
            let Some(line) = &mut self.lines[at] else { return };
            let before = line.in_flight();
            let received = line.receive(clock, &mut self.maker, &mut self.recorder);
            self.flying -= before - line.in_flight();
            match received {
                Ok(received) => {
                    if is_closed_loop && received.answered > 0 && !self.is_used_up {
                        self.refill(at, received.answered, nanos(clock));
                    }
                    // The edge of the end may have come together with that of data, and is told once.
                    if received.empty || !received.more && !flags.intersects(ended) {
                        break;
                    }
                }
                Err(error) => return self.lose(at, nanos(clock), &error),
            }
        }
        if flags.contains(epoll::EventFlags::OUT) {
            self.flush(at, nanos(clock));
        }
    }

    fn lose(&mut self, at: usize, now: u64, error: &LineError) {
        let Some(mut line) = self.lines[at].take() else { return };
        // Its descriptor is closed with it, which takes it out of the set too.
        let _ = epoll::delete(&self.set, line.stream());
        self.flying -= line.lose(now, &mut self.maker, &mut self.recorder);
        self.alive -= 1;
        lock(&self.shared.losses).push(format!("{}: {error}", self.names[at]));
        if self.shared.alive.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.shared.end(format!("all connections were lost; the last one to {}: {error}", self.names[at]));
        }
    }

    fn say_goodbye(&mut self) {
        let mut lines: Vec<Line> = self.lines.drain(..).flatten().collect();
        for line in &mut lines {
            line.close();
        }
        let deadline = Instant::now() + GOODBYE;
        for line in lines {
            line.closed(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
        }
    }
}
