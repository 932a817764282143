//! Recovery matrix: each way in which a directory can be wrong at start, many times over, on the recovery code itself, as a server
//! that runs alone answers it. Rows 15, 19, 26, 27 and 28 need peers and come with the ensemble. Rows 10, 22 to 25 and 30 are about
//! a process and its files: `tests/server` has 10, 22, 23 and 24, `src/engine/rig/room.rs` 24 without a disk and `tests/ensemble` 24
//! of a member; 25 is the archivist's.

mod log;
mod papers;
mod world;
