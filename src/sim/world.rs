//! World: the servers, the net between them and the clock above them, driven from one seed, event by event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::boot;
use super::case::Case;
use super::chance::{Chance, mix};
use super::client::Client;

use super::faults::Fault;
use super::net::{End, Later, Message, Net};
use super::node::Node;
use super::oracle::{Oracle, Verdict, Violation};

use super::stats::Stats;
use super::trace::{Trace, short};
use crate::ground::ids::{ServerId, Zxid};
use crate::ground::time::Millis;
use crate::proto::packet::Packet;
use crate::zab::{In, Link, Members, Out, Role, Write};

/// How often what is said of a disk is held against it, in a million.
const AUDITS: u64 = 10_000;

/// Clients of a world.
const CLIENTS: usize = 4;

/// How often one of them falls silent for so long that its session ends, in a million.
const SILENCES: u64 = 5000;

/// How often a server looks after its watermark and images, us.
pub(super) const CHORE: u64 = 50_000;

/// Packets that may wait in one place.
const QUEUE_MAX: usize = 50_000;

/// What happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A server's timer.
    Timer { node: usize, life: u64, at: Millis },
    /// A batch has waited for company.
    Linger { node: usize, life: u64 },
    /// A disk has answered a job.
    Disk { node: usize, life: u64, job: u64 },
    /// Something of the net.
    Net(Later),
    /// A connection is asked for.
    Connect { from: usize, life: u64, to: usize },
    /// The learner hears of its connection.
    Connected { node: usize, life: u64, to: usize, link: u64 },
    /// It hears that there is none.
    Refused { node: usize, life: u64, to: usize },
    /// A piece of the log was read.
    Read { node: usize, life: u64, link: u64, after: Zxid, to: Zxid },
    /// A state is ready to be sent.
    State { node: usize, life: u64, link: u64 },
    /// A state that came is ready to be put in force.
    Ready { node: usize, life: u64, link: u64 },
    /// What is done now and then.
    Chore { node: usize, life: u64 },
    /// A client does something.
    Client(usize),
    /// A fault of the plan.
    Fault(usize),
    /// Ways that were cut are whole again, in the plan or after it.
    Heal(Vec<(usize, usize)>, bool),
    /// A server starts.
    Start { node: usize },
    /// A server that left in good order is stopped.
    Stop { node: usize, life: u64, back: u64 },
    /// A paused server goes on.
    Resume { node: usize },
    /// A server outside the core is troubled once more.
    Trouble(Fault),
}

/// An event with its time and its number.
#[derive(PartialEq, Eq, Debug)]
struct Due(u64, u64, Event);

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// The world.
pub struct World {
    /// What it began with.
    pub case: Case,
    /// True time, us.
    pub now: u64,
    /// The servers: those with a vote come first.
    pub nodes: Vec<Node>,
    /// The net.
    pub net: Net,
    /// Who knows.
    pub oracle: Oracle,
    /// What was counted.
    pub stats: Stats,
    /// What happened.
    pub trace: Trace,
    /// Servers of the core, once the plan has ended; empty before.
    pub core: Vec<usize>,
    /// Servers outside the core that are not troubled.
    pub well: Vec<usize>,
    queue: BinaryHeap<Reverse<Due>>,
    next: u64,
    /// Inputs that follow from what was just done.
    pub(super) inputs: VecDeque<(usize, In)>,
    later: Vec<(u64, Later)>,
    /// Packets behind a state that is not ready, by connection.
    pub(super) held: BTreeMap<u64, Vec<Packet>>,
    /// Those who ask.
    pub(super) clients: Vec<Client>,
    audits: Chance,
    asked: u64,
    pub(super) members: Members,
    hash: u64,
}

