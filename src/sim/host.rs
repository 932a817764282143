//! Host: what a server's machine does: its disk's work, the start and the end of its process.

use super::boot;
use super::chance::Chance;
use super::disk::{Left, Op};
use super::job::{Job, Then};
use super::node::{Node, Step};
use super::oracle::{Verdict, Violation};
use super::process::{Process, Whose};
use super::trace::short;
use super::world::{CHORE, Event, World};
use crate::engine::message::Outward;
use crate::ground::ids::ShardId;
use crate::ground::time::Now;
use crate::zab::Role;

impl World {
    /// Carries out what a server's engines say and hands their words round, until nothing moves.
    pub fn pump(&mut self, index: usize) -> Verdict {
        while self.turn(index)? {}
        self.set_timer(index);
        Ok(())
    }

    fn turn(&mut self, index: usize) -> Result<bool, Violation> {
        let now = self.nodes[index].now(self.now);
        let mut any = self.absorb(index, now)?;
        any |= self.meet(index, now)?;
        let Some(process) = &mut self.nodes[index].process else { return Ok(false) };
        if let Some(write) = process.take_task() {
            self.alone(index, &write)?;
            any = true;
        }
        let Node { process, disk, salts, .. } = &mut self.nodes[index];
        let Some(process) = process else { return Ok(false) };
        if let Err(why) = process.pump(disk, salts, now) {
            return Err(Violation { invariant: "I24", what: format!("server {}: {why}", index + 1) });
        }
        // Where nobody follows, what is logged is all that is seen of a proposal.
        let from = process.log.after(process.noted.min(process.log.last()));
        for entry in process.log.entries().skip(from) {
            self.stats.proposed += u64::from(self.oracle.proposed(index, entry.mark.zxid, &entry.blob)?);
            process.noted = entry.mark.zxid;
        }
        for job in std::mem::take(&mut process.jobs) {
            self.begin(index, job)?;
            any = true;
        }
        any |= self.absorb(index, now)?;
        Ok(any)
    }

    /// What the engine has said since the last time.
    fn absorb(&mut self, index: usize, now: Now) -> Result<bool, Violation> {
        let Some(process) = &mut self.nodes[index].process else { return Ok(false) };
        if let Some(why) = process.engine.fault() {
            return Err(Violation { invariant: "I17", what: format!("server {}: {why}", index + 1) });
        }
        let role = process.engine.role().expect("it is a member");
        let mark = process.engine.delivered();
        let outward: Vec<Outward> = process.engine.outward().map(|(_, message)| message).collect();
        let effects = process.engine.effects();
        let any = !outward.is_empty() || !effects.is_empty() || role != process.role || mark != process.delivered;
        if mark != process.delivered || mark > process.state.at {
            self.deliver(index, mark)?;
        }
        let is_new = |world: &Self| world.nodes[index].process.as_ref().is_some_and(|process| process.role != role);
        // Whoever leads does so before it says anything as the leader; whoever ceases to has said all of it before.
        if matches!(role, Role::Leading { .. }) && is_new(self) {
            self.became(index, role)?;
        }
        for message in outward {
            self.hear(index, &message, now)?;
        }
        for out in effects {
            self.trace.note(self.now, || format!("{} -> {}", index + 1, short(&out)));
            self.effect(index, out)?;
        }
        if is_new(self) {
            self.became(index, role)?;
        }
        Ok(any)
    }

    /// A message for the one shard of a server.
    fn hear(&mut self, index: usize, message: &Outward, now: Now) -> Verdict {
        let process = self.nodes[index].process.as_mut().expect("it has just spoken");
        match message {
            Outward::Batch(batch) => process.archivist.adopt(batch),
            Outward::Reset(view, at) => process.reset(view, *at),
            _ => {}
        }
        process.shard.hear(message, now);
        if matches!(message, Outward::Batch(_) | Outward::Reset(..)) {
            let process = self.nodes[index].process.as_ref().expect("it has just spoken");
            self.oracle.shows(index, process)?;
        }
        Ok(())
    }

    /// A server meets its clients: takes what they have sent, gives them what it has for them.
    fn meet(&mut self, index: usize, now: Now) -> Result<bool, Violation> {
        let (life, is_paused) = (self.nodes[index].life, self.nodes[index].paused_until > self.now);
        let Some(process) = self.nodes[index].process.as_mut().filter(|_| !is_paused) else { return Ok(false) };
        let mut any = false;
        for conn in std::mem::take(&mut process.hung_up) {
            process.shard.closed(conn);
        }
        process.shard.turn(now);
        for client in &mut self.clients {
            let Some((_, _, conn)) = client.at.filter(|(node, of, _)| (*node, *of) == (index, life)) else { continue };
            if !client.to_server.is_empty() && process.shard.may_read(conn, now) {
                let used = process.shard.receive(conn, &client.to_server, now);
                client.to_server.drain(..used);
                any |= used > 0;
            }
        }
        process.inward.extend(process.shard.inward(now));
        while let Some((mut message, mut at)) = process.inward_begun.take().or_else(|| process.inward.pop_front().map(|m| (m, 0)))
        {
            let before = at;
            if !process.engine.handle(ShardId(0), &mut message, &mut at, now) {
                any |= at > before;
                process.inward_begun = Some((message, at));
                break;
            }
            any = true;
        }
        let mut dirty = Vec::new();
        process.shard.take_dirty(&mut dirty);
        for conn in dirty {
            let bytes = process.shard.output(conn).to_vec();
            process.shard.wrote(conn, bytes.len(), now);
            let is_ending = process.shard.is_ending(conn);
            if is_ending {
                process.shard.closed(conn);
            }
            let Some(client) = self.clients.iter_mut().find(|client| client.at == Some((index, life, conn))) else { continue };
            if !bytes.is_empty() {
                client.receive(self.now, &bytes, &mut self.oracle, &mut self.stats)?;
            }
            if is_ending {
                client.disconnected();
            }
            any = true;
        }
        Ok(any)
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
                let now = self.nodes[index].now(self.now);
                self.nodes[index].process.as_mut().expect("it works").done(then, now);
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
        for client in self.clients.iter_mut().filter(|client| client.at.is_some_and(|(node, ..)| node == index)) {
            client.disconnected();
        }
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
        let (now, found) = (node.now(self.now), Process::known(&boot, &self.case.settings));
        self.trace.note(self.now, || format!("{} starts with {found:?}", index + 1));
        let is_impaired = boot.is_impaired;
        let images = boot::images(&node.disk).into_iter().map(|image| (image.state.at, image)).collect();
        let up_to = found.delivered;
        let whose = Whose { me: node.id, now };
        let mut process = Process::new(boot, found, self.members.clone(), self.case.settings, &whose).map_err(|why| {
            let what = format!("server {} does not start: {why}", index + 1);
            Violation { invariant: "I17", what }
        })?;
        process.images = images;
        let shown = process.deliver(up_to);
        self.oracle.delivered(&self.nodes, index, &process, up_to, &shown)?;
        self.oracle.shows(index, &process)?;
        let node = &mut self.nodes[index];
        node.process = Some(process);
        node.remains = None;
        node.is_impaired = is_impaired;
        let life = node.life;
        self.at(self.now + CHORE, Event::Chore { node: index, life });
        self.pump(index)
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
