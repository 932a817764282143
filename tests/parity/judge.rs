//! Judge: whether two servers said the same, up to a renaming of zxids that keeps their order.
//!
//! In an ensemble a server of ours uses up zxids for syncs, which those of Stats and events cannot show, and the headers of replies do: of
//! these it is looked at then whether they lie between the right ones.

use std::collections::BTreeMap;
use std::io;

use super::known;
use super::side::Answers;
use super::step::Step;

/// Where two servers first differ.
#[derive(Clone, Debug)]
pub struct Divergence {
    pub at: usize,
    pub step: Step,
    pub left: Vec<String>,
    pub right: Vec<String>,
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "step {}: {}", self.at, self.step.text())?;
        for (name, lines) in [("left", &self.left), ("right", &self.right)] {
            for line in lines {
                writeln!(f, "  {name:5} {line}")?;
            }
            if lines.is_empty() {
                writeln!(f, "  {name:5} says nothing")?;
            }
        }
        Ok(())
    }
}

/// Which zxid of one server is which of the other.
#[derive(Clone, Default)]
pub struct Judge {
    right_of: BTreeMap<i64, i64>,
    left_of: BTreeMap<i64, i64>,
    is_ensemble: bool,
}

fn zxid(word: &str) -> Option<i64> {
    word.strip_prefix('@')?.parse().ok()
}

impl Judge {
    /// Whether the two may be one, and are from now on.
    fn pair(&mut self, left: i64, right: i64) -> bool {
        if let Some(known) = self.right_of.get(&left) {
            return *known == right;
        }
        let below = self.right_of.range(..left).next_back().is_none_or(|(_, known)| *known < right);
        let above = self.right_of.range(left..).next().is_none_or(|(_, known)| *known > right);
        self.right_of.insert(left, right);
        below && above && self.left_of.insert(right, left).is_none()
    }

    /// Whether both come behind the same ones.
    fn behind_the_same(&self, left: i64, right: i64) -> bool {
        let below = self.right_of.range(..=left).next_back().is_none_or(|(_, known)| *known <= right);
        let above = self.right_of.range(left + 1..).next().is_none_or(|(_, known)| *known > right);
        below && above
    }

    /// Whether they are the same. What was learned from those that are not does not count.
    pub fn same(&mut self, left: &[String], right: &[String]) -> bool {
        let mut tried = self.clone();
        let line = |(left, right): (&String, &String)| {
            let (left, right): (Vec<_>, Vec<_>) = (left.split(' ').collect(), right.split(' ').collect());
            let is_reply = tried.is_ensemble && left.get(1) == Some(&"reply");
            left.len() == right.len()
                && left.iter().zip(&right).enumerate().all(|(at, (left, right))| match (zxid(left), zxid(right)) {
                    (Some(left), Some(right)) if is_reply && at == 3 => tried.behind_the_same(left, right),
                    (Some(left), Some(right)) => tried.pair(left, right),
                    _ => left == right,
                })
        };
        let same = left.len() == right.len() && left.iter().zip(right).all(line);
        if same {
            *self = tried;
        }
        same
    }
}

/// Plays all steps at both, to the first difference that is not listed.
pub fn compare(
    left: &mut dyn Answers,
    right: &mut dyn Answers,
    steps: &[Step],
    is_ensemble: bool,
) -> io::Result<Option<Divergence>> {
    let mut judge = Judge { is_ensemble, ..Judge::default() };
    for (at, step) in steps.iter().enumerate() {
        let told =
            |who: &'static str| move |error: io::Error| io::Error::other(format!("{who} at step {at}, {}: {error}", step.text()));
        let (left, right) = (left.play(at, step).map_err(told("left"))?, right.play(at, step).map_err(told("right"))?);
        if !judge.same(&left, &right) && !known::is_listed(step, &left, &right) {
            return Ok(Some(Divergence { at, step: step.clone(), left, right }));
        }
    }
    Ok(None)
}
