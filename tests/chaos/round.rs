//! Round: load, faults one after the other, everything healed, and the verdict.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use ringkeeper::client::ask::CreateMode;
use ringkeeper::client::blocking::Client;

use super::checker::Fate;
use super::chooser::Random;
use super::counters::Counters;
use super::history::History;
use super::model::{self, SHARED, State};
use super::nemesis::Fault;
use super::pen::{FLEETING, Pen};
use super::reading::{Reading, check_root};
use super::shared::Shared;
use super::watcher::Watcher;
use super::world::{TICK, World};

const WRITERS: usize = 24;
/// A connection that does not answer for so long, all being whole, is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long writes may stand still while a quorum is there, and how much longer than its timeout the end of a session may take, on a
/// machine that is busy.
const SLACK: Duration = Duration::from_secs(30);

pub struct Game {
    world: World,
    shared: Shared,
    pens: Vec<Pen>,
    watchers: Vec<Watcher>,
    random: Random,
    history: History,
    epoch: u64,
}

impl Game {
    /// Servers, directories, and those who will use them.
    pub fn begin(
        directory: &Path,
        binary: &str,
        servers: usize,
        shards: Option<usize>,
        seed: u64,
        rest: Duration,
    ) -> Result<Self, String> {
        let world = World::start(directory, binary, servers, shards)?;
        world.whole()?;
        let shared = Shared::new(world.addresses.clone(), rest);
        let mut random = Random(seed);
        let mut client = Client::connect(world.addresses[0], 6000, PATIENCE).map_err(|e| e.to_string())?;
        let mut create = |path: &str| {
            client
                .create(path, b"", CreateMode::Persistent)
                .map(|(_, stat)| stat.czxid.0)
                .map_err(|e| format!("creating {path}: {e}"))
        };
        create("/crash")?;
        for parent in 0..SHARED {
            create(&model::shared(parent))?;
        }
        let mut pens = Vec::new();
        for writer in 0..WRITERS {
            let zxid = create(&model::directory(writer))?;
            let history = History::new(shared.began, format!("writer {writer}"));
            pens.push(Pen::new(State::new(writer, zxid), zxid, random.next(), writer % servers, history));
        }
        let newest = client.last_zxid().0;
        client.close().map_err(|e| e.to_string())?;
        shared.registry.lock().unwrap().settle(newest);
        let history = |who| History::new(shared.began, who);
        let watchers = (0..servers).map(|k| Watcher::new(WRITERS, random.next(), k, history(format!("reader {k}")))).collect();
        let history = history("nemesis".to_owned());
        Ok(Self { world, shared, pens, watchers, random, history, epoch: newest >> 32 })
    }

    /// Plays one and judges it. Returns what happened, in a line.
    pub fn round(&mut self, counters: &mut Counters, faults: u64) -> Result<String, String> {
        self.shared.stop.store(false, std::sync::atomic::Ordering::SeqCst);
        let before: u64 = self.pens.iter().map(|pen| pen.writer.answered).sum();
        let (shared, world, random, history) = (&self.shared, &mut self.world, &mut self.random, &mut self.history);
        let mut told = Vec::new();
        let struck = std::thread::scope(|scope| {
            for pen in &mut self.pens {
                scope.spawn(|| pen.run(shared));
            }
            for watcher in &mut self.watchers {
                scope.spawn(|| watcher.run(shared));
            }
            let struck = strikes(world, shared, random, history, counters, faults, &mut told);
            shared.stop.store(true, std::sync::atomic::Ordering::SeqCst);
            struck
        });
        self.shared.verdict()?;
        struck?;
        let (happened, unanswered) = self.judge()?;
        let ops = self.pens.iter().map(|pen| pen.writer.answered).sum::<u64>() - before;
        counters.add("ops", ops);
        counters.add("unknown", self.pens.iter_mut().map(|pen| std::mem::take(&mut pen.unknown)).sum());
        counters.add("sessions-moved", self.pens.iter_mut().map(|pen| std::mem::take(&mut pen.moved)).sum());
        counters.add("reads", self.watchers.iter_mut().map(|watcher| std::mem::take(&mut watcher.read)).sum());
        counters.add("syncs", self.watchers.iter_mut().map(|watcher| std::mem::take(&mut watcher.synced)).sum());
        let epoch = self.shared.acked() >> 32;
        counters.add("leader-changes", epoch.saturating_sub(self.epoch));
        self.epoch = self.epoch.max(epoch);
        self.history.clear();
        Ok(format!("{}; {ops} answered, at the end {happened} of {unanswered} unanswered had happened", told.join(", ")))
    }

