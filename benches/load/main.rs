//! Load: what the scripts need beside `ringkeeper bench`: a tree that is made and stays, and sessions that only ping.

mod stay;

use std::net::ToSocketAddrs;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use ringkeeper::bench::echo::{Echo, Manner};

type Failure = Box<dyn std::error::Error>;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Workload {
    /// Create --nodes znodes with paths of 33 bytes, a thousand to a parent, and leave them there.
    Create,
    /// Set the data of random ones of those znodes, --rate a second, for --seconds.
    Overwrite,
    /// --connections sessions that send nothing but pings, three in a timeout, for --seconds.
    Idle,
}

/// What stays on a ZooKeeper-compatible server and does little.
#[derive(Parser, Debug)]
struct Options {
    /// Server, HOST:PORT. Without one something tiny runs against an echo in this process.
    #[arg(long)]
    server: Option<String>,
    /// What is done.
    #[arg(long, value_enum, default_value = "idle")]
    workload: Workload,
    /// Sessions.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Bytes of data.
    #[arg(long, default_value_t = 100)]
    value_size: usize,
    /// Znodes.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Bytes of data that an overwrite may have more or less.
    #[arg(long, default_value_t = 0)]
    spread: usize,
    /// Overwrites a second.
    #[arg(long, default_value_t = 10_000.0)]
    rate: f64,
    /// Session timeout, ms.
    #[arg(long, default_value_t = 10_000)]
    timeout_ms: i32,
    /// `cargo bench` and `cargo test` say these, and names to filter by; they have no meaning here.
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(long, hide = true)]
    test: bool,
    #[arg(hide = true)]
    filters: Vec<String>,
}

fn work(o: &Options) -> Result<(), Failure> {
    let Some(server) = &o.server else {
        let echo = Echo::start("127.0.0.1:0", Manner { value_size: o.value_size, stall: None })?;
        stay::create(echo.address(), 10, o.value_size)?;
        stay::overwrite(echo.address(), 10, o.value_size, 5, 1000.0, 0.1)?;
        return stay::idle(echo.address(), 3, o.timeout_ms, 0.1);
    };
    let server = server.to_socket_addrs()?.next().ok_or("the server has no address")?;
    match o.workload {
        Workload::Create => stay::create(server, o.nodes, o.value_size),
        Workload::Overwrite => stay::overwrite(server, o.nodes, o.value_size, o.spread, o.rate, o.seconds),
        Workload::Idle => stay::idle(server, o.connections, o.timeout_ms, o.seconds),
    }
}

fn main() -> ExitCode {
    match work(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
