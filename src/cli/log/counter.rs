//! Counter: what a log is made of, added up in bounded memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::ground::ids::Zxid;
use crate::proto::txn::{Txn, decode_blob};
use crate::storage::batch::BatchHeader;
use crate::storage::recovery::Record;

use super::hot::Hot;
use super::rate::Rate;
use super::walk::{Halt, Place, Visitor};

/// Longest path that is kept whole, bytes.
const PATH_KEPT: usize = 512;

/// How many, and their bytes.
#[derive(Serialize, Default, Clone, Debug)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Bytes of their records.
    pub bytes: u64,
}

/// A large transaction: the order is by bytes, then the older first.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Large {
    /// Bytes of its record.
    pub bytes: u64,
    /// Its zxid.
    pub zxid: Reverse<Zxid>,
    /// Its type.
    pub kind: i32,
    /// The first path it names.
    pub path: Option<String>,
}

/// Counts what it is shown.
pub struct Counter {
    /// How many of the largest are kept.
    pub top: usize,
    /// By type.
    pub kinds: BTreeMap<i32, Tally>,
    /// Members of multis by type.
    pub members: BTreeMap<i32, u64>,
    /// By code.
    pub errors: BTreeMap<i32, u64>,
    /// Batches without records.
    pub marks: u64,
    /// Bytes of batches with their padding.
    pub framed: u64,
    /// Bytes of records with their lengths.
    pub payload: u64,
    /// Records a batch.
    pub records: Histogram<u64>,
    /// Bytes a batch.
    pub batch_bytes: Histogram<u64>,
    /// Bytes a transaction.
    pub sizes: Histogram<u64>,
    /// Over time.
    pub rate: Rate,
    /// Records that are no transactions.
    pub unread: u64,
    /// First zxid.
    pub first: Option<Zxid>,
    /// Last zxid.
    pub last: Zxid,
    /// The largest, the least of them on top.
    pub large: BinaryHeap<Reverse<Large>>,
    /// Znodes by the times they were written.
    pub paths: Hot<Box<str>>,
    /// Sessions by transactions.
    pub sessions: Hot<i64>,
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are within what a histogram can do")
}

impl Counter {
    /// Before the first batch; `top` of the largest are kept.
    #[must_use]
    pub fn new(top: usize) -> Self {
        Self {
            top,
            kinds: BTreeMap::new(),
            members: BTreeMap::new(),
            errors: BTreeMap::new(),
            marks: 0,
            framed: 0,
            payload: 0,
            records: histogram(),
            batch_bytes: histogram(),
            sizes: histogram(),
            rate: Rate::default(),
            unread: 0,
            first: None,
            last: Zxid::ZERO,
            large: BinaryHeap::new(),
            paths: Hot::default(),
            sessions: Hot::default(),
        }
    }

    fn writes(&mut self, txn: &Txn<'_>) {
        match txn {
            Txn::Create { path, .. }
            | Txn::CreateLasting { path, .. }
            | Txn::Delete { path, .. }
            | Txn::SetData { path, .. }
            | Txn::SetAcl { path, .. } => {
                self.paths.add(kept(path));
            }
            Txn::CloseSession { paths, .. } => paths.iter().for_each(|path| self.paths.add(kept(path))),
            // A multi with an error in it has changed nothing.
            Txn::Multi(members) if members.iter().all(|(_, member)| !matches!(member, Txn::Error { .. })) => {
                members.iter().for_each(|(_, member)| self.writes(member));
            }
            _ => {}
        }
    }
}

/// The path, or as much of it as is kept.
fn kept(path: &str) -> &str {
    &path[..path.floor_char_boundary(PATH_KEPT)]
}

fn first_path<'a>(txn: &'a Txn<'_>) -> Option<&'a str> {
    match txn {
        Txn::Create { path, .. }
        | Txn::CreateLasting { path, .. }
        | Txn::Delete { path, .. }
        | Txn::SetData { path, .. }
        | Txn::SetAcl { path, .. }
        | Txn::Check { path, .. } => Some(path),
        Txn::CloseSession { paths, .. } => paths.first().map(AsRef::as_ref),
        Txn::Multi(members) => members.iter().find_map(|(_, member)| first_path(member)),
        _ => None,
    }
}

impl Visitor for Counter {
    fn batch(&mut self, _: Place, header: &BatchHeader) -> Result<(), Halt> {
        self.framed += header.framed_len();
        self.payload += u64::from(header.payload_len);
        if header.count == 0 {
            self.marks += 1;
        } else {
            self.records.saturating_record(u64::from(header.count));
            self.batch_bytes.saturating_record(header.framed_len());
        }
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), Halt> {
        let Ok((header, txn, _)) = decode_blob(record.bytes) else {
            self.unread += 1;
            return Ok(());
        };
        let bytes = record.bytes.len() as u64;
        let tally = self.kinds.entry(header.kind).or_default();
        tally.count += 1;
        tally.bytes += bytes;
        self.sizes.saturating_record(bytes);
        self.rate.add(header.time);
        self.first.get_or_insert(header.zxid);
        self.last = header.zxid;
        match &txn {
            Txn::Error { err, .. } => *self.errors.entry(*err).or_default() += 1,
            Txn::Multi(members) => {
                for (kind, _) in members {
                    *self.members.entry(*kind).or_default() += 1;
                }
            }
            _ => {}
        }
        self.sessions.add(&header.session.0);
        self.writes(&txn);
        if self.large.len() < self.top || self.large.peek().is_some_and(|least| least.0.bytes < bytes) {
            let path = first_path(&txn).map(|path| kept(path).to_owned());
            self.large.push(Reverse(Large { bytes, zxid: Reverse(header.zxid), kind: header.kind, path }));
            if self.large.len() > self.top {
                self.large.pop();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_are_cut_between_characters() {
        let path = "é".repeat(400);
        assert_eq!(kept(&path).len(), 512);
        assert_eq!(kept("/short"), "/short");
    }
}
