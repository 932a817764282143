//! Run: one measurement from its spec to its record.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::control::{Control, RunError};
use super::keeper_bench::{self, plan::FilePlan};
use super::load::generator::{Job, Seen, Shared};
use super::load::line::Server;
use super::load::requests::{Maker, Plan, Steady};
use super::load::setup::{Planter, new_root, remove};
use super::machine::{cores, version_of};
use super::record::{FORMAT, Generator, Machine, Record, Slice, Target};
use super::scenario;
use super::spec::{Pace, Spec, Workload};

/// Most generator threads that are started unasked: one drives more than a million requests a second.
const THREADS_UNASKED: usize = 4;

/// Lost connections that are told one by one.
const LOSSES_SHOWN: usize = 3;

/// Cores from which on generator threads are bound, at the other end from where servers bind theirs.
const CORES_TO_PIN: usize = 4;

/// Runs what the spec says.
pub fn run(spec: &Spec, target: &Target, control: &Control) -> Result<Record, RunError> {
    match spec.workload {
        Workload::Churn
        | Workload::Lock
        | Workload::SessionChurn
        | Workload::ConnectStorm
        | Workload::FanOut { .. }
        | Workload::Reconnect { .. } => {
            check(spec)?;
            scenario::run(&Spec { threads: threads(spec), ..spec.clone() }, target, control)
        }
        Workload::KeeperBench { ref file } => {
            check(spec)?;
            let description = keeper_bench::read(file)?;
            for warning in &description.warnings {
                control.note(warning);
            }
            run_plan(spec, target, control, &FilePlan::new(description, spec)?)
        }
        _ => {
            check(spec)?;
            run_plan(spec, target, control, &Steady::new(spec)?)
        }
    }
}

/// Runs a plan: prepares its znodes, loads the servers with its requests, and removes everything again.
pub fn run_plan<P: Plan>(spec: &Spec, target: &Target, control: &Control, plan: &P) -> Result<Record, RunError>
where
    P::Maker: 'static,
{
    check(spec)?;
    let mut spec = spec.clone();
    spec.threads = threads(&spec);
    let servers = resolve(target)?;
    let root = new_root()?;
    let mut planter = Planter::new(&servers[0], &root, control)?;
    // Before the run, after which the server may not be there any more.
    let target = described(target);
    let prepared = plan.prepare(&mut planter).and_then(|()| planter.finish());
    let outcome = prepared.and_then(|()| load(&spec, &servers, control, |thread| plan.maker(&root, thread, spec.threads)));
    if !remove(&servers, &root, control) {
        control.note(&format!("{root} could not be removed: no server lets it be deleted now"));
    }
    control.progress_done();
    Ok(record(spec, target, control, outcome?))
}

/// Refuses what no run can be.
pub fn check(spec: &Spec) -> Result<(), RunError> {
    let wrong = |what: String| Err(RunError::Spec(what));
    if spec.connections == 0 || spec.in_flight == 0 {
        return wrong("at least one connection, and one request in flight on it, are needed".into());
    }
    if !(spec.seconds > 0.0 && spec.seconds <= 7.0 * 86_400.0) {
        return wrong(format!("{} seconds are not within 0 to a week", spec.seconds));
    }
    if !(0.0..=86_400.0).contains(&spec.warmup) {
        return wrong(format!("{} seconds of warm-up are not within 0 to a day", spec.warmup));
    }
    if spec.session_timeout_ms < 1000 {
        return wrong(format!("a session timeout of {} ms is below 1000", spec.session_timeout_ms));
    }
    match spec.pace {
        Pace::Open { rate, .. } if !(rate > 0.0 && rate <= 1e8) => {
            wrong(format!("a rate of {rate} a second is not within 0 to 100000000"))
        }
        _ => Ok(()),
    }
}

/// How many threads a run takes: those that were asked for, or as many as are sensible for 0; never more than connections.
#[must_use]
pub fn threads(spec: &Spec) -> usize {
    let asked = if spec.threads > 0 { spec.threads } else { (cores() / 4).clamp(1, THREADS_UNASKED) };
    asked.min(spec.connections)
}

