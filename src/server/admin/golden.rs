//! The captures: our answers beside those of a real ZooKeeper 3.9.4 (`scripts/record-fourletter.sh` records them).
//!
//! Numbers, addresses and times become marks of their kind on both sides, so that what is compared is the set of lines, their
//! order and the format of every number; where the original lists in the order of a hash table, both sides are sorted.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Admin, EnsembleFacts, Facts, Host, Probe};
use crate::engine::census::{Census, ConnCensus, Counters, Latency, LedgerCensus, ProposalSizes, ShardCensus, Standing, Word};
use crate::ground::ids::{ServerId, SessionId, Zxid};
use crate::ground::time::Millis;
use crate::zab::{Learner, Link, Role};

const SESSIONS: [SessionId; 4] = [
    SessionId(0x0100_001d_0e3c_0000),
    SessionId(0x0100_001d_0e3c_0001),
    SessionId(0x0100_001d_0e3c_0002),
    SessionId(0x0100_001d_0e3c_0003),
];

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn golden(name: &str) -> String {
    file(&format!("tests/golden/fourletter/{name}.txt"))
}

fn admin() -> Admin {
    let dir = "/var/lib/zookeeper/1/data/version-2";
    let facts = Facts {
        version: "3.9.4-ringkeeper-0.1.0, built on 2026-01-02 03:04 UTC".to_owned(),
        client_port: 23381,
        data_dir: dir.into(),
        data_log_dir: dir.into(),
        tick_time_ms: 2000,
        min_session_timeout_ms: 4000,
        max_session_timeout_ms: 40_000,
        listen_backlog: -1,
        whitelist: "*".to_owned(),
        host: Host { os: "Linux".to_owned(), arch: "amd64".to_owned(), ..Host::default() },
        ..Facts::default()
    };
    let probe = Probe { open_files: Some(84), max_files: Some(20_000), ..Probe::default() };
    Admin::with_probe(facts, move || probe)
}

fn connection(peer: &str, session: Option<usize>, reading: bool) -> ConnCensus {
    ConnCensus {
        peer: peer.parse().expect("an address"),
        session: session.map(|index| SESSIONS[index]),
        queued: 0,
        received: 5,
        sent: 206,
        last_op: session.map_or("NA", |index| ["CREA", "GETD", "GETD", "EXIS"][index]),
        established: 1_795_315_350_812,
        timeout_ms: 10_000,
        last_xid: Some(4),
        last_zxid: Zxid(0xb),
        last_response: 1_904_596,
        last_latency: 0,
        latency: Latency { min: 0, max: 3, total: 6, count: 5 },
        reading,
        writing: false,
    }
}

/// A census in which nothing but this word's own connection has happened.
fn fresh(peer: &str) -> Census {
    let counters = Counters { received: 6, sent: 5, connections: 1, ..Counters::default() };
    let shard = ShardCensus { counters, connections: vec![connection(peer, None, false)], ..ShardCensus::default() };
    let ledger = LedgerCensus { node_count: 5, ..LedgerCensus::default() };
    Census { shards: vec![shard], ledger, ..Census::default() }
}

/// What the recording script does, as two shards count it.
fn busy() -> Census {
    let watch = |path: &str, sessions: &[usize]| (path.to_owned(), sessions.iter().map(|&index| SESSIONS[index]).collect());
    let latency = Latency { min: 0, max: 13, total: 421, count: 440 };
    let counters = |connections| Counters {
        received: 227,
        sent: 328,
        bytes_received: 19_576,
        connections,
        latency,
        response_last: 16,
        response_min: 16,
        response_max: 388,
        ..Counters::default()
    };
    let first = ShardCensus {
        counters: counters(3),
        connections: vec![
            connection("127.0.0.1:59096", Some(0), true),
            connection("127.0.0.1:59112", Some(2), true),
            connection("127.0.0.1:59118", None, true),
        ],
        data_watches: vec![watch("/app/config", &[0]), watch("/app/members", &[2]), watch("/app/none", &[0])],
        watches_total: 5,
        ..ShardCensus::default()
    };
    let second = ShardCensus {
        counters: counters(3),
        connections: vec![
            connection("127.0.0.1:59110", Some(1), true),
            connection("127.0.0.1:59114", Some(3), true),
            connection("127.0.0.1:59136", None, false),
        ],
        data_watches: vec![watch("/app", &[1]), watch("/app/config", &[1])],
        watches_total: 2,
        ..ShardCensus::default()
    };
    let ledger = LedgerCensus {
        zxid: Zxid(0xd3),
        node_count: 211,
        ephemerals: 3,
        data_size: 22_134,
        sessions: 4,
        buckets: vec![
            (Millis(1_910_000), vec![SESSIONS[1]]),
            (Millis(1_912_000), vec![SESSIONS[3]]),
            (Millis(1_930_000), vec![SESSIONS[0], SESSIONS[2]]),
        ],
        ephemeral_paths: vec![
            (SESSIONS[0], vec!["/app/members/a-1".to_owned(), "/app/members/a-2".to_owned()]),
            (SESSIONS[1], vec!["/app/members/b-0000000002".to_owned()]),
        ],
        ..LedgerCensus::default()
    };
    Census { shards: vec![first, second], ledger, mono: Millis(1_906_000), wall: 1_795_315_358_000, since: Millis(1_903_579) }
}

