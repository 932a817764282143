//! Conns: the connections of a shard, in slots whose generations tell their users apart.

use std::collections::VecDeque;

use super::conn::Conn;
use crate::ground::ids::{ConnId, SessionId};

/// Connections with nothing but events to write that have their turn at once. If a znode with more watchers changes, the others wait for the
/// turns that follow, so that replies need not wait for all of them.
const TOLD_A_TURN: usize = 1024;

/// Those that are left over have so much room in each turn.
const LEFT_OVER_A_TURN: usize = 128;

#[derive(Default)]
pub(super) struct Conns {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Connections that have output, or end; each once.
    dirty: Vec<ConnId>,
    /// Connections that have been told of a change of which too many were told for one turn; each once, in order.
    told: VecDeque<ConnId>,
    len: usize,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    conn: Option<Box<Conn>>,
}

impl Conns {
    pub(super) fn insert(&mut self, conn: Conn) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("file descriptors run out long before slots")
        });
        let entry = &mut self.slots[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.conn = Some(Box::new(conn));
        self.len += 1;
        ConnId { slot, generation: entry.generation }
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Box<Conn>> {
        let entry = self.slots.get_mut(id.slot as usize)?;
        if entry.generation != id.generation {
            return None;
        }
        let conn = entry.conn.take()?;
        self.free.push(id.slot);
        self.len -= 1;
        Some(conn)
    }

    pub(super) fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        let entry = self.slots.get_mut(id.slot as usize)?;
        if entry.generation == id.generation { entry.conn.as_deref_mut() } else { None }
    }

    pub(super) fn at_slot(&mut self, slot: u32) -> Option<&mut Conn> {
        self.slots.get_mut(slot as usize)?.conn.as_deref_mut()
    }

    pub(super) fn id_at(&self, slot: u32) -> Option<ConnId> {
        let entry = self.slots.get(slot as usize)?;
        entry.conn.as_ref()?;
        Some(ConnId { slot, generation: entry.generation })
    }

    pub(super) fn session_at(&self, slot: u32) -> Option<SessionId> {
        Some(self.slots.get(slot as usize)?.conn.as_deref()?.session)
    }

    pub(super) fn mark_dirty(&mut self, slot: u32) {
        let Some(entry) = self.slots.get_mut(slot as usize) else { return };
        if let Some(conn) = entry.conn.as_deref_mut()
            && !conn.is_dirty
        {
            conn.is_dirty = true;
            self.dirty.push(ConnId { slot, generation: entry.generation });
        }
    }

    /// The same for a connection that has been given an event.
    pub(super) fn mark_told(&mut self, slot: u32) {
        if self.dirty.len() < TOLD_A_TURN {
            return self.mark_dirty(slot);
        }
        let Some(entry) = self.slots.get_mut(slot as usize) else { return };
        if let Some(conn) = entry.conn.as_deref_mut()
            && !conn.is_dirty
            && !conn.is_told
        {
            conn.is_told = true;
            self.told.push_back(ConnId { slot, generation: entry.generation });
        }
    }

    /// Whether some wait for a later turn.
    pub(super) fn has_told(&self) -> bool {
        !self.told.is_empty()
    }

    pub(super) fn take_dirty(&mut self, into: &mut Vec<ConnId>) {
        let room = TOLD_A_TURN.saturating_sub(self.dirty.len()).max(LEFT_OVER_A_TURN);
        for id in self.dirty.drain(..) {
            let entry = &mut self.slots[id.slot as usize];
            if let Some(conn) = entry.conn.as_deref_mut()
                && entry.generation == id.generation
            {
                conn.is_dirty = false;
                into.push(id);
            }
        }
        for _ in 0..room {
            let Some(id) = self.told.pop_front() else { break };
            if let Some(conn) = self.get(id) {
                conn.is_told = false;
                into.push(id);
            }
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.slots.iter().enumerate().filter_map(|(slot, entry)| {
            let conn = entry.conn.as_deref()?;
            let slot = u32::try_from(slot).expect("slots are counted in u32");
            Some((ConnId { slot, generation: entry.generation }, conn))
        })
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Conn> {
        self.slots.iter_mut().filter_map(|entry| entry.conn.as_deref_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::time::Now;

    fn crowd(n: usize) -> (Conns, Vec<ConnId>) {
        let mut conns = Conns::default();
        let ids = (0..n).map(|_| conns.insert(Conn::new("127.0.0.1:1".parse().unwrap(), Now::default()))).collect();
        (conns, ids)
    }

    fn turn(conns: &mut Conns) -> Vec<ConnId> {
        let mut taken = Vec::new();
        conns.take_dirty(&mut taken);
        taken
    }

    #[test]
    fn a_reply_waits_for_no_crowd_and_the_crowd_for_few_replies() {
        let (mut conns, ids) = crowd(5000);
        for id in &ids {
            conns.mark_told(id.slot);
            conns.mark_told(id.slot);
        }
        assert_eq!(turn(&mut conns), ids[..TOLD_A_TURN + LEFT_OVER_A_TURN], "in order");
        let (first, last) = (ids[0], ids[4999]);
        conns.mark_dirty(last.slot);
        conns.mark_dirty(first.slot);
        let next = turn(&mut conns);
        assert_eq!((next.len(), next[0], next[1]), (TOLD_A_TURN, last, first));
        // Whoever comes without end leaves room for those left over.
        for id in &ids[..3000] {
            conns.mark_dirty(id.slot);
        }
        assert_eq!(turn(&mut conns).len(), 3000 + LEFT_OVER_A_TURN);
        let rest: usize = std::iter::from_fn(|| Some(turn(&mut conns).len()).filter(|n| *n > 0)).sum();
        let told = 5000 - (TOLD_A_TURN + LEFT_OVER_A_TURN) - (TOLD_A_TURN - 2) - LEFT_OVER_A_TURN;
        assert_eq!(rest, told, "each once");
        assert!(!conns.has_told());
    }

    #[test]
    fn events_without_end_wait_in_bounded_room() {
        let (mut conns, ids) = crowd(3000);
        for _ in 0..100 {
            for id in &ids {
                conns.mark_told(id.slot);
            }
            turn(&mut conns);
        }
        assert!(conns.told.len() <= ids.len() && conns.dirty.is_empty());
        for id in &ids {
            conns.remove(*id);
        }
        while conns.has_told() {
            assert_eq!(turn(&mut conns), [], "who is gone is told nothing");
        }
    }
}
