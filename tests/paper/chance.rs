//! Chance: servers in trouble of every kind, then at peace.

use ringkeeper::ground::ids::Zxid;
use ringkeeper::zab::{In, Role};

use crate::words::{pair, record};
use crate::world::World;

impl World {
    /// Lets some of what is under way happen.
    fn some(&mut self) {
        for _ in 0..self.dice(40) {
            if let Some(event) = self.next() {
                self.happen(event);
            }
        }
    }

    /// Whatever may go wrong, by chance.
    fn trouble(&mut self) {
        let all: Vec<u8> = self.voters.iter().chain(&self.observers).copied().collect();
        let pick = all[self.dice(all.len() as u64) as usize];
        let other = all[self.dice(all.len() as u64) as usize];
        let stands = self.nodes.get(&pick).is_some_and(|node| node.peer.is_some());
        match self.dice(16) {
            0..3 if stands => {
                self.say(&format!("# stop {pick}"));
                self.stop(pick);
            }
            0..6 if !stands => {
                self.say(&format!("# start {pick}"));
                self.start(pick, &[]);
            }
            6 if pick != other => {
                self.say(&format!("# cut {pick} {other}"));
                self.cut.insert(pair(pick, other));
            }
            7 => {
                self.say(&format!("# hold disk {pick}"));
                self.hold_disks.insert(pick);
            }
            8 => {
                self.say("# heal and release");
                self.cut.clear();
                self.hold_disks.clear();
                let held = std::mem::take(&mut self.held);
                for event in held.into_iter().rev() {
                    self.queue.push_front(event);
                }
            }
            9 => {
                // Time passes here and nowhere else.
                self.now += self.dice(3000);
                self.step(pick, In::Time);
            }
            10 | 11 => {
                let ms = self.dice(2000);
                self.say(&format!("# time {ms}"));
                self.time(ms);
            }
            _ => {
                for id in all {
                    let leads =
                        self.nodes.get(&id).and_then(|node| node.peer.as_ref()).map(|peer| (peer.role(), peer.proposed()));
                    if let Some((Role::Leading { epoch }, proposed)) = leads {
                        let first = proposed.0.max(Zxid::new(epoch, 0).0) + 1;
                        let records = (first..=first + self.dice(3)).map(|zxid| record(Zxid(zxid), id)).collect();
                        self.step(id, In::Propose(records));
                    }
                }
            }
        }
        self.some();
    }
}

/// Servers stop, start, are cut off and have slow disks, by chance; then everything is well, and they agree on all that was ever shown.
#[test]
fn chance() {
    let seeds = std::env::var("SEEDS").map_or(200, |seeds| seeds.parse().expect("a number"));
    let first: u64 = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut delivered = 0;
    for seed in first..first + seeds {
        let mut world = World::new(35, 20, Some(seed));
        (world.voters, world.observers) = [(vec![1, 2, 3], vec![4]), (vec![1, 2, 3, 4, 5], vec![])][seed as usize % 2].clone();
        let all: Vec<u8> = world.voters.iter().chain(&world.observers).copied().collect();
        for id in &all {
            world.start(*id, &[]);
        }
        world.say(&format!("# seed {seed}"));
        for _ in 0..150 {
            world.trouble();
        }
        world.say("# peace");
        world.cut.clear();
        world.hold_disks.clear();
        let held = std::mem::take(&mut world.held);
        for event in held.into_iter().rev() {
            world.queue.push_front(event);
        }
        for id in &all {
            if world.nodes[id].peer.is_none() {
                world.start(*id, &[]);
            }
        }
        world.time(100_000);
        world.show();
        let peers = || world.nodes.values().map(|node| node.peer.as_ref().expect("all stand"));
        let leaders = peers().filter(|peer| matches!(peer.role(), Role::Leading { .. })).count();
        assert_eq!(leaders, 1, "seed {seed}\n{}", world.trace);
        let end = world.agreed.last().map_or(Zxid::ZERO, |record| record.zxid);
        for (id, peer) in all.iter().zip(peers()) {
            assert_ne!(peer.role(), Role::Looking, "seed {seed}: {id}\n{}", world.trace);
            assert_eq!(peer.delivered(), end, "seed {seed}: {id}\n{}", world.trace);
        }
        delivered += world.agreed.len();
    }
    assert!(delivered as u64 > seeds, "chance leaves room for transactions");
}
