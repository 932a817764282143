//! Reads: answers from the shard's own View, with watches left in the same breath.

use super::Desk;
use super::conn::Conn;
use crate::auth;
use crate::ground::ids::ConnId;
use crate::ground::limits;
use crate::proto::acl;
use crate::proto::code::Code;
use crate::proto::event;
use crate::proto::frame;
use crate::proto::jute::{Reader, Writer};
use crate::proto::multi::{self, MultiHeader, Read};
use crate::proto::opcode;
use crate::proto::path;
use crate::proto::reply;
use crate::proto::request::{AddWatch, PathWatch, SetWatches, WatchMode, WatchType, WatchesOf};
use crate::proto::stat;
use crate::tree::record::Record;
use crate::watch::rewatch::{self, Rewatch};
use crate::watch::{Kind, Kinds, WatcherId};

/// Largest answer to a multiRead, bytes. ZooKeeper has no limit, but its clients take no more than four times `jute.maxbuffer`.
const REPLY_MAX: usize = limits::OUTPUT_MAX / 2;

/// zxid of the events that setWatches makes.
const NO_ZXID: i64 = -1;

/// Answers one read into the connection's output: a frame with its body, or a bare header with the refusal.
pub(super) fn serve(desk: &mut Desk, conn: &mut Conn, id: ConnId, xid: i32, op: i32, body: &[u8]) {
    let mut r = Reader::new(body);
    let zxid = desk.applied;
    if matches!(op, opcode::SET_WATCHES | opcode::SET_WATCHES2) {
        // Its events go out before its reply.
        let code = match SetWatches::decode(op, &mut r) {
            Ok(request) => {
                set_watches(desk, conn, id, &request);
                Code::Ok
            }
            Err(_) => Code::MarshallingError,
        };
        reply::bare(&mut conn.out, xid, zxid, code);
        return;
    }
    let start = frame::open(&mut conn.out);
    reply::header(&mut conn.out, xid, zxid, 0);
    match read(desk, conn, id, op, &mut r) {
        Ok(()) => frame::close(&mut conn.out, start),
        Err(code) => {
            conn.out.truncate(start - 4);
            reply::bare(&mut conn.out, xid, zxid, code);
        }
    }
}

/// Bytes that the answer to a read would have, roughly, if it were served now. It is parked behind a write, and all that is
/// parked is answered at once.
pub(super) fn weight(desk: &Desk, conn: &Conn, op: i32, body: &[u8]) -> usize {
    let mut r = Reader::new(body);
    match op {
        opcode::GET_DATA | opcode::GET_CHILDREN | opcode::GET_CHILDREN2 => {
            path_watch(&mut r).map_or(0, |ask| weight_of(desk, op, &ask.path))
        }
        opcode::MULTI_READ => {
            let members = multi::decode_reads(&mut r).unwrap_or_default();
            let weights = members.iter().map(|member| match member {
                Read::Data(ask) => weight_of(desk, opcode::GET_DATA, &ask.path),
                Read::Children(ask) => weight_of(desk, opcode::GET_CHILDREN, &ask.path),
            });
            weights.sum::<usize>().min(REPLY_MAX)
        }
        opcode::GET_EPHEMERALS => desk.view.ephemeral_bytes(conn.session),
        opcode::WHO_AM_I => conn.who.iter().map(|identity| 8 + identity.scheme.len() + desk.auth.user_name(identity).len()).sum(),
        // Events repeat the paths, each with some thirty bytes around it.
        opcode::SET_WATCHES | opcode::SET_WATCHES2 => body.len() * 8,
        _ => body.len(),
    }
}

fn weight_of(desk: &Desk, op: i32, path: &str) -> usize {
    /// Bytes of a child's name, more or less.
    const NAME: usize = 64;
    let Some(node) = desk.view.get(path) else { return 0 };
    if op == opcode::GET_DATA { node.data_len() } else { usize::try_from(node.num_children()).unwrap_or(0) * NAME }
}

