//! Server: the binary as its operators meet it. Starts, stops, crashes, limits, sockets and signals, process by process.
//!
//!   cargo test --test server
//!
//! Nothing here needs privileges. Where the tests run as root, some of them put them off first.

mod audit;
mod connections;
mod durable;
mod harness;
mod images;
mod lifetimes;
mod limits;
mod metrics;
mod quotas;
mod reload;
mod sasl;
mod sessions;
mod settings;
mod start;
mod stop;
mod throttles;
mod words;
