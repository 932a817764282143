//! server.

pub mod admin;
