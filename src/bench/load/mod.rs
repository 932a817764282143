//! Load: what keeps servers busy: requests, their arrivals, the connections that carry them.

pub mod arrivals;
pub mod generator;
pub mod line;
pub mod patience;
pub mod random;
pub mod requests;
pub mod setup;
