//! Tests of the controller, on a modelled drive beside every fixed setting of a grid.

use std::collections::VecDeque;

use super::*;

/// A drive: what a flush takes where it has as many others beside it as it takes, and what it takes beyond.
#[derive(Clone, Copy)]
struct Drive {
    us: u64,
    /// Flushes that it does at the same time; more wait.
    wide: usize,
    /// From so many on, each takes eight times as long.
    cliff: usize,
    /// So many begin in a tenth of a second, and the others wait for the next: as a limit of operations a second does it.
    quota: u64,
}

#[derive(Clone, Copy)]
enum Load {
    /// So many a second, as independent clients come.
    Open(u64),
    /// So many clients, each with one request at a time.
    Closed(usize),
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn gap(&mut self, rate: u64) -> u64 {
        let unit = ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        (-unit.ln() * 1e6 / rate as f64) as u64
    }
}

/// A server, its drive and its clients.
struct Model {
    drive: Drive,
    load: Load,
    random: Random,
    adapt: Adapt,
    now: u64,
    proposed: u32,
    /// Moments at which those in the builder came.
    open: Vec<u64>,
    /// Batches with the drive: when each ends, and is it over.
    flights: VecDeque<(u64, Vec<u64>)>,
    /// When each of the drive's places is free.
    places: Vec<u64>,
    /// The tenth of a second in which flushes begin, and how many did.
    slice: (u64, u64),
    next_arrival: u64,
    waits: Vec<u64>,
    /// Flushes that have ended.
    ended: u64,
    /// The most flushes, and the longest linger, that were ever allowed.
    most: (usize, u64),
}

impl Model {
    fn new(knobs: FlushKnobs, drive: Drive, load: Load) -> Self {
        let mut model = Self {
            drive,
            load,
            random: Random(0x9e37_79b9_7f4a_7c15),
            adapt: Adapt::new(knobs),
            now: 1,
            proposed: 1,
            open: Vec::new(),
            flights: VecDeque::new(),
            places: vec![0; drive.wide],
            slice: (0, 0),
            next_arrival: 1,
            waits: Vec::new(),
            ended: 0,
            most: (0, 0),
        };
        model.adapt.seen = Zxid::new(1, 1);
        if let Load::Closed(clients) = load {
            model.next_arrival = u64::MAX;
            (0..clients).for_each(|_| model.arrive());
        }
        model
    }

    fn arrive(&mut self) {
        self.proposed += 1;
        self.open.push(self.now);
    }

    /// The closing rule of the builder.
    fn close(&mut self) {
        let knobs = self.adapt.knobs();
        self.most = (self.most.0.max(knobs.flights), self.most.1.max(knobs.linger_us));
        let Some(&opened) = self.open.first() else { return };
        let busy = self.flights.len();
        if busy > 0 && (busy >= knobs.flights || self.now - opened < knobs.linger_us) {
            return;
        }
        self.adapt.started(Zxid::new(1, self.proposed), opened, self.now);
        let us = if busy + 1 >= self.drive.cliff { self.drive.us * 8 } else { self.drive.us };
        // A tenth more or less.
        let us = us * (90 + self.random.next() % 21) / 100;
        let begins = self.admit();
        let place = self.places.iter_mut().min().unwrap();
        *place = begins.max(*place) + us;
        let ends = *place;
        self.flights.push_back((ends, std::mem::take(&mut self.open)));
    }

    /// When the drive's quota lets a flush begin.
    fn admit(&mut self) -> u64 {
        let (slice, begun) = &mut self.slice;
        if *slice < self.now / SLICE_US {
            (*slice, *begun) = (self.now / SLICE_US, 0);
        }
        if *begun >= self.drive.quota {
            (*slice, *begun) = (*slice + 1, 0);
        }
        *begun += 1;
        self.now.max(*slice * SLICE_US)
    }