    /// The servers are whole and nobody asks for anything: compares. How many of the operations unanswered at the end happened.
    fn judge(&mut self) -> Result<(usize, usize), String> {
        self.watchers.iter_mut().for_each(Watcher::hang_up);
        let mut observers = Vec::new();
        for address in &self.world.addresses {
            observers.push(come(*address)?);
        }
        let fates = self.pens.iter_mut().map(|pen| pen.settle(&self.shared)).collect::<Result<Vec<_>, _>>()?;
        let living = |owner: &i64| {
            self.pens.iter().zip(&fates).any(|(pen, fate)| *fate == Fate::Reattached && pen.writer.state.session == Some(*owner))
        };
        // Of sessions that nobody comes back for, and of those that a server closed.
        let until = Instant::now() + Duration::from_millis(super::pen::LASTING.max(FLEETING) as u64 + 2 * TICK) + SLACK;
        let early = observe(&mut observers[0])?;
        let mut leaving = early.owners();
        leaving.retain(|owner| !living(owner));
        let living: Vec<i64> = early.owners().into_iter().filter(living).collect();
        while !leaving.is_empty() {
            if Instant::now() > until {
                return Err(format!("ephemeral znodes of expired or closed sessions are still there: {leaving:x?}"));
            }
            self.wait(&mut observers, Duration::from_millis(300))?;
            leaving = observe(&mut observers[0])?.owners();
            leaving.retain(|owner| !living.contains(owner));
        }
        self.wait(&mut observers, Duration::from_millis(50))?;
        let late = observe(&mut observers[0])?;
        let zxid = observers[0].last_zxid().0;
        // Before what takes long: sessions end that are not heard of for two seconds.
        self.all_same(&mut observers)?;
        let (mut happened, mut unanswered) = (0, 0);
        for (at, (pen, fate)) in self.pens.iter_mut().zip(&fates).enumerate() {
            unanswered += pen.writer.unanswered().len();
            happened += pen.judge(&self.shared, *fate, &early.writers[at], &late.writers[at], zxid)?;
        }
        let mut registry = self.shared.registry.lock().unwrap();
        for (parent, (stat, children)) in late.shared.iter().enumerate() {
            registry.check_numbers(parent, stat, *children)?;
        }
        registry.settle(zxid);
        drop(registry);
        for watcher in &mut self.watchers {
            watcher.check(|writer| &self.pens[writer].trail)?;
        }
        for observer in observers {
            observer.close().map_err(|e| format!("closing an observer: {e}"))?;
        }
        self.watchers.iter_mut().for_each(Watcher::renew);
        self.pens.iter_mut().for_each(|pen| pen.renew(zxid));
        Ok((happened, unanswered))
    }

    /// Everybody who has a session keeps it.
    fn wait(&mut self, observers: &mut [Client], length: Duration) -> Result<(), String> {
        for pen in &mut self.pens {
            if !pen.ping() {
                return Err(format!(
                    "writer {}: the connection broke while all was whole and nothing was asked",
                    pen.writer.state.writer
                ));
            }
        }
        for observer in observers {
            observer.ping().map_err(|e| format!("an observer: {e}"))?;
        }
        std::thread::sleep(length);
        Ok(())
    }

