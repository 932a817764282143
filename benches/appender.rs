//! Log appender: what does a transaction cost on its way into a framed batch and, at the next boot, back out of it?
//!
//! `cargo bench --bench appender`. An element is a transaction: setData of 100 bytes on a path of 32 bytes, chosen by [`SEED`].
//! Framing copies the payload, checks it and pads it; scanning checks it and cuts it into records. Nothing touches a disk.

#[path = "common/input.rs"]
mod input;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use input::{Random, path, sized};
use ringkeeper::ground::ids::{SessionId, Zxid};
use ringkeeper::proto::opcode;
use ringkeeper::proto::txn::{self, Txn, TxnHeader};
use ringkeeper::storage::appender::{Appender, Contents, Position};
use ringkeeper::storage::batch::{Records, framed_len, put_record};
use ringkeeper::storage::scanner;
use ringkeeper::storage::segment::SegmentStart;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Decides paths, data and digests.
const SEED: u64 = 4;

/// A segment that does not end.
const SEGMENT: SegmentStart = SegmentStart { number: 1, salt: 0x5eed, size: 1 << 40 };

/// The records of so many transactions, as the sequencer gathers them.
fn payload(count: u64) -> Vec<u8> {
    let mut random = Random(SEED);
    let (mut payload, mut blob) = (Vec::new(), Vec::new());
    for n in 0..count {
        let data: [u8; 100] = std::array::from_fn(|_| random.below(256) as u8);
        blob.clear();
        TxnHeader { session: SessionId(7), cxid: n as i32, zxid: Zxid(n + 1), time: 0, kind: opcode::SET_DATA }.encode(&mut blob);
        Txn::SetData { path: path(random.below(1_000_000)).into(), data: Some(&data), version: 1 }.encode(&mut blob);
        txn::encode_digest(&mut blob, random.below(usize::MAX) as u64);
        put_record(&mut payload, &blob);
    }
    payload
}

/// Frames batch after batch. To the log the records are bytes: they may be the same while the zxids of the batches rise.
struct Writer {
    appender: Appender,
    zxid: u64,
}

impl Writer {
    fn new() -> Self {
        Self { appender: Appender::new(Position::new_log(SEGMENT), Zxid::ZERO), zxid: 0 }
    }

    fn frame(&mut self, count: u64, payload: &[u8], out: &mut [u8]) {
        let contents = Contents { first: Zxid(self.zxid + 1), last: Zxid(self.zxid + count), count: count as u32 };
        let placement = self.appender.frame_into(contents, &[payload], Zxid(self.zxid), out);
        self.zxid += count;
        black_box(self.appender.flushed(placement.sequence));
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for count in [1, 64, sized(1024, 100) as u64] {
        let payload = payload(count);
        let mut out = vec![0; framed_len(payload.len())];
        let mut writer = Writer::new();
        writer.frame(count, &payload, &mut out);
        let scan = |framed: &[u8]| {
            let batch = scanner::read(framed, Some(SEGMENT.salt), 0).expect("intact");
            Records::new(batch.payload).map(|record| black_box(record.expect("whole")).len()).sum::<usize>()
        };
        assert_eq!(scan(&out) as u64, payload.len() as u64 - 4 * count, "it reads back");

        let mut group = criterion.benchmark_group("appender");
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("frame", count), |b| {
            b.iter(|| {
                writer.frame(count, black_box(&payload), &mut out);
                black_box(&out);
            });
        });
        group.bench_function(BenchmarkId::new("scan", count), |b| b.iter(|| black_box(scan(black_box(&out)))));
        group.finish();
    }
    criterion.final_summary();
}
