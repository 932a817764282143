//! World: servers of an ensemble, their disks and what is under way between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringkeeper::ground::ids::{ServerId, Zxid};
use ringkeeper::ground::time::Millis;
use ringkeeper::proto::packet::Packet;
use ringkeeper::proto::vote::{Notification, Standing};
use ringkeeper::zab::{Found, In, Link, Members, Out, Peer, Record, Role, Times, Token, Write};

use crate::words::{packet_text, pair, ranges, record, short, write_text, zxid};

pub const TIMES: Times =
    Times { tick: 1000, init_limit: 10, sync_limit: 5, notification_min: 200, notification_max: 60_000, finalize_wait: 200 };
/// Transactions in one piece that is read from a log: few, so that there are many pieces.
pub const PIECE: usize = 2;
/// No command leads to more events than this.
pub const EVENTS_MAX: usize = 20_000;

/// What a server has on its disk.
#[derive(Clone, Default, Debug)]
pub struct Disk {
    accepted: u32,
    current: u32,
    base: Zxid,
    log: Vec<Record>,
    delivered: Zxid,
    impaired: bool,
}

#[derive(Default)]
pub struct Node {
    pub peer: Option<Peer>,
    disk: Disk,
    /// Raised when it starts: what was under way to an earlier life is lost.
    life: u64,
}

/// What is under way.
#[derive(Clone, Debug)]
pub enum Event {
    Notify {
        from: u8,
        to: u8,
        notification: Notification,
    },
    Connect {
        from: u8,
        to: u8,
    },
    Packet {
        link: Link,
        to: u8,
        packet: Packet,
    },
    State {
        link: Link,
        to: u8,
    },
    Broken {
        link: Link,
        to: u8,
    },
    Disk {
        node: u8,
        life: u64,
        token: Token,
        write: Write,
    },
    Read {
        node: u8,
        life: u64,
        link: Link,
        records: Option<Vec<Record>>,
    },
    Sent {
        node: u8,
        life: u64,
        link: Link,
        at: Zxid,
    },
    /// The state that came is whole.
    Finished {
        node: u8,
        life: u64,
        link: Link,
    },
}

#[derive(Default)]
pub struct World {
    pub now: u64,
    pub voters: Vec<u8>,
    pub observers: Vec<u8>,
    pub nodes: BTreeMap<u8, Node>,
    /// Each link's two ends, those that are open.
    links: BTreeMap<Link, (u8, u8, BTreeSet<u8>)>,
    pub queue: VecDeque<Event>,
    pub held: Vec<Event>,
    pub hold_disks: BTreeSet<u8>,
    hold_links: BTreeSet<(u8, u8)>,
    pub cut: BTreeSet<(u8, u8)>,
    votes: bool,
    pings: bool,
    pub memory: usize,
    pub epoch_length: u32,
    /// All that was delivered anywhere, in order: nobody may differ.
    pub agreed: Vec<Record>,
    /// Where chance stands, if what is under way happens by chance.
    pub chance: Option<u64>,
    pub trace: String,
}

impl World {
    pub fn new(memory: usize, epoch_length: u32, chance: Option<u64>) -> Self {
        Self { memory, epoch_length, chance, ..Self::default() }
    }

    pub fn say(&mut self, line: &str) {
        self.trace.push_str(line);
        self.trace.push('\n');
    }

    fn members(&self) -> Members {
        let ids = |list: &[u8]| list.iter().map(|id| ServerId(*id)).collect();
        Members { voters: ids(&self.voters), observers: ids(&self.observers), text: b"version=0".as_slice().into(), version: 0 }
    }