fn read(desk: &mut Desk, conn: &mut Conn, id: ConnId, op: i32, r: &mut Reader<'_>) -> Result<(), Code> {
    match op {
        opcode::GET_DATA => {
            let ask = path_watch(r)?;
            get_data(desk, conn, &ask)?;
            watch(desk, id, &ask, Kind::Data);
        }
        opcode::EXISTS => {
            let ask = path_watch(r)?;
            if ask.path.contains('\0') {
                return Err(Code::BadArguments);
            }
            if let Some(node) = desk.view.get(&ask.path) {
                permit(desk, conn, node, acl::READ)?;
            }
            // A watch is left even where the znode is missing: it waits for the creation.
            watch(desk, id, &ask, Kind::Data);
            find(desk, &ask.path)?.stat().encode(&mut conn.out);
        }
        opcode::GET_CHILDREN | opcode::GET_CHILDREN2 => {
            let ask = path_watch(r)?;
            get_children(desk, conn, &ask, op == opcode::GET_CHILDREN2)?;
            watch(desk, id, &ask, Kind::Child);
        }
        opcode::GET_ACL => {
            let path = r.string().map_err(|_| Code::MarshallingError)?;
            let node = find(desk, rooted(&path))?;
            permit(desk, conn, node, acl::READ | acl::ADMIN)?;
            if permit(desk, conn, node, acl::ADMIN).is_ok() {
                acl::encode(&mut conn.out, node.acl());
            } else {
                acl::encode(&mut conn.out, &auth::masked(node.acl()));
            }
            node.stat().encode(&mut conn.out);
        }
        opcode::SYNC => {
            let path = r.string_or_null().map_err(|_| Code::MarshallingError)?;
            conn.out.buffer(path.as_deref().map(str::as_bytes));
        }
        opcode::MULTI_READ => multi_read(desk, conn, r)?,
        opcode::ADD_WATCH => {
            // Neither a legal path, nor a znode, nor READ is asked for: events ask, each for its own znode.
            let ask = AddWatch::decode(r).map_err(|_| Code::MarshallingError)?;
            let kind = match ask.mode {
                WatchMode::Persistent => Kind::Persistent,
                WatchMode::Recursive => Kind::Recursive,
            };
            desk.watches.add(WatcherId(id.slot), &ask.path, kind);
            // The body is an ErrorResponse that says the same as the header.
            conn.out.int(Code::Ok.as_wire());
        }
        opcode::CHECK_WATCHES => {
            let ask = WatchesOf::decode(r).map_err(|_| Code::MarshallingError)?;
            if !desk.watches.contains(WatcherId(id.slot), &ask.path, kinds(ask.kind)) {
                return Err(Code::NoWatcher);
            }
        }
        opcode::REMOVE_WATCHES => {
            let ask = WatchesOf::decode(r).map_err(|_| Code::MarshallingError)?;
            if !desk.watches.remove(WatcherId(id.slot), &ask.path, kinds(ask.kind)) {
                return Err(Code::NoWatcher);
            }
        }
        opcode::GET_EPHEMERALS => {
            let prefix = r.string_or_null().map_err(|_| Code::MarshallingError)?;
            get_ephemerals(desk, conn, prefix.as_deref().unwrap_or_default());
        }
        opcode::GET_ALL_CHILDREN_NUMBER => {
            let path = r.string().map_err(|_| Code::MarshallingError)?;
            let slot = desk.view.find(rooted(&path)).ok_or(Code::NoNode)?;
            permit(desk, conn, desk.view.record(slot), acl::READ)?;
            // The empty path is no part of the root's, and the root is below it, as observed on ZooKeeper.
            let itself = usize::from(path.is_empty());
            conn.out.count(desk.view.descendants(slot) + itself);
        }
        opcode::WHO_AM_I => {
            let Conn { out, who, .. } = conn;
            out.count(who.iter().count());
            for identity in who.iter() {
                out.string(identity.scheme);
                out.string(desk.auth.user_name(identity));
            }
        }
        _ => unreachable!("only reads are served here"),
    }
    Ok(())
}

fn path_watch<'a>(r: &mut Reader<'a>) -> Result<PathWatch<'a>, Code> {
    let mut ask = PathWatch::decode(r).map_err(|_| Code::MarshallingError)?;
    if ask.path.is_empty() {
        ask.path = path::ROOT.into();
    }
    Ok(ask)
}

/// A read of the empty path answers as one of the root, as observed on ZooKeeper.
fn rooted(path: &str) -> &str {
    if path.is_empty() { path::ROOT } else { path }
}

fn find<'a>(desk: &'a Desk, path: &str) -> Result<&'a Record, Code> {
    desk.view.get(path).ok_or(Code::NoNode)
}

fn permit(desk: &Desk, conn: &Conn, node: &Record, wanted: i32) -> Result<(), Code> {
    if node.is_open() || auth::permits(node.acl(), wanted, &conn.who, &desk.auth) { Ok(()) } else { Err(Code::NoAuth) }
}

