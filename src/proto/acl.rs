//! Access control lists: permissions given to identities of a scheme.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::jute::{Malformed, Reader, Writer};

/// May read data and list children.
pub const READ: i32 = 1;
/// May set data.
pub const WRITE: i32 = 2;
/// May create children.
pub const CREATE: i32 = 4;
/// May delete children.
pub const DELETE: i32 = 8;
/// May set the ACL.
pub const ADMIN: i32 = 16;
/// All five.
pub const ALL: i32 = 31;

/// One entry of a list as stored: permissions, scheme and id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Acl {
    /// Permission bits; bits above 16 are kept as sent.
    pub perms: i32,
    /// `world`, `digest`, `ip`...
    pub scheme: Box<str>,
    /// Identity within the scheme.
    pub id: Box<str>,
}

impl Acl {
    /// An entry.
    #[must_use]
    pub fn new(perms: i32, scheme: &str, id: &str) -> Self {
        Self { perms, scheme: scheme.into(), id: id.into() }
    }

    /// Everything for everybody, ZooKeeper's `OPEN_ACL_UNSAFE`.
    #[must_use]
    pub fn open() -> Self {
        Self::new(ALL, "world", "anyone")
    }

    /// Whether the entry is [`Acl::open`].
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.perms == ALL && &*self.scheme == "world" && &*self.id == "anyone"
    }
}

/// One entry as a request carries it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AclRef<'a> {
    /// Permission bits.
    pub perms: i32,
    /// Scheme, null where a hostile client sends null.
    pub scheme: Option<Cow<'a, str>>,
    /// Id, null where a hostile client sends null.
    pub id: Option<Cow<'a, str>>,
}

/// A list as a request carries it.
pub type AclRefs<'a> = SmallVec<[AclRef<'a>; 1]>;

/// Reads a list, which may be null.
pub fn decode_or_null<'a>(r: &mut Reader<'a>) -> Result<Option<AclRefs<'a>>, Malformed> {
    let Some(count) = r.count()? else { return Ok(None) };
    let mut list = AclRefs::new();
    for _ in 0..count {
        list.push(AclRef { perms: r.int()?, scheme: r.string_or_null()?, id: r.string_or_null()? });
    }
    Ok(Some(list))
}

/// Reads a list as a transaction record holds it, with neither nulls nor `auth` in it.
pub fn decode_stored(r: &mut Reader<'_>) -> Result<Vec<Acl>, Malformed> {
    let count = r.count()?.unwrap_or(0);
    let mut list = Vec::new();
    for _ in 0..count {
        let perms = r.int()?;
        let scheme = r.string()?;
        let id = r.string()?;
        list.push(Acl::new(perms, &scheme, &id));
    }
    Ok(list)
}

/// Appends a list.
pub fn encode(out: &mut Vec<u8>, list: &[Acl]) {
    out.count(list.len());
    for acl in list {
        out.int(acl.perms);
        out.string(&acl.scheme);
        out.string(&acl.id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn round_trip_and_open() {
        let list = vec![Acl::open(), Acl::new(READ, "digest", "u:h")];
        let mut out = Vec::new();
        encode(&mut out, &list);
        assert_eq!(decode_stored(&mut Reader::new(&out)).unwrap(), list);
        let refs = decode_or_null(&mut Reader::new(&out)).unwrap().unwrap();
        assert_eq!(refs[1].scheme.as_deref(), Some("digest"));
        assert!(list[0].is_open() && !list[1].is_open());
    }

    #[test]
    fn a_list_that_promises_more_than_it_has_is_short() {
        assert_eq!(decode_or_null(&mut Reader::new(&[0x7f, 0xff, 0xff, 0xff, 0, 0])), Err(Malformed::Short));
    }

    proptest! {
        #[test]
        fn lists_round_trip(list in prop::collection::vec((any::<i32>(), "[a-z]{0,6}", ".{0,12}"), 0..9)) {
            let list: Vec<_> = list.iter().map(|(perms, scheme, id)| Acl::new(*perms, scheme, id)).collect();
            let mut out = Vec::new();
            encode(&mut out, &list);
            prop_assert_eq!(decode_stored(&mut Reader::new(&out)).unwrap(), list.clone());
            let refs = decode_or_null(&mut Reader::new(&out)).unwrap().unwrap();
            let again: Vec<_> = refs.iter().map(|r| Acl::new(r.perms, r.scheme.as_ref().unwrap(), r.id.as_ref().unwrap())).collect();
            prop_assert_eq!(again, list);
            for len in 0..out.len() {
                prop_assert_eq!(decode_or_null(&mut Reader::new(&out[..len])), Err(Malformed::Short));
            }
        }

        #[test]
        fn arbitrary_bytes_make_no_more_entries_than_they_hold(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(255), any::<u8>()], 0..300)) {
            if let Ok(Some(list)) = decode_or_null(&mut Reader::new(&bytes)) {
                prop_assert!(list.len() * 12 + 4 <= bytes.len().max(4));
            }
            let _ = decode_stored(&mut Reader::new(&bytes));
        }
    }
}
