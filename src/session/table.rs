//! Table: the sessions the sequencer keeps alive, and whom each belongs to.

use std::collections::BTreeMap;

use ahash::RandomState;
use hashbrown::HashTable;

use super::wheel::{Deadline, Wheel};
use crate::ground::ids::SessionId;
use crate::ground::time::Millis;

/// A session that is known.
#[derive(Clone, Debug)]
pub struct Session<H> {
    id: SessionId,
    /// Timeout of the createSession transaction, ms: what an image keeps, also when a re-attachment negotiated another.
    pub timeout_ms: i32,
    /// Timeout that touches grant, ms.
    pub live_timeout_ms: i32,
    /// Whether its closeSession is under way.
    pub closing: bool,
    /// Who owns it.
    pub home: H,
    deadline: Deadline,
}

impl<H> Session<H> {
    /// The moment from which on it is expired, a multiple of tickTime.
    #[must_use]
    pub const fn due(&self) -> Millis {
        self.deadline.due
    }
}

/// What a request of a session meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No such session: it never was, or it was closed.
    Unknown,
    /// Alive.
    Open,
    /// Its closeSession is under way; requests fail as if it were gone.
    Closing,
}

/// The timeout a client gets, ms: what it asked for, raised to `min`, then lowered to `max`.
#[must_use]
pub const fn negotiate(requested: i32, min: i32, max: i32) -> i32 {
    let raised = if requested < min { min } else { requested };
    if raised > max { max } else { raised }
}

/// Sessions. `H` says whose a session is; the table only keeps it.
#[derive(Debug)]
pub struct Table<H> {
    sessions: HashTable<Session<H>>,
    wheel: Wheel,
    random: RandomState,
}

impl<H> Table<H> {
    /// An empty table whose sessions expire at multiples of `tick_ms`, which is at least 1.
    #[must_use]
    pub fn new(tick_ms: u64, seeds: [u64; 4]) -> Self {
        let random = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Self { sessions: HashTable::new(), wheel: Wheel::new(tick_ms), random }
    }

    /// Enters a session with a full timeout. `false` if it was there already: it then keeps its home and its state, and only
    /// counts as touched, unless it is closing.
    pub fn open(&mut self, id: SessionId, timeout_ms: i32, now: Millis, home: H) -> bool {
        if self.get(id).is_some() {
            self.touch(id, now);
            return false;
        }
        let mut deadline = Deadline::default();
        self.wheel.set(id, &mut deadline, self.wheel.due(now, timeout_ms));
        let session = Session { id, timeout_ms, live_timeout_ms: timeout_ms, closing: false, home, deadline };
        let random = &self.random;
        self.sessions.insert_unique(random.hash_one(id), session, |s| random.hash_one(s.id));
        self.sweep_if_littered();
        true
    }

    /// The session was heard of. `false` if it is unknown or closing.
    pub fn touch(&mut self, id: SessionId, now: Millis) -> bool {
        let hash = self.random.hash_one(id);
        let Some(session) = self.sessions.find_mut(hash, |s| s.id == id) else { return false };
        if session.closing {
            return false;
        }
        self.wheel.set(id, &mut session.deadline, self.wheel.due(now, session.live_timeout_ms));
        true
    }

    /// A re-attachment negotiated this timeout, ms: it counts from now, and for later touches. What an image keeps stays as
    /// it is. `false` if the session is unknown or closing.
    pub fn touch_with_timeout(&mut self, id: SessionId, timeout_ms: i32, now: Millis) -> bool {
        if let Some(session) = self.get_mut(id) {
            session.live_timeout_ms = timeout_ms;
        }
        let touched = self.touch(id, now);
        self.sweep_if_littered();
        touched
    }

    /// Sessions whose time is over, in order of their ids. Marks nothing: the caller proposes closeSession and calls
    /// [`Table::begin_closing`]; a session that is neither closed nor touched is named again a tick later.
    ///
    /// A call does a bounded piece of work, and the rest is left to the next, so it wants to be called at every heartbeat.
    pub fn expired(&mut self, now: Millis) -> Vec<SessionId> {
        let mut expired = Vec::new();
        for (id, bucket) in self.wheel.take_due(now) {
            let hash = self.random.hash_one(id);
            let Some(session) = self.sessions.find_mut(hash, |s| s.id == id) else { continue };
            if self.wheel.judge(id, bucket, &mut session.deadline, now) {
                expired.push(id);
            }
        }
        expired.sort_unstable();
        expired
    }

