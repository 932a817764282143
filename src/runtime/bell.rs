//! Bell: wakes a loop wherever its executor sleeps, in its ring or in the epoll set of its sockets.
//!
//! Parking an executor and waking it again goes through three rings and a barrier, which costs more than the answer to a ping.
//! While nothing is awaited through the ring a shard's loop therefore sleeps in its epoll set: it naps. What other threads
//! bring ends the nap, because every bell of that executor knows of it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use atomic_waker::AtomicWaker;

const AWAKE: u8 = 0;
const NAPPING: u8 = 1;
const RUNG: u8 = 2;

/// The place where an executor naps.
#[derive(Debug)]
pub struct Nap {
    state: AtomicU8,
    waker: mio::Waker,
}

impl Nap {
    /// A nap that this waker ends: one of the epoll set slept in.
    #[must_use]
    pub const fn new(waker: mio::Waker) -> Self {
        Self { state: AtomicU8::new(AWAKE), waker }
    }

    /// Whether the executor may go to sleep. It may not where a bell was rung since the last time it was asked: then the ring
    /// has to be looked at first, in which the wake has been left.
    #[must_use]
    pub fn begin(&self) -> bool {
        let may = self.state.compare_exchange(AWAKE, NAPPING, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !may {
            self.state.store(AWAKE, Ordering::SeqCst);
        }
        may
    }

    /// The sleep is over. Whether a bell was rung meanwhile, so that the ring has to be looked at.
    pub fn end(&self) -> bool {
        self.state.swap(AWAKE, Ordering::SeqCst) == RUNG
    }

    fn ring(&self) {
        if self.state.swap(RUNG, Ordering::SeqCst) == NAPPING {
            // Where this fails the nap ends by its time.
            let _ = self.waker.wake();
        }
    }
}

/// A bell of one loop.
#[derive(Default)]
pub struct Bell {
    waker: AtomicWaker,
    /// Rung, and the loop has not listened since.
    is_rung: AtomicBool,
    nap: OnceLock<Arc<Nap>>,
}

impl Bell {
    /// Wakes the loop.
    pub fn ring(&self) {
        // First the word is left where the executor finds it, then its sleep is ended.
        self.is_rung.store(true, Ordering::SeqCst);
        self.waker.wake();
        if let Some(nap) = self.nap.get() {
            nap.ring();
        }
    }

    /// The loop leaves word to be woken. What was rung for before it has to find by itself, now.
    pub fn listen(&self, waker: &Waker) {
        self.waker.register(waker);
        self.is_rung.store(false, Ordering::SeqCst);
    }

    /// Whether the loop was called and has not come yet. Its executor must not nap then: that the bell is rung once forbids one
    /// nap only, and another loop of the executor may have asked for it.
    #[must_use]
    pub fn is_rung(&self) -> bool {
        self.is_rung.load(Ordering::SeqCst)
    }

    /// The loop's executor naps there from now on.
    pub fn naps_at(&self, nap: Arc<Nap>) {
        assert!(self.nap.set(nap).is_ok(), "an executor naps in one place");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll, Token};

    use super::*;

    fn nap() -> (Poll, Arc<Nap>) {
        let poll = Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), Token(0)).unwrap();
        (poll, Arc::new(Nap::new(waker)))
    }

    #[test]
    fn a_bell_rung_before_a_nap_forbids_it_once() {
        let (_poll, nap) = nap();
        let bell = Bell::default();
        bell.naps_at(Arc::clone(&nap));
        assert!(nap.begin() && !nap.end(), "nobody rang");
        bell.ring();
        assert!(!nap.begin(), "the ring has to be looked at");
        assert!(nap.begin() && !nap.end());
    }

    #[test]
    fn a_bell_stays_rung_until_its_loop_listens() {
        let bell = Bell::default();
        bell.ring();
        assert!(bell.is_rung());
        bell.listen(Waker::noop());
        assert!(!bell.is_rung());
    }

    /// Were one ring lost, the sleeper would sleep for ever.
    #[test]
    fn no_ring_is_lost_between_a_ringer_and_a_sleeper() {
        let (mut poll, nap) = nap();
        let bell = Arc::new(Bell::default());
        bell.naps_at(Arc::clone(&nap));
        let at = Arc::new(AtomicU8::new(0));
        let ringer = {
            let (bell, at) = (Arc::clone(&bell), Arc::clone(&at));
            std::thread::spawn(move || {
                for n in 1..=200u8 {
                    at.store(n, Ordering::Release);
                    bell.ring();
                    while at.load(Ordering::Acquire) == n {
                        std::thread::yield_now();
                    }
                }
            })
        };
        let mut events = Events::with_capacity(4);
        let mut seen = 0;
        while seen < 200 {
            let before = at.load(Ordering::Acquire);
            if before != 0 {
                seen += 1;
                at.store(0, Ordering::Release);
            }
            // After the last one nobody rings any more.
            if seen < 200 && nap.begin() {
                poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
                assert!(nap.end(), "the nap went on for a minute");
            }
        }
        ringer.join().unwrap();
    }
}
