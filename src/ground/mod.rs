//! Floor 0: what is counted. Ids, limits, time values and the checked cursor over bytes.

pub mod cursor;
pub mod ids;
pub mod limits;
pub mod time;
