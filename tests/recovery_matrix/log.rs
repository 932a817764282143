//! Log: rows about segments and batches, and the scrub.

use std::collections::BTreeMap;

use ringkeeper::ground::ids::Zxid;
use ringkeeper::ground::limits::BLOCK;
use ringkeeper::storage::batch::{BATCH_HEADER, BatchHeader};
use ringkeeper::storage::recovery::Start;
use ringkeeper::storage::scrub::{Look, Scrub};
use ringkeeper::storage::segment::{SegmentHeader, file_name};
use ringkeeper::storage::selection::replay_from;

use super::world::{BLOCKS, Refuses, Starts, VARIANTS, World, blank, check};

#[test]
fn nothing_wrong_is_a_quiet_start() {
    let (mut kept, mut recycled) = (0, 0);
    for seed in 0..VARIANTS {
        for mut world in [World::new(seed), World::purged(seed)] {
            let last = world.last();
            let started = world.start().unwrap();
            assert_eq!((started.reached, started.lines.len(), started.plan.erase.len()), (last, 0, 0), "{:?}", started.lines);
            kept += started.selection.kept.len();
            recycled += world.segments.iter().filter(|(n, file)| SegmentHeader::decode(**n, file).unwrap().recycled).count();
            // A directory of the release before: no papers, no images, the whole log.
            if world.manifest.oldest == 1 {
                world.papers.clear();
                world.images.clear();
                let started = world.start().unwrap();
                assert_eq!((started.image, started.reached, started.lines.len()), (Zxid::ZERO, last, 0));
            }
        }
    }
    assert!(kept > 20 && recycled > 20, "{kept} segments were not read, {recycled} were used before");
    let empty = World { segments: BTreeMap::new(), images: BTreeMap::new(), papers: BTreeMap::new(), ..World::new(0) };
    assert_eq!(empty.start().unwrap().plan.start, Start::New { number: 1 });
}

#[test]
fn row_1_a_torn_tail_is_cut() {
    check("1", |seed| {
        let mut world = World::purged(seed);
        let good = world.last();
        world.add(false);
        let placed = world.batches[world.batches.len() - 1].at;
        let kind = world.dice.below(2);
        let (_, bytes) = world.batch(-1);
        if kind == 0 {
            bytes[BATCH_HEADER] ^= 1
        } else {
            bytes[BATCH_HEADER..512].fill(0)
        }
        (
            world,
            Starts(good, Some(format!("{} tail torn at offset {} after zxid {good}", file_name(placed.segment), placed.offset))),
        )
    });
}

#[test]
fn row_2_a_durable_tail_that_is_unreadable_is_refused() {
    check("2", |seed| {
        let mut world = World::purged(seed);
        let placed = world.hurt(-1);
        (world, Refuses(format!("{} damaged at offset {}", file_name(placed.at.segment), placed.at.offset)))
    });
}

#[test]
fn row_2_whole_segments_lost_at_the_end_are_refused() {
    check("2, files", |seed| {
        let mut world = World::new(seed);
        let active = world.log.position().segment.number;
        world.segments.retain(|number, _| *number < active);
        (world, Refuses("were durable up to".to_owned()))
    });
}

#[test]
fn row_3_damage_in_the_middle_is_refused() {
    check("3", |seed| {
        let mut world = World::purged(seed);
        let i = world.in_the_middle();
        let placed = world.hurt(i);
        let later = world.batches.len() - 1 - i as usize;
        let words = format!("{} damaged at offset {}", file_name(placed.at.segment), placed.at.offset);
        let line = world.start().err().unwrap_or_default();
        assert!(line.contains(&format!(" {later} later batches are intact")), "{line}");
        (world, Refuses(words))
    });
}

#[test]
fn row_3_damage_that_the_image_makes_good_is_no_loss() {
    check("3, older", |seed| {
        let mut world = World::new(seed);
        let image = Zxid(*world.images.keys().last().unwrap());
        let extents = world.extents();
        let from = extents[replay_from(&extents, image)].number;
        // In a segment that is not read at all.
        let older: Vec<_> = (0..world.batches.len()).filter(|i| world.batches[*i].at.segment < from).collect();
        if !older.is_empty() {
            let i = older[world.dice.below(older.len())];
            // Its beginning is looked at; what follows is not.
            let (_, bytes) = world.batch(i as isize);
            bytes[BATCH_HEADER + 3] ^= 1;
        }
        let last = world.last();
        (world, Starts(last, None))
    });
}

#[test]
fn row_3a_whole_batches_behind_a_torn_one_are_erased() {
    check("3a", |seed| {
        let mut world = World::purged(seed);
        let good = world.last();
        let flights = world.dice.within(2, 4);
        for _ in 0..flights {
            world.add(false);
        }
        let torn = world.dice.within(1, flights - 1);
        let i = -(torn as isize) - 1;
        let (placed, bytes) = world.batch(i);
        bytes[BATCH_HEADER] ^= 0x10;
        let reached = Zxid(placed.header.first.0 - 1);
        assert!(reached >= good);
        let started = world.start().unwrap();
        let erased: u64 = started.plan.erase.iter().map(|range| range.len).sum();
        let dropped: u64 = world.batches.iter().rev().take(torn + 1).map(|placed| placed.at.len as u64).sum();
        assert!(erased >= dropped, "{erased} of {dropped} bytes");
        (world, Starts(reached, Some(format!("{torn} batches among them"))))
    });
}

