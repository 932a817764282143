//! Quota: what counts against which, and the text of limits and of what is used.
//!
//! A znode `zookeeper_limits` below `/zookeeper/quota` limits what is at and below the path between the two, and a znode `zookeeper_stats`
//! beside it tells how much that is. The server writes the latter itself, without a transaction: it is a consequence of the transactions
//! that everybody applies (ZooKeeper's `DataTree`, `Quotas`, `StatsTrack`). Of quotas one below the other only the deepest is charged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::record::Record;
use super::view::{SlotId, View};
use crate::proto::path::ROOT;

/// The znode below which quotas are.
pub const QUOTA: &str = "/zookeeper/quota";

const LIMITS: &str = "/zookeeper_limits";
const STATS: &str = "/zookeeper_stats";

/// Where the limits of a path are.
#[must_use]
pub fn limits_path(of: &str) -> String {
    format!("{QUOTA}{of}{LIMITS}")
}

/// Where it is told what is used at and below a path.
#[must_use]
pub fn stats_path(of: &str) -> String {
    format!("{QUOTA}{of}{STATS}")
}

/// The path whose limits this znode has; not the root's, which can have none.
#[must_use]
pub fn limited(path: &str) -> Option<&str> {
    path.strip_prefix(QUOTA)?.strip_suffix(LIMITS).filter(|of| !of.is_empty())
}

/// The path of which this znode tells what is used. The root's is empty.
#[must_use]
pub fn counted(path: &str) -> Option<&str> {
    path.strip_prefix(QUOTA)?.strip_suffix(STATS)
}

/// The paths that have a quota. Cloning shares them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Quotas(Arc<BTreeSet<Box<str>>>);

impl Quotas {
    /// A znode is there.
    #[inline]
    pub(super) fn came(&mut self, record: &Record) {
        if record.path_bytes().starts_with(QUOTA.as_bytes())
            && let Some(of) = limited(record.path())
        {
            Arc::make_mut(&mut self.0).insert(of.into());
        }
    }

    /// A znode is there no more.
    #[inline]
    pub(super) fn went(&mut self, record: &Record) {
        if record.path_bytes().starts_with(QUOTA.as_bytes())
            && let Some(of) = limited(record.path())
        {
            Arc::make_mut(&mut self.0).remove(of);
        }
    }

    /// Whether there is none at all.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|path| &**path)
    }

    /// The path whose quota a znode counts against: its own, or the deepest above it that has one.
    #[inline]
    #[must_use]
    pub fn over<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.is_empty() { None } else { self.deepest_over(path) }
    }

    fn deepest_over<'a>(&self, mut path: &'a str) -> Option<&'a str> {
        while !path.is_empty() {
            if self.0.contains(path) {
                return Some(path);
            }
            path = &path[..path.rfind('/')?];
        }
        None
    }
}

/// Figures of limits or of what is used, each -1 where it is not told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Figures(BTreeMap<String, i64>);

/// A znode's data are no figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("these are no figures of a quota; they should look like count=5,bytes=-1")]
pub struct NoFigures;

impl Figures {
    /// Znodes, or how many there should be at most.
    pub const COUNT: &str = "count";
    /// Bytes of data, or how many there should be at most.
    pub const BYTES: &str = "bytes";
    /// How many znodes there can be.
    pub const COUNT_HARD: &str = "countHardLimit";
    /// How many bytes of data there can be.
    pub const BYTES_HARD: &str = "byteHardLimit";

    /// Reads them as ZooKeeper does: `name=number` between commas and semicolons, in any number, where what stands behind a second '=' is not
    /// looked at. Empty data have none.
    pub fn read(data: Option<&[u8]>) -> Result<Self, NoFigures> {
        let text = String::from_utf8_lossy(data.ok_or(NoFigures)?);
        // Java's split: separators at the end are nothing, those at the beginning come after an empty part.
        let text = text.trim_end_matches([',', ';']);
        let mut figures = Self::default();
        let parts = text.split([',', ';']).enumerate().filter(|(at, part)| *at == 0 || !part.is_empty());
        for (_, part) in parts.filter(|_| !text.is_empty()) {
            let (name, rest) = part.trim_end_matches('=').split_once('=').ok_or(NoFigures)?;
            let number = rest.split('=').next().unwrap_or_default();
            let number = if number.is_empty() { -1 } else { number.parse().map_err(|_| NoFigures)? };
            figures.0.insert(name.to_owned(), number);
        }
        Ok(figures)
    }

