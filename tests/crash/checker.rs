//! Checker: what was acknowledged against what is there after the crash.

use std::collections::{BTreeMap, VecDeque};

use ringkeeper::client::answer::{Body, Refusal, Reply};
use ringkeeper::proto::stat::Stat;

use super::model::{Observed, Op, SHARED, State, number, stamp};

/// What became of a writer's session after the crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The server took the session back.
    Reattached,
    /// The server said that there is no such session.
    Refused,
    /// Nobody came back for it; by the time of the late reading it has expired.
    Abandoned,
}

/// What concerns all writers: zxids and sequence numbers are nobody's own.
#[derive(Debug, Default)]
pub struct Registry {
    /// Newest zxid that any reply had shown when the last crash had been judged.
    pub base: u64,
    /// Newest zxid that any reply has shown.
    pub newest: u64,
    stamps: BTreeMap<u64, usize>,
    /// Per shared directory: number to writer, serial and zxid.
    numbers: [BTreeMap<u64, (usize, u64, u64)>; SHARED],
    /// Sequential creates that were never answered and are not to be seen: they may have used up a number.
    lost: [u64; SHARED],
}

impl Registry {
    /// The crash is judged: whatever the server does from now on has zxids above all that it has shown, `shown` among it.
    pub fn settle(&mut self, shown: u64) {
        self.newest = self.newest.max(shown);
        self.base = self.newest;
        self.stamps.clear();
    }

    fn take_stamp(&mut self, zxid: u64, writer: usize) -> Result<(), String> {
        if zxid <= self.base {
            return Err(format!(
                "a transaction has zxid {zxid:#x}, but {:#x} was shown before the last crash was judged",
                self.base
            ));
        }
        match self.stamps.insert(zxid, writer) {
            None => Ok(()),
            Some(other) => Err(format!("zxid {zxid:#x} is also a transaction of writer {other}")),
        }
    }

    fn take_number(&mut self, parent: usize, name: &str, owner: (usize, u64, u64)) -> Result<(), String> {
        let number = number(name).ok_or_else(|| format!("{name} has no number"))?;
        match self.numbers[parent].insert(number, owner) {
            Some(other) if other != owner => Err(format!(
                "number {number} of directory {parent} was given to {other:?} and to {owner:?} (writer, serial, zxid)"
            )),
            _ => Ok(()),
        }
    }

    /// Checks the numbers of a shared directory against its Stat: they grow with the zxid, and the counter stands above
    /// them and not further than the creates that may have happened.
    pub fn check_numbers(&self, parent: usize, stat: &Stat, children: usize) -> Result<(), String> {
        let mut last = (0, 0);
        for (number, (writer, _, zxid)) in &self.numbers[parent] {
            // A multi may make several.
            if *zxid < last.0 || *zxid == last.0 && *writer != last.1 {
                return Err(format!("number {number} of directory {parent} has zxid {zxid:#x} after {:#x}", last.0));
            }
            last = (*zxid, *writer);
        }
        if stat.num_children as usize != children {
            return Err(format!("directory {parent} has {children} children and says {}", stat.num_children));
        }
        let created = (i64::from(stat.cversion) + i64::from(stat.num_children)) / 2;
        let least = self.numbers[parent].last_key_value().map_or(0, |(number, _)| *number + 1);
        let most = self.numbers[parent].len() as u64 + self.lost[parent];
        if (created as u64) < least || created as u64 > most {
            return Err(format!("directory {parent} counts {created} creates, should be {least} to {most}"));
        }
        Ok(())
    }
}

/// One writer: what it knows to be done, and what it has asked without an answer.
#[derive(Debug)]
pub struct Writer {
    /// After every acknowledged operation.
    pub state: State,
    /// After every operation asked, if all of them happen.
    pub hoped: State,
    pending: VecDeque<Op>,
    /// Newest zxid known to be of a transaction of this writer.
    floor: u64,
    /// Operations answered so far.
    pub answered: u64,
    /// Of these, refused.
    pub refused: u64,
}

impl Writer {
    pub fn new(state: State) -> Self {
        Self { hoped: state.clone(), state, pending: VecDeque::new(), floor: 0, answered: 0, refused: 0 }
    }

    /// The writer has a session.
    pub fn open(&mut self, session: i64) {
        self.state.session = Some(session);
        self.hoped.session = Some(session);
    }