    /// Goes on to what happens next.
    fn step(&mut self) {
        let knobs = self.adapt.knobs();
        let linger = self.open.first().filter(|_| self.flights.len() < knobs.flights).map(|opened| opened + knobs.linger_us);
        let flush = self.flights.iter().map(|(ends, _)| *ends).filter(|ends| *ends > self.now).min();
        let front = self.flights.front().map(|(ends, _)| *ends);
        let next = [Some(self.next_arrival), linger, flush, front].into_iter().flatten().min().unwrap();
        self.now = self.now.max(next);
        if self.next_arrival <= self.now {
            self.arrive();
            if let Load::Open(rate) = self.load {
                self.next_arrival += self.random.gap(rate);
            }
        }
        let before = self.flights.len();
        let mut answered = 0;
        while let Some((_, batch)) = self.flights.pop_front_if(|(ends, _)| *ends <= self.now) {
            self.ended += 1;
            answered += batch.len();
            self.waits.extend(batch.iter().map(|came| self.now - came));
        }
        if self.flights.len() < before {
            self.adapt.ended(self.flights.len(), self.now);
        }
        if matches!(self.load, Load::Closed(_)) {
            (0..answered).for_each(|_| self.arrive());
        }
        self.close();
    }

    fn run_flushes(&mut self, flushes: u64) {
        let until = self.ended + flushes;
        while self.ended < until {
            self.step();
        }
    }

    /// Long enough for the controller to find its place, or to fail to.
    fn settle(&mut self) {
        self.run_flushes(SETTLES);
        while self.now < SETTLES_US {
            self.step();
        }
    }

    /// Throughput a second, mean and 99th percentile, us, of so much time.
    fn measure(&mut self, us: u64) -> (u64, u64, u64) {
        self.waits.clear();
        let until = self.now + us;
        while self.now < until {
            self.step();
        }
        let waits = &mut self.waits;
        waits.sort_unstable();
        let count = waits.len() as u64;
        (count * 1_000_000 / us, waits.iter().sum::<u64>() / count, waits[waits.len() * 99 / 100])
    }
}

fn knobs(flights: usize, linger_us: u64, adapts: bool) -> FlushKnobs {
    FlushKnobs { flights, linger_us, adapts, ..FlushKnobs::default() }
}

const SLICE_US: u64 = 100_000;

/// Flushes, and microseconds, after which the controller must have found its place.
const SETTLES: u64 = 4000;
const SETTLES_US: u64 = 3_000_000;

const NO_QUOTA: u64 = u64::MAX;

const DRIVES: [(&str, Drive); 11] = [
    ("50 us, 16 at a time", Drive { us: 50, wide: 16, cliff: 99, quota: NO_QUOTA }),
    ("50 us, one at a time", Drive { us: 50, wide: 1, cliff: 99, quota: NO_QUOTA }),
    ("50 us, cliff at 3", Drive { us: 50, wide: 16, cliff: 3, quota: NO_QUOTA }),
    ("2 ms, 16 at a time", Drive { us: 2000, wide: 16, cliff: 99, quota: NO_QUOTA }),
    ("2 ms, one at a time", Drive { us: 2000, wide: 1, cliff: 99, quota: NO_QUOTA }),
    ("2 ms, cliff at 3", Drive { us: 2000, wide: 16, cliff: 3, quota: NO_QUOTA }),
    ("10 ms, 16 at a time", Drive { us: 10_000, wide: 16, cliff: 99, quota: NO_QUOTA }),
    ("10 ms, one at a time", Drive { us: 10_000, wide: 1, cliff: 99, quota: NO_QUOTA }),
    ("10 ms, cliff at 3", Drive { us: 10_000, wide: 16, cliff: 3, quota: NO_QUOTA }),
    ("300 us, 300 a second", Drive { us: 300, wide: 16, cliff: 99, quota: 30 }),
    ("300 us, 1000 a second", Drive { us: 300, wide: 16, cliff: 99, quota: 100 }),
];

const LOADS: [(&str, Load); 5] = [
    ("200/s", Load::Open(200)),
    ("2000/s", Load::Open(2000)),
    ("20000/s", Load::Open(20_000)),
    ("1 client", Load::Closed(1)),
    ("32 clients", Load::Closed(32)),
];

