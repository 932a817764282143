//! Scenario: what applications do with a coordination server, measured as they feel it.
//!
//! In cycles (each client does one after the other; [`Workload::Churn`], [`Workload::Lock`], [`Workload::SessionChurn`]): the
//! open loop starts cycles at the rate over all clients. A cycle that finds no client free waits for one, and the latency of
//! its first operation counts from the moment it was to start. In the closed loop each client starts its next cycle at once.
//! Clients are spread over the generator threads.
//!
//! In rounds (all clients together; [`Workload::ConnectStorm`], [`Workload::FanOut`], [`Workload::Reconnect`]): one at a time,
//! back to back, or with a rate that many a second at most. The round that has begun when the time is over is finished, and
//! one whole round is measured at least. One thread drives them, so that the moments at which sockets are read are moments of
//! one clock; what it takes to read from thousands of sockets is part of what the last one waits.
//!
//! Offered and answered count operations: a cycle of two operations counts as two arrivals.

mod churn;
mod connect_storm;
mod cycle;
mod fan_out;
mod lines;
mod lock;
mod place;
mod reconnect;
mod round;
mod session_churn;
mod tally;

use super::control::{Control, RunError};
use super::machine;
use super::record::{FORMAT, Generator, Machine, Record, Target};
use super::spec::{Pace, Spec, Workload};
use crate::client::answer::{Event, Reply};
use crate::ground::ids::SessionId;
use place::Place;
use tally::Tally;

/// Descriptors that this process needs besides its connections.
const DESCRIPTORS_BESIDE: u64 = 64;

/// What comes in on a connection.
#[derive(Debug)]
enum Heard {
    /// It has its session.
    Connected(SessionId),
    /// Its session is gone.
    Expired,
    Reply(Reply),
    Event(Event),
    /// It is lost, and why.
    Lost(String),
}

/// Why a run ends before its time.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("stopped by the user")]
    Stopped,
    /// A server, and what became of it.
    #[error("lost {0}: {1}")]
    Lost(String, String),
    #[error("{0}")]
    Other(String),
}

/// What a scenario has measured.
#[derive(Debug)]
struct Outcome {
    tally: Tally,
    /// ns of its clock, as of the tally's times.
    from: u64,
    end: u64,
    began_unix_ms: u64,
    processor_seconds: f64,
    ended: Option<Ended>,
}

/// Runs a scenario. The znodes it works on are under a root of its own, `/ringkeeper-bench-` and sixteen digits, which is
/// removed at the end as far as a server is there.
///
/// A server that is lost in mid-run, or a stop by the user, ends the run early: the record says so, and has what was measured
/// until then. Errors are what keeps a run from beginning, among them a workload that is no scenario.
pub fn run(spec: &Spec, target: &Target, control: &Control) -> Result<Record, RunError> {
    descriptors(connections(spec)?)?;
    let place = Place::make(&target.servers, spec.session_timeout_ms)?;
    let version = target.version.clone().or_else(|| machine::version_of(&target.servers[0]));
    let outcome = match spec.workload {
        Workload::Churn => cycle::run(spec, &place, control, |_| churn::Churn::new(&place.root, spec.value_size)),
        Workload::Lock => lock::run(spec, &place, control),
        Workload::SessionChurn => cycle::run(spec, &place, control, |thread| session_churn::SessionChurn::new(spec, thread)),
        Workload::ConnectStorm => connect_storm::run(spec, &place, control),
        Workload::FanOut { watchers } => fan_out::run(watchers, spec, &place, control),
        Workload::Reconnect { watches } => reconnect::run(watches, spec, &place, control),
        _ => unreachable!("connections() refuses what is no scenario"),
    };
    control.progress_done();
    place.remove();
    let Outcome { tally, from, end, began_unix_ms, processor_seconds, ended } = outcome?;
    let seconds = end.saturating_sub(from) as f64 / 1e9;
    let (arrivals, mut operations, slices, stalls) = tally.recorder.clone().finish(end);
    tally.add_failed(&mut operations);
    Ok(Record {
        format: FORMAT,
        command: control.command.clone(),
        target: Target { version, ..target.clone() },
        spec: spec.clone(),
        machines: vec![Machine::here()],
        began_unix_ms,
        seconds,
        ended_early: ended.map(|ended| ended.to_string()),
        arrivals,
        operations,
        slices,
        stalls,
        generator: Generator { processor_seconds, cores: machine::cores(), late_p99_us: tally.late.quantile_us(0.99) },
    })
}