    /// What is used.
    #[must_use]
    pub fn of_use(count: i64, bytes: i64) -> Self {
        Self([(Self::COUNT, count), (Self::BYTES, bytes)].map(|(name, number)| (name.to_owned(), number)).into())
    }

    /// A figure, -1 where it is not told.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(-1)
    }

    /// Sets a figure.
    pub fn set(&mut self, name: &str, number: i64) {
        self.0.insert(name.to_owned(), number);
    }
}

/// `count=4,bytes=5`, and other figures behind a lone '=', by which ZooKeeper keeps releases before 3.7 from reading on.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={},{}={}", Self::COUNT, self.get(Self::COUNT), Self::BYTES, self.get(Self::BYTES))?;
        let mut others = self.0.iter().filter(|(name, _)| ![Self::COUNT, Self::BYTES].contains(&&***name)).peekable();
        if others.peek().is_some() {
            f.write_str("=")?;
        }
        others.try_for_each(|(name, number)| write!(f, ";{name}={number}"))
    }
}

/// The znode that tells what is used at and below `of`, as it must be when so much has come. `None` where there is none, or it says so already.
/// Where it has no figures they are counted.
pub(super) fn charged(view: &View, of: &str, count: i64, bytes: i64) -> Option<(SlotId, Record)> {
    let slot = view.find(&stats_path(of))?;
    let figures = Figures::read(view.record(slot).data()).map_or_else(
        |NoFigures| used(view, of),
        |mut figures| {
            figures.set(Figures::COUNT, figures.get(Figures::COUNT).wrapping_add(count));
            figures.set(Figures::BYTES, figures.get(Figures::BYTES).wrapping_add(bytes));
            figures
        },
    );
    told(view, slot, &figures)
}

/// The same, counted anew.
pub(super) fn recounted(view: &View, of: &str) -> Option<(SlotId, Record)> {
    told(view, view.find(&stats_path(of))?, &used(view, of))
}

fn told(view: &View, slot: SlotId, figures: &Figures) -> Option<(SlotId, Record)> {
    let (record, text) = (view.record(slot), figures.to_string());
    (record.data() != Some(text.as_bytes())).then(|| (slot, record.with_data(Some(text.as_bytes()), &record.stored())))
}

/// What is used at and below a path, which need not be there.
fn used(view: &View, of: &str) -> Figures {
    let (mut count, mut bytes) = (0, 0);
    let mut ahead: Vec<SlotId> = view.find(if of.is_empty() { ROOT } else { of }).into_iter().collect();
    while let Some(slot) = ahead.pop() {
        count += 1;
        bytes += view.record(slot).data_len() as i64;
        ahead.extend(view.child_slots(slot));
    }
    Figures::of_use(count, bytes)
}

#[cfg(test)]
mod tests {
    use super::super::change::{Put, Step};
    use super::super::tree::Tree;
    use super::*;
    use crate::ground::ids::{SessionId, Zxid};
    use crate::proto::acl::Acl;
    use crate::proto::txn::{Txn, TxnHeader};

    fn figures(text: &str) -> Option<String> {
        Figures::read(Some(text.as_bytes())).ok().map(|figures| figures.to_string())
    }

