//! Shared: what all clients of a round have in common.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::checker::Registry;

pub struct Shared {
    pub began: Instant,
    pub servers: Vec<SocketAddr>,
    pub registry: Mutex<Registry>,
    pub stop: AtomicBool,
    /// How long a client rests after each answer; not at all where the load is to be all that the machine bears.
    rest: Duration,
    /// Newest zxid of a write that was acknowledged to anybody.
    acked: AtomicU64,
    /// When the last fault stood, µs since the beginning; `u64::MAX` where nobody waits for the first write after it.
    fault: AtomicU64,
    /// When a write invoked since was acknowledged; 0 as long as none was.
    relief: AtomicU64,
    wrong: Mutex<Option<String>>,
}

impl Shared {
    pub fn new(servers: Vec<SocketAddr>, rest: Duration) -> Self {
        Self {
            began: Instant::now(),
            servers,
            registry: Mutex::default(),
            stop: AtomicBool::new(false),
            rest,
            acked: AtomicU64::new(0),
            fault: AtomicU64::new(u64::MAX),
            relief: AtomicU64::new(0),
            wrong: Mutex::new(None),
        }
    }

    pub fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::SeqCst)
    }

    /// A write invoked at this time has been acknowledged.
    pub fn acknowledge(&self, zxid: u64, invoked: u64) {
        self.acked.fetch_max(zxid, Ordering::SeqCst);
        if invoked > self.fault.load(Ordering::SeqCst) {
            let _ = self.relief.compare_exchange(0, self.now(), Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// A fault stands from now on.
    pub fn strike(&self) {
        self.relief.store(0, Ordering::SeqCst);
        self.fault.store(self.now(), Ordering::SeqCst);
    }

    /// How long it took from the fault to the first write invoked and acknowledged after it.
    pub fn relief(&self) -> Option<Duration> {
        let relief = self.relief.load(Ordering::SeqCst);
        (relief > 0).then(|| Duration::from_micros(relief - self.fault.load(Ordering::SeqCst)))
    }

    /// Between two requests of a client.
    pub fn rest(&self) {
        if !self.rest.is_zero() {
            std::thread::sleep(self.rest);
        }
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// A client has seen what must not be: everybody stops. The first one counts.
    pub fn accuse(&self, error: String) {
        self.wrong.lock().unwrap().get_or_insert(error);
        self.stop.store(true, Ordering::SeqCst);
    }

    pub fn verdict(&self) -> Result<(), String> {
        self.wrong.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}
