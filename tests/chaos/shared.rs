//! Shared: what all clients of a round have in common.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::checker::Registry;

/// The last fault, and what came after it; µs since the beginning.
#[derive(Clone, Copy)]
struct Fault {
    /// When it stood; `u64::MAX` where nobody waits for the first write after it.
    stood: u64,
    /// When a write invoked since was acknowledged, if one was.
    relief: Option<u64>,
}

pub struct Shared {
    pub began: Instant,
    pub servers: Vec<SocketAddr>,
    pub registry: Mutex<Registry>,
    pub stop: AtomicBool,
    /// How long a client rests after each answer; not at all where the load is to be all that the machine bears.
    rest: Duration,
    /// Newest zxid of a write that was acknowledged to anybody.
    acked: AtomicU64,
    fault: Mutex<Fault>,
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
            fault: Mutex::new(Fault { stood: u64::MAX, relief: None }),
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
        let mut fault = self.fault.lock().unwrap();
        if invoked > fault.stood {
            fault.relief.get_or_insert(self.now());
        }
    }

    /// A fault stands from now on.
    pub fn strike(&self) {
        let mut fault = self.fault.lock().unwrap();
        *fault = Fault { stood: self.now(), relief: None };
    }

    /// How long it took from the fault to the first write invoked and acknowledged after it.
    pub fn relief(&self) -> Option<Duration> {
        let Fault { stood, relief } = *self.fault.lock().unwrap();
        relief.map(|relief| Duration::from_micros(relief - stood))
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
