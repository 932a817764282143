//! Echo: `ringkeeper bench echo`, a server that answers at once, for whoever wants to check a load generator.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::{failed, stoppable};
use crate::bench::echo::{Echo, Manner, Standstill};

const LONG: &str = "\
Grants every session and answers every request at once, as if it had done it. What a load generator
measures here is what it adds itself. With --stall-ms it stands still at regular times: a generator
that tells the truth shows every request that came meanwhile.

It says `ready: ADDRESS echo` on standard error once it listens, as `serve` does, and runs until it
is stopped by SIGTERM or SIGINT.";

/// Answer every request at once.
#[derive(Args, Debug)]
#[command(long_about = LONG)]
pub struct EchoServer {
    /// Listen here; port 0 lets the system choose one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:2181")]
    listen: String,

    /// Bytes of data in every znode.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    value_size: u32,

    /// Stand still for so long; 0 is never.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    stall_ms: u32,

    /// Milliseconds from the begin of one stall to that of the next.
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    stall_every_ms: u32,
}

impl EchoServer {
    /// Serves until it is stopped.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(code) => code,
        }
    }

    fn serve(self) -> Result<(), ExitCode> {
        if self.stall_ms >= self.stall_every_ms && self.stall_ms > 0 {
            return Err(failed("stalls of --stall-ms must be shorter than the time from one to the next, --stall-every-ms"));
        }
        let control = stoppable(true, false)?;
        let milliseconds = |ms: u32| Duration::from_millis(ms.into());
        let stall = (self.stall_ms > 0)
            .then(|| Standstill { length: milliseconds(self.stall_ms), every: milliseconds(self.stall_every_ms) });
        let manner = Manner { value_size: self.value_size as usize, stall };
        let echo =
            Echo::start(&self.listen, manner).map_err(|error| failed(&format!("cannot listen on {}: {error}", self.listen)))?;
        // Where standard error is closed nobody can be told.
        let _ = writeln!(std::io::stderr().lock(), "ready: {} echo", echo.address());
        while !control.stop.load(Ordering::Relaxed) && !echo.is_over() {
            std::thread::sleep(Duration::from_millis(20));
        }
        echo.stop().map(drop).map_err(|error| failed(&format!("the echo: {error}")))
    }
}
