//! Fault: a falsehood planted into what one server says, which the tester must find.

use ringkeeper::proto::event::NOTIFICATION_XID;
use ringkeeper::proto::opcode as op;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A number of a Stat is one higher: the byte so far from its end, in a reply to exists.
    Stat(usize),
    /// A watch event is kept back, after so many that were not.
    LostEvent(u32),
    /// An error is another one.
    Error(i32, i32),
    /// The zxid in the header of a reply to setData is one lower.
    Header,
    /// A deletion is told as a creation.
    WrongEvent,
}

impl Fault {
    /// Changes what came, where it fits; true where it is to be lost.
    pub fn strikes(&mut self, asked: i32, xid: i32, frame: &mut [u8]) -> bool {
        let int = |at: usize| frame.get(at..at + 4).map(|four| i32::from_be_bytes(four.try_into().expect("four")));
        let (err, kind) = (int(12), int(16));
        let event = xid == NOTIFICATION_XID;
        match *self {
            Self::Stat(from_end) if !event && asked == op::EXISTS && err == Some(0) => {
                let at = frame.len() - from_end;
                frame[at] = frame[at].wrapping_add(1);
            }
            Self::LostEvent(0) if event => return true,
            Self::LostEvent(left) if event => *self = Self::LostEvent(left - 1),
            Self::Error(from, to) if !event && err == Some(from) => frame[12..16].copy_from_slice(&to.to_be_bytes()),
            Self::Header if !event && asked == op::SET_DATA && err == Some(0) => {
                frame[11] = frame[11].wrapping_sub(1);
            }
            Self::WrongEvent if event && kind == Some(2) => frame[19] = 1,
            _ => {}
        }
        false
    }
}
