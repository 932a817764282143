//! Jute: ZooKeeper's record encoding, big-endian and without tags.

use std::borrow::Cow;

use crate::ground::cursor::{Cursor, Short};

/// The bytes are not the record they should be. The server answers MARSHALLINGERROR or closes the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The record ends early.
    #[error("record ends early")]
    Short,
    /// A length below -1.
    #[error("negative length")]
    Length,
    /// A string that must be there is null.
    #[error("null string")]
    Null,
    /// A value outside its range.
    #[error("value out of range")]
    Value,
}

impl From<Short> for Malformed {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

/// Reads a record from borrowed bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(bytes) }
    }

    /// What has not been read.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.cursor.rest()
    }

    /// `byte`.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.cursor.u8()?)
    }

    /// `boolean`: any value but zero is true.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.cursor.u8()? != 0)
    }

    /// `int`.
    pub fn int(&mut self) -> Result<i32, Malformed> {
        Ok(self.cursor.i32()?)
    }

    /// `long`.
    pub fn long(&mut self) -> Result<i64, Malformed> {
        Ok(self.cursor.i64()?)
    }

    /// `buffer`: `None` is null, which is not the same as empty.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.cursor.i32()? {
            -1 => Ok(None),
            n => {
                let n = usize::try_from(n).map_err(|_| Malformed::Length)?;
                Ok(Some(self.cursor.take(n)?))
            }
        }
    }

    /// `ustring` that may be null. Bytes that are not UTF-8 read as U+FFFD, as the Java server reads them.
    pub fn string_or_null(&mut self) -> Result<Option<Cow<'a, str>>, Malformed> {
        Ok(self.buffer()?.map(String::from_utf8_lossy))
    }

    /// `ustring` that must not be null.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        self.string_or_null()?.ok_or(Malformed::Null)
    }

    /// The count of a vector: `None` is null; a count below -1 reads as empty, as the Java server's loop does.
    pub fn count(&mut self) -> Result<Option<usize>, Malformed> {
        match self.cursor.i32()? {
            -1 => Ok(None),
            n => Ok(Some(usize::try_from(n).unwrap_or(0))),
        }
    }

    /// A vector of strings; null reads as empty.
    pub fn strings(&mut self) -> Result<Vec<Cow<'a, str>>, Malformed> {
        Ok(self.strings_or_null()?.unwrap_or_default())
    }

    /// A vector of strings that may be null. Memory stays within what the bytes can hold.
    pub fn strings_or_null(&mut self) -> Result<Option<Vec<Cow<'a, str>>>, Malformed> {
        let Some(count) = self.count()? else { return Ok(None) };
        let mut strings = Vec::with_capacity(count.min(self.cursor.remaining() / 4));
        for _ in 0..count {
            strings.push(self.string()?);
        }
        Ok(Some(strings))
    }
}

/// Appends jute values to a buffer.
pub trait Writer {
    /// `byte`.
    fn byte(&mut self, value: u8);
    /// `boolean`.
    fn bool(&mut self, value: bool) {
        self.byte(u8::from(value));
    }
    /// `int`.
    fn int(&mut self, value: i32);
    /// `long`.
    fn long(&mut self, value: i64);
    /// `buffer`, null where `None`.
    fn buffer(&mut self, value: Option<&[u8]>);
    /// `ustring`.
    fn string(&mut self, value: &str) {
        self.buffer(Some(value.as_bytes()));
    }
    /// The count of a vector, or of anything whose length fits a signed int.
    fn count(&mut self, n: usize) {
        self.int(length(n));
    }
}

impl Writer for Vec<u8> {
    #[inline]
    fn byte(&mut self, value: u8) {
        self.push(value);
    }

    #[inline]
    fn int(&mut self, value: i32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    #[inline]
    fn long(&mut self, value: i64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    #[inline]
    fn buffer(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.int(-1),
            Some(bytes) => {
                self.int(length(bytes.len()));
                self.extend_from_slice(bytes);
            }
        }
    }
}

/// A length as the wire carries it.
///
/// # Panics
/// Above 2^31-1: everything the server holds came in through frames far smaller than that.
#[must_use]
pub fn length(n: usize) -> i32 {
    i32::try_from(n).expect("lengths on the wire stay below 2^31")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn null_empty_and_negative_are_three_things() {
        let mut out = Vec::new();
        out.buffer(None);
        out.buffer(Some(b""));
        out.string("é");
        out.int(-2);
        let mut r = Reader::new(&out);
        assert_eq!(r.buffer(), Ok(None));
        assert_eq!(r.buffer(), Ok(Some(&b""[..])));
        assert_eq!(r.string().unwrap(), "é");
        assert_eq!(r.buffer(), Err(Malformed::Length));
    }

    #[test]
    fn a_huge_count_over_few_bytes_is_an_error_and_costs_nothing() {
        let mut out = Vec::new();
        out.int(i32::MAX);
        out.string("a");
        assert_eq!(Reader::new(&out).strings(), Err(Malformed::Short));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        let mut out = Vec::new();
        out.buffer(Some(&[b'/', 0xff]));
        assert_eq!(Reader::new(&out).string().unwrap(), "/\u{fffd}");
    }

    proptest! {
        #[test]
        fn values_round_trip(
            a in any::<i32>(), b in any::<i64>(), c in any::<bool>(), d in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            e in ".{0,20}", f in prop::collection::vec("[a-z/]{0,9}", 0..9),
        ) {
            let mut out = Vec::new();
            out.int(a);
            out.long(b);
            out.bool(c);
            out.buffer(d.as_deref());
            out.string(&e);
            out.count(f.len());
            f.iter().for_each(|s| out.string(s));
            let mut r = Reader::new(&out);
            prop_assert_eq!((r.int(), r.long(), r.bool()), (Ok(a), Ok(b), Ok(c)));
            prop_assert_eq!(r.buffer(), Ok(d.as_deref()));
            prop_assert_eq!(r.string().unwrap(), e);
            let strings = r.strings_or_null().unwrap().unwrap();
            prop_assert_eq!(strings, f);
            prop_assert!(r.rest().is_empty());
        }

        #[test]
        fn arbitrary_bytes_cost_no_more_than_they_are(bytes in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..200)) {
            if let Ok(strings) = Reader::new(&bytes).strings() {
                prop_assert!(strings.capacity() <= bytes.len() / 4);
            }
            let mut r = Reader::new(&bytes);
            while r.string_or_null().is_ok() {}
            prop_assert!(r.rest().len() <= bytes.len());
        }
    }
}
