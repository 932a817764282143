//! Settling: what a keeper-bench file says of sessions, times and seeds becomes a spec's, where the command line does not say it.

use super::description::{Description, Endpoint};
use crate::bench::spec::Spec;

/// Session timeout where nothing is said, ms: that of keeper-bench.
const SESSION_TIMEOUT_MS: i32 = 30_000;

/// Seconds where only a number of requests is said.
const PATIENCE: f64 = 300.0;

/// What the command line says; that wins over the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Given {
    /// Servers.
    pub servers: bool,
    /// Connections.
    pub connections: bool,
    /// Requests in flight on one.
    pub in_flight: bool,
    /// Seconds measured.
    pub seconds: bool,
    /// Seconds before.
    pub warmup: bool,
    /// Seed.
    pub seed: bool,
    /// Session timeout.
    pub session_timeout_ms: bool,
}

impl Description {
    /// Puts what the file says into a spec and a list of servers, except for what was given on the command line. Returns what is
    /// worth knowing about it, a line each.
    ///
    /// keeper-bench has workers that ask on any session; here every connection has its own depth, so that as many requests are
    /// in flight together, rounded up to whole ones for each connection.
    pub fn settle(&self, given: &Given, spec: &mut Spec, servers: &mut Vec<String>) -> Vec<String> {
        let mut notes = Vec::new();
        let sessions: usize = self.endpoints.iter().map(|endpoint| endpoint.sessions).sum();
        if !given.servers && sessions > 0 {
            *servers = spread(&self.endpoints);
        }
        if !given.connections {
            spec.connections = if sessions > 0 { sessions } else { servers.len() };
        }
        if !given.in_flight {
            let asked = self.concurrency * self.pipeline_depth;
            spec.in_flight = asked.div_ceil(spec.connections.max(1));
            let all = spec.in_flight * spec.connections;
            if all != asked {
                notes.push(format!("up to {all} requests are in flight, not {asked}: {} on each connection", spec.in_flight));
            }
        }
        if !given.session_timeout_ms {
            let timeouts = || self.endpoints.iter().map(|endpoint| endpoint.session_timeout_ms.unwrap_or(SESSION_TIMEOUT_MS));
            spec.session_timeout_ms = timeouts().max().unwrap_or(SESSION_TIMEOUT_MS);
            if timeouts().min() != timeouts().max() {
                notes.push(format!("all sessions have the longest timeout of the file, {} ms", spec.session_timeout_ms));
            }
        }
        if !given.warmup {
            spec.warmup = self.warmup;
        }
        if !given.seconds {
            match (self.timelimit, self.iterations) {
                (Some(limit), _) => spec.seconds = (limit - self.warmup).max(0.0),
                (None, Some(_)) => {
                    spec.seconds = PATIENCE;
                    notes.push(format!("the file has no timelimit: the run ends after {PATIENCE} s at the latest (--seconds)"));
                }
                (None, None) => {
                    notes.push(format!(
                        "the file has neither iterations nor a timelimit: the run takes {} s (--seconds)",
                        spec.seconds
                    ));
                }
            }
        }
        if let (Some(seed), false) = (self.seed, given.seed) {
            spec.seed = seed;
        }
        notes
    }
}

/// Servers such that connections spread over them in turn come to the sessions of each.
fn spread(endpoints: &[Endpoint]) -> Vec<String> {
    let most = endpoints.iter().map(|endpoint| endpoint.sessions).max().unwrap_or(0);
    let rounds = (0..most).flat_map(|round| endpoints.iter().filter(move |endpoint| endpoint.sessions > round));
    let same = endpoints.iter().all(|endpoint| endpoint.sessions == most);
    if same {
        endpoints.iter().map(|endpoint| endpoint.host.clone()).collect()
    } else {
        rounds.map(|endpoint| endpoint.host.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::keeper_bench::reading::describe;

    const REQUESTS: &str = "setup: {node: {name: a}}\ngenerator: {requests: {get: {path: /a}}}\n";

    fn settled(head: &str, given: Given) -> (Spec, Vec<String>, Vec<String>) {
        let (mut spec, mut servers) = (Spec::default(), vec!["cli:1".to_owned()]);
        let notes = describe(&format!("{head}{REQUESTS}")).unwrap().settle(&given, &mut spec, &mut servers);
        (spec, servers, notes)
    }

    #[test]
    fn the_file_says_what_the_command_line_does_not() {
        let head = "concurrency: 7\npipeline_depth: 3\ntimelimit: 20\nwarmup_seconds: 5\n\
                    connections: {connection: {host: 'a:1', sessions: 3, session_timeout_ms: 2000}, host: 'b:2'}\n";
        let (spec, servers, notes) = settled(head, Given::default());
        assert_eq!((spec.connections, spec.in_flight, spec.seconds, spec.warmup), (4, 6, 15.0, 5.0));
        assert_eq!((servers.join(" "), spec.session_timeout_ms), ("a:1 b:2 a:1 a:1".to_owned(), 30_000));
        assert_eq!(
            notes,
            [
                "up to 24 requests are in flight, not 21: 6 on each connection",
                "all sessions have the longest timeout of the file, 30000 ms"
            ]
        );
        let all = Given {
            servers: true,
            connections: true,
            in_flight: true,
            seconds: true,
            warmup: true,
            seed: true,
            session_timeout_ms: true,
        };
        assert_eq!(settled(head, all), (Spec::default(), vec!["cli:1".to_owned()], vec![]));
        let (spec, servers, _) = settled(head, Given { servers: true, ..Given::default() });
        assert_eq!((spec.connections, servers.join(" ")), (4, "cli:1".to_owned()));
    }

    #[test]
    fn a_run_always_ends() {
        let (spec, _, notes) = settled("iterations: 10\n", Given::default());
        assert_eq!((spec.seconds, notes.len()), (300.0, 1));
        let (spec, _, notes) = settled("", Given::default());
        assert_eq!((spec.seconds, spec.warmup, spec.connections, spec.in_flight), (10.0, 0.0, 1, 1));
        assert_eq!(notes, ["the file has neither iterations nor a timelimit: the run takes 10 s (--seconds)"]);
    }
}
