//! Patience: waiting for sockets to the microsecond. The wait of an epoll set itself is told in whole milliseconds, unless by a
//! younger call for which older seccomp profiles end the process; and half a millisecond is several answers long.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

/// Appends the events there are, after waiting for one for at most so long. The kernel's slack for the calling thread's timers
/// adds to that.
pub fn wait(set: &OwnedFd, events: &mut Vec<epoll::Event>, at_most: Duration) -> rustix::io::Result<()> {
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    let take = |events: &mut Vec<epoll::Event>| match epoll::wait(set, rustix::buffer::spare_capacity(events), Some(&NOW)) {
        Err(rustix::io::Errno::INTR) => Ok(0),
        other => other,
    };
    if take(events)? > 0 || at_most.is_zero() {
        return Ok(());
    }
    let until = Timespec { tv_sec: at_most.as_secs().cast_signed(), tv_nsec: at_most.subsec_nanos().into() };
    match poll(&mut [PollFd::from_borrowed_fd(set.as_fd(), PollFlags::IN)], Some(&until)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(()),
        Ok(_) => take(events).map(drop),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wait_ends_with_an_event_or_its_time() {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        epoll::add(&set, &far, epoll::EventData::new_u64(7), epoll::EventFlags::IN).unwrap();
        let mut events = Vec::with_capacity(8);
        let since = Instant::now();
        wait(&set, &mut events, Duration::from_micros(300)).unwrap();
        assert!(events.is_empty() && since.elapsed() >= Duration::from_micros(300));
        near.write_all(b"x").unwrap();
        wait(&set, &mut events, Duration::from_secs(60)).unwrap();
        assert!(events.len() == 1 && events[0].data.u64() == 7 && since.elapsed() < Duration::from_secs(60));
    }
}
