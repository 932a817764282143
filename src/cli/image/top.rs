//! Top: the largest subtrees of an image.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::form::shown_path;
use crate::cli::outcome::{Failed, Outcome};
use crate::ground::ids::Zxid;
use crate::show::progress::{Progress, bytes};
use crate::tree::record::Record;

use super::source::{Fault, inspect, newest_at, stream};

const AFTER: &str = "\
A subtree is a znode with all below it; its bytes are those of paths and data.

Examples:
  ringkeeper image top /srv/ringkeeper                  the ten largest of the first three levels, by bytes and by znodes
  ringkeeper image top DIR 30 --depth 1                 which application has how much
  ringkeeper image top DIR --json | jq -r '.by_znodes[0].path'

The image is read twice, to see first that it is whole. That takes little memory, however large it is.

Exit codes: 0 fine, 1 the image is damaged, 2 wrong usage or nothing to read.";

/// Tell the largest subtrees of an image.
#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Top {
    /// An image, or a directory; then its newest one.
    place: PathBuf,

    /// How many are told.
    #[arg(default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    n: u16,

    /// Levels of the tree that are told apart; 1 is the children of the root.
    #[arg(long, value_name = "LEVELS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    depth: u16,

    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// A subtree; the order is that of the weight, then of the name backwards.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Debug)]
struct Weighed {
    weight: u64,
    path: Reverse<String>,
    bytes: u64,
    znodes: u64,
}

#[derive(Serialize, PartialEq, Eq, Debug)]
struct Subtree {
    path: String,
    bytes: u64,
    znodes: u64,
}

#[derive(Serialize, Debug)]
struct Report {
    zxid: String,
    bytes: u64,
    znodes: u64,
    by_bytes: Vec<Subtree>,
    by_znodes: Vec<Subtree>,
}

/// The heaviest so far.
struct Heaviest {
    n: usize,
    heap: BinaryHeap<Reverse<Weighed>>,
}

impl Heaviest {
    fn add(&mut self, weight: u64, path: &str, bytes: u64, znodes: u64) {
        if self.heap.len() == self.n && self.heap.peek().is_some_and(|least| least.0.weight > weight) {
            return;
        }
        self.heap.push(Reverse(Weighed { weight, path: Reverse(path.to_owned()), bytes, znodes }));
        if self.heap.len() > self.n {
            self.heap.pop();
        }
    }

    fn list(self) -> Vec<Subtree> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted.map(|Reverse(w)| Subtree { path: w.path.0, bytes: w.bytes, znodes: w.znodes }).collect()
    }
}

/// A subtree that is being added up.
#[derive(Default)]
struct Open {
    path: String,
    bytes: u64,
    znodes: u64,
}

/// Adds up the subtrees of the first `depth` levels, as their znodes come by. Memory is that of the path to where it stands.
struct Scales {
    depth: usize,
    by_bytes: Heaviest,
    by_znodes: Heaviest,
    open: Vec<Open>,
    bytes: u64,
    znodes: u64,
}

impl Scales {
    fn new(n: usize, depth: usize) -> Self {
        let heaviest = || Heaviest { n, heap: BinaryHeap::new() };
        Self { depth, by_bytes: heaviest(), by_znodes: heaviest(), open: Vec::new(), bytes: 0, znodes: 0 }
    }

    fn close(&mut self) {
        let Some(Open { path, bytes, znodes }) = self.open.pop() else { return };
        self.by_bytes.add(bytes, &path, bytes, znodes);
        self.by_znodes.add(znodes, &path, bytes, znodes);
        if let Some(above) = self.open.last_mut() {
            above.bytes += bytes;
            above.znodes += znodes;
        }
    }

    fn add(&mut self, record: &Record, level: usize) {
        let own = (record.path_bytes().len() + record.data_len()) as u64;
        self.bytes += own;
        self.znodes += 1;
        // Level 1 is open[0]; what is below the last level counts to the one that is open there.
        if level > 0 && level <= self.depth {
            while self.open.len() >= level {
                self.close();
            }
            self.open.push(Open { path: record.path().to_owned(), bytes: own, znodes: 1 });
        } else if let Some(last) = self.open.last_mut() {
            last.bytes += own;
            last.znodes += 1;
        }
    }

