//! Carry: what travels between servers, and what comes out of their logs for others.

use super::log::Entry;
use super::net::{End, Message};
use super::oracle::{Verdict, Violation};
use super::world::{Event, World};
use crate::ground::ids::Zxid;
use crate::proto::packet::Packet;
use crate::zab::{In, Link, Record};

/// Transactions in one piece of history.
const PIECE: u64 = 30;

/// How long a server waits for a connection at most, us.
const CONNECT_TIMEOUT: u64 = 2_000_000;

impl World {
    /// The next message reaches an end of a connection.
    pub(super) fn arrive(&mut self, link: u64, to: End) -> Verdict {
        let Some(message) = self.net.arrive(link, to) else { return Ok(()) };
        let Some(conn) = self.net.conn(link) else { return Ok(()) };
        let node = conn.node(to);
        if !conn.is_open(to) {
            return self.strays(node, link, to, message);
        }
        if self.nodes[node].process.is_none() {
            return Ok(());
        }
        match message {
            Message::Packet(packet) => {
                let is_train = self.nodes[node].chance().happens(self.case.settings.trains);
                let more = if is_train { self.net.more(link, to) } else { Vec::new() };
                if more.is_empty() {
                    return self.input(node, In::Packet { link: Link(link), packet });
                }
                let packets = std::iter::once(packet).chain(more).collect();
                self.input(node, In::Train { link: Link(link), packets })
            }
            Message::State(state) => {
                let process = self.nodes[node].process.as_mut().expect("it was just there");
                process.receive(Link(link), &state).map_err(|why| broken(node, &why))?;
                self.input(node, In::StateReceived { link: Link(link) })
            }
            Message::End => {
                self.forget(node, link);
                self.net.ended(link, to);
                self.input(node, In::LinkDown { link: Link(link) })
            }
        }
    }

    /// Something comes to an end that nobody uses.
    fn strays(&mut self, node: usize, link: u64, to: End, message: Message) -> Verdict {
        if cfg!(mutant = "m22")
            && let (Message::Packet(packet), Some(other)) = (&message, self.net.sibling(link, to))
        {
            return self.input(node, In::Packet { link: Link(other), packet: packet.clone() });
        }
        if self.nodes[node].is_powered && !matches!(message, Message::End) {
            self.on_net(|net, now, later| net.refuse(now, link, to, later));
        }
        Ok(())
    }

    /// A notification reaches its server.
    pub(super) fn mail(&mut self, from: usize, to: usize, flight: u64) -> Verdict {
        let is_there = self.nodes[to].process.is_some();
        let mut came = None;
        self.on_net(|net, now, later| came = net.deliver(now, (from, to, flight), is_there, later));
        let Some((notification, is_first)) = came else { return Ok(()) };
        let from = self.nodes[from].id;
        if is_first {
            self.input(to, In::Met { from })?;
        }
        self.input(to, In::Notification { from, notification })
    }

    /// A server asks another for a connection.
    pub(super) fn connect(&mut self, from: usize, life: u64, to: usize) {
        let is_cut = self.net.is_cut(from, to) || self.net.is_cut(to, from);
        let is_there = self.nodes[to].process.is_some() && self.nodes[to].paused_until <= self.now;
        if is_cut || !is_there {
            let wait = if is_cut || !self.nodes[to].is_powered { CONNECT_TIMEOUT } else { 0 };
            let wait = self.nodes[from].chance().below(wait + 1);
            let at = self.now + wait + self.net.delay(to, from);
            self.at(at, Event::Refused { node: from, life, to });
            return;
        }
        let (link, known) = self.net.accept(self.now, from, to);
        self.stats.count("connections");
        self.at(known, Event::Connected { node: from, life, to, link });
        self.follow_with(to, In::Accepted { link: Link(link) });
    }

    /// A piece of the log was read for a learner.
    pub(super) fn read(&mut self, node: usize, link: u64, after: Zxid, to: Zxid) -> Verdict {
        let most = usize::try_from(1 + self.nodes[node].chance().below(PIECE)).expect("a few");
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        if self.net.end_of(link, node).is_none() {
            return Ok(());
        }
        let entries = process.log.read(after, to, most).filter(|entries| !entries.is_empty());
        let record = |entry: Entry| Record { zxid: entry.mark.zxid, blob: entry.blob };
        let records = entries.map(|entries| entries.into_iter().map(record).collect());
        self.stats.count(if records.is_some() { "history read" } else { "history not there" });
        self.input(node, In::History { link: Link(link), records })
    }

    /// A transaction belongs into a state that came.
    pub(super) fn fold(&mut self, node: usize, link: Link, record: &Record) -> Verdict {
        self.stats.count("taken into a state that came");
        let process = self.nodes[node].process.as_mut().expect("it has just spoken");
        process.fold(link, record).map_err(|why| broken(node, &why))
    }

    /// A state that came is exact: that takes a while.
    pub(super) fn finish(&mut self, node: usize, link: Link, at: Zxid) -> Verdict {
        let node_ = &mut self.nodes[node];
        let now = node_.now(self.now);
        let process = node_.process.as_mut().expect("it has just spoken");
        process.finish(link, at, now, &mut node_.disk).map_err(|why| broken(node, &why))?;
        let (life, ready) = (node_.life, self.now + 3 * self.case.settings.latency);
        self.at(ready, Event::Ready { node, life, link: link.0 });
        Ok(())
    }

    /// A state is sent to a learner, and what waits behind it.
    pub(super) fn send_state(&mut self, node: usize, link: u64) -> Verdict {
        let is_open = self.net.end_of(link, node) == Some(End::Leader);
        let Some(held) = self.held.remove(&link).filter(|_| is_open) else { return Ok(()) };
        let mut chance = self.nodes[node].chance().clone();
        let now = self.nodes[node].now(self.now);
        let process = self.nodes[node].process.as_mut().expect("it has asked for this");
        let (snapshot, is_fuzzy) = process.state_to_send(&mut chance, now);
        let at = snapshot.state.at;
        process.pins.insert(link, at);
        *self.nodes[node].chance() = chance;
        if is_fuzzy {
            self.stats.count("fuzzy state sent");
        }
        let snap = Packet::Snap { at };
        self.told(node, link, &snap)?;
        self.on_net(|net, now, later| {
            net.send(now, link, End::Leader, Message::Packet(snap), later);
            net.send(now, link, End::Leader, Message::State(snapshot), later);
        });
        for packet in held {
            self.told(node, link, &packet)?;
            self.on_net(|net, now, later| net.send(now, link, End::Leader, Message::Packet(packet), later));
        }
        self.input(node, In::StateSent { link: Link(link), at })
    }
}

/// What came of a state that came is not that state.
fn broken(node: usize, why: &str) -> Violation {
    Violation { invariant: "I17", what: format!("server {}: {why}", node + 1) }
}
