//! Images: writing one to memory, reading it from a file on all cores, cloning Views; for many small znodes and for fewer large ones.
//!
//!   cargo bench --bench images [-- BYTES_OF_DATA ZNODES]

use std::time::{Duration, Instant};

use ringkeeper::engine::archivist::policy::Policy;
use ringkeeper::engine::archivist::{Archivist, Start, Wrote};
use ringkeeper::ground::ids::{ServerId, SessionId, Zxid};
use ringkeeper::ground::time::Now;
use ringkeeper::proto::acl::Acl;
use ringkeeper::proto::txn::{Txn, TxnHeader};
use ringkeeper::runtime::images::ImageDir;
use ringkeeper::tree::tree::Tree;

#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// A thousand znodes to a parent, paths of 33 bytes.
fn tree(bytes: usize, znodes: usize) -> (Tree, Zxid) {
    let mut tree = Tree::new(SEEDS);
    let (data, acl) = (vec![7; bytes], vec![Acl::open()]);
    let mut zxid = 0;
    let mut steps = Vec::new();
    let mut create = |path: String, data: &[u8]| {
        zxid += 1;
        let header = TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(zxid), time: 1_700_000_000_000, kind: 1 };
        let create = Txn::Create {
            path: path.into(),
            data: Some(data),
            acl: acl.as_slice().into(),
            ephemeral: false,
            parent_cversion: -1,
        };
        tree.apply(&header, &create, &mut steps).expect("it fits");
        steps.clear();
        tree.forget(Zxid(zxid));
    };
    create("/load".to_owned(), b"");
    for i in 0..znodes {
        if i % 1000 == 0 {
            create(format!("/load/parent-{:05}", i / 1000), b"");
        }
        create(format!("/load/parent-{:05}/node-{:08}", i / 1000, i), &data);
    }
    (tree, Zxid(zxid))
}

/// Resident memory, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// Processor time of the process so far, ms.
fn processor_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("it is there");
    let fields: Vec<i64> =
        stat.rsplit(')').next().expect("fields").split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // After the state, which is no number: utime and stime are the 10th and 11th, in hundredths of a second.
    ((fields[10] + fields[11]) * 10).unsigned_abs()
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

fn least(times: &[Duration]) -> f64 {
    ms(*times.iter().min().expect("some"))
}

fn measure(bytes: usize, znodes: usize) {
    let (tree, zxid) = tree(bytes, znodes);
    let digest = tree.digest();
    let began = Instant::now();
    let view = tree.view().clone();
    let cloned = began.elapsed();
    let start = Start { view, sessions: Default::default(), zxid, archived: Zxid::ZERO, transactions: 0, bytes: 0 };
    let mut archivist = Archivist::new(start, Policy::default(), ServerId(1), 7);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let images = ImageDir::open(dir.path()).expect("a directory");
    let mut file = Vec::with_capacity(znodes * (bytes + 200) + (1 << 20));
    let (mut slices, mut longest) = (Duration::ZERO, Duration::ZERO);
    archivist.begin(Now::default(), &mut file);
    loop {
        let began = Instant::now();
        let wrote = archivist.write(&mut file);
        slices += began.elapsed();
        longest = longest.max(began.elapsed());
        if wrote == Wrote::All {
            break;
        }
    }
    std::fs::write(images.path_of(zxid), &file).expect("room");
    let len = file.len();
    drop((file, archivist, tree));
    let mut loads = Vec::new();
    let mut cpu = u64::MAX;
    let mut clones = Vec::new();
    let mut held = 0;
    for _ in 0..5 {
        let before = resident();
        let (began, cpu_before) = (Instant::now(), processor_ms());
        let loaded = images.load(zxid, SEEDS).expect("it is good");
        loads.push(began.elapsed());
        cpu = cpu.min(processor_ms() - cpu_before);
        assert_eq!(loaded.tree.digest(), digest);
        held = held.max(resident().saturating_sub(before));
        let began = Instant::now();
        let view = loaded.tree.view().clone();
        clones.push(began.elapsed());
        drop((view, loaded));
    }
    println!(
        "{znodes:>8} x {bytes:>7} B: file {:>6.1} MB ({:>6} B each), framed in {:>6.0} ms (longest slice {:.1} ms), loaded in {:>5.0} ms \
         (first {:.0}; processor time {cpu} ms), clone {:.0} ms (first {:.0}), resident at most {:.0} MB more",
        len as f64 / 1e6,
        len / znodes,
        ms(slices),
        ms(longest),
        least(&loads),
        ms(loads[0]),
        least(&clones),
        ms(cloned),
        held as f64 / 1e6,
    );
}

fn main() {
    if !std::env::args().any(|word| word == "--bench") {
        // Under `cargo test`: that it works at all.
        return measure(100, 3000);
    }
    let words: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    if let [bytes, znodes] = words[..] {
        return measure(bytes, znodes);
    }
    let total = 200 << 20;
    // From 256 KiB on data are served from their chunks; one byte less, and they are copied.
    for bytes in [100, 1000, 4096, 16 << 10, 100_000, (256 << 10) - 1, 256 << 10, 1_000_000] {
        measure(bytes, (total / bytes).min(1_000_000));
    }
}
