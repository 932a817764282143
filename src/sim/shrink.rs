//! Shrink: a failing case made smaller as long as it fails in the same way.

use super::case::{Case, Settings};

/// Makes a case smaller. `fails` plays one and names the promise that it breaks; `tell` hears of each success. At most so many runs are made.
pub fn shrink(
    case: &Case,
    runs: usize,
    mut fails: impl FnMut(&Case) -> Option<&'static str>,
    mut tell: impl FnMut(&Case),
) -> Case {
    let mut best = case.clone();
    let Some(how) = fails(&best) else { return best };
    let mut left = runs;
    let mut attempt = |candidate: Case, best: &mut Case| {
        if left == 0 || candidate == *best {
            return false;
        }
        left -= 1;
        let is_same = fails(&candidate) == Some(how);
        if is_same {
            tell(&candidate);
            *best = candidate;
        }
        is_same
    };
    loop {
        let before = best.clone();
        // Faults: halves, then smaller pieces, then one by one.
        let mut piece = best.plan.len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < best.plan.len() {
                let mut candidate = best.clone();
                candidate.plan.drain(from..(from + piece).min(candidate.plan.len()));
                if !attempt(candidate, &mut best) {
                    from += piece;
                }
            }
            if piece == 1 {
                break;
            }
            piece = piece.div_ceil(2);
        }
        for simpler in simpler() {
            let mut candidate = best.clone();
            simpler(&mut candidate.settings);
            attempt(candidate, &mut best);
        }
        for part in [2, 4, 8] {
            let mut candidate = best.clone();
            candidate.settings.ops -= candidate.settings.ops / part;
            attempt(candidate, &mut best);
            let mut candidate = best.clone();
            candidate.settings.length -= candidate.settings.length / part;
            candidate.plan.retain(|fault| fault.at < candidate.settings.length);
            attempt(candidate, &mut best);
        }
        if best == before {
            return best;
        }
    }
}

type Simpler = fn(&mut Settings);

/// Changes that make a run easier to follow.
fn simpler() -> Vec<Simpler> {
    vec![
        |settings| settings.ops = 10,
        |settings| settings.observers = 0,
        |settings| settings.voters = settings.voters.min(3),
        |settings| settings.breaks = 0,
        |settings| settings.mail_breaks = 0,
        |settings| settings.clogs = 0,
        |settings| settings.spikes = 0,
        |settings| settings.trains = 0,
        |settings| settings.drift = 0,
        |settings| settings.burst = 1,
        |settings| settings.op_bytes = 30,
        |settings| settings.batch = 1,
        |settings| settings.adapts = 0,
        |settings| settings.flights = 1,
        |settings| settings.segment = 24,
        |settings| settings.image_every = 1000,
        |settings| settings.delay = settings.delay.min(500),
        |settings| settings.latency = settings.latency.min(200),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_stays() {
        let case = (0..).map(Case::draw).find(|case| case.plan.len() > 20 && case.settings.voters == 5).unwrap();
        let needed = [case.plan[3], case.plan[17]];
        let fails = |case: &Case| needed.iter().all(|fault| case.plan.contains(fault)).then_some("I2");
        let small = shrink(&case, 1000, fails, |_| {});
        assert_eq!(small.plan, needed);
        assert_eq!((small.settings.voters, small.settings.breaks), (3, 0));
        assert_eq!(shrink(&case, 1000, |_| None, |_| {}), case);
    }
}