impl World {
    /// A world in which every server starts at once.
    #[must_use]
    pub fn new(case: Case, is_traced: bool) -> Self {
        let settings = case.settings;
        let voters = usize::try_from(settings.voters).expect("a few");
        let count = voters + usize::try_from(settings.observers).expect("a few");
        let id = |index: usize| ServerId(u8::try_from(index + 1).expect("a few"));
        let members = Members {
            voters: (0..voters).map(id).collect(),
            observers: (voters..count).map(id).collect(),
            text: (*b"version=0").into(),
            version: 0,
        };
        let mut world = Self {
            now: 0,
            nodes: (0..count).map(|index| Node::new(case.seed, index, &settings)).collect(),
            net: Net::new(case.seed, count, settings.manner()),
            oracle: Oracle::new(voters),
            stats: Stats::default(),
            trace: Trace::new(is_traced),
            core: Vec::new(),
            well: Vec::new(),
            queue: BinaryHeap::new(),
            next: 0,
            inputs: VecDeque::new(),
            later: Vec::new(),
            held: BTreeMap::new(),
            clients: (0..CLIENTS).map(|number| Client::new(case.seed, number, settings.tick)).collect(),
            audits: Chance::new(case.seed, "audits", 0),
            asked: 0,
            members,
            hash: 0,
            case,
        };
        for index in 0..count {
            let node = &mut world.nodes[index];
            node.told = is_traced.then(Vec::new);
            let salt = node.chance().any();
            node.is_impaired = settings.bootstrap > 0 && index < voters;
            boot::found(&mut node.disk, id(index), settings.segment * 4096, salt, node.is_impaired);
            world.at(node_start(index), Event::Start { node: index });
        }
        for (i, fault) in world.case.plan.clone().iter().enumerate() {
            world.at(fault.at, Event::Fault(i));
        }
        (0..CLIENTS).for_each(|client| world.at(0, Event::Client(client)));
        world
    }

    /// Something is to happen at a time.
    pub fn at(&mut self, time: u64, event: Event) {
        self.next += 1;
        self.queue.push(Reverse(Due(time.max(self.now), self.next, event)));
    }

    fn settle_later(&mut self) {
        for (time, later) in std::mem::take(&mut self.later) {
            self.at(time, Event::Net(later));
        }
    }

    /// An input for a server that follows from what is being done.
    pub fn follow_with(&mut self, node: usize, input: In) {
        self.inputs.push_back((node, input));
    }

    /// Does something with the net.
    pub fn on_net(&mut self, act: impl FnOnce(&mut Net, u64, &mut Vec<(u64, Later)>)) {
        act(&mut self.net, self.now, &mut self.later);
        self.settle_later();
    }

    /// The next event, and all that follows from it at once. `None` when the time is over.
    pub fn step(&mut self, until: u64) -> Result<bool, Violation> {
        if self.queue.peek().is_none_or(|Reverse(due)| due.0 > until) {
            self.now = until;
            return Ok(false);
        }
        let Reverse(Due(time, number, event)) = self.queue.pop().expect("it was just looked at");
        self.now = time;
        self.stats.events += 1;
        self.hash = mix(self.hash ^ mix(time) ^ number);
        self.happen(event)?;
        self.follow()?;
        if self.net.under_way() > QUEUE_MAX {
            return Err(Violation { invariant: "I25", what: format!("{} packets are under way", self.net.under_way()) });
        }
        Ok(true)
    }

    fn follow(&mut self) -> Verdict {
        while let Some((node, input)) = self.inputs.pop_front() {
            self.input(node, input)?;
        }
        Ok(())
    }