/// The line with every number, address and time as a mark of its kind: `#`, `#.#`, `0x#`, `-0x` for -1 in hex.
fn shape(line: &str) -> String {
    let mut line = line.replace("0xffffffffffffffff", "-0x");
    // After the three numbers each server names its own build.
    if let (Some(dash), Some(end)) = (line.find('-'), line.find(", built on ")) {
        line.replace_range(dash..end, "-BUILD");
    }
    if line.contains(" expire at ") {
        for day in ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"] {
            line = line.replace(&format!(" at {day} "), " at DAY ");
        }
        for month in ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"] {
            line = line.replace(&format!(" DAY {month} "), " DAY MONTH ");
        }
    }
    let mut shape = String::new();
    let mut rest = line.as_str();
    while let Some(first) = rest.chars().next() {
        if let Some(hex) = rest.strip_prefix("0x") {
            shape.push_str("0x#");
            rest = hex.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        } else if first.is_ascii_digit() {
            shape.push('#');
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        } else {
            shape.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    shape
}

/// A shard that lags behind has fewer digests; what all have is told, as a signed number.
#[test]
fn digests_of_the_tree() {
    let digests = vec![(Zxid(0x80), 1_371_985_504), (Zxid(0x1_0000_0100), u64::MAX)];
    let mut census = fresh("127.0.0.1:1");
    census.shards[0].digests = digests.clone();
    assert_eq!(admin().answer(Word::Hash, Some(&census)), "80: 1371985504\n100000100: -1\n");
    census.shards.push(ShardCensus { digests: digests[..1].to_vec(), ..ShardCensus::default() });
    assert_eq!(shapes(&admin().answer(Word::Hash, Some(&census))), shapes(&golden("busy-hash")));
}

/// Line by line, with the final newlines as lines of their own.
fn shapes(text: &str) -> Vec<String> {
    text.split('\n').map(shape).collect()
}

/// Sorted: the lines that belong together (one without and those with a tab), and those with a tab among themselves.
fn sorted(text: &str) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    for line in text.split('\n') {
        match groups.last_mut() {
            Some(group) if line.starts_with('\t') => group.push(shape(line)),
            _ => groups.push(vec![shape(line)]),
        }
    }
    groups.iter_mut().for_each(|group| group[1..].sort());
    groups.sort();
    groups
}

#[test]
fn words_that_say_one_thing() {
    let (admin, none) = (admin(), fresh("127.0.0.1:1"));
    assert_eq!(admin.answer(Word::Ruok, None), golden("fresh-ruok"));
    assert_eq!(admin.answer(Word::Isro, Some(&none)), golden("fresh-isro"));
    assert_eq!(admin.answer(Word::Crst, Some(&none)), golden("reset-crst"));
    assert_eq!(admin.answer(Word::Srst, Some(&none)), golden("reset-srst"));
    assert_eq!(Admin::refusal("cons"), golden("refused-cons"));
    assert_eq!(Admin::refusal("wchp"), golden("refused-wchp"));
    assert_eq!(admin.answer(Word::Wchs, Some(&none)), golden("fresh-wchs"));
    assert_eq!(admin.answer(Word::Wchc, Some(&none)), golden("fresh-wchc"));
    assert_eq!(admin.answer(Word::Wchp, Some(&none)), golden("fresh-wchp"));
    assert_eq!(admin.answer(Word::Dump, Some(&none)), golden("netty-dump"));
    assert_eq!(admin.answer(Word::Gtmk, None), golden("fresh-gtmk"));
    assert_eq!(admin.answer(Word::Hash, Some(&none)), "");
}