#[test]
fn row_4_a_broken_chain_is_refused() {
    check("4", |seed| {
        let mut world = World::purged(seed);
        let i = world.in_the_middle();
        let lost_write = world.dice.below(2) == 0;
        let (placed, bytes) = world.batch(i);
        // A batch of a log that went another way, or another batch of this one.
        let other = if lost_write {
            BatchHeader { chain: placed.header.chain ^ 1, ..placed.header }
        } else {
            BatchHeader { sequence: placed.header.sequence + 1, ..placed.header }
        };
        other.encode(bytes);
        let why = if lost_write { "the chain is broken" } else { "the log is broken" };
        (world, Refuses(format!("damaged at offset {} ({why}", placed.at.offset)))
    });
}

#[test]
fn row_5_bytes_of_an_older_use_are_the_end() {
    check("5", |seed| {
        let mut world = World::purged(seed);
        let stale = world.segments.values().next().unwrap()[BLOCK..].to_vec();
        let at = *world.log.position();
        let file = world.segments.get_mut(&at.segment.number).unwrap();
        let header = SegmentHeader::decode(at.segment.number, file).unwrap();
        file[..BLOCK].copy_from_slice(&SegmentHeader { recycled: true, ..header }.encode()[..]);
        // At whatever alignment: the next block may hold the middle of an old batch.
        let offset = at.offset as usize;
        let from = world.dice.below(4) * BLOCK;
        // Of another segment, or nothing is stale about it.
        if *world.segments.keys().next().unwrap() != at.segment.number {
            let len = (BLOCKS * BLOCK - offset).min(stale.len() - from);
            world.segments.get_mut(&at.segment.number).unwrap()[offset..offset + len].copy_from_slice(&stale[from..from + len]);
        }
        let last = world.last();
        (world, Starts(last, None))
    });
}

#[test]
fn row_6_missing_segments_are_refused() {
    check("6", |seed| {
        let mut world = World::purged(seed);
        let active = world.log.position().segment.number;
        let (oldest, count) = (world.manifest.oldest, active - world.manifest.oldest);
        let gone = oldest + world.dice.below(count.max(1) as usize) as u64;
        world.segments.remove(&gone);
        (world, Refuses(format!("{} missing", file_name(gone))))
    });
}

#[test]
fn row_7_leftovers_of_a_purge_are_set_aside() {
    check("7", |seed| {
        let mut world = World::new(seed);
        let whole = world.segments.clone();
        world.purge(Zxid(*world.images.keys().next().unwrap()));
        let oldest = world.manifest.oldest;
        // The crash came before all of them were gone.
        let left: Vec<u64> = (1..oldest).filter(|_| world.dice.below(2) == 0).collect();
        for number in &left {
            world.segments.insert(*number, whole[number].clone());
        }
        let started = world.start().unwrap();
        assert_eq!(started.selection.leftovers, left);
        let last = world.last();
        (world, Starts(last, None))
    });
}

#[test]
fn row_8_a_segment_whose_making_was_interrupted_is_made_anew() {
    check("8", |seed| {
        let mut world = World::purged(seed);
        let spare = world.log.position().segment.number + 1;
        let (_, whole) = blank(spare, None);
        let kind = world.dice.below(4);
        let cut = world.dice.below(BLOCK);
        let file = match kind {
            0 => Vec::new(),
            1 => vec![0; BLOCKS * BLOCK],
            2 => whole[..cut].to_vec(),
            _ => whole[..BLOCK + cut].to_vec(),
        };
        world.segments.insert(spare, file);
        let started = world.start().unwrap();
        assert_eq!(started.plan.recreate, [spare]);
        let last = world.last();
        (world, Starts(last, Some(format!("recreated segment {}", file_name(spare)))))
    });
}

#[test]
fn row_9_a_lost_header_of_a_used_segment_is_refused() {
    check("9", |seed| {
        let mut world = World::purged(seed);
        let image = Zxid(*world.images.keys().last().unwrap());
        let from = world.extents()[replay_from(&world.extents(), image)].number;
        let active = world.log.position().segment.number;
        let hit = world.dice.within(from as usize, active as usize) as u64;
        let at = world.dice.below(BLOCK);
        world.segments.get_mut(&hit).unwrap()[at] ^= 1;
        (world, Refuses(format!("{} damaged at offset 0", file_name(hit))))
    });
}

#[test]
fn row_29_a_scrub_finds_damage_where_no_start_looks() {
    for seed in 0..VARIANTS {
        let mut world = World::new(seed);
        let extents = world.extents();
        let look = |world: &World, i: usize| {
            let (from, until) = (extents[i].begin.unwrap().sequence, extents[i + 1].begin.unwrap().sequence);
            let mut scrub = Scrub::new(extents[i].number, from, until);
            match scrub.feed(&world.segments[&extents[i].number]) {
                Look::More => scrub.end(),
                look => look,
            }
        };
        let active = world.log.position().segment.number as usize;
        for i in 0..active - 1 {
            assert_eq!(look(&world, i), Look::Good, "variant {seed}");
        }
        let of_old = world.batches.iter().filter(|placed| (placed.at.segment as usize) < active).count();
        let hit = world.dice.below(of_old) as isize;
        let placed = world.hurt(hit);
        let Look::Damaged { offset, good, .. } = look(&world, placed.at.segment as usize - 1) else { panic!("variant {seed}") };
        assert_eq!(offset, placed.at.offset, "variant {seed}");
        let before = world.batches[..hit as usize].iter().rfind(|before| before.at.segment == placed.at.segment);
        assert_eq!(good, before.map_or(Zxid::ZERO, |before| before.header.last), "variant {seed}");
    }
}