    /// A number made of everything that has happened.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.nodes.iter().fold(mix(self.hash ^ self.oracle.state().digest), |hash, node| {
            let state = node.process.as_ref().map_or(0, |process| process.state.digest ^ process.log.last().0);
            mix(hash ^ state ^ node.life ^ node.disk.fingerprint())
        })
    }

    /// Whether this is about an earlier process of a server.
    fn is_stale(&self, event: &Event) -> bool {
        match event {
            Event::Timer { node, life, .. }
            | Event::Linger { node, life }
            | Event::Disk { node, life, .. }
            | Event::Connected { node, life, .. }
            | Event::Refused { node, life, .. }
            | Event::Read { node, life, .. }
            | Event::State { node, life, .. }
            | Event::Ready { node, life, .. }
            | Event::Stop { node, life, .. }
            | Event::Chore { node, life } => self.nodes[*node].life != *life,
            Event::Connect { from, life, .. } => self.nodes[*from].life != *life,
            _ => false,
        }
    }

    /// The server that must be awake for this.
    fn needs(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Timer { node, .. }
            | Event::Linger { node, .. }
            | Event::Disk { node, .. }
            | Event::Connected { node, .. }
            | Event::Refused { node, .. }
            | Event::Read { node, .. }
            | Event::State { node, .. }
            | Event::Ready { node, .. }
            | Event::Chore { node, .. } => Some(*node),
            Event::Net(Later::Mail { to, .. }) => Some(*to),
            Event::Net(Later::Arrive { link, to }) => self.net.conn(*link).map(|conn| conn.node(*to)),
            _ => None,
        }
    }

    fn happen(&mut self, event: Event) -> Verdict {
        if self.is_stale(&event) {
            if let Event::Connected { link, .. } = event {
                self.on_net(|net, now, later| net.close(now, link, End::Learner, true, later));
            }
            return Ok(());
        }
        if let Some(node) = self.needs(&event)
            && self.nodes[node].paused_until > self.now
        {
            self.nodes[node].inbox.push(event);
            return Ok(());
        }
        match event {
            Event::Timer { node, at, .. } => {
                // One that was set earlier since has taken its place.
                if self.nodes[node].timer != Some(at) {
                    return Ok(());
                }
                self.nodes[node].timer = None;
                self.input(node, In::Time)
            }
            Event::Linger { node, .. } => {
                self.nodes[node].lingers = false;
                self.pump(node)
            }
            Event::Disk { node, job, .. } => self.disk_answers(node, job),
            Event::Net(Later::Arrive { link, to }) => self.arrive(link, to),
            Event::Net(Later::Mail { from, to, flight }) => self.mail(from, to, flight),
            Event::Connect { from, life, to } => {
                self.connect(from, life, to);
                Ok(())
            }
            Event::Connected { node, to, link, .. } => {
                let is_open = self.net.known(link);
                let leader = self.nodes[to].id;
                if is_open { self.input(node, In::Connected { leader, link: Link(link) }) } else { Ok(()) }
            }
            Event::Refused { node, to, .. } => {
                let leader = self.nodes[to].id;
                self.input(node, In::Unreachable { leader })
            }
            Event::Read { node, link, after, to, .. } => self.read(node, link, after, to),
            Event::State { node, link, .. } => self.send_state(node, link),
            Event::Ready { node, link, .. } => self.input(node, In::StateFinished { link: Link(link) }),
            Event::Chore { node, life } => {
                let now = self.nodes[node].now(self.now);
                if let Some(process) = &mut self.nodes[node].process {
                    process.chore(now);
                    // Who was not heard of while this server did nothing may have spoken.
                    process.engine.tick(now, process.heard.mono());
                    process.heard = now;
                }
                self.at(self.now + CHORE, Event::Chore { node, life });
                self.pump(node)
            }
            Event::Client(client) => self.client(client),
            Event::Fault(number) => self.strike(number),
            Event::Heal(_, is_after) if is_after == self.core.is_empty() => Ok(()),
            Event::Heal(ways, _) => {
                self.on_net(|net, now, later| ways.iter().for_each(|(from, to)| net.heal(now, *from, *to, later)));
                Ok(())
            }
            Event::Start { node } => self.start(node),
            Event::Stop { node, back, .. } => {
                self.end(node, None);
                self.at(self.now + back, Event::Start { node });
                Ok(())
            }
            Event::Resume { node } => self.resume(node),
            Event::Trouble(fault) => self.strike_with(fault),
        }
    }

    /// Hands something to a server's engine, and does what it says.
    pub fn input(&mut self, node: usize, input: In) -> Verdict {
        let now = self.nodes[node].now(self.now);
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        self.trace.note(self.now, || format!("{} <- {}", node + 1, short(&input)));
        process.engine.step(input, now);
        self.stats.steps += 1;
        self.pump(node)
    }

    pub(super) fn set_timer(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let Some(process) = &node.process else { return };
        let deadline = process.engine.deadline().expect("it is a member");
        if node.timer.is_none_or(|timer| timer > deadline) {
            node.timer = Some(deadline);
            let (at, life) = (node.true_time(deadline).max(now + 1), node.life);
            self.at(at, Event::Timer { node: index, life, at: deadline });
        }
        let node = &mut self.nodes[index];
        let Some(process) = &node.process else { return };
        // Where nothing is left to wait for it is something else that the batch waits for.
        if !node.lingers
            && let Some(us) = process.engine.due_in(node.now(now)).filter(|us| *us > 0)
        {
            node.lingers = true;
            self.stats.count("batches that linger");
            let life = node.life;
            self.at(now + us, Event::Linger { node: index, life });
        }
    }

    pub(super) fn effect(&mut self, node: usize, out: Out) -> Verdict {
        let (now, life) = (self.now, self.nodes[node].life);
        match out {
            Out::Notify { to, notification } => {
                let to = usize::from(to.0) - 1;
                if to == node {
                    let from = self.nodes[node].id;
                    self.inputs.push_back((node, In::Notification { from, notification }));
                } else {
                    self.on_net(|net, now, later| net.notify(now, node, to, notification, later));
                }
            }
            Out::Connect { leader } => {
                let to = usize::from(leader.0) - 1;
                let at = now + self.net.delay(node, to);
                self.at(at, Event::Connect { from: node, life, to });
            }
            Out::HangUp { link, why } => {
                self.stats.hung_up(why);
                self.forget(node, link.0);
                let is_graceful = self.nodes[node].chance().coin();
                if let Some(end) = self.net.end_of(link.0, node) {
                    self.on_net(|net, now, later| net.close(now, link.0, end, is_graceful, later));
                }
            }
            Out::Send { link, packet } => return self.send(node, link.0, packet),
            Out::Read { link, after, to } => {
                let at = now + self.nodes[node].latency(now, &self.case.settings);
                self.at(at, Event::Read { node, life, link: link.0, after, to });
            }
            Out::SendState { link } => {
                self.held.insert(link.0, Vec::new());
                let at = now + 10 * self.nodes[node].latency(now, &self.case.settings);
                self.at(at, Event::State { node, life, link: link.0 });
            }
            Out::Fold { link, record } => return self.fold(node, link, &record),
            Out::Finish { link, at } => return self.finish(node, link, at),
            Out::Store { .. } | Out::Deliver { .. } | Out::Became(_) | Out::Upward { .. } => {
                unreachable!("the engine does that itself")
            }
        }
        Ok(())
    }

    fn send(&mut self, node: usize, link: u64, packet: Packet) -> Verdict {
        let Some(end) = self.net.end_of(link, node) else { return Ok(()) };
        if let Some(held) = self.held.get_mut(&link).filter(|_| end == End::Leader) {
            held.push(packet);
            return Ok(());
        }
        self.told(node, link, &packet)?;
        self.on_net(|net, now, later| net.send(now, link, end, Message::Packet(packet), later));
        Ok(())
    }

    /// A packet leaves: the oracle hears of it.
    pub(super) fn told(&mut self, node: usize, link: u64, packet: &Packet) -> Verdict {
        match packet {
            Packet::Diff { .. } => self.stats.count("sync: DIFF"),
            Packet::Trunc { .. } => self.stats.count("sync: TRUNC"),
            Packet::Snap { .. } => self.stats.count("sync: SNAP"),
            _ => {}
        }
        let process = self.nodes[node].process.as_ref().expect("it has just spoken");
        self.oracle.sent(&self.nodes, node, process, link, packet)?;
        if matches!(packet, Packet::Ack { .. }) && self.audits.happens(AUDITS) {
            self.audit(node)?;
        }
        Ok(())
    }

    /// Something is to be made durable that bears nothing beside it.
    pub(super) fn alone(&mut self, node: usize, write: &Write) -> Verdict {
        let process = self.nodes[node].process.as_ref().expect("it has just spoken");
        match write {
            Write::Cut { to } => {
                self.oracle.cuts(&self.nodes, node, process, *to)?;
                self.stats.count("log cut");
            }
            Write::Install { link, tail, .. } => {
                if let Some((_, snapshot)) = process.received.as_ref().filter(|(from, _)| from == link) {
                    self.oracle.installs(&self.nodes, node, process, &snapshot.state, tail)?;
                }
                self.stats.count("state installed");
            }
            Write::Restored => self.stats.count("vote regained"),
            Write::Promise { accepted, current } => {
                let said = process.cabinet.promised();
                if *accepted < said.accepted || *current < said.current {
                    let what = format!("server {} promises {accepted}, {current} after {said:?}", node + 1);
                    return Err(Violation { invariant: "I8", what });
                }
            }
            Write::Append(_) => {}
        }
        Ok(())
    }

    pub(super) fn deliver(&mut self, node: usize, up_to: Zxid) -> Verdict {
        let process = self.nodes[node].process.as_mut().expect("it has just spoken");
        let before = process.delivered;
        let shown = process.deliver(up_to);
        if up_to < before {
            let what = format!("server {} delivers up to {up_to} after {before}", node + 1);
            return Err(Violation { invariant: "I14", what });
        }
        let process = self.nodes[node].process.as_ref().expect("it has just spoken");
        self.oracle.delivered(&self.nodes, node, process, up_to, &shown)?;
        self.stats.delivered += shown.len() as u64;
        Ok(())
    }

    pub(super) fn became(&mut self, node: usize, role: Role) -> Verdict {
        let process = self.nodes[node].process.as_mut().expect("it has just spoken");
        process.role = role;
        match role {
            Role::Leading { .. } => self.stats.count("elections won"),
            Role::Looking => {
                self.stats.count("elections begun");
                self.nodes[node].elections += 1;
            }
            _ => {}
        }
        let process = self.nodes[node].process.as_ref().expect("it has just spoken");
        self.oracle.became(node, process, role)
    }

    /// A client does what it does: connects, asks, says that it lives, gives up, or nothing.
    fn client(&mut self, number: usize) -> Verdict {
        let (settings, now) = (self.case.settings, self.now);
        let is_over = self.asked >= settings.ops && self.core.is_empty();
        let client = &mut self.clients[number];
        let pause = client.chance().around(settings.op_every * CLIENTS as u64).min(client.patience / 5);
        self.at(now + 1 + pause, Event::Client(number));
        let client = &mut self.clients[number];
        if client.silent_until > now {
            return Ok(());
        }
        let Some((node, life, conn)) = client.at else { return self.come(number) };
        if client.is_tired(now) {
            client.disconnected();
            let is_same = self.nodes[node].life == life;
            if let Some(process) = self.nodes[node].process.as_mut().filter(|_| is_same) {
                process.hung_up.push(conn);
            }
            return Ok(());
        }
        if client.is_served() {
            if client.chance().happens(SILENCES) {
                client.silent_until = now + client.patience * 3;
                self.stats.count("clients fell silent");
                return Ok(());
            }
            if !is_over && client.chance().coin() {
                let count = 1 + client.chance().below(settings.burst.max(1));
                self.asked += count;
                (0..count).for_each(|_| client.ask(now, settings.op_bytes, &self.oracle));
            } else {
                client.ping(now);
            }
        }
        if self.nodes[node].paused_until > now { Ok(()) } else { self.pump(node) }
    }

    /// A client seeks a server.
    fn come(&mut self, number: usize) -> Verdict {
        let count = self.nodes.len() as u64;
        let client = &mut self.clients[number];
        let node = usize::try_from(client.chance().below(count)).expect("a few");
        let (now, life) = (self.nodes[node].now(self.now), self.nodes[node].life);
        let is_paused = self.nodes[node].paused_until > self.now;
        let Some(process) = self.nodes[node].process.as_mut().filter(|_| !is_paused) else { return Ok(()) };
        let peer = std::net::SocketAddr::from(([10, 0, 0, 1], 1024));
        let conn = process.shard.open(peer, now);
        client.connect(self.now, (node, life, conn));
        self.pump(node)
    }

    /// Who leads, as far as the servers know themselves.
    #[must_use]
    pub fn leaders(&self) -> Vec<(usize, u32)> {
        let role = |(index, node): (usize, &Node)| match node.process.as_ref()?.role {
            Role::Leading { epoch } if node.paused_until <= self.now => Some((index, epoch)),
            _ => None,
        };
        self.nodes.iter().enumerate().filter_map(role).collect()
    }

    fn resume(&mut self, index: usize) -> Verdict {
        if self.nodes[index].paused_until > self.now {
            return Ok(());
        }
        for event in std::mem::take(&mut self.nodes[index].inbox) {
            self.happen(event)?;
            self.follow()?;
        }
        Ok(())
    }

    /// A connection is over for a server: what it kept for it goes.
    pub fn forget(&mut self, node: usize, link: u64) {
        if self.net.end_of(link, node) == Some(End::Leader) {
            self.held.remove(&link);
        }
        if let Some(process) = &mut self.nodes[node].process {
            process.pins.remove(&link);
        }
    }
}

/// Servers start one after the other, nearly at once.
const fn node_start(index: usize) -> u64 {
    1000 * index as u64
}