#[test]
fn words_of_a_fresh_server() {
    let (admin, census) = (admin(), fresh("127.0.0.1:59364"));
    assert_eq!(shapes(&admin.answer(Word::Srvr, Some(&census))), shapes(&golden("fresh-srvr")));
    assert_eq!(shapes(&admin.answer(Word::Stat, Some(&census))), shapes(&golden("fresh-stat")));
    assert_eq!(shapes(&admin.answer(Word::Cons, Some(&census))), shapes(&golden("fresh-cons")));
    assert_eq!(shapes(&admin.answer(Word::Conf, None)), shapes(&golden("fresh-conf")));
    assert_eq!(shapes(&admin.answer(Word::Dirs, Some(&census))), shapes(&golden("fresh-dirs")));
    let census = fresh("[::1]:52962");
    assert_eq!(shapes(&admin.answer(Word::Cons, Some(&census))), shapes(&golden("ipv6-cons")));
}

#[test]
fn summaries_of_a_busy_server() {
    let (admin, census) = (admin(), busy());
    assert_eq!(shapes(&admin.answer(Word::Srvr, Some(&census))), shapes(&golden("busy-srvr")));
    assert_eq!(sorted(&admin.answer(Word::Cons, Some(&census))), sorted(&golden("busy-cons")));

    let (ours, theirs) = (admin.answer(Word::Stat, Some(&census)), golden("busy-stat"));
    assert_eq!(sorted(&ours), sorted(&theirs));
    let frame = |text: &str| -> Vec<String> { text.split('\n').filter(|line| !line.starts_with(' ')).map(shape).collect() };
    assert_eq!(frame(&ours), frame(&theirs));
}

#[test]
fn a_reset_connection() {
    let mut census = busy();
    for connection in census.shards.iter_mut().flat_map(|shard| &mut shard.connections) {
        (connection.last_op, connection.last_xid, connection.last_zxid) = ("NA", None, Zxid(u64::MAX));
        (connection.latency, connection.last_latency, connection.last_response) = (Latency::default(), 0, 0);
    }
    assert_eq!(sorted(&admin().answer(Word::Cons, Some(&census))), sorted(&golden("reset-cons")));
}

#[test]
fn watches_of_a_busy_server() {
    let (admin, census) = (admin(), busy());
    assert_eq!(admin.answer(Word::Wchs, Some(&census)), golden("busy-wchs"));
    for (word, name) in [(Word::Wchc, "busy-wchc"), (Word::Wchp, "busy-wchp")] {
        let (ours, theirs) = (admin.answer(word, Some(&census)), golden(name));
        assert_eq!(sorted(&ours), sorted(&theirs));
        assert!(ours.ends_with("\n\n") && theirs.ends_with("\n\n"));
    }
}

#[test]
fn dump_of_a_busy_server() {
    let (ours, theirs) = (admin().answer(Word::Dump, Some(&busy())), golden("busy-dump"));
    let theirs_until_connections = theirs.split_inclusive("Connections dump:\n").next().expect("the last heading");
    let (ours_sessions, ours_ephemerals) = ours.split_once("ephemeral nodes").expect("a heading");
    let (their_sessions, their_ephemerals) = theirs_until_connections.split_once("ephemeral nodes").expect("a heading");
    // Buckets that sessions have left stay in the original's list until their time comes; how many is a matter of timing.
    let filled: Vec<&str> = their_sessions.split('\n').filter(|line| !line.starts_with("0 expire at ")).collect();
    assert_eq!(shapes(ours_sessions), shapes(&filled.join("\n")));
    assert_eq!(sorted(ours_ephemerals), sorted(their_ephemerals));
}

#[test]
fn environment_is_part_of_theirs() {
    let (ours, theirs) = (admin().answer(Word::Envi, None), golden("fresh-envi"));
    let keys = |text: &str| -> Vec<String> { text.lines().map(|l| l.split('=').next().unwrap_or(l).to_owned()).collect() };
    let wanted: Vec<String> = keys(&theirs).into_iter().filter(|key| !key.starts_with("java.")).collect();
    assert_eq!(keys(&ours), wanted);
    for exact in ["os.name=Linux", "os.arch=amd64"] {
        assert!(ours.lines().any(|line| line == exact) && theirs.lines().any(|line| line == exact), "{exact}");
    }
    assert_eq!(shape(ours.lines().nth(1).unwrap_or("")), shape(theirs.lines().nth(1).unwrap_or("")));
    let memory = |text: &str| -> Vec<String> { text.lines().filter(|line| line.starts_with("os.memory")).map(shape).collect() };
    assert_eq!(memory(&ours), memory(&theirs));
}

