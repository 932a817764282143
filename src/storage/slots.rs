//! Slots: a small file of two blocks, written in turn, so that what was last durable in it survives a torn write.

use crate::ground::cursor::{Cursor, Short};
use crate::ground::limits::BLOCK;

use super::block::is_zero;

/// Bytes of a slot file.
pub const SLOTS_BYTES: usize = 2 * BLOCK;

/// Where the payload begins in a slot.
const PAYLOAD_AT: usize = 24;

/// Where the checksum of a slot lies; it covers everything before it.
const CRC_AT: usize = BLOCK - 4;

/// Longest payload, bytes.
pub const PAYLOAD_MAX: usize = CRC_AT - PAYLOAD_AT;

/// What kind of slot file it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form {
    /// Name of the file.
    pub name: &'static str,
    /// First bytes of each slot.
    pub magic: [u8; 8],
    /// The format version that this code writes, and the newest that it reads; from 1.
    pub version: u32,
}

/// Why a slot cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SlotError {
    /// The file ends before the slot does.
    #[error("the file ends before the slot does")]
    Short,
    /// Nothing was ever written, or the write was lost.
    #[error("the slot is blank")]
    Blank,
    /// Torn or damaged.
    #[error("the slot does not match its checksum")]
    Damaged,
    /// Intact, of another kind of file or with impossible values.
    #[error("the slot holds impossible values")]
    Implausible,
}

impl From<Short> for SlotError {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

/// Why a slot file gives nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SlotsError {
    /// Neither slot can be used.
    #[error("slot 0 at offset 0: {0}; slot 1 at offset 4096: {1}")]
    Lost(SlotError, SlotError),
    /// A later release wrote one of them; nothing may be changed.
    #[error("slot {slot} has format version {version}")]
    Newer {
        /// Which one.
        slot: usize,
        /// The version found.
        version: u32,
    },
}

/// What a slot file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The payload of the newer good slot.
    pub payload: Vec<u8>,
    /// The slot that is bad, if one is, and why. What it held may have been newer.
    pub bad: Option<(usize, SlotError)>,
    /// How the file is written on.
    pub next: Slots,
}

/// A block to be written to a slot file and made durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotWrite {
    /// Byte in the file.
    pub offset: u64,
    /// What to write there.
    pub block: Box<[u8; BLOCK]>,
}

/// Where the next write to a slot file goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slots {
    form: Form,
    generation: u64,
    slot: usize,
}

impl Slots {
    /// A whole new file that says `payload` twice, and how it is written on. To be made under another name, synced and renamed.
    ///
    /// # Panics
    /// If the payload is longer than [`PAYLOAD_MAX`].
    #[must_use]
    pub fn create(form: Form, payload: &[u8]) -> (Self, Vec<u8>) {
        let mut slots = Self { form, generation: 1, slot: 0 };
        let file =
            [slots.write(payload), slots.write(payload)].map(|write| write.block).iter().flat_map(|b| b.to_vec()).collect();
        (slots, file)
    }

