//! Floor 4: the world of production. Sockets, disks, clocks and cores for the engines, through glommio.
//!
//! There are no decisions here: a loop moves bytes, waits, and calls an engine. glommio is named in this room only; what it
//! needs to be lived with (a tick in every executor, breathing through the ring, shutting sockets before dropping them,
//! segments written with zeros ahead of use) is done here and nowhere else.

pub mod acceptor;
pub mod archivist_loop;
pub mod bell;
pub mod chance;
pub mod clock;
pub mod conn_io;
pub mod cores;
pub mod disk;
pub mod drive;
pub mod history;
pub mod holdings;
pub mod images;
#[cfg(test)]
pub mod journal;
pub mod keeper;
pub mod member;
pub mod member_log;
pub mod mesh;
pub mod papers;
pub mod peer_io;
pub mod pool;
pub mod preparer;
pub mod scrubber;
pub mod sequencer_loop;
pub mod shard_loop;
pub mod state_in;
pub mod state_out;