    /// What was asked and not answered, in order.
    pub const fn unanswered(&self) -> &VecDeque<Op> {
        &self.pending
    }

    /// Remembers an operation asked.
    pub fn submit(&mut self, op: Op) {
        self.hoped.imagine(&op);
        self.pending.push_back(op);
    }

    /// Checks the answer to the oldest operation asked. Returns whether it was the close of the session.
    pub fn answer(&mut self, registry: &mut Registry, reply: &Reply) -> Result<bool, String> {
        let op = self.pending.pop_front().ok_or("a reply to nothing")?;
        let before = self.state.items.last_key_value().map(|(serial, _)| *serial);
        self.state.apply(&op, &reply.result)?;
        self.answered += 1;
        self.refused += u64::from(is_refusal(&reply.result));
        let shown = u64::try_from(reply.zxid).map_err(|_| format!("{op:?} was answered with zxid {}", reply.zxid))?;
        registry.newest = registry.newest.max(shown);
        if shown < self.floor {
            return Err(format!("{op:?} was answered at zxid {shown:#x}, after {:#x}", self.floor));
        }
        if let Some(zxid) = reply.result.as_ref().ok().and_then(stamp) {
            if zxid <= self.floor || zxid > shown {
                return Err(format!("{op:?} has zxid {zxid:#x}, after {:#x}, shown at {shown:#x}", self.floor));
            }
            registry.take_stamp(zxid, self.state.writer)?;
            self.floor = zxid;
        }
        let from = before.map_or(0, |serial| serial + 1);
        for (serial, item) in self.state.items.range(from..) {
            let (Some(name), Some(czxid)) = (&item.name, item.czxid) else { return Err(format!("{item:?} has no name")) };
            registry.take_number(item.parent, name, (self.state.writer, *serial, czxid))?;
        }
        Ok(op == Op::Close)
    }

    /// Finds how much of the unanswered pipeline has happened: a prefix of it, and nothing else, explains both readings.
    /// The one found becomes what is known. Returns its length.
    pub fn judge(&mut self, registry: &mut Registry, fate: Fate, early: &Observed, late: &Observed) -> Result<usize, String> {
        let mut state = self.state.clone();
        let mut reasons = Vec::new();
        for happened in 0..=self.pending.len() {
            if happened > 0 {
                state.imagine(&self.pending[happened - 1]);
            }
            match explain(&state, fate, early, late) {
                Ok(mut explained) => {
                    self.adopt(registry, &mut explained, late)?;
                    return Ok(happened);
                }
                Err(reason) => reasons.push(format!("  with {happened} of {} unanswered: {reason}", self.pending.len())),
            }
        }
        reasons.dedup();
        Err(format!("writer {}, {fate:?}, is in a state it cannot be in:\n{}", self.state.writer, reasons.join("\n")))
    }

    fn adopt(&mut self, registry: &mut Registry, explained: &mut State, late: &Observed) -> Result<(), String> {
        let writer = explained.writer;
        for zxid in explained.learn(late) {
            if zxid <= self.floor {
                return Err(format!("writer {writer}: an unanswered operation has zxid {zxid:#x}, before {:#x}", self.floor));
            }
            registry.take_stamp(zxid, writer)?;
        }
        for (serial, item) in &explained.items {
            let (Some(name), Some(czxid)) = (&item.name, item.czxid) else { return Err(format!("{item:?} has no name")) };
            registry.take_number(item.parent, name, (writer, *serial, czxid))?;
        }
        let members = |op: &Op| if let Op::Multi(members) = op { members.clone() } else { vec![op.clone()] };
        for op in self.pending.drain(..).collect::<Vec<_>>().iter().flat_map(members) {
            if let Op::Sequence { parent, serial, .. } = op
                && !explained.items.contains_key(&serial)
            {
                registry.lost[parent] += 1;
            }
        }
        self.state = explained.clone();
        self.hoped = explained.clone();
        Ok(())
    }
}

/// Whether the state, after the session's fate, is what both readings saw.
pub fn explain(state: &State, fate: Fate, early: &Observed, late: &Observed) -> Result<State, String> {
    let mut state = state.clone();
    match (fate, state.session) {
        (Fate::Reattached, None) => return Err("the session is closed and was taken back".into()),
        (Fate::Refused, Some(_)) => return Err("the session is open and was refused".into()),
        (Fate::Abandoned, Some(_)) => {
            state.compare(early, true).map_err(|e| format!("early: {e}"))?;
            state.end_session(None);
        }
        _ => state.compare(early, false).map_err(|e| format!("early: {e}"))?,
    }
    state.compare(late, false).map_err(|e| format!("late: {e}"))?;
    Ok(state)
}

