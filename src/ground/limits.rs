//! Limits: every bound in the server, with the relations between them proved at compile time.

/// Unit of all log writes and their alignment, bytes. Devices report 512; 4096 is right for every drive we know.
pub const BLOCK: usize = 4096;

/// Largest frame a client may send, bytes (`jute.maxbuffer`, ZooKeeper's default 0xfffff).
pub const FRAME_MAX_DEFAULT: usize = 0x000f_ffff;

/// Largest value that `jute.maxbuffer` may be raised to here, bytes.
pub const FRAME_MAX_CEILING: usize = 64 << 20;

/// Of a write that is longer than `jute.maxbuffer`: up to so many times that it is passed over and refused; a longer one ends the connection.
pub const OVERLONG_TIMES: usize = 2;

/// Bytes read from one socket in one turn, so that no client starves its neighbours.
pub const READ_CHUNK: usize = 64 << 10;

/// Requests of one connection that may wait for a write's answer; then its socket is not read.
pub const LANE_MAX: usize = 4096;

/// Bytes of requests of one connection that may wait behind a write; then its socket is not read.
pub const LANE_BYTES_MAX: usize = 4 << 20;

/// Bytes of replies and events a connection may hold before its requests wait.
pub const OUTPUT_PAUSE: usize = 1 << 20;

/// Bytes of replies and events a connection may hold before it is closed: it does not read.
pub const OUTPUT_MAX: usize = 16 << 20;

/// Milliseconds a connection may leave its full output unread before it is closed.
pub const OUTPUT_STUCK_MS: u64 = 30_000;

/// Bytes of requests one shard may have inside the sequencer; then it stops reading sockets (its credit).
pub const SHARD_CREDIT_BYTES: usize = 32 << 20;

/// Requests one shard may have inside the sequencer.
pub const SHARD_CREDIT_REQUESTS: usize = 64 << 10;

/// Messages in one ring of the mesh.
pub const MESH_RING: usize = 1024;

/// Bytes of batches that may wait for the slowest shard; then the sequencer admits no requests.
pub const OUTWARD_BYTES_MAX: usize = 256 << 20;

/// Log bytes of batches that may wait for the archivist while it writes an image; then it gives the image up.
pub const ARCHIVIST_BYTES_MAX: usize = 128 << 20;

/// Payload bytes at which a batch closes even though it could wait.
pub const BATCH_BYTES_DEFAULT: usize = 1 << 20;

/// Largest payload of one batch, bytes: the closing size plus the largest transaction a request can make.
pub const BATCH_BYTES_MAX: usize = BATCH_BYTES_DEFAULT + TXN_BYTES_MAX + BLOCK;

/// Largest transaction blob, bytes. Java readers refuse more than twice `jute.maxbuffer`.
pub const TXN_BYTES_MAX: usize = 2 * FRAME_MAX_DEFAULT;

/// Flushes in flight at most, whatever the configuration says.
pub const FLIGHTS_MAX: usize = 16;

/// Smallest log segment, bytes.
pub const SEGMENT_MIN: usize = 16 << 20;

/// Default log segment, bytes (ZooKeeper's `preAllocSize`).
pub const SEGMENT_DEFAULT: usize = 64 << 20;

/// Payloads up to this many bytes stay inside their record; larger ones are counted apart.
pub const INLINE_PAYLOAD_MAX: usize = 192;

const _: () = assert!(SEGMENT_MIN > 2 * (BATCH_BYTES_MAX + 2 * BLOCK));
const _: () = assert!(OUTPUT_PAUSE < OUTPUT_MAX);
const _: () = assert!(SHARD_CREDIT_BYTES > FRAME_MAX_DEFAULT);
const _: () = assert!(BLOCK.is_power_of_two());
