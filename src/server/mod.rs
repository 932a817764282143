//! Floor 5: the building manager. Configuration and boot.

pub mod boot;
pub mod config;
