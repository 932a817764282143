//! Sessions in an image: chunks of ids and timeouts, ascending.

use std::collections::BTreeMap;
use std::ops::Bound;

use rkyv::rancor::Failure;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Serialize};

use crate::ground::ids::SessionId;

/// Sessions of one chunk.
const CHUNK_SESSIONS: usize = 16 << 10;

/// One session.
#[derive(Archive, Serialize)]
struct Session {
    id: i64,
    timeout_ms: i32,
}

/// The chunk of the sessions after `after`, how many are in it, and the last of them.
pub(super) fn chunk(sessions: &BTreeMap<SessionId, i32>, after: Option<SessionId>) -> Option<(AlignedVec, u32, SessionId)> {
    let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
    let some: Vec<Session> = sessions
        .range(range)
        .take(CHUNK_SESSIONS)
        .map(|(id, timeout_ms)| Session { id: id.0, timeout_ms: *timeout_ms })
        .collect();
    let last = SessionId(some.last()?.id);
    let count = u32::try_from(some.len()).expect("a chunk is bounded");
    Some((rkyv::to_bytes::<Failure>(&some).expect("memory takes what fits into a chunk"), count, last))
}

/// The sessions of a chunk that announced so many. `None` where the bytes are something else.
pub(super) fn read(bytes: &[u8], announced: u32) -> Option<Vec<(SessionId, i32)>> {
    let archived = rkyv::access::<rkyv::vec::ArchivedVec<ArchivedSession>, Failure>(bytes).ok()?;
    let sessions = archived.iter().map(|session| (SessionId(session.id.to_native()), session.timeout_ms.to_native()));
    (archived.len() == announced as usize).then(|| sessions.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_go_both_ways() {
        let all: BTreeMap<_, _> = (-20_000..20_000).map(|id| (SessionId(id), 4000)).collect();
        let (mut after, mut back) = (None, Vec::new());
        while let Some((bytes, count, last)) = chunk(&all, after) {
            let read_back = read(&bytes, count).unwrap();
            assert!(read_back.len() <= CHUNK_SESSIONS && read(&bytes, count + 1).is_none());
            back.extend(read_back);
            after = Some(last);
        }
        assert_eq!(back, all.into_iter().collect::<Vec<_>>());
        assert_eq!(chunk(&BTreeMap::new(), None).map(|_| ()), None);
        assert!(read(&[], 0).is_none());
    }
}
