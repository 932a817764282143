//! Injury: one thing that a drive, a cable or an operator does to a data directory.

use std::fmt;

use super::dice::Dice;
use super::world::{Files, World};
use crate::ground::limits::BLOCK;
use crate::storage::image::{image_name, image_zxid};
use crate::storage::segment::{file_name, number_of};

const SECTOR: usize = 512;

/// What was hurt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Segment,
    Image,
    Manifest,
    Promise,
    Watermark,
    Used,
    Directory,
}

/// What was done to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Injury {
    BitFlipped,
    RunZeroed,
    SectorZeroed,
    SectorsSwapped,
    SectorsSwappedBetweenFiles,
    Truncated,
    Grown,
    Lost,
    OlderCopy,
    Renamed,
}

const INJURIES: [Injury; 10] = [
    Injury::BitFlipped,
    Injury::RunZeroed,
    Injury::SectorZeroed,
    Injury::SectorsSwapped,
    Injury::SectorsSwappedBetweenFiles,
    Injury::Truncated,
    Injury::Grown,
    Injury::Lost,
    Injury::OlderCopy,
    Injury::Renamed,
];

/// An injury that was done.
#[derive(Clone, Debug)]
pub(super) struct Wound {
    pub(super) injury: Injury,
    pub(super) kind: Kind,
    what: String,
}

impl fmt::Display for Wound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?}: {}", self.injury, self.kind, self.what)
    }
}

fn kind_of(name: &str) -> Kind {
    match name {
        "log/state/manifest" => Kind::Manifest,
        "log/state/promise" => Kind::Promise,
        "log/state/watermark" => Kind::Watermark,
        _ if name.starts_with("images/") => Kind::Image,
        _ if name.starts_with("log/log.") => Kind::Segment,
        _ => Kind::Used,
    }
}

/// A file of a kind chosen first, so that the few papers are hurt as often as the many segments; the last segments more often than
/// others.
fn choose(files: &Files, dice: &mut Dice) -> Option<String> {
    let kind = match dice.below(20) {
        0..9 => Kind::Segment,
        9..13 => Kind::Image,
        13..16 => Kind::Watermark,
        16..18 => Kind::Manifest,
        18 => Kind::Promise,
        _ => Kind::Used,
    };
    let names: Vec<_> = files.keys().filter(|name| kind_of(name) == kind).collect();
    let late = names.len().min(3);
    match names.len() {
        0 => None,
        n if kind == Kind::Segment && dice.one_in(2) => Some(names[n - 1 - dice.below(late)].clone()),
        n => Some(names[dice.below(n)].clone()),
    }
}

/// A byte of a file, more often one where something is written, and often one of a header.
fn place(bytes: &[u8], dice: &mut Dice) -> usize {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
    let at = if dice.one_in(5) { dice.below(bytes.len()) } else { dice.below(used) };
    if dice.one_in(2) { (at / BLOCK * BLOCK + dice.below(96)).min(bytes.len() - 1) } else { at }
}

fn swap(a: &mut [u8], b: &mut [u8], at: usize, with: usize, len: usize) {
    let len = len.min(a.len().saturating_sub(at)).min(b.len().saturating_sub(with));
    if len > 0 {
        a[at..at + len].swap_with_slice(&mut b[with..with + len]);
    }
}

/// Hurts something; `None` where there was nothing of what was chosen.
pub(super) fn hurt(files: &mut Files, world: &World, dice: &mut Dice) -> Option<Wound> {
    if dice.one_in(50) {
        let dir = dice.pick(&["log/", "log/state/", "log/state/", "images/", "images/"]);
        let before = files.len();
        files.retain(|name, _| !name.starts_with(dir));
        let wound = Wound { injury: Injury::Lost, kind: Kind::Directory, what: dir.to_owned() };
        return (files.len() < before).then_some(wound);
    }
    let name = choose(files, dice)?;
    let injury = dice.pick(&INJURIES);
    let what = inflict(injury, &name, files, world, dice)?;
    Some(Wound { injury, kind: kind_of(&name), what: format!("{name} {what}") })
}

