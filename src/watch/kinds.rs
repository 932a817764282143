//! Kinds: who watches, what a watch waits for, and what can set it off.

/// Who watches: the slot of a connection in its shard's table. Slots are dense, counted from 0 and used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WatcherId(pub u32);

/// What a standard watch waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// exists and getData: the znode is created, deleted or its data set.
    Data,
    /// getChildren: a child comes or goes, or the znode itself is deleted.
    Child,
}

/// What a committed transaction did to a path, as far as watches care.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fired {
    /// The znode was created: data watches (left by exists) fire.
    Created,
    /// Its data was set: data watches fire.
    DataChanged,
    /// A child came or went: child watches fire.
    ChildrenChanged,
    /// The znode was deleted: data watches fire, then child watches of watchers not yet told.
    Deleted,
}

/// The modes in which one watcher watches one path, a bit each. Persistent and recursive watches will be two more bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Modes(u8);

impl Modes {
    pub(super) const NONE: Self = Self(0);
    pub(super) const DATA: Self = Self(1);
    pub(super) const CHILD: Self = Self(2);
    /// All that one event uses up.
    pub(super) const STANDARD: Self = Self(3);

    pub(super) const fn has(self, any_of: Self) -> bool {
        self.0 & any_of.0 != 0
    }

    pub(super) const fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    pub(super) const fn without(self, less: Self) -> Self {
        Self(self.0 & !less.0)
    }
}

impl From<Kind> for Modes {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Data => Self::DATA,
            Kind::Child => Self::CHILD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_a_set() {
        let both = Modes::from(Kind::Data).with(Modes::from(Kind::Child));
        assert_eq!(both, Modes::STANDARD);
        assert!(both.has(Modes::DATA) && both.has(Modes::CHILD));
        assert_eq!(both.without(Modes::CHILD), Modes::DATA);
        assert_eq!(both.without(Modes::STANDARD), Modes::NONE);
        assert!(!Modes::NONE.has(Modes::STANDARD));
    }
}
