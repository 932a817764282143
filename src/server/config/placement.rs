//! Placement: how many executors run, and on which cores.

use super::settings::{Pin, SequencerPlacement};

/// The cores this process may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cores {
    /// Their numbers, as the system's affinity mask has them; at least one.
    pub ids: Vec<usize>,
    /// How many of them it may keep busy: fewer than `ids` under a CPU quota; at least one.
    pub usable: usize,
}

impl Cores {
    /// What the system says of this process: its affinity mask and its quota.
    #[must_use]
    pub fn of_this_process() -> Self {
        let mut ids: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|c| c.id).collect();
        if ids.is_empty() {
            ids.push(0);
        }
        let usable = std::thread::available_parallelism().map_or(1, usize::from).min(ids.len());
        Self { ids, usable }
    }

    /// Cores 0 to n-1, all usable.
    #[must_use]
    pub fn first(n: usize) -> Self {
        Self { ids: (0..n.max(1)).collect(), usable: n.max(1) }
    }
}

/// Where the sequencer runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sequencer {
    /// On an executor of its own.
    Own,
    /// On the executor of shard 0.
    SharedWithShard0,
}

/// The cores that executors are bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pins {
    /// One for each shard.
    pub shards: Vec<usize>,
    /// The sequencer's; shard 0's where they share.
    pub sequencer: usize,
}

/// How many executors run, and on which cores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// At least 1.
    pub shards: usize,
    /// Where the sequencer runs.
    pub sequencer: Sequencer,
    /// None leaves placing to the kernel.
    pub pins: Option<Pins>,
}

/// Cores from which the sequencer has an executor of its own without being asked. On two, an executor that serves clients and
/// orders writes has no hop between the two, and the other core is left to the kernel and the clients.
const OWN_SEQUENCER_CORES: usize = 3;

/// Cores from which executors are bound without being asked. Below, a neighbour on a bound core cannot be evaded.
const PIN_CORES: usize = 4;

/// Plans for these cores. `shards` 0 is a core less than there are, and at least 1.
#[must_use]
pub fn plan(cores: &Cores, shards: u16, placement: SequencerPlacement, pin: Pin) -> Plan {
    let shards = if shards == 0 { cores.usable.saturating_sub(1).max(1) } else { usize::from(shards) };
    let enough = shards < cores.usable;
    let sequencer = match placement {
        SequencerPlacement::Own => Sequencer::Own,
        SequencerPlacement::Auto if enough && cores.usable >= OWN_SEQUENCER_CORES => Sequencer::Own,
        SequencerPlacement::Auto | SequencerPlacement::Shared => Sequencer::SharedWithShard0,
    };
    // Under a quota the kernel must be free to choose: every container would bind the same first cores.
    let pinned = match pin {
        Pin::Yes => true,
        Pin::Auto => enough && cores.usable >= PIN_CORES && cores.usable == cores.ids.len(),
        Pin::No => false,
    };
    let core = |i: usize| cores.ids[i % cores.ids.len()];
    let pins = pinned.then(|| Pins {
        shards: (0..shards).map(core).collect(),
        sequencer: core(if sequencer == Sequencer::Own { shards } else { 0 }),
    });
    Plan { shards, sequencer, pins }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(cores: usize) -> Plan {
        plan(&Cores::first(cores), 0, SequencerPlacement::Auto, Pin::Auto)
    }

    #[test]
    fn plans_of_machines() {
        let cases = [
            (1, 1, Sequencer::SharedWithShard0, false),
            (2, 1, Sequencer::SharedWithShard0, false),
            (3, 2, Sequencer::Own, false),
            (4, 3, Sequencer::Own, true),
            (8, 7, Sequencer::Own, true),
            (64, 63, Sequencer::Own, true),
        ];
        for (cores, shards, sequencer, pinned) in cases {
            let got = auto(cores);
            assert_eq!((got.shards, got.sequencer, got.pins.is_some()), (shards, sequencer, pinned), "{cores} cores");
        }
    }

    #[test]
    fn bound_executors_have_a_core_each() {
        let plan = auto(8);
        assert_eq!(plan.pins, Some(Pins { shards: (0..7).collect(), sequencer: 7 }));
        let odd = Cores { ids: vec![4, 6, 8, 10], usable: 4 };
        let plan = super::plan(&odd, 2, SequencerPlacement::Auto, Pin::Auto);
        assert_eq!(plan.pins, Some(Pins { shards: vec![4, 6], sequencer: 8 }));
    }

    #[test]
    fn what_is_asked_for_is_done() {
        let four = Cores::first(4);
        let full = plan(&four, 4, SequencerPlacement::Auto, Pin::Auto);
        assert_eq!((full.shards, full.sequencer, full.pins), (4, Sequencer::SharedWithShard0, None));
        let own = plan(&four, 4, SequencerPlacement::Own, Pin::Yes);
        assert_eq!(own.sequencer, Sequencer::Own);
        assert_eq!(own.pins, Some(Pins { shards: vec![0, 1, 2, 3], sequencer: 0 }));
        let shared = plan(&four, 0, SequencerPlacement::Shared, Pin::Yes);
        assert_eq!(shared.sequencer, Sequencer::SharedWithShard0);
        assert_eq!(shared.pins, Some(Pins { shards: vec![0, 1, 2], sequencer: 0 }));
        assert_eq!(plan(&four, 0, SequencerPlacement::Auto, Pin::No).pins, None);
        let one = plan(&Cores::first(1), 3, SequencerPlacement::Own, Pin::Yes);
        assert_eq!(one.pins, Some(Pins { shards: vec![0, 0, 0], sequencer: 0 }));
    }

    #[test]
    fn a_quota_counts_and_is_never_bound() {
        let container = Cores { ids: (0..64).collect(), usable: 8 };
        let got = plan(&container, 0, SequencerPlacement::Auto, Pin::Auto);
        assert_eq!((got.shards, got.sequencer, got.pins), (7, Sequencer::Own, None));
    }

    #[test]
    fn this_process_has_a_core() {
        let cores = Cores::of_this_process();
        assert!(cores.usable >= 1 && cores.usable <= cores.ids.len());
    }
}
