//! Papers: manifest, promise and watermark on a simulated disk, through the slots that the real server writes.

use std::collections::VecDeque;

use super::disk::{Dir, Disk, Op};
use crate::ground::ids::{ServerId, Zxid};
use crate::storage::manifest::{self, Manifest};
use crate::storage::papers::{Files, Papers};
use crate::storage::promise::{self, Promise};
use crate::storage::slots::{Form, SlotWrite, Slots};
use crate::storage::watermark;

/// The papers of a running server.
#[derive(Clone, Debug)]
pub struct Cabinet {
    manifest: (Slots, Manifest),
    promise: (Slots, Promise),
    watermark: (Slots, Zxid),
}

fn create(form: Form, payload: &[u8], disk: &mut Disk) -> Slots {
    let (slots, bytes) = Slots::create(form, payload);
    disk.apply(&Op::Create(Dir::Log, form.name.into()));
    disk.apply(&Op::Write(Dir::Log, form.name.into(), 0, bytes.into()));
    disk.apply(&Op::Sync(Dir::Log, form.name.into()));
    slots
}

fn put(ops: &mut VecDeque<Op>, form: Form, write: &SlotWrite) {
    let name = form.name.to_owned();
    // A paper that is written over in place has one slot.
    let offset = if cfg!(mutant = "m34") { 0 } else { usize::try_from(write.offset).expect("one of two blocks") };
    ops.push_back(Op::Write(Dir::Log, name.clone(), offset, write.block[..].into()));
    ops.push_back(Op::Sync(Dir::Log, name));
}

impl Cabinet {
    /// The papers of a new server, durable at once: an installer has made them.
    pub fn found(disk: &mut Disk, server: ServerId) -> Self {
        let manifest = Manifest { server, ensemble: 1, oldest: 1, image: Zxid::ZERO };
        let promise = Promise { accepted: 0, current: 0 };
        Self {
            manifest: (create(manifest::FORM, &manifest.encode(), disk), manifest),
            promise: (create(promise::FORM, &promise.encode(), disk), promise),
            watermark: (create(watermark::FORM, &watermark::encode(Zxid::ZERO), disk), Zxid::ZERO),
        }
    }

    /// The files, as `papers::judge` takes them.
    #[must_use]
    pub fn files(disk: &Disk) -> Files<'_> {
        let read = |form: Form| disk.read(Dir::Log, form.name);
        Files { manifest: read(manifest::FORM), promise: read(promise::FORM), watermark: read(watermark::FORM), is_kept: false }
    }

    /// Goes on with papers that were read, and mends them: a bad slot is written again, and the watermark says at least `durable`.
    #[must_use]
    pub fn establish(found: &Papers, durable: Zxid) -> (Self, VecDeque<Op>) {
        let mut ops = VecDeque::new();
        let watermark = match found.watermark {
            Some(paper) => (paper.slots, paper.said),
            None => {
                let (slots, bytes) = Slots::create(watermark::FORM, &watermark::encode(durable));
                let name = watermark::FORM.name;
                ops.push_back(Op::Create(Dir::Log, name.into()));
                ops.push_back(Op::Write(Dir::Log, name.into(), 0, bytes.into()));
                ops.push_back(Op::Sync(Dir::Log, name.into()));
                ops.push_back(Op::SyncNames(Dir::Log));
                (slots, durable)
            }
        };
        let mut cabinet = Self {
            manifest: (found.manifest.slots, found.manifest.said),
            promise: (found.promise.slots, found.promise.said),
            watermark,
        };
        if found.manifest.is_hurt {
            cabinet.manifest(found.manifest.said, &mut ops);
        }
        if found.promise.is_hurt {
            cabinet.promise(found.promise.said, &mut ops);
        }
        if durable > cabinet.watermark.1 {
            cabinet.raise(durable, &mut ops);
        }
        (cabinet, ops)
    }

    /// Says what must be there, in both slots.
    pub fn manifest(&mut self, manifest: Manifest, ops: &mut VecDeque<Op>) {
        self.manifest.1 = manifest;
        self.manifest.0.write_twice(&manifest.encode()).iter().for_each(|write| put(ops, manifest::FORM, write));
    }

    /// Gives a promise, in both slots.
    pub fn promise(&mut self, promise: Promise, ops: &mut VecDeque<Op>) {
        self.promise.1 = promise;
        self.promise.0.write_twice(&promise.encode()).iter().for_each(|write| put(ops, promise::FORM, write));
    }

    /// Raises the watermark, in one slot.
    pub fn raise(&mut self, durable: Zxid, ops: &mut VecDeque<Op>) {
        self.watermark.1 = durable;
        put(ops, watermark::FORM, &self.watermark.0.write(&watermark::encode(durable)));
    }

    /// The log is about to end at `to`: the watermark vouches for no more, in neither slot.
    pub fn lower(&mut self, to: Zxid, ops: &mut VecDeque<Op>) {
        if to >= self.watermark.1 || cfg!(mutant = "m33") {
            return;
        }
        self.watermark.1 = to;
        self.watermark.0.write_twice(&watermark::encode(to)).iter().for_each(|write| put(ops, watermark::FORM, write));
    }

    /// What must be there.
    #[must_use]
    pub const fn manifested(&self) -> Manifest {
        self.manifest.1
    }

    /// The epochs promised.
    #[must_use]
    pub const fn promised(&self) -> Promise {
        self.promise.1
    }

    /// The durable zxid written.
    #[must_use]
    pub const fn marked(&self) -> Zxid {
        self.watermark.1
    }
}
