//! Progress: a line now and then about work that takes long.

use std::time::{Duration, Instant};

/// Between two lines.
const EVERY: Duration = Duration::from_secs(2);

/// Calls between two looks at the clock.
const STRIDE: u32 = 1024;

/// Hands out a line every two seconds.
pub struct Progress<'a> {
    out: &'a mut dyn FnMut(&str),
    next: Instant,
    calls: u32,
}

impl<'a> Progress<'a> {
    /// Lines go to `out`.
    pub fn new(out: &'a mut dyn FnMut(&str)) -> Self {
        Self { out, next: Instant::now() + EVERY, calls: 0 }
    }

    /// Tells, if it is time. Cheap when it is not.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        self.calls = self.calls.wrapping_add(1);
        if self.calls.is_multiple_of(STRIDE) && Instant::now() >= self.next {
            self.next = Instant::now() + EVERY;
            (self.out)(&line());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_when_it_is_time() {
        let mut lines = Vec::new();
        let mut out = |line: &str| lines.push(line.to_owned());
        let mut progress = Progress::new(&mut out);
        (0..2 * STRIDE).for_each(|_| progress.tell(|| "early".into()));
        progress.next = Instant::now();
        (0..STRIDE).for_each(|n| progress.tell(|| format!("call {}", n + 1)));
        assert_eq!(lines, [format!("call {STRIDE}")]);
    }
}
