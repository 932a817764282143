//! Papers: rows about images, manifest, promise, watermark, and formats.

use std::collections::BTreeMap;

use ringkeeper::ground::ids::{ServerId, Zxid};
use ringkeeper::ground::limits::BLOCK;
use ringkeeper::storage::appender::{Appender, Position};
use ringkeeper::storage::batch::BATCH_HEADER;
use ringkeeper::storage::manifest;
use ringkeeper::storage::manifest::Manifest;
use ringkeeper::storage::promise;
use ringkeeper::storage::promise::Promise;
use ringkeeper::storage::recovery::Start;
use ringkeeper::storage::segment::file_name;
use ringkeeper::storage::selection::replay_from;
use ringkeeper::storage::slots::{Form, Slots};
use ringkeeper::storage::watermark;

use super::world::{Refuses, Starts, World, blank, check};

#[test]
fn row_11_an_older_image_and_a_longer_replay() {
    check("11", |seed| {
        let mut world = World::purged(seed);
        let newest = *world.images.keys().last().unwrap();
        let alone = world.images.len() == 1;
        if world.dice.below(2) == 0 {
            world.images.insert(newest, false);
        } else {
            world.images.remove(&newest);
        }
        let last = world.last();
        let answer =
            if alone && world.manifest.oldest > 1 { Refuses("no usable image and log.".to_owned()) } else { Starts(last, None) };
        (world, answer)
    });
    // The log behind the older image is gone: never skip.
    check("11, gone", |seed| {
        let mut world = World::purged(seed);
        let newest = *world.images.keys().last().unwrap();
        // Nothing is left of the log but what follows the newest image, which is damaged.
        world.log = Appender::new(Position::new_log(blank(90, None).0), Zxid(newest));
        world.segments = BTreeMap::from([(90, blank(90, None).1)]);
        world.manifest = Manifest { oldest: 90, ..world.manifest };
        world.batches.clear();
        for _ in 0..3 {
            world.add(true);
        }
        world.write_papers(world.last());
        world.images = BTreeMap::from([(newest, false), (newest / 2, true)]);
        (world, Refuses(format!("gap between zxid {} (image {})", Zxid(newest / 2), Zxid(newest / 2))))
    });
    check("11, behind", |seed| {
        let mut world = World::new(seed);
        let beyond = world.last().0 + 5;
        world.images.insert(beyond, false);
        world.manifest.image = Zxid(beyond);
        world.write_papers(world.last());
        (world, Refuses(format!("image.{beyond:016x} is missing or damaged")))
    });
}

#[test]
fn row_12_no_image_and_a_log_without_its_beginning_is_refused() {
    check("12", |seed| {
        let mut world = World::new(seed);
        world.purge(world.last());
        let first = world.extents()[0].begin.unwrap().after.0 + 1;
        let oldest = world.manifest.oldest;
        world.images.clear();
        if world.dice.below(2) == 0 {
            world.papers.clear();
        }
        (world, Refuses(format!("no usable image and {} starts at zxid {}", file_name(oldest), Zxid(first))))
    });
}

#[test]
fn row_13_a_gap_between_image_and_log_is_refused() {
    check("13", |seed| {
        let mut world = World::new(seed);
        world.purge(world.last());
        let first = world.extents()[0].begin.unwrap().after.0 + 1;
        let image = world.dice.within(1, first as usize - 2) as u64;
        world.images = BTreeMap::from([(image, true)]);
        let file = file_name(world.manifest.oldest);
        (world, Refuses(format!("gap between zxid {0} (image {0}) and zxid {1}, where {file}", Zxid(image), Zxid(first))))
    });
}

#[test]
fn row_14_an_image_beyond_the_log_is_legal() {
    check("14", |seed| {
        let mut world = World::new(seed);
        let beyond = world.last().0 + 1 + world.dice.below(9) as u64;
        world.images.insert(beyond, true);
        world.manifest.image = Zxid(beyond);
        world.write_papers(Zxid(beyond));
        let started = world.start().unwrap();
        let Start::Continue(at) = started.plan.start else { panic!("the log goes on") };
        // It does, and is read back.
        world.log = Appender::new(at, Zxid(beyond));
        assert_eq!(world.log.last(), Zxid(beyond));
        world.add(true);
        world.add(true);
        world.write_papers(world.last());
        let last = world.last();
        assert_eq!(last.0, beyond + 2);
        (world, Starts(last, None))
    });
    // And the hole that stays in the log is not walked over from an older image.
    check("14, hole", |seed| {
        let mut world = World::new(seed);
        let (end, beyond) = (world.last(), world.last().0 + 2 + world.dice.below(9) as u64);
        let Start::Continue(at) = world.start().unwrap().plan.start else { panic!("the log goes on") };
        world.log = Appender::new(at, Zxid(beyond));
        world.add(true);
        world.write_papers(world.last());
        (world, Refuses(format!("gap between zxid {end} ")))
    });
}

