//! Clock: the two times of a turn.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::ground::time::{Now, WallMillis};

/// Reads the monotonic clock from one common start, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock {
    /// This moment. The monotonic part starts at one second, so that "long ago" can be told from "never".
    #[must_use]
    pub fn now(&self) -> Now {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        Now { micros: micros.saturating_add(1_000_000), wall: WallMillis(wall) }
    }
}