    /// The next block: over the older slot, or the bad one. The other slot must be durable already.
    ///
    /// # Panics
    /// If the payload is longer than [`PAYLOAD_MAX`].
    pub fn write(&mut self, payload: &[u8]) -> SlotWrite {
        assert!(payload.len() <= PAYLOAD_MAX, "a payload fits into its slot");
        let mut block = Box::new([0; BLOCK]);
        block[..8].copy_from_slice(&self.form.magic);
        block[8..12].copy_from_slice(&self.form.version.to_be_bytes());
        block[12..16].copy_from_slice(&u32::try_from(payload.len()).expect("it fits into a slot").to_be_bytes());
        block[16..24].copy_from_slice(&self.generation.to_be_bytes());
        block[PAYLOAD_AT..PAYLOAD_AT + payload.len()].copy_from_slice(payload);
        let crc = crc32fast::hash(&block[..CRC_AT]);
        block[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        let offset = (self.slot * BLOCK) as u64;
        self.generation = self.generation.saturating_add(1);
        self.slot = 1 - self.slot;
        SlotWrite { offset, block }
    }

    /// Two blocks, to be written and made durable one after the other: both slots then say the same, so that neither's loss can
    /// bring back what was before. For what must never be taken back.
    ///
    /// # Panics
    /// As [`write`](Self::write).
    pub fn write_twice(&mut self, payload: &[u8]) -> [SlotWrite; 2] {
        [self.write(payload), self.write(payload)]
    }
}

/// Reads a slot file.
pub fn read(form: Form, file: &[u8]) -> Result<Reading, SlotsError> {
    let slot = |index: usize| match decode(form, file.get(index * BLOCK..).unwrap_or_default()) {
        Ok(Slot::Good(generation, payload)) => Ok(Ok((generation, payload))),
        Ok(Slot::Newer(version)) => Err(SlotsError::Newer { slot: index, version }),
        Err(error) => Ok(Err(error)),
    };
    let (index, (generation, payload), bad) = match (slot(0)?, slot(1)?) {
        (Err(first), Err(second)) => return Err(SlotsError::Lost(first, second)),
        (Ok(good), Err(error)) => (0, good, Some((1, error))),
        (Err(error), Ok(good)) => (1, good, Some((0, error))),
        // A generation is written once: the same one twice is one slot written to the place of the other.
        (Ok(first), Ok(second)) if first.0 == second.0 => (0, first, Some((1, SlotError::Implausible))),
        (Ok(first), Ok(second)) if first.0 > second.0 => (0, first, None),
        (Ok(_), Ok(second)) => (1, second, None),
    };
    // Far from the integer's end, whatever a slot says.
    let next = Slots { form, generation: generation.saturating_add(1), slot: 1 - index };
    Ok(Reading { payload: payload.to_vec(), bad, next })
}

enum Slot<'a> {
    Good(u64, &'a [u8]),
    Newer(u32),
}

fn decode(form: Form, bytes: &[u8]) -> Result<Slot<'_>, SlotError> {
    let block = bytes.get(..BLOCK).ok_or(SlotError::Short)?;
    if crc32fast::hash(&block[..CRC_AT]) != Cursor::new(&block[CRC_AT..]).u32()? {
        return Err(if is_zero(block) { SlotError::Blank } else { SlotError::Damaged });
    }
    let mut c = Cursor::new(block);
    if c.take(8)? != form.magic {
        return Err(SlotError::Implausible);
    }
    let version = c.u32()?;
    // Magic, version and checksum keep their places in every version.
    if version > form.version {
        return Ok(Slot::Newer(version));
    }
    let len = c.u32()? as usize;
    let generation = c.u64()?;
    if version == 0 || generation == 0 || len > PAYLOAD_MAX {
        return Err(SlotError::Implausible);
    }
    Ok(Slot::Good(generation, c.take(len)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORM: Form = Form { name: "thing", magic: *b"RKTHING\0", version: 1 };

    fn put(file: &mut [u8], write: &SlotWrite) {
        let at = write.offset as usize;
        file[at..at + BLOCK].copy_from_slice(&write.block[..]);
    }

    #[test]
    fn a_new_file_says_it_twice_and_is_written_on() {
        let (mut slots, mut file) = Slots::create(FORM, b"one");
        assert_eq!(file.len(), SLOTS_BYTES);
        assert_eq!(&file[..27], b"RKTHING\0\0\0\0\x01\0\0\0\x03\0\0\0\0\0\0\0\x01one");
        let reading = read(FORM, &file).unwrap();
        assert_eq!((&reading.payload[..], reading.bad, reading.next), (&b"one"[..], None, slots));
        for (i, word) in [&b"two"[..], b"three", b"", &[7; PAYLOAD_MAX]].into_iter().enumerate() {
            let write = slots.write(word);
            assert_eq!(write.offset, (i % 2 * BLOCK) as u64, "in turn");
            put(&mut file, &write);
            let reading = read(FORM, &file).unwrap();
            assert_eq!((&reading.payload[..], reading.bad, reading.next), (word, None, slots));
        }
    }

    #[test]
    fn a_torn_write_leaves_the_word_before() {
        for cut in 0..8 {
            let (mut slots, mut file) = Slots::create(FORM, b"one");
            put(&mut file, &slots.write(b"two"));
            let write = slots.write(b"three");
            let at = write.offset as usize;
            file[at..at + cut * 512].copy_from_slice(&write.block[..cut * 512]);
            let reading = read(FORM, &file).unwrap();
            assert_eq!(&reading.payload[..], b"two", "{cut}");
            assert_eq!(reading.bad.is_some(), cut > 0);
            // The bad slot is the one that is written next.
            let mut next = reading.next;
            put(&mut file, &next.write(b"four"));
            let reading = read(FORM, &file).unwrap();
            assert_eq!((&reading.payload[..], reading.bad), (&b"four"[..], None));
        }
    }

    #[test]
    fn what_is_written_twice_survives_the_loss_of_either() {
        let (mut slots, mut file) = Slots::create(FORM, b"one");
        for write in slots.write_twice(b"two") {
            put(&mut file, &write);
        }
        for slot in 0..2 {
            let mut hurt = file.clone();
            hurt[slot * BLOCK..(slot + 1) * BLOCK].fill(0);
            let reading = read(FORM, &hurt).unwrap();
            assert_eq!((&reading.payload[..], reading.bad), (&b"two"[..], Some((slot, SlotError::Blank))));
        }
    }

    #[test]
    fn each_way_of_being_lost_has_its_name() {
        let (_, file) = Slots::create(FORM, b"one");
        assert_eq!(read(FORM, &[]), Err(SlotsError::Lost(SlotError::Short, SlotError::Short)));
        assert_eq!(read(FORM, &[0; SLOTS_BYTES]), Err(SlotsError::Lost(SlotError::Blank, SlotError::Blank)));
        let mut both = file.clone();
        both[30] ^= 1;
        both[BLOCK + 30] ^= 1;
        assert_eq!(read(FORM, &both), Err(SlotsError::Lost(SlotError::Damaged, SlotError::Damaged)));
        let other = Form { magic: *b"RKOTHER\0", ..FORM };
        assert_eq!(read(other, &file), Err(SlotsError::Lost(SlotError::Implausible, SlotError::Implausible)));
        assert_eq!(read(FORM, &file[..BLOCK + 9]).unwrap().bad, Some((1, SlotError::Short)));
        let mut copied = file.clone();
        copied.copy_within(..BLOCK, BLOCK);
        assert_eq!(read(FORM, &copied).unwrap().bad, Some((1, SlotError::Implausible)));
        let (_, newer) = Slots::create(Form { version: 2, ..FORM }, b"one");
        assert_eq!(read(FORM, &newer), Err(SlotsError::Newer { slot: 0, version: 2 }));
        let mixed = [&file[..BLOCK], &newer[BLOCK..]].concat();
        assert_eq!(read(FORM, &mixed), Err(SlotsError::Newer { slot: 1, version: 2 }), "one newer slot is enough");
    }

    proptest! {
        #[test]
        fn a_flipped_bit_costs_one_slot(at in 0..SLOTS_BYTES, bit in 0..8u8) {
            let (_, mut file) = Slots::create(FORM, b"one");
            file[at] ^= 1 << bit;
            let reading = read(FORM, &file).unwrap();
            prop_assert_eq!(&reading.payload[..], b"one");
            prop_assert_eq!(reading.bad, Some((at / BLOCK, SlotError::Damaged)));
        }

        #[test]
        fn arbitrary_bytes_are_no_slots(file in prop::collection::vec(any::<u8>(), 0..SLOTS_BYTES + 9)) {
            prop_assert!(matches!(read(FORM, &file), Err(SlotsError::Lost(..))));
        }
    }
}