/// The servers' addresses.
pub fn resolve(target: &Target) -> Result<Vec<Server>, RunError> {
    if target.servers.is_empty() {
        return Err(RunError::Spec("no server is named; they are given as host:port,host:port".into()));
    }
    let none = || std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    let resolved = target.servers.iter().map(|name| {
        let address = name.to_socket_addrs().and_then(|mut all| all.next().ok_or_else(none));
        match address {
            Ok(address) => Ok(Server { name: name.clone(), address }),
            Err(error) => Err(RunError::Address(name.clone(), error)),
        }
    });
    resolved.collect()
}

/// The cores of the generator threads, from the last one down; none where there are too few, or where it is not wanted.
#[must_use]
pub fn pins(control: &Control, threads: usize) -> Vec<Option<core_affinity::CoreId>> {
    let all = core_affinity::get_core_ids().filter(|all| control.pin && all.len() >= CORES_TO_PIN.max(threads + 1));
    let mut last = all.unwrap_or_default().into_iter().rev();
    (0..threads).map(|_| last.next()).collect()
}

/// What the threads of a run have seen, as one.
struct Outcome {
    seen: Seen,
    ended_early: Option<String>,
    began: SystemTime,
}

fn load<M: Maker + 'static>(
    spec: &Spec,
    servers: &[Server],
    control: &Control,
    maker: impl Fn(usize) -> M,
) -> Result<Outcome, RunError> {
    let shared = Arc::new(Shared::new(Arc::clone(&control.stop), spec.connections, spec.threads));
    let (ready, all_ready) = sync_channel(spec.threads);
    let (mut handles, mut starters) = (Vec::new(), Vec::new());
    control.progress(&format!("opening {} sessions", spec.connections));
    for (thread, core) in pins(control, spec.threads).into_iter().enumerate() {
        let shared = Arc::clone(&shared);
        let job = Job { maker: maker(thread), spec: spec.clone(), servers: servers.to_vec(), thread, core, shared };
        let (ready, (starter, go)) = (ready.clone(), channel());
        let handle = Builder::new().name(format!("load-{thread}")).spawn(move || job.run(&ready, &go));
        handles.push(handle.map_err(|error| RunError::Machine("no thread", error))?);
        starters.push(starter);
    }
    drop(ready);
    // All of them are heard, so that none is opening connections any more when this one gives up.
    let opened: Vec<_> = all_ready.into_iter().take(spec.threads).collect();
    if let Some(failed) = opened.into_iter().find_map(Result::err) {
        // Without their starters the threads end and hang up, which leaves a server with few connections room for the removal.
        drop(starters);
        join(handles)?;
        return Err(failed);
    }
    let (start, began) = (Instant::now(), SystemTime::now());
    for starter in starters {
        // A thread that is gone has nothing to start; its join tells why.
        let _ = starter.send(start);
    }
    watch(spec, control, &shared, &handles, start);
    let seen = join(handles)?.expect("threads that were started have seen something");
    for loss in shared.losses().iter().take(LOSSES_SHOWN) {
        control.note(&format!("a connection was lost: {loss}"));
    }
    let lost = shared.losses().len();
    if lost > LOSSES_SHOWN {
        control.note(&format!("{lost} of {} connections were lost in all", spec.connections));
    }
    let until = nanoseconds(spec.warmup) + nanoseconds(spec.seconds);
    // Without a reason the run is complete: all that was to be asked is answered.
    let ended_early = shared.why().filter(|_| seen.end < until).map(|why| {
        format!("after {:.1} of {} s: {why}", seen.end.saturating_sub(nanoseconds(spec.warmup)) as f64 / 1e9, spec.seconds)
    });
    Ok(Outcome { seen, ended_early, began })
}