    pub fn start(&mut self, id: u8, words: &[&str]) {
        let members = self.members();
        let (memory, epoch_length, now) = (self.memory, self.epoch_length, Millis(self.now));
        let node = self.nodes.entry(id).or_default();
        assert!(node.peer.is_none(), "it stands already");
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "accepted" => node.disk.accepted = value.parse().expect("an epoch"),
                "current" => node.disk.current = value.parse().expect("an epoch"),
                "base" => (node.disk.base, node.disk.delivered) = (zxid(value), zxid(value)),
                "delivered" => node.disk.delivered = zxid(value),
                "anew" => node.disk = Disk::default(),
                "impaired" => node.disk.impaired = true,
                "log" => {
                    node.disk.log.clear();
                    for range in value.split(',') {
                        let (first, last) = range.split_once('-').unwrap_or((range, range));
                        let (first, last) = (zxid(first), zxid(last));
                        node.disk.log.extend((first.0..=last.0).map(|zxid| record(Zxid(zxid), 0)));
                    }
                }
                other => panic!("unknown: {other}"),
            }
        }
        let disk = &node.disk;
        let mut ends: Vec<Zxid> = Vec::new();
        for record in &disk.log {
            match ends.last_mut() {
                Some(end) if end.epoch() == record.zxid.epoch() => *end = record.zxid,
                _ => ends.push(record.zxid),
            }
        }
        let found = Found {
            accepted: disk.accepted,
            current: disk.current,
            base: disk.base,
            ends,
            delivered: disk.delivered,
            is_impaired: disk.impaired,
            is_new: None,
        };
        let (mut peer, out) = Peer::new(ServerId(id), members, TIMES, found, now);
        peer.set_limits(memory, epoch_length);
        node.peer = Some(peer);
        node.life += 1;
        self.effects(id, out);
    }

    pub fn stop(&mut self, id: u8) {
        let node = self.nodes.get_mut(&id).expect("it stands");
        node.peer = None;
        node.life += 1;
        self.say(&format!("{id}  stops"));
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.close(link, id);
        }
    }

    /// One end of a link is closed; the other hears of it.
    fn close(&mut self, link: Link, by: u8) {
        if let Some((a, b, open)) = self.links.get_mut(&link)
            && open.remove(&by)
        {
            let to = if *a == by { *b } else { *a };
            self.queue.push_back(Event::Broken { link, to });
        }
    }

    pub fn step(&mut self, id: u8, input: In) {
        let mut out = Vec::new();
        let now = Millis(self.now);
        if let Some(peer) = self.nodes.get_mut(&id).and_then(|node| node.peer.as_mut()) {
            peer.step(now, input, &mut out);
        }
        self.effects(id, out);
    }

    fn effects(&mut self, id: u8, out: Vec<Out>) {
        let Some(life) = self.nodes.get(&id).map(|node| node.life) else { return };
        for effect in out {
            match effect {
                Out::Notify { to, notification } => {
                    if self.votes {
                        let standing = match notification.standing {
                            Standing::Looking => "looking",
                            Standing::Following => "following",
                            Standing::Leading => "leading",
                            Standing::Observing => "observing",
                        };
                        let vote = notification.vote.map_or("nobody".into(), |vote| {
                            format!("{} at epoch {} zxid {}", vote.leader.0, vote.epoch, short(vote.zxid))
                        });
                        self.say(&format!("{id} ~> {}  {standing}, round {}: {vote}", to.0, notification.round));
                    }
                    self.queue.push_back(Event::Notify { from: id, to: to.0, notification });
                }
                Out::Connect { leader } => self.queue.push_back(Event::Connect { from: id, to: leader.0 }),
                Out::HangUp { link, why } => {
                    self.say(&format!("{id}  hangs up: {why}"));
                    self.close(link, id);
                }
                Out::Send { link, packet } => self.send(id, link, packet),
                Out::Store { token, write } => {
                    self.say(&format!("{id}  writes {}", write_text(&write)));
                    self.queue.push_back(Event::Disk { node: id, life, token, write });
                }
                Out::Read { link, after, to } => {
                    let disk = &self.nodes[&id].disk;
                    let some = disk.log.iter().filter(|record| record.zxid > after && record.zxid <= to).take(PIECE);
                    let records = (after >= disk.base).then(|| some.cloned().collect::<Vec<_>>());
                    let what = records.as_ref().map_or("too far back".into(), ranges);
                    self.say(&format!("{id}  reads its log after {}: {what}", short(after)));
                    self.queue.push_back(Event::Read { node: id, life, link, records });
                }
                Out::SendState { link } => {
                    let at = self.nodes[&id].disk.delivered.max(self.nodes[&id].disk.base);
                    self.send(id, link, Packet::Snap { at });
                    let to = self.other(link, id);
                    self.queue.push_back(Event::State { link, to });
                    self.queue.push_back(Event::Sent { node: id, life, link, at });
                }
                Out::Fold { record, .. } => self.say(&format!("{id}  takes {} into the state that came", short(record.zxid))),
                Out::Finish { link, at } => {
                    self.say(&format!("{id}  finishes the state that came at {}", short(at)));
                    self.queue.push_back(Event::Finished { node: id, life, link });
                }
                Out::Deliver { up_to } => self.deliver(id, up_to),
                Out::Became(role) => {
                    let text = match role {
                        Role::Looking => "looks for a leader".into(),
                        Role::Joining { leader } => format!("joins {}", leader.0),
                        Role::Following { leader, epoch } => format!("follows {} in epoch {epoch}", leader.0),
                        Role::Observing { leader, epoch } => format!("observes {} in epoch {epoch}", leader.0),
                        Role::Leading { epoch } => format!("leads epoch {epoch}"),
                    };
                    self.say(&format!("{id}  {text}"));
                }
                Out::Upward { packet, .. } => self.say(&format!("{id}  upward {}", packet_text(&packet))),
            }
        }
    }

    fn other(&self, link: Link, id: u8) -> u8 {
        let (a, b, _) = &self.links[&link];
        if *a == id { *b } else { *a }
    }

    fn send(&mut self, id: u8, link: Link, packet: Packet) {
        assert!(self.links[&link].2.contains(&id), "nothing is sent on a link that was given up");
        let to = self.other(link, id);
        if self.pings || !matches!(packet, Packet::Ping { .. }) {
            self.say(&format!("{id} -> {to}  {}", packet_text(&packet)));
        }
        self.queue.push_back(Event::Packet { link, to, packet });
    }

    fn deliver(&mut self, id: u8, up_to: Zxid) {
        self.say(&format!("{id}  delivers {}", short(up_to)));
        let disk = &mut self.nodes.get_mut(&id).expect("it stands").disk;
        assert!(
            disk.log.iter().any(|record| record.zxid == up_to) || up_to == disk.base,
            "{id}: what is delivered is on the disk\n{}",
            self.trace
        );
        disk.delivered = disk.delivered.max(up_to);
        for record in disk.log.iter().filter(|record| record.zxid <= up_to) {
            match self.agreed.binary_search_by_key(&record.zxid, |record| record.zxid) {
                Ok(at) => assert_eq!(self.agreed[at], *record, "{id} delivers other bytes\n{}", self.trace),
                // What a script's server had before, inside a state that nobody here has seen.
                Err(0) if !self.agreed.is_empty() => {}
                Err(at) => {
                    assert_eq!(at, self.agreed.len(), "{id} delivers {} that others did not\n{}", record.zxid, self.trace);
                    self.agreed.push(record.clone());
                }
            }
        }
    }

    /// Whether an event has to wait.
    fn is_held(&self, event: &Event) -> bool {
        match event {
            Event::Disk { node, .. } => self.hold_disks.contains(node),
            Event::Packet { link, to, .. } | Event::State { link, to } | Event::Broken { link, to } => {
                self.hold_links.contains(&(self.other(*link, *to), *to)) || self.cut.contains(&pair(self.other(*link, *to), *to))
            }
            Event::Notify { .. } | Event::Connect { .. } | Event::Read { .. } | Event::Sent { .. } | Event::Finished { .. } => {
                false
            }
        }
    }

    fn is_alive(&self, id: u8, life: u64) -> bool {
        self.nodes[&id].life == life && self.nodes[&id].peer.is_some()
    }

    pub fn happen(&mut self, event: Event) {
        if self.is_held(&event) {
            self.held.push(event);
            return;
        }
        match event {
            Event::Notify { from, to, notification } => {
                if !self.cut.contains(&pair(from, to)) {
                    self.step(to, In::Notification { from: ServerId(from), notification });
                }
            }
            Event::Connect { from, to } => {
                let stands = self.nodes.get(&to).is_some_and(|node| node.peer.is_some()) && !self.cut.contains(&pair(from, to));
                let leader = ServerId(to);
                if stands {
                    let link = Link(self.links.len() as u64 + 1);
                    self.links.insert(link, (from, to, [from, to].into()));
                    self.step(to, In::Accepted { link });
                    self.step(from, In::Connected { leader, link });
                } else {
                    self.step(from, In::Unreachable { leader });
                }
            }
            Event::Packet { link, to, packet } => {
                if self.links[&link].2.contains(&to) {
                    self.step(to, In::Packet { link, packet });
                }
            }
            Event::State { link, to } => {
                if self.links[&link].2.contains(&to) {
                    self.step(to, In::StateReceived { link });
                }
            }
            Event::Broken { link, to } => {
                if self.links.get_mut(&link).expect("a link").2.remove(&to) {
                    self.step(to, In::LinkDown { link });
                }
            }
            Event::Disk { node, life, token, write } => {
                if self.is_alive(node, life) {
                    let disk = &mut self.nodes.get_mut(&node).expect("it stands").disk;
                    match write {
                        Write::Promise { accepted, current } => (disk.accepted, disk.current) = (accepted, current),
                        Write::Append(records) => disk.log.extend(records),
                        Write::Cut { to } => disk.log.retain(|record| record.zxid <= to),
                        Write::Install { at, tail, .. } => {
                            (disk.base, disk.log) = (at, tail);
                            disk.delivered = disk.delivered.max(at);
                        }
                        Write::Restored => disk.impaired = false,
                    }
                    self.step(node, In::Stored(token));
                }
            }
            Event::Read { node, life, link, records } => {
                if self.is_alive(node, life) {
                    self.step(node, In::History { link, records });
                }
            }
            Event::Sent { node, life, link, at } => {
                if self.is_alive(node, life) {
                    self.step(node, In::StateSent { link, at });
                }
            }
            Event::Finished { node, life, link } => {
                if self.is_alive(node, life) {
                    self.step(node, In::StateFinished { link });
                }
            }
        }
    }

    /// A number below `n`, by chance.
    pub fn dice(&mut self, n: u64) -> u64 {
        let state = self.chance.as_mut().expect("chance is in play");
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % n
    }

    /// What must keep its order: events of the same channel.
    fn channel(event: &Event) -> (u8, u64, u8) {
        match event {
            Event::Notify { from, to, .. } => (0, u64::from(*from), *to),
            Event::Connect { from, to } => (1, u64::from(*from), *to),
            Event::Packet { link, to, .. } | Event::State { link, to } | Event::Broken { link, to } => (2, link.0, *to),
            Event::Disk { node, .. } => (3, 0, *node),
            Event::Read { node, .. } | Event::Sent { node, .. } | Event::Finished { node, .. } => (4, 0, *node),
        }
    }

    pub fn next(&mut self) -> Option<Event> {
        if self.chance.is_none() || self.queue.len() < 2 {
            return self.queue.pop_front();
        }
        let chosen = self.dice(self.queue.len() as u64) as usize;
        let channel = Self::channel(&self.queue[chosen]);
        let first = self.queue.iter().position(|event| Self::channel(event) == channel).expect("it is there");
        self.queue.remove(first)
    }

    pub fn run(&mut self) {
        let mut events = 0;
        while let Some(event) = self.next() {
            events += 1;
            assert!(events < EVENTS_MAX, "it comes to no rest:\n{}", self.trace);
            self.happen(event);
        }
    }

    /// Lets time pass, to each server when it wants to know.
    pub fn time(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            self.run();
            let wanted = |(id, node): (&u8, &Node)| Some((node.peer.as_ref()?.deadline().0, *id));
            let Some((at, id)) = self.nodes.iter().filter_map(wanted).min() else { break };
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.step(id, In::Time);
        }
        self.now = end;
        self.run();
    }

    pub fn show(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            let node = &self.nodes[&id];
            let disk = &node.disk;
            let role = node.peer.as_ref().map_or("stopped".into(), |peer| format!("{:?}", peer.role()));
            let line = format!(
                "{id}  {role}; accepted {} current {}; log {} after {}; delivered {}",
                disk.accepted,
                disk.current,
                ranges(&disk.log),
                short(disk.base),
                short(disk.delivered)
            );
            self.say(&line);
        }
    }

    pub fn command(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let id = |at: usize| words[at].parse::<u8>().expect("a server");
        match words[0] {
            "members" => {
                for word in &words[1..] {
                    let (key, list) = word.split_once('=').expect("a list");
                    let list: Vec<u8> = list.split(',').map(|id| id.parse().expect("a server")).collect();
                    *if key == "voters" { &mut self.voters } else { &mut self.observers } = list;
                }
            }
            "limits" => {
                for word in &words[1..] {
                    let (key, value) = word.split_once('=').expect("a limit");
                    match key {
                        "memory" => self.memory = value.parse().expect("bytes"),
                        _ => self.epoch_length = value.parse().expect("a counter"),
                    }
                }
            }
            "trace" => (self.votes, self.pings) = (words.contains(&"votes"), words.contains(&"pings")),
            "start" => self.start(id(1), &words[2..]),
            "stop" => self.stop(id(1)),
            "run" => self.run(),
            "time" => self.time(words[1].parse().expect("milliseconds")),
            "propose" => {
                let peer = self.nodes[&id(1)].peer.as_ref().expect("it stands");
                let Role::Leading { epoch } = peer.role() else { panic!("{} does not lead", id(1)) };
                let first = peer.proposed().0.max(Zxid::new(epoch, 0).0) + 1;
                let count: u64 = words[2].parse().expect("a number");
                let records = (first..first + count).map(|zxid| record(Zxid(zxid), id(1))).collect();
                self.step(id(1), In::Propose(records));
            }
            "leave" => self.step(id(1), In::Leave),
            "hold" if words[1] == "disk" => {
                self.hold_disks.insert(id(2));
            }
            "hold" => {
                self.hold_links.insert((id(2), id(3)));
            }
            "release" => {
                self.hold_disks.clear();
                self.hold_links.clear();
                self.queue.extend(std::mem::take(&mut self.held));
                self.run();
            }
            "cut" => {
                self.cut.insert(pair(id(1), id(2)));
            }
            "heal" => {
                self.cut.clear();
                self.queue.extend(std::mem::take(&mut self.held));
                self.run();
            }
            "forget" => {
                self.nodes.clear();
                self.queue.clear();
                self.agreed.clear();
            }
            "show" => self.show(),
            other => panic!("unknown command: {other}"),
        }
        std::mem::take(&mut self.trace)
    }
}
