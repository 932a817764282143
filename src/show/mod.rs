//! Floor 5: what people are shown, whichever door they came by. Figures, tables, pictures, progress.

pub mod axis;
pub mod chart;
pub mod figure;
pub mod grid;
pub mod heat;
pub mod latency;
pub mod pen;
pub mod progress;
pub mod tell;
