//! Sample: records as runs might have made them, for the tests of what reads records.

use crate::bench::record::{Arrived, FORMAT, Generator, Machine, Operation, Record, Slice, Stall, Target};
use crate::bench::spec::{Arrivals, Pace, Spec, Workload};
use crate::show::latency::Latency;

/// Ten seconds of reads and sets at a rate, of which one in fifty takes twenty times as long as others; the higher the rate, the
/// longer all take. One second stalls.
pub fn record(label: &str, rate: f64) -> Record {
    let mut record = empty(label);
    record.spec.pace = Pace::Open { rate, arrivals: Arrivals::Poisson };
    record.spec.workload = Workload::Mixed { read_ratio: 0.9 };
    let mut state = 7u64;
    for second in 0..10u64 {
        let mut slice = Slice { offered: 1000, errors: u64::from(second == 4), latency: Latency::default() };
        for n in 0..1000u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut ns = 80_000 + (state >> 48) * 3 + rate as u64;
            if n % 50 == 0 {
                ns *= 20;
            }
            if second == 6 && n > 600 {
                ns += 312_000_000 - n * 300_000;
            }
            slice.latency.record_ns(ns);
            let name = if n % 10 == 0 { "set" } else { "get" };
            record.operations.entry(name.to_owned()).or_default().latency.record_ns(ns);
        }
        record.slices.push(slice);
    }
    record.operations.get_mut("set").expect("sets").errors.insert("BadVersion".to_owned(), 1);
    record.arrivals = Arrived { offered: 10_000, answered: 9990, delayed: 12, dropped: 3, unanswered: 7 };
    record.stalls = vec![Stall { at: 6.6, ms: 312.0 }, Stall { at: 8.25, ms: 121.0 }];
    record
}

/// A run that measured nothing.
pub fn empty(label: &str) -> Record {
    Record {
        format: FORMAT,
        command: format!("ringkeeper bench --label {label}"),
        target: Target {
            label: label.to_owned(),
            servers: vec!["10.0.0.1:2181".to_owned()],
            version: Some("3.9.4-7246445ec281f3dbfb53dfb54cc2e3ee4b21f6fa, built on 2025-08-19 19:53 UTC".to_owned()),
            quorum: Some(3),
            durability: Some("fsync".to_owned()),
        },
        spec: Spec::default(),
        machines: vec![Machine {
            processor: "Example Processor 3000".to_owned(),
            cores: 2,
            kernel: "6.18.44".to_owned(),
            memory_mib: 8000,
            tool: "0.1.0".to_owned(),
        }],
        began_unix_ms: 1_795_305_600_000,
        seconds: 10.0,
        ended_early: None,
        arrivals: Arrived::default(),
        operations: [("get".to_owned(), Operation::default())].into(),
        slices: Vec::new(),
        stalls: Vec::new(),
        generator: Generator { processor_seconds: 2.5, cores: 2, late_p99_us: 23 },
    }
}
