//! Ending: after the plan, a quorum is made whole and left in peace, whatever the rest does. It has to find a leader and to work.

use super::chance::Chance;
use super::faults::{Fault, Kind};
use super::oracle::{Verdict, Violation};
use super::world::{Event, World};
use crate::zab::Role;

/// How long it may take until the core works, us.
const PATIENCE: u64 = 60_000_000;

/// Transactions that the core has to do.
const WORK: u64 = 20;

/// How long nothing may change then, us.
const PEACE: u64 = 10_000_000;

/// How often it is looked at, us.
const LOOK: u64 = 100_000;

impl World {
    /// Plays the plan, then the ending.
    pub fn play(&mut self) -> Verdict {
        let length = self.case.settings.length;
        while self.step(length)? {}
        self.settle_core()?;
        let begun = self.oracle.count();
        let end = self.now + PATIENCE;
        let leader = loop {
            let until = self.now + LOOK;
            while self.step(until)? {}
            if self.oracle.count() >= begun + WORK
                && let Some(leader) = self.core_leader()
            {
                break leader;
            }
            if self.now >= end {
                return Err(Violation { invariant: "liveness", what: self.complaint(begun) });
            }
        };
        // One that is cut off now and then need not lead for long.
        if !self.core.contains(&leader) && !self.well.contains(&leader) {
            return Ok(());
        }
        self.stats.settled(self.now - length);
        if self.case.settings.epoch > 0 {
            // Elections go on, for epochs end.
            let until = self.now + PEACE;
            while self.step(until)? {}
            return self.epochs_end();
        }
        // Nobody in the core begins an election any more, once what was slow before has come to its end.
        for _ in 0..6 {
            let elections = self.core_elections();
            let until = self.now + PEACE;
            while self.step(until)? {}
            if self.core_elections() == elections {
                return Ok(());
            }
        }
        Err(Violation {
            invariant: "liveness",
            what: "the core holds elections again and again, and nothing has happened".to_owned(),
        })
    }

    /// A leader whose epoch has its length makes way as soon as nothing is under way, and there are moments at which nothing is.
    fn epochs_end(&self) -> Verdict {
        let length = self.case.settings.epoch;
        for node in self.core.iter().chain(&self.well) {
            let Some(process) = &self.nodes[*node].process else { continue };
            let last = process.log.last();
            if matches!(process.role, Role::Leading { epoch } if epoch == last.epoch())
                && u64::from(last.counter()) > length + WORK
            {
                let what = format!("server {} goes on to {last} in an epoch of {length} transactions", node + 1);
                return Err(Violation { invariant: "I4", what });
            }
        }
        Ok(())
    }

    /// Draws the core, mends it, and leaves the others in trouble for ever.
    fn settle_core(&mut self) -> Verdict {
        let mut chance = Chance::new(self.case.seed, "ending", 0);
        let voters = usize::try_from(self.case.settings.voters).expect("a few");
        let mut order: Vec<usize> = (0..voters).collect();
        for i in (1..voters).rev() {
            order.swap(i, usize::try_from(chance.below(i as u64 + 1)).expect("a few"));
        }
        // Those that may have forgotten come last: a quorum must be had without them.
        order.sort_by_key(|node| self.nodes[*node].is_impaired);
        let majority = voters / 2 + 1;
        let spare = u64::try_from(voters - majority).expect("a few");
        // One that waits for all to say that they have nothing needs all.
        let waits = |node: &usize| {
            let process = self.nodes[*node].process.as_ref();
            self.nodes[*node].is_impaired && process.is_none_or(|process| process.promised.accepted == 0)
        };
        let majority = if self.case.settings.bootstrap == 2 && order.iter().any(waits) { voters } else { majority };
        let spare = spare.min(u64::try_from(voters - majority).expect("a few"));
        let size = majority + usize::try_from(chance.below(spare + 1)).expect("a few");
        self.core = order[..size].to_vec();
        self.core.sort_unstable();
        self.trace.note(self.now, || format!("ENDING with {:?}", self.core.iter().map(|node| node + 1).collect::<Vec<_>>()));
        self.on_net(|net, now, later| {
            net.heal_all(now, later);
            net.manner.breaks = 0;
            net.manner.mail_breaks = 0;
            net.manner.clogs = 0;
        });
        // What no timeout allows for is no fault of the servers.
        let calm = self.case.settings.tick * 1000 / 20;
        let settings = &mut self.case.settings;
        settings.spikes = 0;
        settings.latency = settings.latency.min(calm);
        settings.op_every = settings.op_every.max(100_000);
        settings.burst = 1;
        self.net.manner.delay = self.net.manner.delay.min(calm);
        for node in 0..self.nodes.len() {
            self.nodes[node].trap = None;
            self.nodes[node].slow = (1, 0);
            self.nodes[node].paused_until = 0;
            self.at(self.now, Event::Resume { node });
            if self.core.contains(&node) {
                if self.nodes[node].process.as_ref().is_some_and(|process| process.is_leaving) {
                    self.end(node, None);
                }
                self.at(self.now, Event::Start { node });
            } else {
                self.trouble(node, &mut chance)?;
            }
        }
        Ok(())
    }