#[test]
fn hardly_any_fixed_setting_has_a_tail_a_tenth_better() {
    let (mut wrong, mut tails) = (Vec::new(), Vec::new());
    for (drive_name, drive) in DRIVES {
        for (load_name, load) in LOADS {
            // A hundred of the quota's rounds, and so much of the drive's else.
            let has_quota = drive.quota < NO_QUOTA;
            let time = if has_quota { 100 * SLICE_US } else { (drive.us * 1000).max(1_000_000) };
            let fixed = |flights, linger| {
                let mut model = Model::new(knobs(flights, linger, false), drive, load);
                model.run_flushes(100);
                model.measure(time)
            };
            let grid: Vec<_> =
                RUNGS.iter().flat_map(|k| [0, 100, 1000].map(|l| (*k, l))).map(|(k, l)| (k, l, fixed(k, l))).collect();
            let best_rate = grid.iter().map(|(.., of)| of.0).max().unwrap();
            let best_mean = grid.iter().map(|(.., of)| of.1).min().unwrap();
            let best = grid.iter().min_by_key(|(.., of)| of.2).unwrap();
            let mut model = Model::new(knobs(4, 0, true), drive, load);
            model.settle();
            if has_quota {
                // Its epochs are long.
                model.measure(200 * SLICE_US);
            }
            let (rate, mean, p99) = model.measure(time);
            let is = model.adapt.knobs();
            let line = format!(
                "{drive_name}, {load_name}: {rate}/s mean {mean} p99 {p99} with {}/{}, best {best_rate}/s mean {best_mean} p99 {} with {}/{}",
                is.flights, is.linger_us, best.2.2, best.0, best.1
            );
            println!("{line}");
            // An open loop is given its throughput, so there it tells of chance alone.
            let is_slower = matches!(load, Load::Closed(_)) && rate * 11 < best_rate * 10;
            if is_slower || mean * 5 > best_mean * 6 {
                wrong.push(line.clone());
            }
            if p99 * 10 > best.2.2 * 11 {
                tails.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Where flushes meet rarely what they do to each other is hardly beyond the noise (docs/group-commit.md).
    assert!(tails.len() <= 4, "{}", tails.join("\n"));
}

#[test]
fn fixed_stays_as_it_was_set() {
    let mut model = Model::new(knobs(3, 70, false), DRIVES[4].1, Load::Open(2000));
    model.run_flushes(SETTLES);
    assert_eq!((model.adapt.knobs(), model.adapt.census().decisions), (knobs(3, 70, false), 0));
    assert!(model.adapt.pace.flush_us() > 1000, "the estimates are there nevertheless");
}

#[test]
fn a_drive_that_changes_is_followed_within_bounds() {
    let mut model = Model::new(knobs(4, 0, true), DRIVES[0].1, Load::Open(20_000));
    for drive in [DRIVES[0].1, DRIVES[5].1, DRIVES[3].1, DRIVES[2].1] {
        (model.drive, model.places) = (drive, vec![model.now; drive.wide]);
        model.run_flushes(SETTLES);
        let near = model.adapt.pace.flush_us();
        assert!(near >= drive.us / 2 && near <= drive.us * 2, "{near} of {}", drive.us);
        // So many at a time, by number or by the distance between them.
        let Setting { rung, part } = model.adapt.setting;
        let at_a_time = if part == 0 { RUNGS[rung] } else { RUNGS[rung].min(usize::try_from(part).unwrap()) };
        assert!(at_a_time < drive.cliff, "{:?}", model.adapt);
        assert!(model.most.0 <= FLIGHTS_MAX && model.most.1 <= LINGER_MAX_US);
    }
}

#[test]
fn equal_histories_make_equal_decisions() {
    let run = || {
        let mut model = Model::new(knobs(4, 0, true), DRIVES[5].1, Load::Open(2000));
        model.run_flushes(SETTLES);
        (model.adapt.census(), model.now)
    };
    assert_eq!(run(), run());
}

#[test]
fn clocks_and_zxids_that_jump_do_no_harm() {
    let mut random = Random(7);
    let mut adapt = Adapt::new(knobs(16, 0, true));
    for i in 0..100_000_u64 {
        let now = match random.next() % 8 {
            0 => 0,
            1 => u64::MAX,
            2 => random.next(),
            _ => i * 100,
        };
        let proposed = Zxid::new((random.next() % 3) as u32, (random.next() % 4 * 0x5555_5555) as u32);
        match random.next() % 2 {
            0 => adapt.started(proposed, random.next(), now),
            _ => adapt.ended((random.next() % 4) as usize, now),
        }
        let knobs = adapt.knobs();
        assert!((1..=FLIGHTS_MAX).contains(&knobs.flights) && knobs.linger_us <= LINGER_MAX_US);
        let _ = adapt.census();
    }
}