    /// The session's closeSession is proposed: from now on it neither expires nor can it be touched. `false` if it is
    /// unknown or closing already.
    pub fn begin_closing(&mut self, id: SessionId) -> bool {
        let Some(session) = self.get_mut(id).filter(|session| !session.closing) else { return false };
        session.closing = true;
        Wheel::clear(&mut session.deadline);
        true
    }

    /// Forgets the session. `false` if it was not there.
    pub fn remove(&mut self, id: SessionId) -> bool {
        let hash = self.random.hash_one(id);
        let Ok(entry) = self.sessions.find_entry(hash, |s| s.id == id) else { return false };
        entry.remove();
        self.sweep_if_littered();
        true
    }

    /// What a request of the session meets.
    #[must_use]
    pub fn state(&self, id: SessionId) -> State {
        match self.get(id) {
            None => State::Unknown,
            Some(session) if session.closing => State::Closing,
            Some(_) => State::Open,
        }
    }

    /// All about one session.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&Session<H>> {
        self.sessions.find(self.random.hash_one(id), |s| s.id == id)
    }

    fn get_mut(&mut self, id: SessionId) -> Option<&mut Session<H>> {
        self.sessions.find_mut(self.random.hash_one(id), |s| s.id == id)
    }

    /// Who owns the session.
    #[must_use]
    pub fn home(&self, id: SessionId) -> Option<&H> {
        self.get(id).map(|session| &session.home)
    }

    /// Gives the session another owner and returns the one it had, or `None` if it is unknown.
    pub fn set_home(&mut self, id: SessionId, home: H) -> Option<H> {
        self.get_mut(id).map(|session| std::mem::replace(&mut session.home, home))
    }

    /// After a restart or a change of leader: every session is open and has its full timeout, that of its transaction, and
    /// closings that were only proposed are forgotten.
    pub fn reset_all(&mut self, now: Millis) {
        self.wheel.reset();
        // By id, as the order of filing may show in what a slice of `expired` names.
        let mut sessions: Vec<_> = self.sessions.iter_mut().collect();
        sessions.sort_unstable_by_key(|session| session.id);
        for session in sessions {
            session.closing = false;
            session.live_timeout_ms = session.timeout_ms;
            session.deadline = Deadline::default();
            self.wheel.set(session.id, &mut session.deadline, self.wheel.due(now, session.timeout_ms));
        }
    }

    /// Every session, in order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session<H>)> {
        let mut sessions: Vec<_> = self.sessions.iter().collect();
        sessions.sort_unstable_by_key(|session| session.id);
        sessions.into_iter().map(|session| (session.id, session))
    }

    /// The sessions that are not closing by the moment they expire, both in order (`dump`). Looks at every session.
    #[must_use]
    pub fn buckets(&self) -> BTreeMap<Millis, Vec<SessionId>> {
        let mut buckets: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (id, session) in self.iter().filter(|(_, session)| !session.closing) {
            buckets.entry(session.due()).or_default().push(id);
        }
        buckets
    }

    /// Sessions there are, closing ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn sweep_if_littered(&mut self) {
        if self.wheel.is_littered(self.sessions.len()) {
            let (sessions, random) = (&self.sessions, &self.random);
            self.wheel.sweep(|id| sessions.find(random.hash_one(id), |s| s.id == id).map(|s| s.deadline));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::wheel::SLICE;
    use super::*;

    const A: SessionId = SessionId(-1);
    const B: SessionId = SessionId(9);

    fn table() -> Table<u8> {
        Table::new(2000, [1, 2, 3, 4])
    }

    #[test]
    fn timeouts_are_clamped_to_both_ends() {
        assert_eq!(negotiate(-5, 4000, 40000), 4000);
        assert_eq!(negotiate(10000, 4000, 40000), 10000);
        assert_eq!(negotiate(i32::MAX, 4000, 40000), 40000);
        assert_eq!(negotiate(1, 9, 5), 5, "the maximum has the last word, as in ZooKeeper");
    }

    #[test]
    fn a_session_lives_for_its_timeout_and_up_to_a_tick() {
        let mut t = table();
        assert!(t.open(B, 4000, Millis(100), 1) && t.open(A, 4000, Millis(100), 2));
        assert_eq!(t.expired(Millis(5999)), []);
        assert!(t.touch(B, Millis(5999)));
        assert_eq!(t.expired(Millis(6000)), [A]);
        assert_eq!(t.state(A), State::Open, "nothing is marked");
        assert!(t.begin_closing(A) && !t.begin_closing(A) && !t.touch(A, Millis(6000)));
        assert_eq!((t.state(A), t.len()), (State::Closing, 2));
        assert_eq!(t.expired(Millis(9999)), []);
        assert_eq!(t.expired(Millis(10000)), [B]);
        assert!(t.remove(A) && !t.remove(A) && !t.touch(A, Millis(0)));
        assert_eq!(t.state(A), State::Unknown);
    }

    #[test]
    fn an_expired_session_nobody_closed_is_named_again_and_a_touch_saves_it() {
        let mut t = table();
        t.open(A, 4000, Millis(0), 0);
        assert_eq!(t.expired(Millis(6001)), [A]);
        assert_eq!(t.expired(Millis(7999)), []);
        assert_eq!(t.expired(Millis(8000)), [A]);
        assert!(t.touch(A, Millis(8001)));
        assert_eq!(t.expired(Millis(13999)), []);
        assert_eq!(t.expired(Millis(14000)), [A]);
    }

    #[test]
    fn a_reattachment_may_shorten_or_stretch_the_timeout() {
        let mut t = table();
        t.open(A, 30000, Millis(0), 0);
        assert!(t.touch_with_timeout(A, 4000, Millis(0)));
        assert_eq!(t.expired(Millis(6000)), [A]);
        assert!(t.touch_with_timeout(A, 20000, Millis(6000)) && t.touch(A, Millis(6000)));
        assert_eq!(t.get(A).unwrap().due(), Millis(28000));
        assert_eq!(t.get(A).unwrap().timeout_ms, 30000);
        assert_eq!(t.expired(Millis(27999)), []);
        assert!(!t.touch_with_timeout(B, 4000, Millis(0)));
    }

    #[test]
    fn homes_change_hands_and_a_second_opening_changes_nothing() {
        let mut t = table();
        t.open(A, 4000, Millis(0), 7);
        assert!(!t.open(A, 9000, Millis(2000), 8));
        assert_eq!((t.home(A), t.get(A).unwrap().timeout_ms, t.get(A).unwrap().due()), (Some(&7), 4000, Millis(8000)));
        assert_eq!((t.set_home(A, 9), t.set_home(B, 1)), (Some(7), None));
        assert_eq!((t.home(A), t.home(B)), (Some(&9), None));
    }

    #[test]
    fn a_restart_gives_everybody_a_full_timeout() {
        let mut t = table();
        t.open(B, 4000, Millis(0), 0);
        t.open(A, 8000, Millis(0), 0);
        t.touch_with_timeout(A, 4000, Millis(0));
        t.begin_closing(B);
        t.reset_all(Millis(100_000));
        assert_eq!(t.buckets(), BTreeMap::from([(Millis(106_000), vec![B]), (Millis(110_000), vec![A])]));
        assert_eq!(t.expired(Millis(109_999)), [B]);
        assert_eq!(t.iter().map(|(id, s)| (id, s.closing)).collect::<Vec<_>>(), [(A, false), (B, false)]);
    }

    #[test]
    fn a_million_sessions_and_their_churn_stay_bounded() {
        let mut t = table();
        for i in 0..1_000_000 {
            t.open(SessionId(i), 4000, Millis(0), 0);
        }
        for i in 0..1_000_000 {
            assert!(t.touch(SessionId(i), Millis(3000)));
        }
        assert_eq!((t.wheel.filings(), t.expired(Millis(6000))), (1_000_000, vec![]));
        let mut gone = 0;
        for _ in 0..=2 * 1_000_000 / SLICE + 2 {
            for id in t.expired(Millis(8000)) {
                t.begin_closing(id);
                t.remove(id);
                gone += 1;
            }
        }
        assert_eq!((gone, t.len()), (1_000_000, 0));
        for i in 0..100_000 {
            t.open(SessionId(i), i32::MAX, Millis(0), 0);
            t.remove(SessionId(i));
        }
        assert!(t.wheel.filings() < 2000);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Open(i64, i32),
        Touch(i64),
        Renegotiate(i64, i32),
        Close(i64),
        Remove(i64),
        Pass(u64),
        Reset,
    }

    fn step() -> impl Strategy<Value = Step> {
        let id = || -3..4i64;
        prop_oneof![
            3 => (id(), 0..50i32).prop_map(|(i, t)| Step::Open(i, t)),
            4 => id().prop_map(Step::Touch),
            1 => (id(), 0..50i32).prop_map(|(i, t)| Step::Renegotiate(i, t)),
            1 => id().prop_map(Step::Close),
            1 => id().prop_map(Step::Remove),
            4 => (0..30u64).prop_map(Step::Pass),
            1 => Just(Step::Reset),
        ]
    }

    /// Committed timeout, live timeout, deadline, closing.
    type Known = (i32, i32, u64, bool);

    proptest! {
        /// The model scans all sessions whenever time passes; the caller closes what expired, as the sequencer does.
        #[test]
        fn behaves_as_the_model(steps in prop::collection::vec(step(), 1..150)) {
            const TICK: u64 = 10;
            let due = |now: u64, timeout: i32| ((now + u64::try_from(timeout).unwrap()) / TICK + 1) * TICK;
            let mut t: Table<()> = Table::new(TICK, [5, 6, 7, 8]);
            let mut m: BTreeMap<i64, Known> = BTreeMap::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Open(i, timeout) => {
                        prop_assert_eq!(t.open(SessionId(i), timeout, Millis(now), ()), !m.contains_key(&i));
                        let s = m.entry(i).or_insert((timeout, timeout, 0, false));
                        s.2 = due(now, s.1);
                    }
                    Step::Touch(i) => {
                        let known = m.get_mut(&i).filter(|s| !s.3);
                        prop_assert_eq!(t.touch(SessionId(i), Millis(now)), known.is_some());
                        known.into_iter().for_each(|s| s.2 = due(now, s.1));
                    }
                    Step::Renegotiate(i, timeout) => {
                        let known = m.get_mut(&i).filter(|s| !s.3);
                        prop_assert_eq!(t.touch_with_timeout(SessionId(i), timeout, Millis(now)), known.is_some());
                        known.into_iter().for_each(|s| (s.1, s.2) = (timeout, due(now, timeout)));
                    }
                    Step::Close(i) => {
                        let known = m.get_mut(&i).filter(|s| !s.3);
                        prop_assert_eq!(t.begin_closing(SessionId(i)), known.is_some());
                        known.into_iter().for_each(|s| s.3 = true);
                    }
                    Step::Remove(i) => prop_assert_eq!(t.remove(SessionId(i)), m.remove(&i).is_some()),
                    Step::Pass(ms) => {
                        now += ms;
                        let over: Vec<_> = m.iter().filter(|(_, s)| !s.3 && s.2 <= now).map(|(i, _)| SessionId(*i)).collect();
                        prop_assert_eq!(t.expired(Millis(now)), over.clone());
                        for id in over {
                            prop_assert!(t.begin_closing(id));
                            m.get_mut(&id.0).unwrap().3 = true;
                        }
                    }
                    Step::Reset => {
                        t.reset_all(Millis(now));
                        m.values_mut().for_each(|s| (s.1, s.2, s.3) = (s.0, due(now, s.0), false));
                    }
                }
                prop_assert_eq!(t.len(), m.len());
                let mut buckets: BTreeMap<_, Vec<_>> = BTreeMap::new();
                for (i, s) in m.iter().filter(|(_, s)| !s.3) {
                    buckets.entry(Millis(s.2)).or_default().push(SessionId(*i));
                }
                prop_assert_eq!(t.buckets(), buckets);
            }
        }
    }
}
