//! Known deviations: what may differ, and the line of `docs/compat.md` that says so.

use super::step::Step;

/// A difference that is listed.
struct Known {
    /// How its line begins there.
    line: &'static str,
    /// Whether what the two said is a case of it: step, ZooKeeper, Ringkeeper.
    is: fn(&Step, &[String], &[String]) -> bool,
}

/// Those that a scenario meets. Others are not asked for by [`super::scenario`], which says so where it is.
const KNOWN: [Known; 0] = [];

/// What the tester does not look at, or a scenario does not do, for the sake of these lines.
#[cfg(test)]
const LEFT_OUT: [&str; 10] = [
    "| order of `auth` expansion, of whoAmI, of users in the audit log, of getEphemerals, of watchers told of one change, of getChildren |",
    "| opcode 20 (deleteContainer) from a client |",
    "| opcode -10 (createSession) from a client |",
    "| createTTL with flags that have no TTL and a negative ttl |",
    "| createContainer with the flags of an ephemeral, and children of it before it is applied |",
    "| masked digests in getACL |",
    "| session ids |",
    "| a watch left by a read of the empty path |",
    "| setWatches and setWatches2 with a list that is null, or setWatches2 with a null path among its lasting watches |",
    "| characters above U+FFFF in paths that are sent to clients |",
];

pub fn is_listed(step: &Step, left: &[String], right: &[String]) -> bool {
    KNOWN.iter().any(|known| !known.line.is_empty() && (known.is)(step, left, right))
}

#[test]
fn each_has_its_line() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compat.md")).unwrap();
    for line in KNOWN.iter().map(|known| known.line).chain(LEFT_OUT) {
        assert!(text.lines().any(|found| found.starts_with(line)), "docs/compat.md has no line that begins with: {line}");
    }
}
