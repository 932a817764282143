//! Progress: how far long work has come, on standard error. Short work says nothing.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Tells of long work: one line that replaces itself on a terminal, a line now and then elsewhere.
#[derive(Debug)]
pub struct Progress {
    next: Instant,
    terminal: bool,
    shown: bool,
    silent: bool,
}

impl Progress {
    /// Work begins. With `prints`, results go to standard output meanwhile: if that is a terminal they are progress enough.
    #[must_use]
    pub fn new(prints: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let silent = prints && std::io::stdout().is_terminal();
        Self { next: Instant::now() + Self::pause(terminal), terminal, shown: false, silent }
    }

    const fn pause(terminal: bool) -> Duration {
        Duration::from_millis(if terminal { 500 } else { 5000 })
    }

    /// Says a line if it is time for one; `line` is made only then.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.silent || now < self.next {
            return;
        }
        self.next = now + Self::pause(self.terminal);
        self.shown = true;
        let mut stderr = std::io::stderr().lock();
        // Progress that cannot be shown is nobody's loss.
        let _ = if self.terminal { write!(stderr, "\r\x1b[K{}", line()) } else { writeln!(stderr, "{}", line()) };
        let _ = stderr.flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && self.terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// Bytes with a unit that suits them.
#[must_use]
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} PiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (64 << 20, "64.0 MiB"),
            (1_288_490_189, "1.2 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn short_work_says_nothing() {
        let mut progress = Progress::new(false);
        progress.tell(|| unreachable!("it is too early"));
        assert!(!progress.shown);
    }
}
