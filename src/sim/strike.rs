//! Strike: how a fault of the plan is carried out.

use super::boot;
use super::chance::Chance;
use super::disk::{Disk, Left};
use super::faults::{Fault, Kind};
use super::net::End;
use super::node::{Node, Trap};
use super::oracle::Verdict;
use super::world::{Event, World};
use crate::zab::{In, Link};

impl World {
    /// A fault of the plan comes.
    pub(super) fn strike(&mut self, number: usize) -> Verdict {
        if !self.core.is_empty() {
            return Ok(());
        }
        let fault = self.case.plan[number];
        self.strike_with(fault)
    }

    /// A fault comes.
    pub(super) fn strike_with(&mut self, fault: Fault) -> Verdict {
        let mut chance = Chance::new(self.case.seed, "fault", fault.nonce);
        let Some(target) = self.target(fault, &mut chance) else { return Ok(()) };
        self.trace.note(self.now, || format!("FAULT {fault} (server {})", target + 1));
        let is_up = self.nodes[target].process.is_some();
        match fault.kind {
            Kind::Crash => {
                let left = left(&mut chance);
                self.lose_power(target, left, fault.span, &mut chance);
            }
            Kind::Kill => {
                self.end(target, None);
                self.at(self.now + fault.span, Event::Start { node: target });
            }
            Kind::CrashAtSync | Kind::SyncError => {
                let is_error = fault.kind == Kind::SyncError;
                // One that starts is struck too.
                if self.nodes[target].is_powered {
                    let (syncs, back, nonce) = (fault.count.max(1), fault.span, fault.nonce);
                    self.nodes[target].trap = Some(Trap { syncs, is_error, back, nonce });
                }
                return Ok(());
            }
            Kind::Pause => {
                let until = self.now + fault.span;
                self.nodes[target].paused_until = until.max(self.nodes[target].paused_until);
                self.at(until, Event::Resume { node: target });
            }
            Kind::Cut | Kind::Isolate => self.cut(fault, target),
            Kind::Reset => {
                let whole = self.net.whole();
                if whole.is_empty() {
                    return Ok(());
                }
                let link = chance.pick(&whole);
                self.on_net(|net, now, later| net.reset(now, link, later));
            }
            Kind::HalfOpen => return self.half_open(&mut chance),
            Kind::Slow => self.nodes[target].slow = (fault.count.max(2), self.now + fault.span),
            Kind::CrashAll => {
                for node in 0..self.nodes.len() {
                    let left = left(&mut chance);
                    let back = chance.below(fault.span) + 1;
                    self.lose_power(node, left, back, &mut chance);
                }
            }
            Kind::Wipe => {
                if !self.may_wipe(target) {
                    return Ok(());
                }
                self.end(target, Some((Left::Nothing, &mut chance)));
                let (sector, segment) = (self.case.settings.sector, self.case.settings.segment * 4096);
                let node = &mut self.nodes[target];
                node.disk = Disk::new(usize::try_from(sector).expect("a sector"));
                let salt = node.salts.any();
                boot::found(&mut node.disk, node.id, segment, salt, true);
                node.is_impaired = true;
                node.remains = None;
                self.at(self.now + fault.span, Event::Start { node: target });
            }
            Kind::Leave => {
                if !is_up {
                    return Ok(());
                }
                let life = self.nodes[target].life;
                self.at(self.now + fault.span, Event::Stop { node: target, life, back: chance.below(2_000_000) });
                self.stats.count("fault: leave");
                return self.leave(target);
            }
        }
        self.stats.fault(fault.kind);
        Ok(())
    }

    fn target(&self, fault: Fault, chance: &mut Chance) -> Option<usize> {
        let count = self.nodes.len();
        if fault.target == 0 {
            let leaders = self.leaders();
            let any = usize::try_from(chance.below(count as u64)).expect("a few");
            return Some(leaders.last().map_or(any, |(leader, _)| *leader));
        }
        usize::try_from(fault.target - 1).ok().filter(|target| *target < count)
    }

    fn lose_power(&mut self, target: usize, left: Left, back: u64, chance: &mut Chance) {
        self.end(target, Some((left, chance)));
        self.at(self.now + back, Event::Start { node: target });
    }

    fn cut(&mut self, fault: Fault, target: usize) {
        let count = self.nodes.len();
        let mut ways = Vec::new();
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                let is_cut = match fault.kind {
                    Kind::Cut => from < 8 && to < 8 && fault.cuts(from, to),
                    _ => from == target && fault.count != 2 || to == target && fault.count != 1,
                };
                if is_cut {
                    ways.push((from, to));
                }
            }
        }
        ways.iter().for_each(|(from, to)| self.net.cut(*from, *to));
        self.at(self.now + fault.span, Event::Heal(ways, !self.core.is_empty()));
    }

    /// One end of a connection is gone; the other does not hear of it.
    fn half_open(&mut self, chance: &mut Chance) -> Verdict {
        let whole = self.net.whole();
        if whole.is_empty() {
            return Ok(());
        }
        let link = chance.pick(&whole);
        let end = if chance.coin() { End::Learner } else { End::Leader };
        let Some(node) = self.net.conn(link).map(|conn| conn.node(end)) else { return Ok(()) };
        if self.nodes[node].paused_until > self.now {
            return Ok(());
        }
        self.stats.fault(Kind::HalfOpen);
        self.forget(node, link);
        self.net.vanish(link, end);
        self.input(node, In::LinkDown { link: Link(link) })
    }

    /// Whether a disk may be lost: not while another one's loss is not made good, and not where a quorum would have forgotten. Where the
    /// operator has vouched for it that a majority with nothing is a new ensemble, there must not be one again.
    fn may_wipe(&self, target: usize) -> bool {
        let voters = usize::try_from(self.case.settings.voters).expect("a few");
        // What a server says of itself when it is asked.
        let has_something = |node: &Node| match (&node.process, &node.remains) {
            (Some(process), _) => process.promised.current > 0,
            (None, Some(remains)) => remains.promised.current > 0,
            (None, None) => false,
        };
        let have = (0..voters).filter(|node| *node != target && has_something(&self.nodes[*node])).count();
        let founds_anew = self.case.settings.bootstrap == 1 && voters - have > voters / 2;
        voters >= 3 && !self.nodes.iter().any(|node| node.is_impaired) && (target >= voters || !founds_anew)
    }
}

fn left(chance: &mut Chance) -> Left {
    chance.pick(&[Left::Nothing, Left::Writes, Left::Sectors, Left::Sectors, Left::All])
}
