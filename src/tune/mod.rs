//! Floor 6: fitting the machine and the server to each other.

pub mod doctor;
mod machine;
