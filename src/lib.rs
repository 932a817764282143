//! Ringkeeper: a coordination server for ZooKeeper clients, thread per core on io_uring.
//!
//! The floors, from the ground up; a file imports only from lower floors or from its own room, and on floor 2 rooms do
//! not import each other (`tests/house.rs` keeps the rules, `docs/architecture.md` has the plan):
//!
//! 0. [`ground`]: what is counted
//! 1. [`proto`]: what is said
//! 2. [`tree`], [`watch`], [`session`], [`auth`], [`zab`], [`storage`]: the crafts
//! 3. [`engine`]: shard and sequencer, compositions that do no I/O
//! 4. [`runtime`], [`sim`] and [`client`]: the worlds
//! 5. [`server`]: configuration, boot, stop, admin words; [`show`]: figures, tables, pictures
//! 6. [`cli`], [`bench`], [`migrate`], [`recipes`], [`tune`]: the doors to the street

pub mod ground;

pub mod proto;

pub mod auth;
pub mod session;
pub mod storage;
pub mod tree;
pub mod watch;
pub mod zab;

pub mod engine;

pub mod client;
pub mod runtime;
pub mod sim;

pub mod server;
pub mod show;

pub mod bench;
pub mod cli;
pub mod migrate;
pub mod recipes;
pub mod tune;