    /// At rest every server has the same zxid and shows the same. A session may still end meanwhile, on a machine that is busy: they are
    /// given time to agree.
    fn all_same(&mut self, observers: &mut [Client]) -> Result<(), String> {
        let until = Instant::now() + SLACK;
        loop {
            let zxids: Vec<_> = (1..=self.world.servers).map(|k| self.world.zxid(k)).collect();
            if zxids.iter().all(|zxid| zxid.is_some() && *zxid == zxids[0]) {
                break;
            }
            if Instant::now() > until {
                return Err(format!("at rest the servers are at {zxids:x?}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        loop {
            self.wait(observers, Duration::ZERO)?;
            let Some(error) = different(observers)? else { return Ok(()) };
            if Instant::now() > until {
                return Err(error);
            }
        }
    }

    /// What shows how it came: every event of the round in the order of time, the servers' data and logs.
    pub fn keep(&mut self, there: &Path, error: &str) {
        let all = self.pens.iter().map(|pen| &pen.history).chain(self.watchers.iter().map(|watcher| &watcher.history));
        let mut lines: Vec<_> = all.chain([&self.history]).flat_map(History::lines).collect();
        lines.sort_by_key(|(at, _)| *at);
        let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
        let _ = std::fs::write(there.join("history"), format!("{error}\n\n{text}"));
        self.world.keep(there);
    }

    /// All servers stop in good order.
    pub fn end(mut self) -> Result<(), String> {
        (1..=self.world.servers).try_for_each(|k| self.world.end(k))
    }
}

/// How what a server shows differs from what the first one shows.
fn different(observers: &mut [Client]) -> Result<Option<String>, String> {
    let mut first = None;
    for (at, observer) in observers.iter_mut().enumerate() {
        let reading = observe(observer)?;
        let of_first = first.get_or_insert_with(|| reading.clone());
        if reading != *of_first {
            let differs = reading.writers.iter().zip(&of_first.writers).position(|(a, b)| a != b);
            return Ok(Some(format!(
                "server {} shows something else than server 1; of writer {differs:?}:\n{:?}\n{:?}",
                at + 1,
                differs.map(|at| &reading.writers[at]),
                differs.map(|at| &of_first.writers[at])
            )));
        }
    }
    Ok(None)
}

fn observe(observer: &mut Client) -> Result<Reading, String> {
    observer.sync("/").map_err(|e| format!("observing: {e}"))?;
    check_root(observer, WRITERS).and_then(|()| Reading::take(observer, 0..WRITERS)).map_err(|e| e.to_string())
}

/// Faults, each healed before the next, under the load of everybody.
fn strikes(
    world: &mut World,
    shared: &Shared,
    random: &mut Random,
    history: &mut History,
    counters: &mut Counters,
    faults: u64,
    told: &mut Vec<String>,
) -> Result<(), String> {
    let pause = |random: &mut Random| std::thread::sleep(Duration::from_millis(300 + random.below(900)));
    pause(random);
    for _ in 0..1 + random.below(faults.max(1)) {
        let fault = Fault::draw(random, world.has_nets);
        let leader = world.whole()?;
        let length = fault.length(random);
        history.note(format!("{fault:?}, leader {leader}, for {length:?}"));
        fault.strike(world, leader, random)?;
        shared.strike();
        history.note("it stands");
        let began = Instant::now();
        while began.elapsed() < length || fault.leaves_a_quorum() && shared.relief().is_none() {
            if shared.stopped() {
                return Ok(());
            }
            if began.elapsed() > length + SLACK {
                return Err(format!("{fault:?}: no write was done within {SLACK:?} though there is a quorum"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let window = shared.relief().filter(|_| fault.takes_the_leader()).map(|relief| relief.as_millis() as u64);
        fault.heal(world)?;
        history.note("healed");
        counters.add(&format!("fault:{fault:?}"), 1);
        if let Some(window) = window {
            counters.window(&format!("{fault:?}"), window);
        }
        told.push(format!(
            "{fault:?} of leader {leader}{}",
            window.map(|ms| format!(" (first write after {ms} ms)")).unwrap_or_default()
        ));
        world.whole()?;
        shared.strike();
        let until = Instant::now() + SLACK;
        while shared.relief().is_none() && !shared.stopped() {
            if Instant::now() > until {
                return Err(format!("no write was done within {SLACK:?} after {fault:?} had been healed"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        pause(random);
    }
    Ok(())
}

/// A session at a server that is whole, and may be on its way into its role.
fn come(address: SocketAddr) -> Result<Client, String> {
    let until = Instant::now() + SLACK;
    loop {
        match Client::connect(address, 6000, PATIENCE) {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > until => return Err(format!("an observer at {address}: {error}")),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
