//! Input: what the benches are fed with, made from a stated seed, and how large a run is.

/// Numbers in an order that the seed decides (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// A number from 0 to `n` - 1.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).expect("below n")
    }
}

/// The path of a znode: 32 bytes, a thousand znodes below one parent.
pub fn path(n: usize) -> String {
    format!("/bench/group-{:04}/znode-{:08}", n / 1000, n)
}

/// The size of a run: `real` when something is measured, `tiny` when it is only to work, as under `cargo test`.
pub fn sized(real: usize, tiny: usize) -> usize {
    let args: Vec<String> = std::env::args().collect();
    let is_measured = args.iter().any(|arg| arg == "--bench") && !args.iter().any(|arg| arg == "--test");
    if is_measured { real } else { tiny }
}
