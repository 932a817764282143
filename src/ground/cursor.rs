//! Checked cursor over borrowed bytes, big-endian. Every read says whether the bytes were there.

/// The bytes ended before the value did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the bytes end before the value does")]
pub struct Short;

/// A read position in borrowed bytes.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes have not been read.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `n` bytes.
    pub const fn take(&mut self, n: usize) -> Result<&'a [u8], Short> {
        match self.rest.split_at_checked(n) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(Short),
        }
    }

    const fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(Short),
        }
    }

    /// One byte.
    pub const fn u8(&mut self) -> Result<u8, Short> {
        match self.array::<1>() {
            Ok(a) => Ok(a[0]),
            Err(e) => Err(e),
        }
    }

    /// Four bytes, signed.
    pub fn i32(&mut self) -> Result<i32, Short> {
        self.array().map(i32::from_be_bytes)
    }

    /// Four bytes, unsigned.
    pub fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self) -> Result<i64, Short> {
        self.array().map(i64::from_be_bytes)
    }

    /// Eight bytes, unsigned.
    pub fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_big_endian_and_stops_at_the_end() {
        let mut c = Cursor::new(&[1, 0, 0, 0, 2, 0xff]);
        assert_eq!(c.u8(), Ok(1));
        assert_eq!(c.i32(), Ok(2));
        assert_eq!(c.clone().i64(), Err(Short));
        assert_eq!(c.remaining(), 1);
        assert_eq!(c.take(2), Err(Short));
        assert_eq!(c.take(1), Ok(&[0xff][..]));
    }
}