    #[test]
    fn figures_are_read_and_written_as_by_stats_track() {
        // Each was put into a StatsTrack of ZooKeeper 3.9.4.
        for (text, want) in [
            ("", Some("count=-1,bytes=-1")),
            ("count=4,bytes=5", Some("count=4,bytes=5")),
            ("bytes=5", Some("count=-1,bytes=5")),
            ("count=4,bytes=5=;countHardLimit=6;byteHardLimit=7", Some("count=4,bytes=5=;byteHardLimit=7;countHardLimit=6")),
            ("count==4", Some("count=-1,bytes=-1")),
            ("count=+4,count=-6", Some("count=-6,bytes=-1")),
            ("count=4=x,,;bytes=5,;", Some("count=4,bytes=5")),
            ("=3", Some("count=-1,bytes=-1=;=3")),
            (",;,", Some("count=-1,bytes=-1")),
            ("x=9223372036854775807", Some("count=-1,bytes=-1=;x=9223372036854775807")),
            ("x=9223372036854775808", None),
            ("count=", None),
            ("count", None),
            ("=", None),
            (",count=4", None),
            ("count= 4", None),
            ("count=4 ", None),
        ] {
            assert_eq!(figures(text).as_deref(), want, "{text:?}");
        }
        assert_eq!(Figures::read(None), Err(NoFigures));
    }

    #[test]
    fn the_deepest_quota_is_the_one() {
        let mut quotas = Quotas::default();
        let limits = |of: &str| Record::new(&limits_path(of), None, None, &super::super::record::Stored::default());
        assert_eq!(quotas.over("/a"), None);
        for of in ["/a", "/a/b/c", "/ü", ""] {
            quotas.came(&limits(of));
        }
        for (path, over) in [
            ("/", None),
            ("/a", Some("/a")),
            ("/a/b", Some("/a")),
            ("/ab", None),
            ("/a/b/c", Some("/a/b/c")),
            ("/a/b/c/d/e", Some("/a/b/c")),
            ("/a/b/cd", Some("/a")),
            ("/ü/a", Some("/ü")),
            ("/b/a", None),
        ] {
            assert_eq!(quotas.over(path), over, "{path}");
        }
        quotas.went(&limits("/a"));
        assert_eq!((quotas.over("/a/b"), quotas.over("/a/b/c/d")), (None, Some("/a/b/c")));
        assert_eq!(quotas.paths().collect::<Vec<_>>(), ["/a/b/c", "/ü"]);
    }

    struct World {
        tree: Tree,
        view: View,
        zxid: u64,
    }

    impl World {
        fn new() -> Self {
            let tree = Tree::new([1, 2, 3, 4]);
            let view = tree.view().clone();
            Self { tree, view, zxid: 0 }
        }

        fn apply(&mut self, txn: &Txn<'_>) -> Vec<Step> {
            self.zxid += 1;
            let header = TxnHeader { session: SessionId(7), cxid: 0, zxid: Zxid(self.zxid), time: 1, kind: 0 };
            let mut steps = Vec::new();
            self.tree.apply(&header, txn, &mut steps).unwrap();
            steps.iter().for_each(|step| self.view.adopt(step));
            steps
        }

        fn create(&mut self, path: &str, data: &str) {
            self.apply(&create(path, data, false));
        }

        /// With what a client writes for a path that has znodes of quota above it already.
        fn limit(&mut self, of: &str, limits: &str) {
            self.create(&limits_path(of), limits);
            self.create(&stats_path(of), "count=0,bytes=0");
        }

        fn used(&self, of: &str) -> &str {
            assert_eq!(self.tree.get(&stats_path(of)).unwrap().data(), self.view.get(&stats_path(of)).unwrap().data());
            std::str::from_utf8(self.view.get(&stats_path(of)).unwrap().data().unwrap()).unwrap()
        }
    }

    fn create<'a>(path: &'a str, data: &'a str, ephemeral: bool) -> Txn<'a> {
        let (path, acl) = (path.into(), vec![Acl::open()].into());
        Txn::Create { path, data: Some(data.as_bytes()), acl, ephemeral, parent_cversion: -1 }
    }

