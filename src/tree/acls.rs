//! Interned access control lists: equal lists are one allocation, however many znodes carry them.

use std::sync::LazyLock;

use ahash::RandomState;
use hashbrown::HashTable;
use triomphe::Arc;

use crate::proto::acl::Acl;

/// A list as records share it.
#[derive(PartialEq, Eq, Debug)]
pub struct AclList(pub Box<[Acl]>);

static OPEN: LazyLock<[Acl; 1]> = LazyLock::new(|| [Acl::open()]);

/// The list of a znode that anybody may do anything to.
#[must_use]
pub fn open() -> &'static [Acl] {
    &*OPEN
}

/// Lists below this number are not worth a sweep.
const SWEEP_MIN: usize = 64;

/// The lists in use.
#[derive(Debug)]
pub(super) struct Acls {
    hasher: RandomState,
    lists: HashTable<Arc<AclList>>,
    sweep_at: usize,
}

impl Acls {
    pub(super) const fn new(hasher: RandomState) -> Self {
        Self { hasher, lists: HashTable::new(), sweep_at: SWEEP_MIN }
    }

    /// The shared form of `list`; `None` stands for the open list, which most znodes have.
    pub(super) fn intern(&mut self, list: &[Acl]) -> Option<Arc<AclList>> {
        if matches!(list, [only] if only.is_open()) {
            return None;
        }
        let hash = self.hasher.hash_one(list);
        if let Some(known) = self.lists.find(hash, |known| *known.0 == *list) {
            return Some(known.clone());
        }
        if self.lists.len() >= self.sweep_at {
            // What is left depends on when Views let go, but only memory does: no answer follows from it.
            self.lists.retain(|known| !known.is_unique());
            self.sweep_at = SWEEP_MIN.max(2 * self.lists.len());
        }
        let new = Arc::new(AclList(list.into()));
        self.lists.insert_unique(hash, new.clone(), |known| self.hasher.hash_one(&known.0[..]));
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_are_shared_and_unused_ones_swept() {
        let mut acls = Acls::new(RandomState::with_seeds(1, 2, 3, 4));
        assert!(acls.intern(&[Acl::open()]).is_none());
        let list = [Acl::new(1, "world", "anyone")];
        let (a, b) = (acls.intern(&list).unwrap(), acls.intern(&list).unwrap());
        assert!(Arc::ptr_eq(&a, &b));
        for n in 0..10 * SWEEP_MIN {
            acls.intern(&[Acl::new(1, "ip", &n.to_string())]);
        }
        assert!(acls.lists.len() <= 2 * SWEEP_MIN, "{}", acls.lists.len());
        assert!(Arc::ptr_eq(&a, &acls.intern(&list).unwrap()));
    }

    #[test]
    fn an_empty_list_is_not_the_open_list() {
        assert!(Acls::new(RandomState::with_seeds(1, 2, 3, 4)).intern(&[]).is_some_and(|list| list.0.is_empty()));
    }
}
