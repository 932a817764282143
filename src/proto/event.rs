//! Watch events: what the server tells a client unasked.

use super::frame;
use super::jute::Writer;
use super::reply;
use crate::ground::ids::Zxid;

/// What happened to the path an event names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i32)]
pub enum EventType {
    /// The znode was created.
    NodeCreated = 1,
    /// The znode was deleted.
    NodeDeleted = 2,
    /// Its data was set.
    NodeDataChanged = 3,
    /// A child came or went.
    NodeChildrenChanged = 4,
}

/// The only state a server ever sends.
const SYNC_CONNECTED: i32 = 3;

/// xid of a notification.
pub const NOTIFICATION_XID: i32 = -1;

/// Appends the whole frame of an event. `zxid` is that of the transaction, -1 for events made by setWatches.
pub fn encode(out: &mut Vec<u8>, zxid: i64, kind: EventType, path: &str) {
    let body = frame::open(out);
    reply::header(out, NOTIFICATION_XID, Zxid::from_wire(zxid), 0);
    out.int(kind as i32);
    out.int(SYNC_CONNECTED);
    out.string(path);
    frame::close(out, body);
}