/// Shows how far the run is until all threads are through.
fn watch<T>(spec: &Spec, control: &Control, shared: &Shared, handles: &[JoinHandle<T>], start: Instant) {
    let mut second = 0u64;
    let mut next = start;
    while !handles.iter().all(JoinHandle::is_finished) {
        let now = Instant::now();
        if now >= next {
            next += Duration::from_secs(1);
            let at = now.duration_since(start).as_secs_f64() - spec.warmup;
            match shared.take_second() {
                Some(slice) => {
                    second += 1;
                    control.progress(&progress(second, spec, &slice));
                }
                None if at < 0.0 => control.progress(&format!("warming up, {:.0} s", -at)),
                None => {}
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    control.progress_done();
}

fn progress(second: u64, spec: &Spec, slice: &Slice) -> String {
    let (answered, p99) = (slice.latency.count() + slice.errors, slice.latency.quantile_us(0.99));
    let offered = spec.rate().map_or_else(String::new, |_| format!("offered {}/s, ", slice.offered));
    format!("{second} of {} s: {offered}answered {answered}/s, p99 {p99} us, errors {}", spec.seconds, slice.errors)
}

/// What all threads have seen; `None` if none was started.
fn join(handles: Vec<JoinHandle<Result<Option<Seen>, RunError>>>) -> Result<Option<Seen>, RunError> {
    let mut all: Option<Seen> = None;
    for handle in handles {
        let Some(seen) = handle.join().expect("a generator thread does not panic")? else { continue };
        match &mut all {
            None => all = Some(seen),
            Some(all) => {
                all.recorder.add(&seen.recorder);
                all.late.add(&seen.late);
                all.processor_seconds += seen.processor_seconds;
                all.end = all.end.max(seen.end);
            }
        }
    }
    Ok(all)
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

fn record(spec: Spec, target: Target, control: &Control, outcome: Outcome) -> Record {
    let Outcome { seen, ended_early, began } = outcome;
    let seconds = seen.end.saturating_sub(nanoseconds(spec.warmup)) as f64 / 1e9;
    let (arrivals, operations, slices, stalls) = seen.recorder.finish(seen.end);
    let began = began + Duration::from_secs_f64(spec.warmup);
    Record {
        format: FORMAT,
        command: control.command.clone(),
        target,
        began_unix_ms: began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
        spec,
        machines: vec![Machine::here()],
        seconds,
        ended_early,
        arrivals,
        operations,
        slices,
        stalls,
        generator: Generator {
            processor_seconds: seen.processor_seconds,
            cores: cores(),
            late_p99_us: seen.late.quantile_us(0.99),
        },
    }
}

/// The target with what its first server says of its version, where nothing was said of it.
#[must_use]
pub fn described(target: &Target) -> Target {
    let version = target.version.clone().or_else(|| version_of(target.servers.first()?));
    Target { version, ..target.clone() }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::bench::echo::{Echo, Manner};
    use crate::bench::spec::Arrivals;
    use crate::proto::connect::ConnectResponse;

    fn quiet() -> Control {
        Control { is_quiet: true, ..Control::default() }
    }

    fn target(server: impl ToString) -> Target {
        Target { label: "test".into(), servers: vec![server.to_string()], ..Target::default() }
    }

    fn brief() -> Spec {
        Spec { connections: 4, in_flight: 4, nodes: 20, seconds: 0.3, warmup: 0.05, ..Spec::default() }
    }

    #[test]
    fn two_threads_over_two_servers_are_one_record() {
        let echoes = [(); 2].map(|()| Echo::start("127.0.0.1:0", Manner::default()).unwrap());
        let servers = echoes.iter().map(|echo| echo.address().to_string()).collect();
        let pace = Pace::Open { rate: 2000.0, arrivals: Arrivals::Constant };
        let spec = Spec { workload: Workload::Mixed { read_ratio: 0.5 }, pace, threads: 2, ..brief() };
        let record = run(&spec, &Target { servers, ..target("") }, &quiet()).unwrap();
        assert_eq!((record.ended_early.as_deref(), record.errors(), record.spec.threads), (None, 0, 2));
        assert_eq!((record.arrivals.offered, record.arrivals.dropped), (600, 0));
        assert_eq!(record.all().count(), record.arrivals.answered);
        assert_eq!(record.operations.keys().collect::<Vec<_>>(), ["read", "set"]);
        assert_eq!(record.slices.iter().map(|slice| slice.latency.count()).sum::<u64>(), record.arrivals.answered);
        assert!(record.arrivals.answered >= 400 && (record.seconds - 0.3).abs() < 1e-9, "{:?}", record.arrivals);
        assert_eq!(record.target.version.as_deref(), Some("echo"));
        assert!(record.generator.processor_seconds > 0.0);
    }

    #[test]
    fn what_a_full_connection_holds_up_is_told_and_counts_from_its_intended_start() {
        let stall = crate::bench::echo::Standstill { length: Duration::from_millis(150), every: Duration::from_millis(300) };
        let echo = Echo::start("127.0.0.1:0", Manner { stall: Some(stall), ..Manner::default() }).unwrap();
        let pace = Pace::Open { rate: 1000.0, arrivals: Arrivals::Constant };
        let spec = Spec { pace, connections: 1, in_flight: 1, seconds: 1.2, ..brief() };
        let record = run(&spec, &target(echo.address()), &quiet()).unwrap();
        assert!(record.arrivals.delayed > 100, "{:?}", record.arrivals);
        assert!(record.all().quantile_us(0.75) > 30_000, "half of all arrivals meet a stall");
    }

    #[test]
    fn deletes_end_when_nothing_is_left() {
        let echo = Echo::start("127.0.0.1:0", Manner::default()).unwrap();
        let spec = Spec { workload: Workload::Delete, nodes: 50, warmup: 0.0, seconds: 60.0, threads: 2, ..brief() };
        let record = run(&spec, &target(echo.address()), &quiet()).unwrap();
        assert!(record.ended_early.as_deref().is_some_and(|why| why.contains("--nodes")), "{:?}", record.ended_early);
        assert!((25..=50).contains(&record.arrivals.answered), "{:?}", record.arrivals);
        let pace = Pace::Open { rate: 500.0, arrivals: Arrivals::Poisson };
        let record = run(&Spec { pace, seconds: 0.3, ..spec }, &target(echo.address()), &quiet()).unwrap();
        assert_eq!(record.ended_early, None, "an open loop prepares as many as arrive");
    }

    #[test]
    fn a_server_that_dies_leaves_a_record_that_says_so() {
        let echo = Echo::start("127.0.0.1:0", Manner::default()).unwrap();
        let address = echo.address();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(700));
            echo.stop().unwrap();
        });
        let record = run(&Spec { seconds: 60.0, warmup: 0.0, ..brief() }, &target(address), &quiet()).unwrap();
        killer.join().unwrap();
        let why = record.ended_early.clone().unwrap();
        assert!(why.contains("all connections were lost") && why.contains("hung up"), "{why}");
        assert!(record.seconds < 30.0 && record.arrivals.answered > 0 && !record.slices.is_empty());
        assert!(record.operations["read"].errors.keys().eq(["CONNECTIONLOSS (-4)"]), "{:?}", record.operations["read"].errors);
    }

    #[test]
    fn a_stopped_run_tells_what_it_has() {
        let echo = Echo::start("127.0.0.1:0", Manner::default()).unwrap();
        let control = quiet();
        let stop = Arc::clone(&control.stop);
        let stopper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let record = run(&Spec { seconds: 60.0, warmup: 0.0, ..brief() }, &target(echo.address()), &control).unwrap();
        stopper.join().unwrap();
        assert!(record.ended_early.unwrap().contains("stopped"));
        assert!(record.seconds < 30.0);
    }

    #[test]
    fn nobody_there_and_nobody_who_lets_us_in_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let refuser = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 49];
            stream.read_exact(&mut request).unwrap();
            let mut out = Vec::new();
            ConnectResponse::refused(Some(false)).encode(&mut out);
            stream.write_all(&out).unwrap();
            // Until the other side has hung up.
            let _ = stream.read(&mut request);
        });
        let told = |server: &str| run(&brief(), &target(server), &quiet()).unwrap_err();
        assert!(matches!(told(&address.to_string()), RunError::NoSession(..)));
        refuser.join().unwrap();
        assert!(matches!(told(&address.to_string()), RunError::Unreachable(..)), "the listener is gone");
        assert!(matches!(told("nowhere.invalid:1"), RunError::Address(..)));
        assert!(matches!(run(&brief(), &Target::default(), &quiet()), Err(RunError::Spec(_))));
    }

    #[test]
    fn nonsense_is_refused_before_anybody_is_asked() {
        let open = |rate| Pace::Open { rate, arrivals: Arrivals::Constant };
        for spec in [
            Spec { connections: 0, ..brief() },
            Spec { in_flight: 0, ..brief() },
            Spec { seconds: f64::NAN, ..brief() },
            Spec { warmup: -1.0, ..brief() },
            Spec { pace: open(0.0), ..brief() },
            Spec { pace: open(f64::INFINITY), ..brief() },
            Spec { session_timeout_ms: 0, ..brief() },
            Spec { workload: Workload::Mixed { read_ratio: 2.0 }, ..brief() },
        ] {
            assert!(matches!(run(&spec, &target("127.0.0.1:1"), &quiet()), Err(RunError::Spec(_))), "{spec:?}");
        }
    }
}
