//! Net: the connections between simulated servers. First in, first out within a connection; nothing between connections is promised.

use std::collections::{BTreeMap, VecDeque};

use super::chance::Chance;
use super::snapshot::Snapshot;
use crate::proto::packet::Packet;
use crate::proto::vote::Notification;

/// Messages that a sender has under way without hearing that they came; then it sends no more. So a way that is cut in one direction alone
/// does not carry the other for long.
const WINDOW: u32 = 10;

/// What travels on the quorum port.
#[derive(Clone, Debug)]
pub enum Message {
    /// A packet.
    Packet(Packet),
    /// A whole state.
    State(Snapshot),
    /// The connection is closed.
    End,
}

/// Which end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum End {
    /// The one that has connected.
    Learner,
    /// The one that has accepted.
    Leader,
}

impl End {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Learner => Self::Leader,
            Self::Leader => Self::Learner,
        }
    }
}

/// One direction of a connection.
#[derive(Clone, Default, Debug)]
struct Lane {
    queue: VecDeque<Message>,
    /// When the last message in it arrives.
    last: u64,
    /// Messages that have come as far as the place where the way is cut.
    stalled: usize,
    /// Messages that came while nothing could come back.
    unanswered: u32,
}

/// A connection of the quorum port.
#[derive(Clone, Debug)]
pub struct Conn {
    nodes: [usize; 2],
    open: [bool; 2],
    lanes: [Lane; 2],
    /// The learner knows of it.
    is_known: bool,
}

impl Conn {
    /// The server at an end.
    #[must_use]
    pub const fn node(&self, end: End) -> usize {
        self.nodes[end as usize]
    }

    /// Whether a server still uses this end.
    #[must_use]
    pub const fn is_open(&self, end: End) -> bool {
        self.open[end as usize]
    }
}

/// The way of notifications from one server to another.
#[derive(Clone, Default, Debug)]
pub struct Mail {
    flying: Option<Notification>,
    waiting: Option<Notification>,
    last: Option<Notification>,
    /// The connection has broken: what is sent next opens it again.
    is_broken: bool,
    /// What flies is the first on its connection.
    is_first: bool,
    is_stalled: bool,
    /// Notifications that came while nothing could come back.
    unanswered: u32,
    /// Tells flights apart.
    flight: u64,
}

/// What is to happen later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Later {
    /// The next message of a connection reaches the end.
    Arrive {
        /// Its number.
        link: u64,
        /// To which end.
        to: End,
    },
    /// A notification reaches its server.
    Mail {
        /// From.
        from: usize,
        /// To.
        to: usize,
        /// Of which flight.
        flight: u64,
    },
}

/// How the net behaves; times in us, probabilities in a million.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manner {
    /// Mean delay of a message.
    pub delay: u64,
    /// A connection of the quorum port breaks at a message.
    pub breaks: u64,
    /// A notification is lost with its connection.
    pub mail_breaks: u64,
    /// A message is held up for long.
    pub clogs: u64,
    /// For how long at most.
    pub clog: u64,
}

/// All connections.
#[derive(Debug)]
pub struct Net {
    /// How it behaves.
    pub manner: Manner,
    conns: BTreeMap<u64, Conn>,
    next: u64,
    /// How many faults cut the way from one to another.
    cuts: Vec<Vec<u32>>,
    mail: Vec<Vec<Mail>>,
    chances: Vec<Vec<Chance>>,
    /// Messages sent so far, for the account.
    pub sent: u64,
}

impl Net {
    /// Between so many servers.
    #[must_use]
    pub fn new(seed: u64, nodes: usize, manner: Manner) -> Self {
        let chances = |from: usize| (0..nodes).map(|to| Chance::new(seed, "net", (from * 64 + to) as u64)).collect();
        Self {
            manner,
            conns: BTreeMap::new(),
            next: 0,
            cuts: vec![vec![0; nodes]; nodes],
            mail: vec![vec![Mail::default(); nodes]; nodes],
            chances: (0..nodes).map(chances).collect(),
            sent: 0,
        }
    }

