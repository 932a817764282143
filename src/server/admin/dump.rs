//! The dump: sessions by the moment they expire, and the ephemerals of each.

use std::fmt::Write as _;

use super::java;
use crate::engine::census::Census;
use crate::ground::ids::SessionId;
use crate::ground::time::Millis;

const FITS: &str = "a String takes every write";

/// The answer to `dump`. Under `Connections dump:` stands nothing, as with a ZooKeeper on Netty: the buckets that its other
/// transport lists there are the timers of its sockets, and we keep none for each connection.
pub(super) fn dump(census: &Census) -> String {
    let ledger = &census.ledger;
    let mut text = "SessionTracker dump:\n".to_owned();
    if ledger.local_sessions.is_some() {
        text.push_str("Local ");
        write_sets(&mut text, census, &ledger.local_buckets);
    }
    match &ledger.timeouts {
        // A learner does not know when the sessions of all expire.
        Some(timeouts) => {
            writeln!(text, "Global Sessions({}):", timeouts.len()).expect(FITS);
            for (session, timeout_ms) in timeouts {
                writeln!(text, "{session}\t{timeout_ms}ms").expect(FITS);
            }
        }
        None => {
            if ledger.local_sessions.is_some() {
                text.push_str("Global ");
            }
            write_sets(&mut text, census, &ledger.buckets);
        }
    }
    text.push_str("ephemeral nodes dump:\n");
    writeln!(text, "Sessions with Ephemerals ({}):", ledger.ephemeral_paths.len()).expect(FITS);
    for (session, paths) in &ledger.ephemeral_paths {
        writeln!(text, "{session}:").expect(FITS);
        for path in paths {
            writeln!(text, "\t{path}").expect(FITS);
        }
    }
    text.push_str("Connections dump:\n");
    text
}

/// Sessions by the moment they expire.
fn write_sets(text: &mut String, census: &Census, buckets: &[(Millis, Vec<SessionId>)]) {
    let sessions: usize = buckets.iter().map(|(_, sessions)| sessions.len()).sum();
    writeln!(text, "Session Sets ({})/({sessions}):", buckets.len()).expect(FITS);
    for (moment, sessions) in buckets {
        // The buckets stand on the monotonic clock, the reader's watch does not; a bucket may be due already.
        let ahead = i64::try_from(moment.0).unwrap_or(i64::MAX).saturating_sub_unsigned(census.mono.0);
        let expires = java::date(census.wall.saturating_add(ahead));
        writeln!(text, "{} expire at {expires}:", sessions.len()).expect(FITS);
        for session in sessions {
            writeln!(text, "\t{session}").expect(FITS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::census::LedgerCensus;

    #[test]
    fn buckets_are_told_by_the_wall_clock() {
        let ledger = LedgerCensus {
            buckets: vec![(Millis(9_000), vec![SessionId(1)]), (Millis(10_500), vec![SessionId(2), SessionId(-3)])],
            ephemeral_paths: vec![(SessionId(2), vec!["/x".to_owned()])],
            ..LedgerCensus::default()
        };
        let census = Census { ledger, mono: Millis(10_000), wall: 1_795_315_362_000, ..Census::default() };
        let expected = "SessionTracker dump:\n\
            Session Sets (2)/(3):\n\
            1 expire at Sun Nov 22 02:42:41 UTC 2026:\n\
            \t0x1\n\
            2 expire at Sun Nov 22 02:42:42 UTC 2026:\n\
            \t0x2\n\
            \t0xfffffffffffffffd\n\
            ephemeral nodes dump:\n\
            Sessions with Ephemerals (1):\n\
            0x2:\n\
            \t/x\n\
            Connections dump:\n";
        assert_eq!(dump(&census), expected);
    }

    #[test]
    fn local_sessions_come_first_and_a_learner_tells_time_outs() {
        let leader = LedgerCensus {
            local_sessions: Some(1),
            local_buckets: vec![(Millis(9_000), vec![SessionId(1)])],
            buckets: vec![(Millis(9_000), vec![SessionId(2)])],
            ..LedgerCensus::default()
        };
        let timeouts = Some(vec![(SessionId(2), 30_000), (SessionId(-3), 4000)]);
        let learner = LedgerCensus { timeouts, ..leader.clone() };
        let plain = LedgerCensus { local_sessions: None, local_buckets: Vec::new(), ..learner.clone() };
        let text = |ledger| dump(&Census { ledger, mono: Millis(10_000), wall: 1_795_315_362_000, ..Census::default() });
        let rest = "ephemeral nodes dump:\nSessions with Ephemerals (0):\nConnections dump:\n";
        let local = "Local Session Sets (1)/(1):\n1 expire at Sun Nov 22 02:42:41 UTC 2026:\n\t0x1\n";
        let global = "Global Session Sets (1)/(1):\n1 expire at Sun Nov 22 02:42:41 UTC 2026:\n\t0x2\n";
        let known = "Global Sessions(2):\n0x2\t30000ms\n0xfffffffffffffffd\t4000ms\n";
        assert_eq!(text(leader), format!("SessionTracker dump:\n{local}{global}{rest}"));
        assert_eq!(text(learner), format!("SessionTracker dump:\n{local}{known}{rest}"));
        assert_eq!(text(plain), format!("SessionTracker dump:\n{known}{rest}"));
    }
}