fn inflict(injury: Injury, name: &str, files: &mut Files, world: &World, dice: &mut Dice) -> Option<String> {
    let bytes = files.get_mut(name)?;
    if bytes.is_empty() && !matches!(injury, Injury::Grown | Injury::Lost) {
        return None;
    }
    let len = bytes.len();
    Some(match injury {
        Injury::BitFlipped => {
            let (at, bit) = (place(bytes, dice), dice.below(8));
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at}")
        }
        Injury::RunZeroed => {
            let at = place(bytes, dice);
            let end = (at + 1 + dice.below(3 * BLOCK)).min(len);
            bytes[at..end].fill(0);
            format!("{at}..{end}")
        }
        Injury::SectorZeroed => {
            let at = place(bytes, dice) / SECTOR * SECTOR;
            let end = (at + SECTOR).min(len);
            bytes[at..end].fill(0);
            format!("{at}..{end}")
        }
        Injury::SectorsSwapped => {
            let unit = dice.pick(&[SECTOR, BLOCK]);
            let (at, with) = (place(bytes, dice) / unit * unit, place(bytes, dice) / unit * unit);
            let (low, high) = (at.min(with), at.max(with));
            let (a, b) = bytes.split_at_mut(high);
            swap(a, b, low, 0, unit.min(high - low));
            format!("{low} and {high}, {unit} bytes")
        }
        Injury::SectorsSwappedBetweenFiles => {
            let unit = dice.pick(&[SECTOR, BLOCK]);
            let at = place(bytes, dice) / unit * unit;
            let other = choose(files, dice).filter(|other| other != name && !files[other].is_empty())?;
            let mut theirs = files.remove(&other)?;
            let with = if dice.one_in(2) { at } else { place(&theirs, dice) / unit * unit };
            swap(files.get_mut(name)?, &mut theirs, at, with, unit);
            files.insert(other.clone(), theirs);
            format!("at {at} and {other} at {with}, {unit} bytes")
        }
        Injury::Truncated => {
            let at = if dice.one_in(3) { dice.below(len) } else { place(bytes, dice) };
            let at = if dice.one_in(2) { at / BLOCK * BLOCK } else { at };
            bytes.truncate(at);
            format!("to {at} of {len} bytes")
        }
        Injury::Grown => {
            let more = 1 + dice.below(2 * BLOCK);
            bytes.extend((0..more).map(|_| dice.next() as u8));
            format!("by {more} bytes")
        }
        Injury::Lost => {
            files.remove(name);
            String::new()
        }
        Injury::OlderCopy => {
            let copies = world.older.get(name).filter(|copies| !copies.is_empty())?;
            let n = dice.below(copies.len());
            bytes.clone_from(&copies[n]);
            format!("the copy {n} of {}", copies.len())
        }
        Injury::Renamed => {
            let to = renamed(name, dice);
            let moved = files.remove(name)?;
            files.insert(to.clone(), moved);
            format!("to {to}")
        }
    })
}

/// Another name of the same kind, perhaps one that another file has.
fn renamed(name: &str, dice: &mut Dice) -> String {
    let near = |number: u64, dice: &mut Dice| {
        let by = 1 + dice.below(3) as u64;
        if dice.one_in(2) { number.saturating_add(by) } else { number.saturating_sub(by) }
    };
    let (dir, last) = name.rsplit_once('/').expect("no file lies at the top");
    if let Some(number) = number_of(last) {
        format!("{dir}/{}", file_name(near(number, dice)))
    } else if let Some(zxid) = image_zxid(last) {
        let zxid = crate::ground::ids::Zxid(near(zxid.0, dice));
        format!("{dir}/{}", image_name(zxid))
    } else if let Some(number) = last.strip_prefix("used-").and_then(number_of) {
        format!("{dir}/{}", file_name(number))
    } else {
        format!("{dir}/{}", dice.pick(&["manifest", "promise", "watermark", "stray"]))
    }
}