/// Our figures are theirs, by name, format and order; those we lack are named in the documentation.
#[test]
fn monitor_of_a_busy_server() {
    let (ours, theirs) = (admin().answer(Word::Mntr, Some(&busy())), golden("busy-mntr"));
    let common: Vec<&str> = ours.lines().filter(|line| !line.starts_with("zk_ringkeeper_")).collect();
    let name = |line: &str| line.split('\t').next().unwrap_or("").to_owned();
    let names: Vec<String> = common.iter().map(|line| name(line)).collect();
    let (have, lack): (Vec<&str>, Vec<&str>) = theirs.lines().partition(|line| names.contains(&name(line)));
    assert_eq!(
        common.iter().map(|line| shape(line)).collect::<Vec<_>>(),
        have.iter().map(|line| shape(line)).collect::<Vec<_>>()
    );
    assert!(ours.ends_with('\n') && !ours.ends_with("\n\n") && ours.lines().all(|line| line.split('\t').count() == 2));

    let listed = file("docs/four-letter-words.md");
    for line in lack {
        let mut figure = name(line).trim_start_matches("zk_").to_owned();
        for prefix in ["avg_", "min_", "max_", "cnt_", "sum_", "p50_", "p95_", "p99_", "p999_"] {
            figure = figure.strip_prefix(prefix).map(str::to_owned).unwrap_or(figure);
        }
        let figure = figure.replace("app_", "<namespace>_");
        assert!(listed.contains(&format!("`{figure}`")), "{figure} is neither told nor listed as left out");
    }
}

/// A member of an ensemble of four, as the recording's are.
fn member() -> Admin {
    let server = |k: u8| format!("server.{k}=127.0.0.1:2450{k}:2460{k}:participant\n");
    let ensemble = EnsembleFacts {
        init_limit: 10,
        sync_limit: 5,
        election_port: 24601,
        quorum_port: 24501,
        is_observer: false,
        membership: (1..=4).map(server).collect::<String>() + "version=0",
    };
    let facts = Facts { server_id: 1, ensemble: Some(ensemble), ..admin().facts };
    Admin::with_probe(facts, Probe::default)
}

fn in_role(role: Role) -> Census {
    let learner = |k| Learner { link: Link(k), server: None, is_observer: false, is_up_to_date: true, acked: None };
    let standing = Standing {
        role,
        is_read_only: false,
        is_impaired: false,
        promise: (1, 1),
        proposed: Zxid::ZERO,
        learners: (1..=3).map(learner).collect(),
        voters: 4,
        proposals: ProposalSizes::default(),
    };
    let mut census = fresh("127.0.0.1:1");
    census.ledger.standing = Some(standing);
    census
}

#[test]
fn words_of_a_leader_and_of_a_follower() {
    let admin = member();
    assert_eq!(shapes(&admin.answer(Word::Conf, None)), shapes(&golden("follower-conf")));
    let roles = [("leader", Role::Leading { epoch: 1 }), ("follower", Role::Following { leader: ServerId(3), epoch: 1 })];
    for (name, role) in roles {
        let census = in_role(role);
        assert_eq!(shapes(&admin.answer(Word::Srvr, Some(&census))), shapes(&golden(&format!("{name}-srvr"))));
        let (ours, theirs) = (admin.answer(Word::Mntr, Some(&census)), golden(&format!("{name}-mntr")));
        // What comes first, and the figures of ensembles, by name and value.
        let head = |text: &str| text.lines().skip(1).take(3).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(head(&ours), head(&theirs));
        let of_ensembles = |text: &str| {
            let names = ["learners", "synced_", "quorum_size", "last_proposal_size", "max_proposal_size", "min_proposal_size"];
            let is_one = |line: &&str| names.iter().any(|name| line.starts_with(&format!("zk_{name}")));
            text.lines().filter(is_one).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        assert_eq!(of_ensembles(&ours), of_ensembles(&theirs), "{name}");
    }
}
