//! Requests: every request there may be, made once, drawn at random.

use ringkeeper::client::ask::Ask;
use ringkeeper::proto::frame;
use ringkeeper::proto::jute::Writer;

use super::{Options, Workload};

/// xorshift64*: cheap, and the same run for the same seed.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0 to `n` - 1.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// Above 0, at most 1.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

/// The bytes of every request there may be: all frames of one kind are equally long and lie one after the other.
pub struct Requests {
    reads: Vec<u8>,
    sets: Vec<u8>,
    read_len: usize,
    set_len: usize,
    nodes: usize,
    /// A draw of 64 bits below this is a read.
    read_below: u128,
}

pub fn node_path(node: usize) -> String {
    format!("/load/n{node:08}")
}

pub fn request(out: &mut Vec<u8>, ask: &Ask<'_>) {
    let body = frame::open(out);
    out.int(0);
    out.int(ask.opcode());
    ask.encode(out);
    frame::close(out, body);
}

impl Requests {
    pub fn new(o: &Options) -> Self {
        let value = vec![b'v'; o.value_size];
        let (mut reads, mut sets) = (Vec::new(), Vec::new());
        for node in 0..o.nodes {
            let path = node_path(node);
            request(&mut reads, &Ask::GetData { path: &path, watch: false });
            request(&mut sets, &Ask::SetData { path: &path, data: Some(&value), version: -1 });
        }
        let ratio = match o.workload {
            Workload::Read | Workload::Create | Workload::Idle => 1.0,
            Workload::Set => 0.0,
            Workload::Mixed => o.read_ratio.clamp(0.0, 1.0),
        };
        let read_below = (ratio * 2f64.powi(64)) as u128;
        Self { read_len: reads.len() / o.nodes, set_len: sets.len() / o.nodes, reads, sets, nodes: o.nodes, read_below }
    }

    /// Appends a request drawn at random; returns whether it is a read.
    #[inline]
    pub fn push(&self, random: &mut Random, xid: i32, out: &mut Vec<u8>) -> bool {
        let read = u128::from(random.next()) < self.read_below;
        let (all, len) = if read { (&self.reads, self.read_len) } else { (&self.sets, self.set_len) };
        let from = random.below(self.nodes) * len;
        let at = out.len();
        out.extend_from_slice(&all[from..from + len]);
        out[at + 4..at + 8].copy_from_slice(&xid.to_be_bytes());
        read
    }
}