#[test]
fn row_16_a_lost_promise_or_manifest_is_refused() {
    for (what, name) in [("epoch record", promise::FORM.name), ("manifest", manifest::FORM.name)] {
        check("16", |seed| {
            let mut world = World::purged(seed);
            let (a, b) = (world.dice.below(BLOCK), world.dice.below(BLOCK));
            let kind = world.dice.below(4);
            let file = world.papers.get_mut(name).unwrap();
            match kind {
                0 => drop(world.papers.remove(name)),
                1 => file.truncate(a),
                2 => file.fill(0),
                _ => {
                    file[a] ^= 1;
                    file[BLOCK + b] ^= 1;
                }
            }
            (world, Refuses(format!("{what} lost: state/{name}")))
        });
    }
    check("16, watermark", |seed| {
        let mut world = World::purged(seed);
        if world.dice.below(2) == 0 {
            world.papers.remove(watermark::FORM.name);
        } else {
            world.papers.get_mut(watermark::FORM.name).unwrap().fill(0xff);
        }
        let last = world.last();
        (world, Starts(last, Some("state/watermark".to_owned())))
    });
}

#[test]
fn row_17_one_bad_slot_is_repaired() {
    for (what, name) in [("epoch", promise::FORM.name), ("manifest", manifest::FORM.name)] {
        check("17", |seed| {
            let mut world = World::purged(seed);
            let (slot, at) = (world.dice.below(2), world.dice.below(BLOCK));
            world.papers.get_mut(name).unwrap()[slot * BLOCK + at] ^= 1;
            let last = world.last();
            (world, Starts(last, Some(format!("{what} slot {slot} repaired"))))
        });
    }
}

#[test]
fn row_18_a_log_of_a_later_epoch_is_refused() {
    check("18", |seed| {
        let mut world = World::new(seed);
        let epoch = 1 + world.dice.below(5) as u32;
        // An epoch begins in the log, and its promise is not there.
        world.log = {
            let Start::Continue(at) = world.start().unwrap().plan.start else { panic!("the log goes on") };
            Appender::new(at, Zxid::new(epoch, 0))
        };
        world.add(true);
        world.promise = Promise { accepted: epoch, current: epoch - 1 };
        world.write_papers(world.last());
        (world, Refuses(format!("log epoch {epoch} is newer than current epoch {}", epoch - 1)))
    });
}

#[test]
fn row_20_data_of_another_server_is_refused() {
    check("20", |seed| {
        let mut world = World::purged(seed);
        let other = [1, 2, 4, 255][world.dice.below(4)];
        world.manifest.server = ServerId(other);
        world.write_papers(world.last());
        (world, Refuses(format!("data belongs to server {other}, this one is 3")))
    });
}

#[test]
fn row_21_newer_formats_are_refused() {
    check("21", |seed| {
        let mut world = World::purged(seed);
        let version = 3 + world.dice.below(200) as u32;
        let kind = world.dice.below(5);
        let image = Zxid(*world.images.keys().last().unwrap());
        let from = world.extents()[replay_from(&world.extents(), image)].number;
        let words = match kind {
            0 => {
                let active = world.log.position().segment.number;
                let hit = world.dice.within(from as usize, active as usize + 1) as u64;
                let file = world.segments.get_mut(&hit).unwrap();
                file[8..12].copy_from_slice(&version.to_be_bytes());
                let crc = crc32fast::hash(&file[..BLOCK - 4]);
                file[BLOCK - 4..BLOCK].copy_from_slice(&crc.to_be_bytes());
                format!("{} has format version {version} at offset 0", file_name(hit))
            }
            1 => {
                let i = world.in_the_middle();
                let (placed, bytes) = world.batch(i);
                bytes[8..12].copy_from_slice(&version.to_be_bytes());
                let crc = crc32fast::hash(&bytes[..BATCH_HEADER - 4]);
                bytes[BATCH_HEADER - 4..BATCH_HEADER].copy_from_slice(&crc.to_be_bytes());
                format!("{} has format version {version} at offset {}", file_name(placed.at.segment), placed.at.offset)
            }
            _ => {
                let form = [manifest::FORM, promise::FORM, watermark::FORM][kind - 2];
                let slot = world.dice.below(2);
                let (_, newer) = Slots::create(Form { version, ..form }, b"whatever");
                let file = world.papers.get_mut(form.name).unwrap();
                file[slot * BLOCK..(slot + 1) * BLOCK].copy_from_slice(&newer[slot * BLOCK..(slot + 1) * BLOCK]);
                format!("state/{} has format version {version} at offset {}", form.name, slot * BLOCK)
            }
        };
        (world, Refuses(words))
    });
}
