//! Host: what a server's machine does: its disk's work, the start and the end of its process.

use super::boot;
use super::chance::Chance;
use super::disk::{Left, Op};
use super::node::{Node, Step};
use super::oracle::{Verdict, Violation};
use super::process::{Job, Process, Then};
use super::world::{CHORE, Event, QUEUE_MAX, World};
use crate::zab::{In, Peer};

impl World {
    /// Starts what a server's disk can start, and hands in what it has answered.
    pub fn pump(&mut self, index: usize) -> Verdict {
        let Node { process, disk, salts, .. } = &mut self.nodes[index];
        let Some(process) = process else { return Ok(()) };
        if let Err(why) = process.pump(disk, salts) {
            return Err(Violation { invariant: "I24", what: format!("server {}: {why}", index + 1) });
        }
        if process.backlog() > QUEUE_MAX {
            return Err(Violation {
                invariant: "I25",
                what: format!("server {} has {} writes waiting", index + 1, process.backlog()),
            });
        }
        while let Some(token) = process.answer() {
            self.inputs.push_back((index, In::Stored(token)));
        }
        for job in std::mem::take(&mut process.jobs) {
            self.begin(index, job)?;
        }
        Ok(())
    }

    /// Begins work for a disk.
    pub fn begin(&mut self, index: usize, job: Job) -> Verdict {
        let (number, step) = self.nodes[index].start(job);
        self.go_on(index, number, step)
    }

    fn go_on(&mut self, index: usize, number: u64, step: Step) -> Verdict {
        for told in self.nodes[index].told.iter_mut().flat_map(std::mem::take) {
            self.trace.note(self.now, || format!("{} disk: {told}", index + 1));
        }
        match step {
            Step::Waits => {
                let life = self.nodes[index].life;
                let at = self.now + self.nodes[index].latency(self.now, &self.case.settings);
                self.at(at, Event::Disk { node: index, life, job: number });
                Ok(())
            }
            Step::Done(Then::Boot(boot)) => self.started(index, *boot),
            Step::Done(then) => {
                self.trace.note(self.now, || format!("{} disk: {}", index + 1, then.name()));
                if matches!(then, Then::Restored(_)) {
                    self.nodes[index].is_impaired = false;
                }
                self.nodes[index].process.as_mut().expect("it works").done(then);
                self.pump(index)
            }
        }
    }

    pub(super) fn disk_answers(&mut self, index: usize, job: u64) -> Verdict {
        self.stats.syncs += 1;
        if let Some(trap) = &mut self.nodes[index].trap {
            trap.syncs = trap.syncs.saturating_sub(1);
            if trap.syncs == 0 {
                let trap = *trap;
                let mut chance = Chance::new(self.case.seed, "trap", trap.nonce);
                self.nodes[index].trap = None;
                self.trace.note(self.now, || format!("{} at {:?}", index + 1, self.nodes[index].waiting(job).map(Op::name)));
                if trap.is_error {
                    self.stats.count("fault: sync failed");
                    self.nodes[index].failed(job, &mut chance);
                    if !cfg!(any(mutant = "m10", mutant = "m28")) {
                        self.end(index, None);
                        self.at(self.now + trap.back, Event::Start { node: index });
                        return Ok(());
                    }
                } else {
                    self.stats.count("fault: power lost at a sync");
                    let left = chance.pick(&[Left::Nothing, Left::Writes, Left::Sectors, Left::Sectors]);
                    self.end(index, Some((left, &mut chance)));
                    self.at(self.now + trap.back, Event::Start { node: index });
                    return Ok(());
                }
            }
        }
        let step = self.nodes[index].synced(job);
        self.go_on(index, job, step)
    }

    /// A process ends, and with it its connections.
    pub fn end(&mut self, index: usize, left: Option<(Left, &mut Chance)>) {
        let is_power = left.is_some();
        let is_told = !is_power || self.nodes[index].chance().coin();
        self.nodes[index].end(left);
        self.waiting[index].clear();
        self.inputs.retain(|(node, _)| *node != index);
        self.net.silence(index);
        for (link, end) in self.net.links_of(index) {
            self.held.remove(&link);
            if is_told {
                self.on_net(|net, now, later| net.close(now, link, end, !is_power, later));
            } else {
                self.net.vanish(link, end);
            }
        }
    }

    pub(super) fn start(&mut self, index: usize) -> Verdict {
        let node = &mut self.nodes[index];
        if node.process.is_some() || !node.begins() {
            return Ok(());
        }
        node.is_powered = true;
        match boot::boot(&node.disk, node.id, self.case.settings.segment * 4096) {
            Ok(mut boot) => {
                let ops = std::mem::take(&mut boot.ops);
                self.stats.count("starts");
                self.begin(index, Job { ops, then: Then::Boot(Box::new(boot)) })
            }
            Err(why) => Err(Violation { invariant: "I24", what: format!("server {} does not start: {why}", index + 1) }),
        }
    }

    fn started(&mut self, index: usize, boot: boot::Boot) -> Verdict {
        let node = &self.nodes[index];
        self.oracle.recovered(index, &boot, node.remains.as_ref())?;
        let (now, found) = (node.clock(self.now), Process::known(&boot));
        self.trace.note(self.now, || format!("{} starts with {found:?}", index + 1));
        let is_impaired = boot.is_impaired;
        let images = boot::images(&node.disk).into_iter().map(|state| (state.at, state)).collect();
        let up_to = found.delivered;
        let (peer, outs) = Peer::new(node.id, self.members.clone(), self.case.settings.times(), found, now);
        let mut process = Process::new(boot, peer, self.case.settings, images);
        let shown = process.deliver(up_to);
        self.oracle.delivered(&self.nodes, index, &process, up_to, &shown)?;
        let node = &mut self.nodes[index];
        node.process = Some(process);
        node.remains = None;
        node.is_impaired = is_impaired;
        let life = node.life;
        self.at(self.now + CHORE, Event::Chore { node: index, life });
        self.perform(index, outs)
    }

    /// What would be found if the power went now and left nothing that is not durable. Would it bear out what is said?
    pub(super) fn audit(&mut self, index: usize) -> Verdict {
        let node = &self.nodes[index];
        let Some(process) = &node.process else { return Ok(()) };
        self.stats.count("audits of a disk");
        match boot::boot(&node.disk.worst(), node.id, self.case.settings.segment * 4096) {
            Ok(boot) => self.oracle.recovered(index, &boot, Some(&process.remains())),
            Err(why) => Err(Violation { invariant: "I11", what: format!("server {} would not start now: {why}", index + 1) }),
        }
    }
}
