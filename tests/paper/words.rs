//! Words: how zxids, packets and writes are written down.

use std::fmt::Write as _;

use ringkeeper::ground::ids::Zxid;
use ringkeeper::proto::packet::Packet;
use ringkeeper::zab::{Record, Write};

pub fn zxid(text: &str) -> Zxid {
    let (epoch, counter) = text.split_once('.').unwrap_or_else(|| panic!("a zxid is written 5.3: {text}"));
    Zxid::new(epoch.parse().expect("an epoch"), counter.parse().expect("a counter"))
}

pub fn short(zxid: Zxid) -> String {
    format!("{}.{}", zxid.epoch(), zxid.counter())
}

/// The bytes of a transaction tell which leader made it.
pub fn record(zxid: Zxid, by: u8) -> Record {
    Record { zxid, blob: vec![by; 10].into() }
}

/// Zxids as ranges.
pub fn ranges<'a>(records: impl IntoIterator<Item = &'a Record>) -> String {
    let mut text = String::new();
    let mut open: Option<(Zxid, Zxid)> = None;
    let close = |open: Option<(Zxid, Zxid)>, text: &mut String| {
        if let Some((first, last)) = open {
            let range = if first == last { short(first) } else { format!("{}-{}", short(first), short(last)) };
            let _ = write!(text, "{}{range}", if text.is_empty() { "" } else { "," });
        }
    };
    for record in records {
        open = match open {
            Some((first, last)) if last.next() == Some(record.zxid) => Some((first, record.zxid)),
            other => {
                close(other, &mut text);
                Some((record.zxid, record.zxid))
            }
        };
    }
    close(open, &mut text);
    if text.is_empty() { "nothing".into() } else { text }
}

pub fn pair(a: u8, b: u8) -> (u8, u8) {
    (a.min(b), a.max(b))
}

pub fn packet_text(packet: &Packet) -> String {
    match packet {
        Packet::Info(info) if info.is_observer => format!("OBSERVERINFO accepted {}", info.accepted),
        Packet::Info(info) => format!("FOLLOWERINFO accepted {}", info.accepted),
        Packet::LeaderInfo { epoch } => format!("LEADERINFO {epoch}"),
        Packet::AckEpoch { last, current } => {
            format!("ACKEPOCH last {} current {}", short(*last), current.map_or("-".into(), |current| current.to_string()))
        }
        Packet::Diff { to } => format!("DIFF {}", short(*to)),
        Packet::Trunc { to } => format!("TRUNC {}", short(*to)),
        Packet::Snap { at } => format!("SNAP {}", short(*at)),
        Packet::NewLeader { epoch, .. } => format!("NEWLEADER {epoch}"),
        Packet::UpToDate => "UPTODATE".into(),
        Packet::Proposal { zxid, .. } => format!("PROPOSAL {}", short(*zxid)),
        Packet::Ack { zxid } => format!("ACK {}", short(*zxid)),
        Packet::Commit { zxid } => format!("COMMIT {}", short(*zxid)),
        Packet::Inform { zxid, .. } => format!("INFORM {}", short(*zxid)),
        Packet::Ping { zxid, .. } => format!("PING {}", short(*zxid)),
        other => format!("{other:?}"),
    }
}

pub fn write_text(write: &Write) -> String {
    match write {
        Write::Promise { accepted, current } => format!("promise accepted {accepted} current {current}"),
        Write::Append(records) => format!("log {}", ranges(records)),
        Write::Cut { to } => format!("cut to {}", short(*to)),
        Write::Install { at, tail, .. } => format!("install {} and {}", short(*at), ranges(tail)),
        Write::Restored => "restored".into(),
    }
}
