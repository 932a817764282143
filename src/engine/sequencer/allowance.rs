//! Allowance: what quotas leave to a write, where they are enforced (`ZooKeeperServer.checkQuota`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::proto::code::Code;
use crate::tree::quota::{self, Figures, Quotas};
use crate::tree::record::Record;
use crate::tree::tree::Tree;

/// Milliseconds between two lines about quotas that are exceeded.
const QUIET_MS: i64 = 1000;

/// The znodes of one quota.
struct Standing {
    limits: Option<Record>,
    stats: Option<Record>,
}

impl Standing {
    fn of(tree: &Tree, of: &str) -> Self {
        let record = |path: String| tree.get(&path).cloned();
        Self { limits: record(quota::limits_path(of)), stats: record(quota::stats_path(of)) }
    }
}

/// Quotas as they stood before a multi: its members are measured against that, whatever those before them add.
struct Before {
    quotas: Quotas,
    /// Of those that may have changed since.
    standings: RefCell<BTreeMap<Box<str>, Standing>>,
}

/// A limit that would be exceeded.
struct Excess {
    what: &'static str,
    is_hard: bool,
    limit: i64,
    then: i64,
}

/// What quotas leave.
#[derive(Default)]
pub(super) struct Allowance {
    is_enforced: bool,
    before: Option<Before>,
    /// When a line was written last, and how many were not since.
    told: Cell<(i64, u64)>,
}

impl Allowance {
    pub(super) const fn enforce(&mut self, is_enforced: bool) {
        self.is_enforced = is_enforced;
    }

    pub(super) const fn is_enforced(&self) -> bool {
        self.is_enforced
    }

    /// A multi begins.
    pub(super) fn begin_multi(&mut self, tree: &Tree) {
        if self.is_enforced && !tree.quotas().is_empty() {
            self.before = Some(Before { quotas: tree.quotas().clone(), standings: RefCell::default() });
        }
    }

    /// It is over.
    pub(super) fn end_multi(&mut self) {
        self.before = None;
    }

    /// A znode of this path is about to come, to change or to go.
    pub(super) fn note(&self, tree: &Tree, path: &str) {
        let Some(before) = &self.before else { return };
        let touched = [before.quotas.over(path), tree.quotas().over(path), quota::limited(path), quota::counted(path)];
        for of in touched.into_iter().flatten() {
            before.standings.borrow_mut().entry(of.into()).or_insert_with(|| Standing::of(tree, of));
        }
    }

    /// Whether a znode of this path may have come with so many bytes (`count` 1), or may have so many bytes more (`count` 0). Figures that cannot
    /// be read are no figures: -5, as from a ZooKeeper.
    pub(super) fn check(&self, tree: &Tree, path: &str, count: i64, bytes: i64, time: i64) -> Result<(), Code> {
        if !self.is_enforced {
            return Ok(());
        }
        self.note(tree, path);
        let quotas = self.before.as_ref().map_or(tree.quotas(), |before| &before.quotas);
        let Some(of) = quotas.over(path) else { return Ok(()) };
        let excess = match &self.before {
            None => excess(&Standing::of(tree, of), count, bytes, |excess| self.tell(of, excess, time)),
            Some(before) => {
                let standings = before.standings.borrow();
                let standing = standings.get(of).expect("it has been noted");
                excess(standing, count, bytes, |excess| self.tell(of, excess, time))
            }
        };
        match excess {
            Ok(false) => Ok(()),
            Ok(true) => Err(Code::QuotaExceeded),
            Err(quota::NoFigures) => Err(Code::MarshallingError),
        }
    }

    /// One line a second at most: whoever exceeds a quota may do so with every write.
    fn tell(&self, of: &str, excess: &Excess, time: i64) {
        let Excess { what, is_hard, limit, then } = excess;
        let (last, kept) = self.told.get();
        if last != 0 && (last..last.saturating_add(QUIET_MS)).contains(&time) {
            self.told.set((last, kept + 1));
            return;
        }
        self.told.set((time, 0));
        let kind = if *is_hard { "hard" } else { "soft" };
        let others = if kept > 0 { format!("; {kept} times more since it was last said of any") } else { String::new() };
        tracing::warn!("quota exceeded: {of} would have {then} {what}, its {kind} limit is {limit}{others}");
    }
}

/// Whether a hard limit is exceeded. The hard one of a kind hides the soft one.
fn excess(standing: &Standing, count: i64, bytes: i64, tell: impl Fn(&Excess)) -> Result<bool, quota::NoFigures> {
    let Some(limits) = &standing.limits else { return Ok(false) };
    let limits = Figures::read(limits.data())?;
    let kinds = [("znodes", count, Figures::COUNT, Figures::COUNT_HARD), ("bytes", bytes, Figures::BYTES, Figures::BYTES_HARD)];
    let kinds = kinds.map(|(what, more, soft, hard)| {
        let (soft_limit, hard_limit) = (limits.get(soft), limits.get(hard));
        let is_hard = hard_limit > -1;
        let limit = if is_hard { hard_limit } else { soft_limit };
        (more != 0 && limit > -1).then_some((what, more, soft, is_hard, limit))
    });
    let Some(stats) = standing.stats.as_ref().filter(|_| kinds.iter().any(Option::is_some)) else { return Ok(false) };
    let used = Figures::read(stats.data())?;
    for (what, more, name, is_hard, limit) in kinds.into_iter().flatten() {
        let then = used.get(name).wrapping_add(more);
        if then > limit {
            tell(&Excess { what, is_hard, limit, then });
            if is_hard {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
