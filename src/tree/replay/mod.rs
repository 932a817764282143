//! Replay: transactions taken again over a snapshot that may hold the effects of some of them already, by ZooKeeper's rules. The strict
//! [`super::tree::Tree`] never does that.

pub mod change;
pub mod fuzzy;
pub mod model;
pub mod znode;