fn is_refusal(result: &Result<Body, Refusal>) -> bool {
    match result {
        Err(_) => true,
        Ok(Body::Multi(results)) => results.iter().any(Result::is_err),
        Ok(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Node, data};
    use super::*;
    use ringkeeper::ground::ids::Zxid;

    const SESSION: i64 = 77;

    /// A little history of writer 0, and what a truthful server would show of it.
    struct Story {
        registry: Registry,
        writer: Writer,
        seen: Observed,
        zxid: u64,
    }

    fn stat(zxid: u64, serial: u64, owner: i64) -> Stat {
        let z = Zxid(zxid);
        Stat {
            czxid: z,
            mzxid: z,
            pzxid: z,
            ctime: 5,
            mtime: 5,
            ephemeral_owner: owner,
            data_length: data(0, serial).len() as i32,
            ..Stat::default()
        }
    }

    fn create(name: &str, ephemeral: bool, serial: u64) -> Op {
        Op::Create { name: name.into(), ephemeral, serial }
    }

    fn set(name: &str, version: i32, serial: u64) -> Op {
        Op::Set { name: name.into(), version, serial }
    }

    impl Story {
        /// Created p0 (serial 1), set it (serial 2), created e0 (serial 3), one sequential znode (serial 4).
        fn new() -> Self {
            let mut writer = Writer::new(State::new(0, 10));
            writer.open(SESSION);
            let mut story = Self { registry: Registry::default(), writer, seen: Observed::default(), zxid: 10 };
            story.seen.directory.pzxid = Zxid(10);
            story.acked_create("p0", false, 1);
            story.acked_set("p0", 0, 2);
            story.acked_create("e0", true, 3);
            story.acked_sequence(4, 0, false);
            story
        }

        fn answer(&mut self, op: Op, result: Result<Body, Refusal>) -> Result<bool, String> {
            self.writer.submit(op);
            let reply = Reply { xid: 1, op: 1, zxid: self.zxid.cast_signed(), result };
            self.writer.answer(&mut self.registry, &reply)
        }

        /// A create happens and is seen.
        fn happens_create(&mut self, name: &str, ephemeral: bool, serial: u64) -> Stat {
            self.zxid += 1;
            let stat = stat(self.zxid, serial, if ephemeral { SESSION } else { 0 });
            self.seen.nodes.insert(name.into(), (data(0, serial), stat));
            self.seen.directory.cversion += 1;
            self.seen.directory.num_children += 1;
            self.seen.directory.pzxid = Zxid(self.zxid);
            stat
        }

        fn acked_create(&mut self, name: &str, ephemeral: bool, serial: u64) {
            let stat = self.happens_create(name, ephemeral, serial);
            let path = format!("/crash/w00/{name}");
            self.answer(create(name, ephemeral, serial), Ok(Body::Created(path, stat))).unwrap();
        }

        fn happens_set(&mut self, name: &str, serial: u64) -> Stat {
            self.zxid += 1;
            let (bytes, stat) = self.seen.nodes.get_mut(name).unwrap();
            *bytes = data(0, serial);
            stat.version += 1;
            stat.mzxid = Zxid(self.zxid);
            stat.mtime = 6;
            stat.data_length = bytes.len() as i32;
            *stat
        }

        fn acked_set(&mut self, name: &str, version: i32, serial: u64) {
            let stat = self.happens_set(name, serial);
            self.answer(set(name, version, serial), Ok(Body::Stat(stat))).unwrap();
        }

        fn acked_sequence(&mut self, serial: u64, number: u64, ephemeral: bool) {
            self.zxid += 1;
            let name = format!("q-{number:010}");
            let stat = stat(self.zxid, serial, if ephemeral { SESSION } else { 0 });
            self.seen.items.insert(serial, (1, name.clone(), stat));
            let told = Body::Created(format!("/crash/s1/{name}"), stat);
            self.answer(Op::Sequence { parent: 1, ephemeral, serial }, Ok(told)).unwrap();
        }

        fn judge(mut self, fate: Fate) -> Result<usize, String> {
            let seen = self.seen.clone();
            self.writer.judge(&mut self.registry, fate, &seen, &seen)
        }

        fn lie(self, fate: Fate) -> String {
            self.judge(fate).expect_err("the checker must not believe this")
        }

        fn expires(&mut self) {
            self.seen.nodes.retain(|_, (_, stat)| stat.ephemeral_owner == 0);
            self.seen.directory.num_children = self.seen.nodes.len() as i32;
            self.seen.directory.cversion += 1;
            self.seen.directory.pzxid = Zxid(self.zxid + 1);
        }
    }

    #[test]
    fn the_truth_is_believed() {
        assert_eq!(Story::new().judge(Fate::Reattached), Ok(0));
    }

    #[test]
    fn any_prefix_of_the_unanswered_is_believed() {
        for happened in 0..=3 {
            let mut story = Story::new();
            for (at, op) in [create("p1", false, 5), set("p0", 1, 6), set("p0", 2, 7)].into_iter().enumerate() {
                story.writer.submit(op.clone());
                match op {
                    _ if at >= happened => {}
                    Op::Create { .. } => drop(story.happens_create("p1", false, 5)),
                    Op::Set { serial, .. } => drop(story.happens_set("p0", serial)),
                    _ => unreachable!(),
                }
            }
            assert_eq!(story.judge(Fate::Reattached), Ok(happened));
        }
    }

    #[test]
    fn a_hole_in_the_unanswered_is_a_lie() {
        let mut story = Story::new();
        story.writer.submit(create("p1", false, 5));
        story.writer.submit(set("p0", 1, 6));
        story.happens_set("p0", 6);
        assert!(story.lie(Fate::Reattached).contains("with 2 of 2 unanswered: early: 2 children, should be 3"));
    }

    #[test]
    fn a_lost_acknowledgement_is_a_lie() {
        let mut story = Story::new();
        let before = story.seen.clone();
        story.acked_set("p0", 1, 5);
        story.seen = before;
        assert!(story.lie(Fate::Reattached).contains("p0: Stat"));

        let mut story = Story::new();
        story.seen.items.clear();
        assert!(story.lie(Fate::Reattached).contains("item 4 is not there"));
    }

    #[test]
    fn a_refused_write_that_shows_up_later_is_a_lie() {
        let mut story = Story::new();
        story.answer(set("p0", 9, 5), Err(Refusal(-103))).unwrap();
        assert_eq!(story.writer.refused, 1);
        story.happens_set("p0", 5);
        assert!(story.lie(Fate::Reattached).contains("p0: Stat"));
    }

    #[test]
    fn a_wrong_version_data_or_time_is_a_lie() {
        for spoilt in 0..5 {
            let mut story = Story::new();
            let (bytes, stat) = story.seen.nodes.get_mut("p0").unwrap();
            match spoilt {
                0 => stat.version += 1,
                1 => *bytes = data(0, 1),
                2 => stat.mtime += 1,
                3 => stat.czxid = Zxid(9),
                _ => stat.ephemeral_owner = 4,
            }
            assert!(story.lie(Fate::Reattached).contains("early: p0: "));
        }
        let mut story = Story::new();
        story.seen.directory.cversion += 1;
        assert!(story.lie(Fate::Reattached).contains("cversion 3, should be 2"));
    }

    #[test]
    fn an_ephemeral_that_outlives_its_session_is_a_lie() {
        let mut story = Story::new();
        story.answer(Op::Close, Ok(Body::Nothing)).unwrap();
        assert!(story.lie(Fate::Abandoned).contains("2 children, should be 1"));

        let early = Story::new().seen;
        let mut expired = Story::new();
        assert!(Story::new().lie(Fate::Abandoned).contains("late: 2 children, should be 1"));
        expired.expires();
        let late = expired.seen.clone();
        assert_eq!(expired.writer.judge(&mut expired.registry, Fate::Abandoned, &early, &late), Ok(0));
    }

    #[test]
    fn an_ephemeral_of_a_living_session_that_is_gone_is_a_lie() {
        let mut story = Story::new();
        story.expires();
        assert!(story.lie(Fate::Reattached).contains("1 children, should be 2"));
    }

    #[test]
    fn an_open_session_refused_and_a_closed_one_taken_back_are_lies() {
        assert!(Story::new().lie(Fate::Refused).contains("is open and was refused"));
        let mut story = Story::new();
        story.answer(Op::Close, Ok(Body::Nothing)).unwrap();
        story.expires();
        assert!(story.lie(Fate::Reattached).contains("is closed and was taken back"));
    }

    #[test]
    fn a_duplicate_or_falling_sequence_number_is_a_lie() {
        let mut story = Story::new();
        story.acked_sequence(5, 1, false);
        story.zxid += 1;
        let told = Body::Created("/crash/s1/q-0000000001".into(), stat(story.zxid, 6, 0));
        let op = Op::Sequence { parent: 1, ephemeral: false, serial: 6 };
        assert!(story.answer(op, Ok(told)).unwrap_err().contains("number 1 of directory 1 was given to"));

        let mut story = Story::new();
        story.acked_sequence(5, 2, false);
        story.acked_sequence(6, 1, false);
        let counted = Stat { cversion: 3, num_children: 3, ..Stat::default() };
        assert!(story.registry.check_numbers(1, &counted, 3).unwrap_err().contains("number 2 of directory 1 has zxid"));
    }

    #[test]
    fn a_counter_that_went_back_is_a_lie() {
        let story = Story::new();
        let counted = |creates| Stat { cversion: creates, num_children: 1, ..Stat::default() };
        assert_eq!(story.registry.check_numbers(1, &counted(1), 1), Ok(()));
        assert!(story.registry.check_numbers(1, &counted(3), 1).unwrap_err().contains("counts 2 creates, should be 1 to 1"));
        assert!(story.registry.check_numbers(1, &counted(-1), 1).unwrap_err().contains("counts 0 creates"));
        assert!(story.registry.check_numbers(1, &counted(1), 2).unwrap_err().contains("has 2 children and says 1"));
    }

    #[test]
    fn a_zxid_used_twice_or_gone_back_is_a_lie() {
        let mut story = Story::new();
        story.registry.stamps.insert(story.zxid + 1, 9);
        let told = Ok(Body::Stat(story.happens_set("p0", 5)));
        assert!(story.answer(set("p0", 1, 5), told).unwrap_err().contains("is also a transaction of writer 9"));

        let mut story = Story::new();
        story.registry.settle(100);
        let told = Ok(Body::Stat(story.happens_set("p0", 5)));
        assert!(story.answer(set("p0", 1, 5), told).unwrap_err().contains("0x64 was shown before"));

        let mut story = Story::new();
        let mut stat = story.happens_set("p0", 5);
        stat.mzxid = Zxid(story.zxid + 1);
        assert!(story.answer(set("p0", 1, 5), Ok(Body::Stat(stat))).unwrap_err().contains("shown at"));
    }

    #[test]
    fn a_multi_is_all_or_nothing() {
        let members = vec![set("p0", 1, 5), Op::Delete { name: "none".into(), version: -1 }, set("p0", 2, 6)];
        let aborted = |codes: [i32; 3]| Ok(Body::Multi(codes.iter().map(|code| Err(Refusal(*code))).collect()));
        let mut story = Story::new();
        story.answer(Op::Multi(members.clone()), aborted([0, -101, -2])).unwrap();
        assert!(Story::new().answer(Op::Multi(members.clone()), aborted([-101, -2, -2])).is_err());
        story.happens_set("p0", 5);
        assert!(story.lie(Fate::Reattached).contains("p0: Stat"), "the first member of an aborted multi has happened");

        let mut story = Story::new();
        story.writer.submit(Op::Multi(vec![set("p0", 1, 5), set("p0", 2, 6)]));
        story.happens_set("p0", 5);
        assert!(story.lie(Fate::Reattached).contains("p0: Stat"), "half of an unanswered multi has happened");
    }

    #[test]
    fn an_answer_other_than_the_foretold_one_is_a_lie() {
        let mut story = Story::new();
        assert!(story.answer(create("p0", false, 5), Err(Refusal(-101))).unwrap_err().contains("not Err(-110)"));
        let mut story = Story::new();
        assert!(story.answer(create("e0/c", false, 5), Err(Refusal(-101))).unwrap_err().contains("not Err(-108)"));
        let mut story = Story::new();
        let mut stat = story.happens_set("p0", 5);
        stat.version += 1;
        assert!(story.answer(set("p0", 1, 5), Ok(Body::Stat(stat))).unwrap_err().contains("does not fit"));
        let node = Node { serial: 1, version: 0, owner: 0, czxid: None, mzxid: None, ctime: None, mtime: None };
        let mut story = Story::new();
        story.writer.state.nodes.insert("p9".into(), node);
        assert!(story.lie(Fate::Reattached).contains("should be 3"));
    }
}
