//! The watches: `wchs`, `wchc` and `wchp`.
//!
//! As in ZooKeeper they tell of the data table only (exists, getData and persistent watches), not of child watches. Every shard
//! has its own table, so a path watched in two shards is one path here. The original lists in the order of its hash tables; we sort.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::engine::census::Census;
use crate::ground::ids::SessionId;

const FITS: &str = "a String takes every write";

/// The sessions that watch each path, all shards joined.
fn by_path(census: &Census) -> BTreeMap<&str, BTreeSet<SessionId>> {
    let mut joined: BTreeMap<&str, BTreeSet<SessionId>> = BTreeMap::new();
    for (path, sessions) in census.shards.iter().flat_map(|shard| &shard.data_watches) {
        joined.entry(path).or_default().extend(sessions);
    }
    joined
}

/// The answer to `wchs`: how many.
pub(super) fn wchs(census: &Census) -> String {
    let joined = by_path(census);
    let watchers: BTreeSet<SessionId> = joined.values().flatten().copied().collect();
    let total: usize = joined.values().map(BTreeSet::len).sum();
    format!("{} connections watching {} paths\nTotal watches:{total}\n", watchers.len(), joined.len())
}

/// The answer to `wchc`: the paths of each session, and a blank line.
pub(super) fn wchc(census: &Census) -> String {
    let mut by_session: BTreeMap<SessionId, Vec<&str>> = BTreeMap::new();
    for (path, sessions) in by_path(census) {
        for session in sessions {
            by_session.entry(session).or_default().push(path);
        }
    }
    let mut text = String::new();
    for (session, paths) in by_session {
        writeln!(text, "{session}").expect(FITS);
        for path in paths {
            writeln!(text, "\t{path}").expect(FITS);
        }
    }
    text.push('\n');
    text
}

/// The answer to `wchp`: the sessions of each path, and a blank line.
pub(super) fn wchp(census: &Census) -> String {
    let mut text = String::new();
    for (path, sessions) in by_path(census) {
        writeln!(text, "{path}").expect(FITS);
        for session in sessions {
            writeln!(text, "\t{session}").expect(FITS);
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::census::ShardCensus;

    #[test]
    fn a_path_watched_in_two_shards_is_one_path() {
        let shard = |watches: &[(&str, &[i64])]| ShardCensus {
            data_watches: watches
                .iter()
                .map(|(path, sessions)| ((*path).to_owned(), sessions.iter().copied().map(SessionId).collect()))
                .collect(),
            ..ShardCensus::default()
        };
        let shards = vec![shard(&[("/a", &[1, 2]), ("/b", &[1])]), shard(&[("/a", &[3]), ("/c", &[-1])])];
        let census = Census { shards, ..Census::default() };
        assert_eq!(wchs(&census), "4 connections watching 3 paths\nTotal watches:5\n");
        assert_eq!(wchp(&census), "/a\n\t0x1\n\t0x2\n\t0x3\n/b\n\t0x1\n/c\n\t0xffffffffffffffff\n\n");
        assert_eq!(wchc(&census), "0xffffffffffffffff\n\t/c\n0x1\n\t/a\n\t/b\n0x2\n\t/a\n0x3\n\t/a\n\n");
    }
}