    fn report(mut self, zxid: Zxid) -> Report {
        while !self.open.is_empty() {
            self.close();
        }
        let Self { by_bytes, by_znodes, bytes, znodes, .. } = self;
        Report { zxid: zxid.to_string(), bytes, znodes, by_bytes: by_bytes.list(), by_znodes: by_znodes.list() }
    }
}

impl Top {
    /// Weighs.
    pub fn run(&self) -> Result<Outcome, Failed> {
        let path = newest_at(&self.place)?;
        let mut progress = Progress::new(false);
        let mut scales = Scales::new(usize::from(self.n), usize::from(self.depth));
        let weighed = inspect(&path, &mut progress).and_then(|image| {
            stream(&image, &mut progress, |record, level| {
                scales.add(record, level);
                Ok::<_, Fault>(())
            })?;
            Ok(image.header.zxid)
        });
        let report = match weighed {
            Ok(zxid) => scales.report(zxid),
            Err(fault) => return fault.tell(&path),
        };
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
            return Ok(Outcome::Fine);
        }
        writeln!(out, "{}: zxid {}, {} znodes, {}", path.display(), report.zxid, report.znodes, bytes(report.bytes))?;
        for (title, list) in [("largest by bytes", &report.by_bytes), ("largest by znodes", &report.by_znodes)] {
            writeln!(out, "\n{title}\n{:>14}{:>12}  path", "bytes", "znodes")?;
            for Subtree { path, bytes, znodes } in list {
                writeln!(out, "{bytes:>14}{znodes:>12}  {}", shown_path(path))?;
            }
        }
        Ok(Outcome::Fine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::image::source::visit;
    use crate::ground::ids::SessionId;
    use crate::proto::acl::Acl;
    use crate::proto::opcode;
    use crate::proto::txn::{Txn, TxnHeader};
    use crate::tree::tree::Tree;
    use crate::tree::view::SlotId;

    #[test]
    fn subtrees_are_added_up() {
        let mut tree = Tree::new([1, 2, 3, 4]);
        let znodes =
            [("/a", 10), ("/a/b", 5), ("/a/b/c", 100), ("/a/b/c/d", 1), ("/a/e", 3), ("/f", 60), ("/f/g", 0), ("/f/h", 0)];
        for (zxid, (path, data)) in (1..).zip(znodes) {
            let header = TxnHeader { session: SessionId(1), cxid: 0, zxid: Zxid(zxid), time: 0, kind: opcode::CREATE };
            let data = vec![7; data];
            let acl = std::borrow::Cow::Owned(vec![Acl::open()]);
            let txn = Txn::Create { path: path.into(), data: Some(&data), acl, ephemeral: false, parent_cversion: -1 };
            tree.apply(&header, &txn, &mut Vec::new()).unwrap();
        }
        let list = |list: &[Subtree]| {
            // The server's own are in every tree.
            let ours = list.iter().filter(|s| !s.path.starts_with("/zookeeper"));
            ours.map(|s| format!("{} {} {}", s.path, s.bytes, s.znodes)).collect::<Vec<_>>()
        };
        let weigh = |n, depth| {
            let mut scales = Scales::new(n, depth);
            let walked = visit(tree.view(), SlotId::ROOT, |record, level| {
                scales.add(record, level);
                Ok::<_, std::convert::Infallible>(())
            });
            walked.map(|()| scales.report(Zxid(8))).unwrap()
        };
        // Bytes are data and paths: 2 + 4 + 6 + 8 + 4 below /a.
        let report = weigh(3, 2);
        assert_eq!(list(&report.by_bytes), ["/a 143 5", "/a/b 124 3", "/f 70 3"]);
        assert_eq!(list(&report.by_znodes), ["/a 143 5", "/a/b 124 3", "/f 70 3"]);
        let report = weigh(10, 1);
        assert_eq!(list(&report.by_bytes), ["/a 143 5", "/f 70 3"]);
        assert_eq!(report.znodes, tree.node_count() as u64);
        assert_eq!(list(&weigh(2, 9).by_bytes), ["/a 143 5", "/a/b 124 3"]);
    }
}