    /// A server outside the core: dead, half heard, coming and going, or well.
    fn trouble(&mut self, node: usize, chance: &mut Chance) -> Verdict {
        let nonce = chance.any() >> 32 | 1;
        let mut fault =
            Fault { at: self.now, kind: Kind::Kill, target: node as u64 + 1, span: u64::MAX / 4, count: 0, ways: 0, nonce };
        match chance.below(4) {
            0 => {}
            1 => (fault.kind, fault.count) = (Kind::Isolate, 1 + chance.below(2)),
            2 => {
                fault.kind = Kind::Isolate;
                let beat = chance.within(300_000, 3_000_000);
                for i in 0..(PATIENCE + 6 * PEACE) / (2 * beat) {
                    self.at(self.now + 2 * i * beat, Event::Trouble(Fault { span: beat, ..fault }));
                }
                return Ok(());
            }
            _ => {
                self.well.push(node);
                self.at(self.now, Event::Start { node });
                return Ok(());
            }
        }
        self.strike_with(fault)
    }

    /// The one leader of all of the core, if all of them have everything. A server outside may lead them.
    fn core_leader(&self) -> Option<usize> {
        let all = self.oracle.state();
        let mut led = Vec::new();
        for node in &self.core {
            let process = self.nodes[*node].process.as_ref()?;
            led.push(match process.role {
                Role::Leading { epoch } => (self.nodes[*node].id, epoch),
                Role::Following { leader, epoch } => (leader, epoch),
                _ => return None,
            });
            // The clients go on meanwhile: the last few may be on their way.
            if process.state.count + 40 < all.count {
                return None;
            }
        }
        led.windows(2).all(|two| two[0] == two[1]).then(|| usize::from(led[0].0.0) - 1)
    }

    fn core_elections(&self) -> u64 {
        self.core.iter().map(|node| self.nodes[*node].elections + self.nodes[*node].life).sum()
    }

    fn complaint(&self, begun: u64) -> String {
        let roles: Vec<String> = self
            .core
            .iter()
            .map(|node| {
                let of = |process: &super::process::Process| {
                    let (state, logged, waiting) = (process.state.at, process.log.durable(), process.log.in_flight());
                    format!("{:?} at {state}, logged {logged}, {waiting} writes under way", process.role)
                };
                format!("{}: {}", node + 1, self.nodes[*node].process.as_ref().map_or("down".to_owned(), of))
            })
            .collect();
        let done = self.oracle.count() - begun;
        format!("after {} s the core does not work: {done} transactions; {}", PATIENCE / 1_000_000, roles.join("; "))
    }

    /// A server stops in good order.
    pub(super) fn leave(&mut self, node: usize) -> Verdict {
        let now = self.nodes[node].now(self.now);
        if let Some(process) = &mut self.nodes[node].process {
            process.is_leaving = true;
            process.engine.leave(now);
        }
        self.pump(node)
    }
}