fn kinds(of: WatchType) -> Kinds {
    match of {
        WatchType::Children => Kind::Child.into(),
        WatchType::Data => Kind::Data.into(),
        WatchType::Any => Kinds::ANY,
        WatchType::Persistent => Kind::Persistent.into(),
        WatchType::Recursive => Kind::Recursive.into(),
    }
}

fn watch(desk: &mut Desk, id: ConnId, ask: &PathWatch<'_>, kind: Kind) {
    if ask.watch {
        desk.watches.add(WatcherId(id.slot), &ask.path, kind);
    }
}

fn get_data(desk: &Desk, conn: &mut Conn, ask: &PathWatch<'_>) -> Result<(), Code> {
    let node = find(desk, &ask.path)?;
    permit(desk, conn, node, acl::READ)?;
    stat::encode_data(&mut conn.out, node.data(), &node.stat());
    Ok(())
}

/// The session's own, which no ACL keeps from it. A prefix is one of text and not of names, as in ZooKeeper; none, and that of the root, has all.
fn get_ephemerals(desk: &Desk, conn: &mut Conn, prefix: &str) {
    let is_all = prefix.trim().is_empty() || prefix.trim() == path::ROOT;
    let Conn { out, session, .. } = conn;
    let paths = || desk.view.ephemerals(*session).filter(|path| is_all || path.starts_with(prefix));
    out.count(paths().count());
    paths().for_each(|path| out.string(path));
}

fn get_children(desk: &Desk, conn: &mut Conn, ask: &PathWatch<'_>, with_stat: bool) -> Result<(), Code> {
    let slot = desk.view.find(&ask.path).ok_or(Code::NoNode)?;
    let node = desk.view.record(slot);
    permit(desk, conn, node, acl::READ)?;
    conn.out.int(node.num_children());
    for name in desk.view.children(slot) {
        conn.out.string(name);
    }
    if with_stat {
        node.stat().encode(&mut conn.out);
    }
    Ok(())
}

fn multi_read(desk: &Desk, conn: &mut Conn, r: &mut Reader<'_>) -> Result<(), Code> {
    let start = conn.out.len();
    for mut member in multi::decode_reads(r).map_err(|_| Code::MarshallingError)? {
        let at = conn.out.len();
        let (Read::Data(ask) | Read::Children(ask)) = &mut member;
        if ask.path.is_empty() {
            ask.path = path::ROOT.into();
        }
        let result = match &member {
            Read::Data(ask) => {
                MultiHeader { op: opcode::GET_DATA, done: false, err: 0 }.encode(&mut conn.out);
                get_data(desk, conn, ask)
            }
            Read::Children(ask) => {
                MultiHeader { op: opcode::GET_CHILDREN, done: false, err: 0 }.encode(&mut conn.out);
                get_children(desk, conn, ask, false)
            }
        };
        if let Err(code) = result {
            conn.out.truncate(at);
            multi::encode_error(&mut conn.out, code.as_wire());
        }
        if conn.out.len() - start > REPLY_MAX {
            // A few bytes a member may ask for all of a large znode.
            return Err(Code::MarshallingError);
        }
    }
    MultiHeader::END.encode(&mut conn.out);
    Ok(())
}

/// Watches taken up again after a reconnection: what was missed is told at once, the rest is armed.
fn set_watches(desk: &mut Desk, conn: &mut Conn, id: ConnId, request: &SetWatches<'_>) {
    let seen = if cfg!(mutant = "m35") { desk.applied } else { request.relative_zxid };
    let Desk { view, watches, .. } = desk;
    let mut take_up = |path: &str, kind: Kind, decision: Rewatch| match decision {
        Rewatch::Fire(event) => {
            event::encode(&mut conn.out, NO_ZXID, event, path);
            conn.stats.sent += 1;
        }
        Rewatch::Arm => watches.add(WatcherId(id.slot), path, kind),
    };
    for path in request.data.iter().map(|path| rooted(path)) {
        take_up(path, Kind::Data, rewatch::data(seen, view.get(path).map(Record::mzxid)));
    }
    for path in request.exist.iter().map(|path| rooted(path)) {
        take_up(path, Kind::Data, rewatch::exist(view.get(path).map(Record::mzxid)));
    }
    for path in request.child.iter().map(|path| rooted(path)) {
        take_up(path, Kind::Child, rewatch::child(seen, view.get(path).map(Record::pzxid)));
    }
    // Those that stay are left again, and what they missed is not told: ZooKeeper tells nothing either.
    for path in &request.persistent {
        watches.add(WatcherId(id.slot), path, Kind::Persistent);
    }
    for path in &request.recursive {
        watches.add(WatcherId(id.slot), path, Kind::Recursive);
    }
}
