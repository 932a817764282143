//! Faults: what goes wrong in a run, as a list, so that it can be made shorter.

use std::fmt;

use super::case::Settings;
use super::chance::Chance;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// The power of a server goes; it starts again after a while.
    Crash,
    /// The process of a server ends, its machine goes on.
    Kill,
    /// The power goes in the middle of the `count`th sync from now.
    CrashAtSync,
    /// The `count`th sync from now fails, which ends the process.
    SyncError,
    /// A server does nothing for a while.
    Pause,
    /// Some ways are cut for a while.
    Cut,
    /// All ways of one server are cut for a while: both directions, those from it, those to it.
    Isolate,
    /// A connection breaks.
    Reset,
    /// One end of a connection is gone, and the other does not know.
    HalfOpen,
    /// The disk of a server is slow for a while.
    Slow,
    /// All servers lose their power.
    CrashAll,
    /// A server loses its power and its disk; it starts with an empty one.
    Wipe,
    /// A server stops in good order, and starts again after a while.
    Leave,
}

/// All of them.
pub const KINDS: [(Kind, &str); 13] = [
    (Kind::Crash, "crash"),
    (Kind::Kill, "kill"),
    (Kind::CrashAtSync, "crash-at-sync"),
    (Kind::SyncError, "sync-error"),
    (Kind::Pause, "pause"),
    (Kind::Cut, "cut"),
    (Kind::Isolate, "isolate"),
    (Kind::Reset, "reset"),
    (Kind::HalfOpen, "half-open"),
    (Kind::Slow, "slow"),
    (Kind::CrashAll, "crash-all"),
    (Kind::Wipe, "wipe"),
    (Kind::Leave, "leave"),
];

impl Kind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("?", |(_, name)| name)
    }
}

/// One fault. What of it means nothing for its kind is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// When, us.
    pub at: u64,
    /// What.
    pub kind: Kind,
    /// Which server; 0 is whoever leads at that time.
    pub target: u64,
    /// For how long, us.
    pub span: u64,
    /// A number: which sync, how much of what was not durable is left, which direction.
    pub count: u64,
    /// Ways that are cut: bit `8 * from + to`, both from 0.
    pub ways: u64,
    /// Where its own chance comes from, so that a plan without it leaves the other faults as they are.
    pub nonce: u64,
}

impl Fault {
    /// Reads what [`Display`](fmt::Display) has written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let at = words.next()?.parse().ok()?;
        let name = words.next()?;
        let kind = KINDS.iter().find(|(_, known)| *known == name)?.0;
        let mut fault = Self { at, kind, target: 0, span: 0, count: 0, ways: 0, nonce: 0 };
        for word in words {
            let (name, value) = word.split_once('=')?;
            let value = value.parse().ok()?;
            match name {
                "target" => fault.target = value,
                "span" => fault.span = value,
                "count" => fault.count = value,
                "ways" => fault.ways = value,
                "nonce" => fault.nonce = value,
                _ => return None,
            }
        }
        Some(fault)
    }

    /// Whether the way from one server to another is cut by it.
    #[must_use]
    pub const fn cuts(&self, from: usize, to: usize) -> bool {
        self.ways >> (8 * from + to) & 1 == 1
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, kind, target, span, count, ways, nonce } = *self;
        write!(f, "{at} {}", kind.name())?;
        for (name, value) in [("target", target), ("span", span), ("count", count), ("ways", ways), ("nonce", nonce)] {
            if value > 0 {
                write!(f, " {name}={value}")?;
            }
        }
        Ok(())
    }
}

/// Draws the plan of a seed.
#[must_use]
pub fn draw(seed: u64, settings: &Settings) -> Vec<Fault> {
    let mut chance = Chance::new(seed, "plan", 0);
    let c = &mut chance;
    let kinds: Vec<(Kind, u64)> = KINDS.iter().filter(|_| c.coin()).map(|(kind, _)| (*kind, weight(*kind))).collect();
    let sum: u64 = kinds.iter().map(|(_, weight)| weight).sum();
    let mut plan = Vec::new();
    if sum == 0 {
        return plan;
    }
    let longest = c.pick(&[500_000, 3_000_000, 15_000_000]);
    for _ in 0..c.pick(&[3, 10, 25, 50]) {
        let mut drawn = c.below(sum);
        let kind = kinds.iter().find(|(_, weight)| {
            let is_it = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            is_it
        });
        let kind = kind.expect("the sum is theirs").0;
        let at = c.below(settings.length);
        let fault = Fault {
            at,
            kind,
            target: c.below(settings.voters + settings.observers + 2).saturating_sub(1),
            span: 1000 + c.below(longest),
            count: match kind {
                Kind::CrashAtSync | Kind::SyncError => c.within(1, 12),
                Kind::Slow => c.pick(&[10, 100, 1000]),
                Kind::Isolate => c.below(3),
                _ => 0,
            },
            ways: if kind == Kind::Cut { ways(c, (settings.voters + settings.observers).min(8)) } else { 0 },
            nonce: c.below(1 << 32) + 1,
        };
        plan.push(fault);
        if kind == Kind::Cut && c.below(4) == 0 {
            // It comes and goes.
            let beat = c.within(50_000, 2_000_000);
            plan.extend((1..6).map(|i| Fault { at: at + 2 * i * beat, span: beat, nonce: fault.nonce + i, ..fault }));
        }
    }
    plan.retain(|fault| fault.at < settings.length);
    plan.sort_by_key(|fault| (fault.at, fault.nonce));
    plan
}

const fn weight(kind: Kind) -> u64 {
    match kind {
        Kind::CrashAll | Kind::Wipe | Kind::Leave => 2,
        Kind::Slow | Kind::SyncError => 3,
        _ => 6,
    }
}

/// Ways to cut: halves, a bridge, a ring, one direction between two.
fn ways(c: &mut Chance, nodes: u64) -> u64 {
    let way = |from: u64, to: u64| 1 << (8 * from + to);
    let all = |cut: &mut dyn FnMut(u64, u64) -> bool| {
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to))).filter(|(from, to)| from != to);
        pairs.filter(|(from, to)| cut(*from, *to)).fold(0, |ways, (from, to)| ways | way(from, to))
    };
    match c.below(4) {
        0 => {
            let side = c.any();
            all(&mut |from, to| side >> from & 1 != side >> to & 1)
        }
        1 => {
            let (side, bridge) = (c.any(), c.below(nodes));
            all(&mut |from, to| from != bridge && to != bridge && side >> from & 1 != side >> to & 1)
        }
        2 => all(&mut |from, to| (from + 1) % nodes != to && (to + 1) % nodes != from),
        _ => {
            let from = c.below(nodes);
            let to = (from + 1 + c.below(nodes.max(2) - 1)) % nodes;
            if from == to { 0 } else { way(from, to) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_in_order_and_every_kind_is_drawn() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..300 {
            let plan = draw(seed, &Settings::draw(seed));
            assert!(plan.is_sorted_by_key(|fault| fault.at));
            seen.extend(plan.iter().map(|fault| fault.kind));
            for fault in plan {
                assert_eq!(Fault::parse(&fault.to_string()), Some(fault));
                assert!((0..8).all(|node| !fault.cuts(node, node)));
            }
        }
        assert_eq!(seen.len(), KINDS.len());
    }
}
