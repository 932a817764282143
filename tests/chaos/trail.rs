//! Trail: what a writer's part of the tree was, from zxid to zxid, and whether somebody's reading of it fits.

use super::model::State;

struct Step {
    /// It had not come before this zxid...
    low: u64,
    /// ...and stood at this one; the same, where an answer has told it.
    high: u64,
    state: State,
}

/// States in the order in which they came.
pub struct Trail(Vec<Step>);

impl Trail {
    pub fn new(zxid: u64, state: State) -> Self {
        Self(vec![Step { low: zxid, high: zxid, state }])
    }

    /// From this zxid on it is so.
    pub fn step(&mut self, zxid: u64, state: State) {
        self.0.push(Step { low: zxid, high: zxid, state });
    }

    /// By this zxid it had become each of these, nobody knows at which.
    pub fn unsure(&mut self, high: u64, states: Vec<State>) {
        let low = self.0.last().map_or(0, |step| step.high + 1);
        self.0.extend(states.into_iter().map(|state| Step { low: low.min(high), high, state }));
    }

    /// A reading at this zxid is of one of the states that may have stood then. The error is the last one's.
    pub fn fits(&self, zxid: u64, check: impl Fn(&State) -> Result<(), String>) -> Result<(), String> {
        let sure = self.0.partition_point(|step| step.high <= zxid).checked_sub(1);
        let Some(sure) = sure else { return Ok(()) };
        let mut error = String::new();
        for step in self.0[sure..].iter().take_while(|step| step.low <= zxid) {
            match check(&step.state) {
                Ok(()) => return Ok(()),
                Err(said) => {
                    error = format!("at zxid {zxid:#x}, where it was so from {:#x} to {:#x} on: {said}", step.low, step.high)
                }
            }
        }
        Err(error)
    }

    /// What came before does not matter any more.
    pub fn settle(&mut self, zxid: u64) {
        if let Some(last) = self.0.pop() {
            self.0 = vec![Step { low: zxid, high: zxid, state: last.state }];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(cversion: i32) -> State {
        State { cversion, ..State::new(0, 1) }
    }

    fn is(wanted: i32) -> impl Fn(&State) -> Result<(), String> {
        move |state| if state.cversion == wanted { Ok(()) } else { Err(format!("{}", state.cversion)) }
    }

    #[test]
    fn a_reading_fits_its_own_zxid_and_no_other() {
        let mut trail = Trail::new(10, state(0));
        trail.step(20, state(1));
        assert!(trail.fits(19, is(0)).is_ok() && trail.fits(20, is(1)).is_ok() && trail.fits(99, is(1)).is_ok());
        assert!(trail.fits(19, is(1)).is_err(), "seen before it was done");
        assert!(trail.fits(20, is(0)).is_err(), "stale");
    }

    #[test]
    fn what_nobody_knows_the_zxid_of_fits_where_it_may_have_been() {
        let mut trail = Trail::new(10, state(0));
        trail.unsure(30, vec![state(1), state(2)]);
        trail.step(40, state(3));
        for wanted in 0..3 {
            assert!(trail.fits(20, is(wanted)).is_ok(), "{wanted}");
        }
        assert!(trail.fits(10, is(1)).is_err() && trail.fits(20, is(3)).is_err());
        assert!(trail.fits(30, is(2)).is_ok() && trail.fits(40, is(2)).is_err());
        assert!(trail.fits(30, is(0)).is_err() && trail.fits(30, is(1)).is_err());
    }
}
