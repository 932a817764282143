//! `ringkeeper top`: what servers do now, and where the time of writes goes, live in the terminal.

mod scrape;
mod view;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use self::scrape::Page;
use super::outcome::{self, Failed, Outcome};

const LONG: &str = "\
Shows what servers do now, and where the time of writes goes, stage by stage.

It collects the metrics that a server offers by HTTP where its configuration says

  metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider
  metricsProvider.httpPort=7000

and shows what has changed since it last looked, so every figure is of the last interval.

Stages of a write: queue, from its bytes in a shard until the sequencer takes it; batch, until its
batch is closed; flush, until that is durable here; replicate, until a quorum has it (of a follower,
all from sending it on to its delivery); deliver, until the shard takes it; respond, until the answer
is in the socket. What the network and the client take comes on top.";

/// Show what servers do, live.
#[derive(Args, Debug)]
#[command(long_about = LONG)]
pub struct Top {
    /// Where metrics are offered.
    #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:7000")]
    servers: Vec<String>,

    /// Seconds between two looks.
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    interval: f64,

    /// End after so many intervals; 0 goes on until it is stopped.
    #[arg(long, value_name = "N", default_value_t = 0)]
    count: u64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("expected 0.1 to 3600 seconds".to_owned()) }
}

impl Top {
    /// Shows them.
    #[must_use]
    pub fn run(self) -> ExitCode {
        outcome::end(self.show())
    }

    fn show(&self) -> Result<Outcome, Failed> {
        let first = |server: &String| {
            let page = Page::fetch(server).map_err(|error| Failed::NotThere(error.to_string()))?;
            Ok((page, Instant::now()))
        };
        let mut before: Vec<(Page, Instant)> = self.servers.iter().map(first).collect::<Result<_, Failed>>()?;
        let clears = io::stdout().is_terminal();
        let mut shown = 0;
        loop {
            std::thread::sleep(Duration::from_secs_f64(self.interval));
            let (mut text, mut is_whole) = (String::new(), true);
            for (server, (old, since)) in self.servers.iter().zip(&mut before) {
                // A server that restarts comes again.
                match Page::fetch(server) {
                    Ok(new) => {
                        let now = Instant::now();
                        text.push_str(&view::lines(server, old, &new, now.duration_since(*since)));
                        (*old, *since) = (new, now);
                    }
                    Err(error) => {
                        is_whole = false;
                        text.push_str(&format!("{error}\n"));
                    }
                }
                text.push('\n');
            }
            let mut out = io::stdout().lock();
            if clears {
                // Home, and nothing behind what is written.
                write!(out, "\x1b[H\x1b[2J")?;
            }
            out.write_all(text.as_bytes())?;
            out.flush()?;
            shown += 1;
            if shown == self.count {
                return Ok(if is_whole { Outcome::Fine } else { Outcome::Wrong });
            }
        }
    }
}
