//! Conns: the connections of a shard, in slots whose generations tell their users apart.

use super::conn::Conn;
use crate::ground::ids::{ConnId, SessionId};

#[derive(Default)]
pub(super) struct Conns {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Connections that have output, or end; each once.
    dirty: Vec<ConnId>,
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

    pub(super) fn take_dirty(&mut self, into: &mut Vec<ConnId>) {
        for id in self.dirty.drain(..) {
            let entry = &mut self.slots[id.slot as usize];
            if let Some(conn) = entry.conn.as_deref_mut()
                && entry.generation == id.generation
            {
                conn.is_dirty = false;
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
