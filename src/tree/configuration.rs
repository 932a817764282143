//! Configuration: the znode that shows who belongs to an ensemble, `/zookeeper/config`.
//!
//! No transaction writes it. As in ZooKeeper (`ZKDatabase.initConfigInZKDatabase`) each server of an ensemble does so for itself, when it starts and
//! when it has taken a state from a leader; it counts for no digest, and is in images like any other znode.

use super::record::{Record, Stored};
use super::view::{SlotId, View};
use crate::ground::ids::Zxid;

/// Its path.
pub(super) const CONFIG: &str = "/zookeeper/config";

/// Its record with this text, that of the configuration's version, written at `time`, ms since 1970; `None` where there is no such znode.
pub(super) fn shown(view: &View, text: &[u8], version: u64, time: i64) -> Option<(SlotId, Record)> {
    let slot = view.find(CONFIG)?;
    let record = view.record(slot);
    // The version of the znode is -1 by the same accident as in ZooKeeper, so the first write of a client makes it 0.
    let stored = Stored { mzxid: Zxid(version), mtime: time, version: -1, ..record.stored() };
    Some((slot, record.with_data(Some(text), &stored)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::acl::{Acl, READ};
    use crate::tree::tree::Tree;

    #[test]
    fn it_is_shown_without_a_trace_in_the_digest_and_nothing_can_undo_it() {
        let mut tree = Tree::new([1, 2, 3, 4]);
        let (digest, size, before) = (tree.digest(), tree.data_size(), tree.view().clone());
        for (text, version) in [(&b"server.1=a:2:3:participant\nversion=0"[..], 0), (b"version=10000000a", 0x1_0000_000a)] {
            tree.show_configuration(text, version, 77);
            let record = tree.get(CONFIG).unwrap();
            let stat = record.stat();
            assert_eq!(record.data(), Some(text));
            assert_eq!((stat.czxid, stat.mzxid.0, stat.pzxid, stat.ctime, stat.mtime), (Zxid::ZERO, version, Zxid::ZERO, 0, 77));
            assert_eq!((stat.version, stat.cversion, stat.aversion, stat.num_children), (-1, 0, -1, 0));
            assert_eq!(record.acl(), [Acl::new(READ, "world", "anyone")]);
            assert_eq!((tree.digest(), tree.data_size(), tree.undoable()), (digest, size + text.len() as u64, 0));
        }
        assert_eq!(before.get(CONFIG).unwrap().data(), Some(&b""[..]), "Views made before do not learn of it");
    }
}
