//! Time values. Engines never read a clock: the runtime hands them these.

/// Milliseconds of a monotonic clock that starts somewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// Milliseconds from `earlier` to this moment, 0 if it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `ms` milliseconds later.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Milliseconds since 1970 by the wall clock, as Stat times carry them. May jump.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WallMillis(pub i64);

/// What a turn of a loop knows of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Monotonic microseconds, for the closing rule of batches.
    pub micros: u64,
    /// Wall clock, for Stat times.
    pub wall: WallMillis,
}

impl Now {
    /// Monotonic milliseconds, for time-outs and latencies.
    #[must_use]
    pub const fn mono(self) -> Millis {
        Millis(self.micros / 1000)
    }
}
