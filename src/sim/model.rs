//! Model: what has become of every znode, zxid by zxid, to hold what clients read against.

use std::collections::BTreeMap;

use super::log::hash;
use crate::ground::ids::Zxid;
use crate::tree::change::{Put, Step};
use crate::tree::record::Record;

/// What a client can see of a znode: a number made of its data, and their version.
pub type Seen = (u64, i32);

/// All znodes.
#[derive(Default, Debug)]
pub struct Model {
    znodes: BTreeMap<String, Vec<(Zxid, Option<Seen>)>>,
}

impl Model {
    /// A transaction has done this.
    pub fn adopt(&mut self, zxid: Zxid, steps: &[Step]) {
        let seen = |record: &Record| Some((hash(record.data().unwrap_or_default()), record.version()));
        for step in steps {
            let (record, now) = match step {
                Step::Put { what: Put::Acl, .. } => continue,
                Step::Put { record, .. } | Step::Link { record, .. } => (record, seen(record)),
                Step::Unlink { removed, .. } => (removed, None),
            };
            let all = self.znodes.entry(record.path().to_owned()).or_default();
            // Of what one transaction does to a znode only the end can be seen.
            all.pop_if(|(at, _)| *at == zxid);
            all.push((zxid, now));
        }
    }

    /// A znode as it was at a zxid.
    #[must_use]
    pub fn at(&self, path: &str, zxid: Zxid) -> Option<Seen> {
        let all = self.znodes.get(path)?;
        all[..all.partition_point(|(at, _)| *at <= zxid)].last()?.1
    }

    /// When it changed next.
    #[must_use]
    pub fn next(&self, path: &str, after: Zxid) -> Option<Zxid> {
        let all = self.znodes.get(path)?;
        all.get(all.partition_point(|(at, _)| *at <= after)).map(|(at, _)| *at)
    }
}
