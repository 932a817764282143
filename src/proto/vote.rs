//! Vote: what servers tell each other on the election port.

use std::sync::Arc;

use super::frame::{self, BadLength, Cut};
use super::jute::{Malformed, Reader, Writer};
use crate::ground::ids::{ServerId, Zxid};

/// What a server that sends a notification does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Standing {
    /// It seeks a leader.
    Looking,
    /// It follows one.
    Following,
    /// It leads.
    Leading,
    /// It observes a leader; it has no vote.
    Observing,
}

/// Whom a server proposes to lead, and what makes that one fit: compared by epoch, then zxid, then server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Vote {
    /// Current epoch of the proposed leader, as its promise has it.
    pub epoch: u32,
    /// End of the proposed leader's durable log.
    pub zxid: Zxid,
    /// The proposed leader.
    pub leader: ServerId,
}

/// A notification, as ZooKeeper's version 2 has it (`FastLeaderElection.Notification`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// What the sender does.
    pub standing: Standing,
    /// Its vote; `None` from one that has none to give (an observer; the least 64-bit integer thrice on the wire).
    pub vote: Option<Vote>,
    /// Round of the election that the vote belongs to.
    pub round: u64,
    /// The sender's configuration in text, where it told one.
    pub config: Option<Arc<[u8]>>,
}

/// Largest frame of the election port, bytes (`QuorumCnxManager.PACKETMAXSIZE`).
pub const FRAME_MAX: usize = 512 << 10;

/// The form that is told here: the sender's configuration comes with it.
const VERSION: i32 = 2;

/// What a server without a vote says in the place of the proposed leader, its zxid and its epoch.
const NONE: i64 = i64::MIN;

/// The zxid of a server whose data cannot be trusted.
const UNTRUSTED: i64 = -1;

/// Bytes of a notification of the first releases.
const ANCIENT: usize = 28;

/// Bytes of a notification of releases before 3.5.
const OLD: usize = 40;

/// Why a notification is left aside. The connection stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Wrong {
    /// It ends early, or claims lengths that cannot be.
    #[error("not a notification: {0}")]
    Malformed(#[from] Malformed),
    /// It tells of no state that there is.
    #[error("a notification tells of state {0}, which does not exist")]
    Standing(i32),
    /// It proposes a leader whose number is none that a server can have here.
    #[error("a notification proposes server {0}, which is not from 1 to 255")]
    Leader(i64),
    /// It tells of an epoch that no zxid can hold.
    #[error("a notification tells of epoch {0}")]
    Epoch(i64),
}

/// Cuts the next frame off `input`, which comes from the election port. An empty one is no frame; the connection is dropped, as at one that
/// is too long.
pub fn cut(input: &[u8]) -> Result<Cut<'_>, BadLength> {
    match frame::cut(input, FRAME_MAX)? {
        Cut::Frame([], _) => Err(BadLength(0, FRAME_MAX)),
        cut => Ok(cut),
    }
}

impl Standing {
    const fn of(state: i32) -> Option<Self> {
        match state {
            0 => Some(Self::Looking),
            1 => Some(Self::Following),
            2 => Some(Self::Leading),
            3 => Some(Self::Observing),
            _ => None,
        }
    }
}

