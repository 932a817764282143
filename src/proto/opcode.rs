//! Operation codes of request headers and transaction headers.

/// `notification`; never sent by a client.
pub const NOTIFICATION: i32 = 0;
/// `create`.
pub const CREATE: i32 = 1;
/// `delete`.
pub const DELETE: i32 = 2;
/// `exists`.
pub const EXISTS: i32 = 3;
/// `getData`.
pub const GET_DATA: i32 = 4;
/// `setData`.
pub const SET_DATA: i32 = 5;
/// `getACL`.
pub const GET_ACL: i32 = 6;
/// `setACL`.
pub const SET_ACL: i32 = 7;
/// `getChildren`.
pub const GET_CHILDREN: i32 = 8;
/// `sync`.
pub const SYNC: i32 = 9;
/// `ping`.
pub const PING: i32 = 11;
/// `getChildren2`.
pub const GET_CHILDREN2: i32 = 12;
/// `check`, inside a multi only.
pub const CHECK: i32 = 13;
/// `multi`.
pub const MULTI: i32 = 14;
/// `create2`.
pub const CREATE2: i32 = 15;
/// `reconfig`.
pub const RECONFIG: i32 = 16;
/// `checkWatches`.
pub const CHECK_WATCHES: i32 = 17;
/// `removeWatches`.
pub const REMOVE_WATCHES: i32 = 18;
/// `createContainer`.
pub const CREATE_CONTAINER: i32 = 19;
/// `deleteContainer`; of the server itself, refused from clients.
pub const DELETE_CONTAINER: i32 = 20;
/// `createTTL`.
pub const CREATE_TTL: i32 = 21;
/// `multiRead`.
pub const MULTI_READ: i32 = 22;
/// `auth`.
pub const AUTH: i32 = 100;
/// `setWatches`.
pub const SET_WATCHES: i32 = 101;
/// `sasl`.
pub const SASL: i32 = 102;
/// `getEphemerals`.
pub const GET_EPHEMERALS: i32 = 103;
/// `getAllChildrenNumber`.
pub const GET_ALL_CHILDREN_NUMBER: i32 = 104;
/// `setWatches2`.
pub const SET_WATCHES2: i32 = 105;
/// `addWatch`.
pub const ADD_WATCH: i32 = 106;
/// `whoAmI`.
pub const WHO_AM_I: i32 = 107;
/// `createSession`; a transaction type, refused from clients.
pub const CREATE_SESSION: i32 = -10;
/// `closeSession`.
pub const CLOSE_SESSION: i32 = -11;
/// `error`; a transaction type only.
pub const ERROR: i32 = -1;

/// The four letters that `cons` shows for an operation (`Request.op2String`, first letters of `RequestHeader` names).
#[must_use]
pub const fn short_name(op: i32) -> &'static str {
    match op {
        CREATE_SESSION => "SESS",
        PING => "PING",
        CREATE | CREATE2 | CREATE_CONTAINER | CREATE_TTL => "CREA",
        DELETE | DELETE_CONTAINER => "DELE",
        SET_DATA => "SETD",
        GET_DATA => "GETD",
        EXISTS => "EXIS",
        GET_CHILDREN | GET_CHILDREN2 => "GETC",
        GET_ALL_CHILDREN_NUMBER => "GETACN",
        GET_ACL => "GETA",
        SET_ACL => "SETA",
        MULTI => "MULT",
        MULTI_READ => "MLTR",
        SYNC => "SYNC",
        CHECK => "CHEC",
        SET_WATCHES => "SETW",
        SET_WATCHES2 => "STW2",
        ADD_WATCH => "ADDW",
        CHECK_WATCHES => "CHKW",
        REMOVE_WATCHES => "REMW",
        WHO_AM_I => "HOMI",
        GET_EPHEMERALS => "GETE",
        RECONFIG => "RECO",
        CLOSE_SESSION => "CLOS",
        _ => "NA",
    }
}