/// Connections that the spec asks for, if it asks for something that can be.
fn connections(spec: &Spec) -> Result<usize, RunError> {
    let wrong = |what: &str| Err(RunError::Spec(what.to_owned()));
    if let Pace::Open { rate, .. } = spec.pace
        && !(rate > 0.0 && rate.is_finite())
    {
        return wrong("the rate must be above 0");
    }
    let is_time = |seconds: f64| (0.0..=1e6).contains(&seconds);
    if !is_time(spec.seconds) || !is_time(spec.warmup) || spec.seconds == 0.0 {
        return wrong("the time must be above 0 and the warm-up not below, neither longer than a million seconds");
    }
    if spec.connections == 0 || spec.threads == 0 || spec.session_timeout_ms <= 0 {
        return wrong("connections, threads and the session timeout must be above 0");
    }
    match spec.workload {
        Workload::Churn | Workload::SessionChurn | Workload::ConnectStorm => Ok(spec.connections),
        Workload::Lock if spec.nodes == 0 => wrong("the lock recipe needs a znode at least"),
        Workload::Lock => Ok(spec.connections),
        Workload::FanOut { watchers: 0 } => wrong("a fan-out needs a watcher at least"),
        Workload::FanOut { watchers } => Ok(watchers.saturating_add(1)),
        Workload::Reconnect { watches: 0 } => wrong("a reconnect needs a watch at least"),
        Workload::Reconnect { watches } if watches > spec.nodes => {
            Err(RunError::Spec(format!("a connection cannot watch {watches} of {} znodes; ask for more znodes", spec.nodes)))
        }
        Workload::Reconnect { .. } => Ok(spec.connections.saturating_add(1)),
        _ => Err(RunError::Spec(format!("{} is no scenario", spec.workload))),
    }
}

/// Sees that this process may open as many connections, and raises its limit as far as it may.
fn descriptors(connections: usize) -> Result<(), RunError> {
    let needed = (connections as u64).saturating_add(DESCRIPTORS_BESIDE);
    let few = |error| RunError::Machine("limit of open files", error);
    let (soft, hard) = rlimit::Resource::NOFILE.get().map_err(few)?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(few(std::io::Error::other(format!(
            "{connections} connections need {needed} descriptors, and this process may have {hard} at most; raise it with ulimit -Hn"
        ))));
    }
    rlimit::Resource::NOFILE.set(hard, hard).map_err(few)
}

/// Milliseconds since 1970, `ns` from now.
fn unix_ms_in(ns: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX) + ns / 1_000_000
}

/// Keeps the calling thread to one of the last cores, where there are enough beside those that the server uses.
fn pin(control: &Control, thread: usize, threads: usize) {
    if control.pin
        && let Some(ids) = core_affinity::get_core_ids()
        && ids.len() >= 2 * threads
        && let Some(id) = ids.iter().rev().nth(thread)
    {
        // A thread that cannot be pinned works as well.
        let _ = core_affinity::set_for_current(*id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::spec::Arrivals;

    fn spec(workload: Workload) -> Spec {
        Spec { workload, ..Spec::default() }
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_opened() {
        for (bad, what) in [
            (spec(Workload::Read), "no scenario"),
            (spec(Workload::FanOut { watchers: 0 }), "watcher"),
            (spec(Workload::Reconnect { watches: 1001 }), "1001 of 1000"),
            (Spec { connections: 0, ..spec(Workload::Churn) }, "above 0"),
            (Spec { nodes: 0, ..spec(Workload::Lock) }, "znode"),
            (Spec { seconds: f64::NAN, ..spec(Workload::Churn) }, "time"),
            (Spec { pace: Pace::Open { rate: 0.0, arrivals: Arrivals::Poisson }, ..spec(Workload::Churn) }, "rate"),
        ] {
            let error = run(&bad, &Target::default(), &Control::default()).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn too_few_descriptors_are_told_before_anything_is_opened() {
        let error = descriptors(usize::MAX).unwrap_err();
        assert!(matches!(error, RunError::Machine("limit of open files", _)), "{error}");
        assert!(descriptors(1).is_ok());
    }

    #[test]
    fn nobody_there_and_no_address_are_errors() {
        let target = |server: &str| Target { servers: vec![server.to_owned()], ..Target::default() };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        for workload in [Workload::Churn, Workload::ConnectStorm] {
            let error = run(&spec(workload.clone()), &target(&address), &Control::default()).unwrap_err();
            assert!(matches!(error, RunError::Unreachable(..)), "{error}");
            let error = run(&spec(workload), &target("no port"), &Control::default()).unwrap_err();
            assert!(matches!(error, RunError::Address(..)), "{error}");
        }
    }
}
