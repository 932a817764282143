//! Floor 5: the building manager. Configuration, boot, stop, and the admin words.

pub mod admin;
pub mod archive;
mod audit;
pub mod boot;
pub mod config;
pub mod in_use;
mod membership;
pub mod recover;
mod reload;

#[cfg(test)]
pub mod trial;
