//! The archive's words: `csnp`, an image now, and `lgif`, where log and images stand. Both are ClickHouse Keeper's.

use std::fmt::Write as _;

use crate::engine::census::Census;

/// The answer to `csnp`: the zxid of the last transaction that the image ordered by it will hold, as a decimal number. Keeper
/// answers with the index in its log; ours is the zxid.
pub(super) fn csnp(census: &Census) -> String {
    census.ledger.zxid.0.to_string()
}

/// The answer to `lgif`. Indexes are zxids, terms are epochs, and both are decimal. What a server alone has twice is there
/// twice. The beginning of the log is left out: nothing here knows it.
pub(super) fn lgif(census: &Census) -> String {
    let ledger = &census.ledger;
    let lines = [
        ("last_log_idx", ledger.logged.0),
        ("last_log_term", u64::from(ledger.logged.epoch())),
        ("last_committed_log_idx", ledger.zxid.0),
        ("leader_committed_log_idx", ledger.zxid.0),
        ("target_committed_log_idx", ledger.zxid.0),
        ("last_snapshot_idx", ledger.archive.archived.0),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        writeln!(text, "{name}\t{value}").expect("a String takes every write");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::census::{ArchiveCensus, LedgerCensus};
    use crate::ground::ids::Zxid;

    #[test]
    fn zxids_are_decimal() {
        let archive = ArchiveCensus { archived: Zxid(10), ..ArchiveCensus::default() };
        let ledger = LedgerCensus { zxid: Zxid::new(1, 2), logged: Zxid::new(1, 3), archive, ..LedgerCensus::default() };
        let census = Census { ledger, ..Census::default() };
        assert_eq!(csnp(&census), "4294967298");
        assert_eq!(
            lgif(&census),
            "last_log_idx\t4294967299\nlast_log_term\t1\nlast_committed_log_idx\t4294967298\n\
             leader_committed_log_idx\t4294967298\ntarget_committed_log_idx\t4294967298\nlast_snapshot_idx\t10\n"
        );
    }
}
