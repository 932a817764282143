//! Chooser: what a writer asks for next, at random from a seed.

use super::checker::Writer;
use super::model::{Op, SHARED};

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// The choices of one writer.
pub struct Chooser {
    pub random: Random,
    serial: u64,
}

impl Chooser {
    pub const fn new(seed: u64) -> Self {
        Self { random: Random(seed), serial: 1 }
    }

    /// Of a writer with a session.
    pub fn choose(&mut self, writer: &Writer) -> Op {
        match self.random.below(1000) {
            0..4 => Op::Close,
            4..150 => Op::Multi((0..2 + self.random.below(4)).map(|_| self.choose_member(writer)).collect()),
            150..220 => Op::Read { name: self.choose_name().0 },
            _ => loop {
                // A check alone is not an operation.
                let op = self.choose_member(writer);
                if !matches!(op, Op::Check { .. }) {
                    break op;
                }
            },
        }
    }

    fn choose_member(&mut self, writer: &Writer) -> Op {
        self.serial += 1;
        let serial = self.serial;
        let (name, ephemeral) = self.choose_name();
        let right = writer.hoped.nodes.get(&name).map_or(0, |node| node.version);
        let version = match self.random.below(5) {
            0 => -1,
            1 => right + 1,
            _ => right,
        };
        match self.random.below(100) {
            0..40 => Op::Set { name, version, serial },
            40..58 => Op::Create { name, ephemeral, serial },
            58..62 => Op::Create { name: format!("e{}/c", self.random.below(4)), ephemeral, serial },
            62..75 => Op::Delete { name, version },
            75..80 => Op::Check { name, version },
            80..92 if writer.hoped.items.len() < 8 => {
                Op::Sequence { parent: self.random.below(SHARED as u64) as usize, ephemeral, serial }
            }
            _ => {
                // Only what an acknowledgement has told the name of can be deleted; it may be on its way out already.
                let known =
                    writer.state.items.iter().filter_map(|(serial, item)| Some((*serial, item.parent, item.name.clone()?)));
                let known: Vec<_> = known.collect();
                if known.is_empty() {
                    return Op::Set { name, version, serial };
                }
                let (serial, parent, name) = known[self.random.below(known.len() as u64) as usize].clone();
                Op::Unsequence { parent, name, serial }
            }
        }
    }

    /// A name in the writer's directory, and whether its znode is ephemeral.
    fn choose_name(&mut self) -> (String, bool) {
        let ephemeral = self.random.below(3) == 0;
        let name = if ephemeral { format!("e{}", self.random.below(4)) } else { format!("p{}", self.random.below(8)) };
        (name, ephemeral)
    }
}
