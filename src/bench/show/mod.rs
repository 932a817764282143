//! Show: what runs measured, as tables, pictures, reports and files.

pub mod caption;
pub mod date;
pub mod hlog;
pub mod origin;
pub mod plot;
pub mod report;
pub mod results;
#[cfg(test)]
pub mod sample;
pub mod table;