impl Notification {
    /// Appends the notification in a frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let body = frame::open(out);
        out.int(match self.standing {
            Standing::Looking => 0,
            Standing::Following => 1,
            Standing::Leading => 2,
            Standing::Observing => 3,
        });
        let (leader, zxid, epoch) =
            self.vote.map_or((NONE, NONE, NONE), |vote| (i64::from(vote.leader.0), vote.zxid.as_wire(), i64::from(vote.epoch)));
        out.long(leader);
        out.long(zxid);
        out.long(i64::try_from(self.round).unwrap_or(i64::MAX));
        out.long(epoch);
        match &self.config {
            Some(config) => {
                out.int(VERSION);
                out.buffer(Some(config));
            }
            // The older form: an empty configuration ends a thread of some Java servers.
            None => out.int(0),
        }
        frame::close(out, body);
    }

    /// Reads the body of a frame. A vote whose zxid is that of untrusted data reads as none, and an empty configuration too; a round below
    /// zero, which no election has, as 0.
    pub fn decode(body: &[u8]) -> Result<Self, Wrong> {
        let mut r = Reader::new(body);
        let state = r.int()?;
        let (leader, zxid, round) = (r.long()?, r.long()?, r.long()?);
        let standing = Standing::of(state).ok_or(Wrong::Standing(state))?;
        // The first releases end before the epoch; those before 3.5 say no version, and four zeros in its place.
        let (epoch, version) = match body.len() {
            ANCIENT => (i64::from(Zxid::from_wire(zxid).epoch()), 0),
            OLD => (r.long()?, 0),
            _ => (r.long()?, r.int()?),
        };
        let config = if version < VERSION { None } else { Some(r.buffer()?.ok_or(Malformed::Length)?) };
        let vote = if leader == NONE || zxid == UNTRUSTED {
            None
        } else {
            let id = u8::try_from(leader).ok().filter(|id| *id > 0).ok_or(Wrong::Leader(leader))?;
            let epoch = u32::try_from(epoch).map_err(|_| Wrong::Epoch(epoch))?;
            Some(Vote { epoch, zxid: Zxid::from_wire(zxid), leader: ServerId(id) })
        };
        let config = config.filter(|config| !config.is_empty()).map(Into::into);
        Ok(Self { standing, vote, round: u64::try_from(round).unwrap_or(0), config })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_notification() -> impl Strategy<Value = Notification> {
        let standing = prop::sample::select(vec![Standing::Looking, Standing::Following, Standing::Leading, Standing::Observing]);
        let vote = (any::<u32>(), 0..u64::MAX, 1..=255u8).prop_map(|(epoch, zxid, leader)| Vote {
            epoch,
            zxid: Zxid(zxid),
            leader: ServerId(leader),
        });
        let config = prop::option::of(prop::collection::vec(any::<u8>(), 1..200));
        (standing, prop::option::of(vote), 0..=i64::MAX as u64, config).prop_map(|(standing, vote, round, config)| Notification {
            standing,
            vote,
            round,
            config: config.map(Into::into),
        })
    }

    fn encoded(notification: &Notification) -> Vec<u8> {
        let mut out = Vec::new();
        notification.encode(&mut out);
        out
    }

    /// The five fields of every form.
    fn fields(state: i32, longs: [i64; 4]) -> Vec<u8> {
        let mut out = Vec::new();
        out.int(state);
        longs.into_iter().for_each(|long| out.long(long));
        out
    }

    fn vote(epoch: u32, zxid: Zxid, leader: u8) -> Option<Vote> {
        Some(Vote { epoch, zxid, leader: ServerId(leader) })
    }

    #[test]
    fn what_a_real_server_says() {
        let config = "server.1=127.0.0.1:2381:2481:participant\nserver.2=127.0.0.1:2382:2482:participant\n\
            server.3=127.0.0.1:2383:2483:participant\nversion=0";
        assert_eq!(config.len(), 132);
        let mut want = 176i32.to_be_bytes().to_vec();
        want.extend(fields(0, [3, 0, 1, 0]));
        want.int(2);
        want.string(config);
        let config = Some(config.as_bytes().into());
        let notification = Notification { standing: Standing::Looking, vote: vote(0, Zxid(0), 3), round: 1, config };
        assert_eq!(encoded(&notification), want);
        let Ok(Cut::Frame(body, 180)) = cut(&want) else { panic!("a whole frame") };
        assert_eq!(Notification::decode(body), Ok(notification));
    }

    #[test]
    fn older_forms() {
        let looking = |vote, config: Option<&[u8]>| {
            Ok(Notification { standing: Standing::Looking, vote, round: 6, config: config.map(Into::into) })
        };
        let zxid = Zxid::new(4, 9);
        let whole = fields(0, [2, zxid.as_wire(), 6, 3]);
        assert_eq!(Notification::decode(&whole[..28]), looking(vote(4, zxid, 2), None));
        let mut old = whole.clone();
        old.int(0);
        assert_eq!(Notification::decode(&old), looking(vote(3, zxid, 2), None));
        // In this form the last four bytes are no version, whatever they are.
        old[39] = 2;
        assert_eq!(Notification::decode(&old), looking(vote(3, zxid, 2), None));
        let mut first = whole.clone();
        first.int(1);
        first.int(77);
        assert_eq!(Notification::decode(&first), looking(vote(3, zxid, 2), None));
        let mut empty = whole.clone();
        empty.int(2);
        empty.string("");
        assert_eq!(Notification::decode(&empty), looking(vote(3, zxid, 2), None));
        for len in (0..28).chain(29..40) {
            assert_eq!(Notification::decode(&old[..len]), Err(Wrong::Malformed(Malformed::Short)), "{len} bytes");
        }
        for length in [-1, -2, 1, i32::MAX] {
            let mut bad = whole.clone();
            bad.int(2);
            bad.int(length);
            assert!(matches!(Notification::decode(&bad), Err(Wrong::Malformed(_))), "{length}");
        }
    }

    #[test]
    fn votes_that_are_none() {
        let decoded = |state, longs| Notification::decode(&fields(state, longs)[..]).map(|n| (n.standing, n.vote, n.round));
        let with = |state, longs: [i64; 4]| {
            let mut out = fields(state, longs);
            out.int(0);
            Notification::decode(&out).map(|n| (n.standing, n.vote, n.round))
        };
        assert_eq!(with(3, [NONE, NONE, 5, NONE]), Ok((Standing::Observing, None, 5)));
        assert_eq!(with(0, [1, UNTRUSTED, 5, 0]), Ok((Standing::Looking, None, 5)));
        assert_eq!(with(2, [1, 0, -1, 0]), Ok((Standing::Leading, vote(0, Zxid(0), 1), 0)));
        assert_eq!(with(4, [1, 0, 5, 0]), Err(Wrong::Standing(4)));
        assert_eq!(with(-1, [1, 0, 5, 0]), Err(Wrong::Standing(-1)));
        for leader in [0, -1, 256, i64::MAX] {
            assert_eq!(with(0, [leader, 0, 5, 0]), Err(Wrong::Leader(leader)));
        }
        for epoch in [-1, 1 << 32, NONE] {
            assert_eq!(with(0, [1, 0, 5, epoch]), Err(Wrong::Epoch(epoch)));
        }
        assert!(decoded(0, [1, 0, 5, 0]).is_err());
        let none = Notification { standing: Standing::Observing, vote: None, round: 1, config: None };
        let mut want = 40i32.to_be_bytes().to_vec();
        want.extend(fields(3, [NONE, NONE, 1, NONE]));
        want.int(0);
        assert_eq!(encoded(&none), want);
    }

    #[test]
    fn frames_of_the_election_port() {
        assert_eq!(cut(&[0, 0, 0, 0]), Err(BadLength(0, FRAME_MAX)));
        assert_eq!(cut(&[0, 8, 0, 0]), Ok(Cut::More(Some(FRAME_MAX + 4))));
        assert_eq!(cut(&[0, 8, 0, 1]), Err(BadLength(FRAME_MAX as i32 + 1, FRAME_MAX)));
        assert_eq!(cut(&[0xff; 4]), Err(BadLength(-1, FRAME_MAX)));
        assert_eq!(cut(&[0, 0, 0, 1, 9]), Ok(Cut::Frame(&[9], 5)));
        assert_eq!(cut(&[0, 0]), Ok(Cut::More(None)));
    }

    proptest! {
        #[test]
        fn notifications_come_back(notification in any_notification()) {
            let out = encoded(&notification);
            let Ok(Cut::Frame(body, used)) = cut(&out) else { panic!("a whole frame") };
            prop_assert_eq!(used, out.len());
            let back = Notification::decode(body).unwrap();
            prop_assert_eq!(encoded(&back), out);
            prop_assert_eq!(back, notification);
        }

        #[test]
        fn hostile_bytes_are_read_or_refused(
            notification in any_notification(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0u8), Just(0xff), any::<u8>()]), 0..6),
            kept in any::<prop::sample::Index>(),
        ) {
            let mut out = encoded(&notification);
            for (at, byte) in changes {
                let at = at.index(out.len());
                out[at] = byte;
            }
            let _ = cut(&out);
            let body = &out[4..];
            if let Ok(read) = Notification::decode(&body[..kept.index(body.len() + 1)]) {
                prop_assert!(read.config.map_or(0, |config| config.len()) <= body.len());
            }
        }
    }
}