    /// A delay from one to another.
    pub fn delay(&mut self, from: usize, to: usize) -> u64 {
        let manner = self.manner;
        let chance = &mut self.chances[from][to];
        let clog = if chance.happens(manner.clogs) { chance.below(manner.clog + 1) } else { 0 };
        20 + chance.around(manner.delay) + clog
    }

    /// Whether nothing gets from one to another.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts[from][to] > 0
    }

    /// The connection with this number.
    #[must_use]
    pub fn conn(&self, link: u64) -> Option<&Conn> {
        self.conns.get(&link)
    }

    /// The end of a connection that a server uses.
    #[must_use]
    pub fn end_of(&self, link: u64, node: usize) -> Option<End> {
        let conn = self.conns.get(&link)?;
        [End::Learner, End::Leader].into_iter().find(|end| conn.node(*end) == node && conn.is_open(*end))
    }

    /// Numbers of the connections that are open at both ends.
    #[must_use]
    pub fn whole(&self) -> Vec<u64> {
        self.conns.iter().filter(|(_, conn)| conn.open == [true; 2] && conn.is_known).map(|(link, _)| *link).collect()
    }

    /// Messages under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.conns.values().map(|conn| conn.lanes.iter().map(|lane| lane.queue.len()).sum::<usize>()).sum()
    }

    /// A connection comes to be at its leader; the learner hears of it at the time that is handed back.
    pub fn accept(&mut self, now: u64, learner: usize, leader: usize) -> (u64, u64) {
        self.next += 1;
        let known = now + self.delay(leader, learner);
        let lanes = [Lane::default(), Lane { last: known, ..Lane::default() }];
        let conn = Conn { nodes: [learner, leader], open: [true; 2], lanes, is_known: false };
        self.conns.insert(self.next, conn);
        (self.next, known)
    }

    /// The learner hears of it. `false` if it is over already.
    pub fn known(&mut self, link: u64) -> bool {
        let Some(conn) = self.conns.get_mut(&link) else { return false };
        conn.is_known = true;
        conn.open[0]
    }

    /// Sends, from one end.
    pub fn send(&mut self, now: u64, link: u64, from: End, message: Message, later: &mut Vec<(u64, Later)>) {
        let Some(conn) = self.conns.get(&link) else { return };
        let (here, there) = (conn.node(from), conn.node(from.other()));
        let at = now + self.delay(here, there);
        let breaks = self.chances[here][there].happens(self.manner.breaks) && !matches!(message, Message::End);
        self.sent += 1;
        let conn = self.conns.get_mut(&link).expect("it was just there");
        let lane = &mut conn.lanes[from as usize];
        lane.last = lane.last.max(at);
        lane.queue.push_back(message);
        later.push((lane.last, Later::Arrive { link, to: from.other() }));
        if breaks {
            self.reset(now, link, later);
        }
    }

    /// The next message that reaches an end, unless the way is cut.
    pub fn arrive(&mut self, link: u64, to: End) -> Option<Message> {
        let conn = self.conns.get_mut(&link)?;
        let (from, here) = (conn.nodes[to.other() as usize], conn.nodes[to as usize]);
        let lane = &mut conn.lanes[to.other() as usize];
        lane.unanswered = if self.cuts[here][from] > 0 { lane.unanswered + 1 } else { 0 };
        if self.cuts[from][here] > 0 || lane.unanswered > WINDOW {
            lane.stalled += 1;
            return None;
        }
        let message = lane.queue.pop_front();
        self.sweep(link);
        message
    }

    /// The packets that come right behind, where they are no other kind of message.
    pub fn more(&mut self, link: u64, to: End) -> Vec<Packet> {
        let mut packets = Vec::new();
        let Some(conn) = self.conns.get_mut(&link) else { return packets };
        let queue = &mut conn.lanes[to.other() as usize].queue;
        while let Some(Message::Packet(_)) = queue.front() {
            let Some(Message::Packet(packet)) = queue.pop_front() else { unreachable!("it was just looked at") };
            packets.push(packet);
        }
        packets
    }

    /// A server closes its end. What is under way from it is kept or lost.
    pub fn close(&mut self, now: u64, link: u64, end: End, is_graceful: bool, later: &mut Vec<(u64, Later)>) {
        let Some(conn) = self.conns.get_mut(&link).filter(|conn| conn.is_open(end)) else { return };
        conn.open[end as usize] = false;
        if !is_graceful && !cfg!(mutant = "m22") {
            conn.lanes[end as usize].queue.clear();
        }
        self.send(now, link, end, Message::End, later);
    }

    /// A server is gone, and nobody tells the other end.
    pub fn vanish(&mut self, link: u64, end: End) {
        if let Some(conn) = self.conns.get_mut(&link) {
            conn.open[end as usize] = false;
        }
        self.sweep(link);
    }

    /// Something came to an end that nobody uses: the other one is told.
    pub fn refuse(&mut self, now: u64, link: u64, end: End, later: &mut Vec<(u64, Later)>) {
        self.send(now, link, end, Message::End, later);
    }

    /// The other end has closed it.
    pub fn ended(&mut self, link: u64, end: End) -> bool {
        let Some(conn) = self.conns.get_mut(&link) else { return false };
        let was_open = std::mem::replace(&mut conn.open[end as usize], false);
        self.sweep(link);
        was_open
    }

    fn sweep(&mut self, link: u64) {
        let over = |conn: &Conn| conn.open == [false; 2] && conn.lanes.iter().all(|lane| lane.queue.is_empty());
        if self.conns.get(&link).is_some_and(over) {
            self.conns.remove(&link);
        }
    }

    /// A connection breaks: what is under way is lost, and both ends hear of it, in their time.
    pub fn reset(&mut self, now: u64, link: u64, later: &mut Vec<(u64, Later)>) {
        let Some(conn) = self.conns.get_mut(&link) else { return };
        if !cfg!(mutant = "m22") {
            conn.lanes.iter_mut().for_each(|lane| lane.queue.clear());
        }
        self.send(now, link, End::Learner, Message::End, later);
        self.send(now, link, End::Leader, Message::End, later);
    }

    /// Links of a server with the ends it uses.
    #[must_use]
    pub fn links_of(&self, node: usize) -> Vec<(u64, End)> {
        let ends =
            |conn: &Conn| [End::Learner, End::Leader].into_iter().find(|end| conn.node(*end) == node && conn.is_open(*end));
        self.conns.iter().filter_map(|(link, conn)| Some((*link, ends(conn)?))).collect()
    }

    /// A link between the same two servers that is open at this one's end, other than this.
    #[must_use]
    pub fn sibling(&self, link: u64, end: End) -> Option<u64> {
        let conn = self.conns.get(&link)?;
        let twin = |other: &Conn| other.nodes == conn.nodes && other.is_open(end) && other.is_known;
        self.conns.iter().find(|(number, other)| **number != link && twin(other)).map(|(number, _)| *number)
    }

    /// Sends a notification.
    pub fn notify(&mut self, now: u64, from: usize, to: usize, notification: Notification, later: &mut Vec<(u64, Later)>) {
        self.sent += 1;
        let mail = &mut self.mail[from][to];
        mail.last = Some(notification.clone());
        if mail.flying.is_some() {
            mail.waiting = Some(notification);
            return;
        }
        self.fly(now, from, to, notification, later);
        // The connection is one for both directions: where it is opened again, the other's last word is said again.
        let back = &mut self.mail[to][from];
        if back.is_broken
            && back.flying.is_none()
            && let Some(last) = back.last.clone()
        {
            self.fly(now, to, from, last, later);
        }
    }

    fn fly(&mut self, now: u64, from: usize, to: usize, notification: Notification, later: &mut Vec<(u64, Later)>) {
        let at = now + self.delay(from, to);
        let mail = &mut self.mail[from][to];
        mail.flight += 1;
        mail.flying = Some(notification);
        mail.is_first = std::mem::take(&mut mail.is_broken);
        mail.is_stalled = false;
        later.push((at, Later::Mail { from, to, flight: mail.flight }));
    }

    /// A notification reaches its server, which is there or not; the next one sets out. Handed back with whether it is the first of its connection.
    pub fn deliver(
        &mut self,
        now: u64,
        (from, to, flight): (usize, usize, u64),
        is_there: bool,
        later: &mut Vec<(u64, Later)>,
    ) -> Option<(Notification, bool)> {
        let is_lost = self.chances[from][to].happens(self.manner.mail_breaks);
        let is_deaf = self.is_cut(to, from);
        let mut is_cut = self.is_cut(from, to);
        let mail = &mut self.mail[from][to];
        if mail.flight != flight {
            return None;
        }
        mail.unanswered = if is_deaf { mail.unanswered + 1 } else { 0 };
        is_cut |= mail.unanswered > WINDOW;
        if is_cut && !is_lost {
            mail.is_stalled = true;
            return None;
        }
        let notification = mail.flying.take().map(|notification| (notification, mail.is_first));
        let waiting = mail.waiting.take();
        if !is_there || is_lost || is_cut {
            mail.is_broken = true;
            // What waits is the first thing said on the next connection.
            if let Some(waiting) = waiting.filter(|_| is_there && !is_cut) {
                self.fly(now, from, to, waiting, later);
            }
            return None;
        }
        if let Some(waiting) = waiting {
            self.fly(now, from, to, waiting, later);
        }
        notification
    }

    /// A server is gone: nothing more comes from it, and what was on its way to it is lost.
    pub fn silence(&mut self, node: usize) {
        for other in 0..self.mail.len() {
            let mail = &mut self.mail[node][other];
            *mail = Mail { flight: mail.flight + 1, ..Mail::default() };
            let mail = &mut self.mail[other][node];
            mail.is_broken = true;
            mail.flying = None;
            mail.waiting = None;
            mail.flight += 1;
        }
    }

    /// The way from one to another is cut once more.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts[from][to] += 1;
    }

    /// One cut less; what was held up goes on.
    pub fn heal(&mut self, now: u64, from: usize, to: usize, later: &mut Vec<(u64, Later)>) {
        self.cuts[from][to] = self.cuts[from][to].saturating_sub(1);
        if self.cuts[from][to] == 0 {
            self.go_on(now, from, to, later);
            if self.cuts[to][from] == 0 {
                self.go_on(now, to, from, later);
            }
        }
    }

    /// What was held up from one to another goes on.
    fn go_on(&mut self, now: u64, from: usize, to: usize, later: &mut Vec<(u64, Later)>) {
        let links: Vec<u64> = self.conns.keys().copied().collect();
        for link in links {
            for end in [End::Learner, End::Leader] {
                let conn = &self.conns[&link];
                if conn.node(end) != from || conn.node(end.other()) != to || conn.lanes[end as usize].stalled == 0 {
                    continue;
                }
                let at = now + self.delay(from, to);
                let lane = &mut self.conns.get_mut(&link).expect("it was just there").lanes[end as usize];
                let stalled = std::mem::take(&mut lane.stalled);
                lane.unanswered = 0;
                lane.last = lane.last.max(at);
                later.extend((0..stalled).map(|_| (lane.last, Later::Arrive { link, to: end.other() })));
            }
        }
        let at = now + self.delay(from, to);
        let mail = &mut self.mail[from][to];
        mail.unanswered = 0;
        if std::mem::take(&mut mail.is_stalled) {
            later.push((at, Later::Mail { from, to, flight: mail.flight }));
        }
    }

    /// All cuts end.
    pub fn heal_all(&mut self, now: u64, later: &mut Vec<(u64, Later)>) {
        for from in 0..self.cuts.len() {
            for to in 0..self.cuts.len() {
                if self.cuts[from][to] > 0 {
                    self.cuts[from][to] = 1;
                    self.heal(now, from, to, later);
                }
            }
        }
    }
}
