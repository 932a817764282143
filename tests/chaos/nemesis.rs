//! Nemesis: what is done to the servers, and undone.

use std::time::Duration;

use rustix::process::Signal;

use super::chooser::Random;
use super::world::World;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    KillOne,
    KillLeader,
    KillMajority,
    /// All at once, as a power cut does it to the processes; what the kernel holds stays.
    KillAll,
    PauseLeader,
    PauseOne,
    PauseAll,
    Rolling,
    WipeFollower,
    /// The larger half is without the leader where it can be.
    Halves,
    IsolateLeader,
    IsolateOne,
    /// The leader hears nobody; everybody hears the leader.
    DeafLeader,
    /// Nobody hears the leader; the leader hears everybody.
    MuteLeader,
    DeafOne,
    MuteOne,
    SlowLeader,
    SlowOne,
}

const PROCESSES: [Fault; 9] = [
    Fault::KillLeader,
    Fault::KillAll,
    Fault::KillOne,
    Fault::KillMajority,
    Fault::PauseLeader,
    Fault::PauseOne,
    Fault::PauseAll,
    Fault::Rolling,
    Fault::WipeFollower,
];

const WAYS: [Fault; 9] = [
    Fault::Halves,
    Fault::IsolateLeader,
    Fault::IsolateOne,
    Fault::DeafLeader,
    Fault::MuteLeader,
    Fault::DeafOne,
    Fault::MuteOne,
    Fault::SlowLeader,
    Fault::SlowOne,
];

impl Fault {
    pub fn draw(random: &mut Random, has_nets: bool) -> Self {
        let all = if has_nets { [PROCESSES, WAYS].concat() } else { PROCESSES.to_vec() };
        // What kills leaders and everybody counts twice.
        let at = random.below(all.len() as u64 + 2) as usize;
        all.get(at).copied().unwrap_or(if at == all.len() { Self::KillLeader } else { Self::KillAll })
    }

    /// Writes must go on without the fault being healed.
    pub const fn leaves_a_quorum(self) -> bool {
        !matches!(self, Self::KillMajority | Self::KillAll | Self::PauseAll)
    }

    /// How long writes stand still is told of these.
    pub const fn takes_the_leader(self) -> bool {
        matches!(self, Self::KillLeader | Self::PauseLeader | Self::IsolateLeader | Self::DeafLeader | Self::MuteLeader)
    }

    /// Does it; what ends by itself has ended when this returns.
    pub fn strike(self, world: &mut World, leader: usize, random: &mut Random) -> Result<(), String> {
        let others: Vec<_> = (1..=world.servers).filter(|k| *k != leader).collect();
        let one = others[random.below(others.len() as u64) as usize];
        let all: Vec<_> = (1..=world.servers).collect();
        let rest = |of: usize| all.iter().filter(|k| **k != of).map(ToString::to_string).collect::<Vec<_>>().join(",");
        match self {
            Self::KillOne => world.kill(&[one]),
            Self::KillLeader => world.kill(&[leader]),
            Self::KillMajority => {
                let mut victims = all.clone();
                victims.rotate_left(random.below(all.len() as u64) as usize);
                victims.truncate(world.servers / 2 + 1);
                world.kill(&victims);
            }
            Self::KillAll => world.kill(&all),
            Self::PauseLeader => world.signal(&[leader], Signal::STOP),
            Self::PauseOne => world.signal(&[one], Signal::STOP),
            Self::PauseAll => world.signal(&all, Signal::STOP),
            Self::Rolling => {
                for k in all {
                    world.end(k)?;
                    world.up();
                    world.whole()?;
                }
            }
            Self::WipeFollower => {
                world.kill(&[one]);
                world.wipe(one).map_err(|e| e.to_string())?;
                world.up();
                world.whole()?;
            }
            Self::Halves => {
                let minority = [vec![leader], others].concat()[..world.servers.div_ceil(2) - 1].to_vec();
                let name = |side: &[usize]| side.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                let majority: Vec<_> = all.into_iter().filter(|k| !minority.contains(k)).collect();
                world.run(&["partition", &name(&minority), &name(&majority)])?;
            }
            Self::IsolateLeader => world.run(&["partition", &leader.to_string(), &rest(leader)])?,
            Self::IsolateOne => world.run(&["partition", &one.to_string(), &rest(one)])?,
            Self::DeafLeader => world.run(&["cut", &rest(leader), &leader.to_string()])?,
            Self::MuteLeader => world.run(&["cut", &leader.to_string(), &rest(leader)])?,
            Self::DeafOne => world.run(&["cut", &rest(one), &one.to_string()])?,
            Self::MuteOne => world.run(&["cut", &one.to_string(), &rest(one)])?,
            Self::SlowLeader => world.run(&["slow", &leader.to_string(), "1mbit"])?,
            Self::SlowOne => world.run(&["slow", &one.to_string(), "512kbit"])?,
        }
        Ok(())
    }

    /// How long it lasts.
    pub fn length(self, random: &mut Random) -> Duration {
        match self {
            // Both sides of what its peers notice: 2 ticks, and syncLimit ticks.
            Self::PauseAll | Self::PauseOne | Self::PauseLeader => Duration::from_millis(200 + random.below(3500)),
            Self::KillAll => Duration::from_millis(random.below(300)),
            Self::Rolling | Self::WipeFollower => Duration::ZERO,
            _ => Duration::from_millis(300 + random.below(3000)),
        }
    }

    /// Undoes it.
    pub fn heal(self, world: &mut World) -> Result<(), String> {
        match self {
            Self::PauseLeader | Self::PauseOne | Self::PauseAll => {
                world.signal(&(1..=world.servers).collect::<Vec<_>>(), Signal::CONT);
            }
            _ if WAYS.contains(&self) => world.run(&["heal"])?,
            _ => world.up(),
        }
        Ok(())
    }
}
