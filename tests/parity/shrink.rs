//! Shrinking: fewer steps that show the same.

use super::step::Step;

/// Drops steps as long as `shows` holds of what is left; `budget` is how often it may be asked.
pub fn shrink(mut steps: Vec<Step>, mut budget: usize, mut shows: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut chunk = steps.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        let mut dropped = false;
        while at < steps.len() && budget > 0 {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(steps.len()));
            budget -= 1;
            if !fewer.is_empty() && shows(&fewer) {
                steps = fewer;
                dropped = true;
            } else {
                at += chunk;
            }
        }
        if budget == 0 || (chunk == 1 && !dropped) {
            break;
        }
        if !(chunk == 1 && dropped) {
            chunk /= 2;
        }
    }
    steps
}

#[test]
fn what_does_not_matter_is_dropped() {
    let step = |session| Step { session, op: 11, fields: Vec::new() };
    let steps: Vec<_> = (0..100).map(step).collect();
    let left = shrink(steps, 1000, |steps| {
        let has = |session| steps.iter().any(|step| step.session == session);
        has(17) && has(80)
    });
    assert_eq!(left, [step(17), step(80)]);
}
