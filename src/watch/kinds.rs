//! Kinds: who watches, what a watch waits for, and what can set it off.

/// Who watches: the slot of a connection in its shard's table. Slots are dense, counted from 0 and used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WatcherId(pub u32);

/// What a watch waits for, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// exists and getData: the znode is created, deleted or its data set. Once.
    Data,
    /// getChildren: a child comes or goes, or the znode itself is deleted. Once.
    Child,
    /// addWatch: both of these, until it is removed.
    Persistent,
    /// addWatch: the znode or any below it is created, deleted or its data set, until it is removed. It does not hear of children:
    /// it hears of each by itself.
    Recursive,
}

/// What a committed transaction did to a path, as far as watches care.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fired {
    /// The znode was created: data watches (left by exists), persistent and recursive ones fire.
    Created,
    /// Its data was set: data, persistent and recursive watches fire.
    DataChanged,
    /// A child came or went: child and persistent watches fire.
    ChildrenChanged,
    /// The znode was deleted: data, persistent and recursive watches fire, then child watches of watchers not yet told.
    Deleted,
}

/// The kinds of watches that one watcher has on one path, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kinds(u8);

impl Kinds {
    pub(super) const NONE: Self = Self(0);
    pub(super) const DATA: Self = Self(1);
    pub(super) const CHILD: Self = Self(2);
    pub(super) const PERSISTENT: Self = Self(4);
    pub(super) const RECURSIVE: Self = Self(8);
    /// Every kind.
    pub const ANY: Self = Self(15);
    /// All that one event uses up.
    pub(super) const STANDARD: Self = Self::DATA.with(Self::CHILD);
    /// What ZooKeeper keeps in its table of data watches.
    pub(super) const DATA_TABLE: Self = Self::DATA.with(Self::PERSISTENT).with(Self::RECURSIVE);
    /// What ZooKeeper keeps in its table of child watches; a persistent watch is in both.
    pub(super) const CHILD_TABLE: Self = Self::CHILD.with(Self::PERSISTENT);

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

impl From<Kind> for Kinds {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Data => Self::DATA,
            Kind::Child => Self::CHILD,
            Kind::Persistent => Self::PERSISTENT,
            Kind::Recursive => Self::RECURSIVE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_a_set() {
        let both = Kinds::from(Kind::Data).with(Kinds::from(Kind::Child));
        assert_eq!(both, Kinds::STANDARD);
        assert!(both.has(Kinds::DATA) && both.has(Kinds::CHILD));
        assert_eq!(both.without(Kinds::CHILD), Kinds::DATA);
        assert_eq!(both.without(Kinds::STANDARD), Kinds::NONE);
        assert!(!Kinds::NONE.has(Kinds::ANY));
        let all = [Kind::Data, Kind::Child, Kind::Persistent, Kind::Recursive].map(Kinds::from);
        assert_eq!(all.into_iter().fold(Kinds::NONE, Kinds::with), Kinds::ANY);
    }
}
