//! Show: what runs measured, as tables, pictures, reports and files.

pub mod axis;
pub mod caption;
pub mod chart;
pub mod date;
pub mod figure;
pub mod grid;
pub mod hlog;
pub mod origin;
pub mod pen;
pub mod plot;
pub mod report;
pub mod results;
#[cfg(test)]
pub mod sample;
pub mod table;