    #[test]
    fn what_is_used_follows_every_change() {
        let mut world = World::new();
        for (path, data) in
            [("/a", "12"), ("/a/b", "345"), ("/ab", "1"), ("/zookeeper/quota/a", ""), ("/zookeeper/quota/a/b", "")]
        {
            world.create(path, data);
        }
        world.limit("/a", "count=5,bytes=-1");
        assert_eq!(world.used("/a"), "count=2,bytes=5");
        let digest = world.view.digest();
        let steps = world.apply(&create("/a/e", "6789", true));
        assert!(matches!(&steps[..], [Step::Link { .. }, Step::Put { what: Put::Quota, .. }]), "{steps:?}");
        assert_eq!(steps.iter().flat_map(Step::fires).count(), 2);
        assert_eq!(world.used("/a"), "count=3,bytes=9");
        let stats = world.view.get(&stats_path("/a")).unwrap();
        assert_eq!((stats.version(), stats.mzxid(), stats.digest()), (0, stats.czxid(), 0));
        world.apply(&Txn::SetData { path: "/a/b".into(), data: None, version: 1 });
        assert_eq!(world.used("/a"), "count=3,bytes=6");
        let steps = world.apply(&Txn::SetData { path: "/a/b".into(), data: Some(b""), version: 2 });
        assert_eq!(steps.len(), 1, "nothing is used that was not");
        world.create("/ab/c", "1");
        let steps = world.apply(&Txn::CloseSession { paths: vec!["/a/e".into()] });
        assert!(matches!(&steps[..], [Step::Unlink { .. }, Step::Put { what: Put::Quota, .. }]), "{steps:?}");
        assert_eq!(world.used("/a"), "count=2,bytes=2");
        assert_ne!(world.view.digest(), digest);
        // One below the other: the deepest alone, but whoever counts counts everything.
        world.limit("/a/b", "count=5,bytes=-1");
        world.create("/a/b/c", "77");
        assert_eq!((world.used("/a"), world.used("/a/b")), ("count=2,bytes=2", "count=2,bytes=2"));
        world.apply(&Txn::Delete { path: limits_path("/a/b").into() });
        world.apply(&Txn::Delete { path: "/a/b/c".into() });
        assert_eq!((world.used("/a"), world.used("/a/b")), ("count=1,bytes=0", "count=2,bytes=2"));
        // What a client wrote is gone on from, as long as it has figures.
        world.apply(&Txn::SetData { path: stats_path("/a").into(), data: Some(b"bytes=90;x=1"), version: 1 });
        world.create("/a/x", "1");
        assert_eq!(world.used("/a"), "count=0,bytes=91=;x=1");
        world.apply(&Txn::SetData { path: stats_path("/a").into(), data: Some(b"?"), version: 2 });
        world.create("/a/y", "1");
        assert_eq!(world.used("/a"), "count=4,bytes=4");
        world.apply(&Txn::Delete { path: stats_path("/a").into() });
        assert_eq!(world.apply(&create("/a/z", "", false)).len(), 1);
    }

    #[test]
    fn quotas_are_undone_with_the_rest() {
        let mut world = World::new();
        for path in ["/a", "/zookeeper/quota/a"] {
            world.create(path, "12");
        }
        let before = world.tree.mark();
        world.limit("/a", "");
        let limited = world.tree.mark();
        world.create("/a/b", "3");
        world.apply(&Txn::Delete { path: limits_path("/a").into() });
        assert!(world.tree.quotas().is_empty());
        world.tree.rollback(limited);
        let used = world.tree.get(&stats_path("/a")).unwrap().data();
        assert_eq!((world.tree.quotas().over("/a/b"), used), (Some("/a"), Some(&b"count=1,bytes=2"[..])));
        world.tree.rollback(before);
        assert!(world.tree.quotas().is_empty());
    }

    #[test]
    fn the_root_is_counted_when_asked_for_and_has_no_limits() {
        let mut world = World::new();
        world.create("/a", "12");
        world.create(&limits_path(""), "count=1,bytes=1");
        world.create(&stats_path(""), "");
        assert_eq!(world.used(""), format!("count=7,bytes={}", 2 + "count=1,bytes=1".len()));
        world.create("/b", "12");
        assert!(world.used("").starts_with("count=7,"));
    }
}
