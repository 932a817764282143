//! Link: one connection of the quorum port: packets both ways, and at times a whole state in their stream.

use std::sync::mpsc::{Receiver, TryRecvError, TrySendError};

use mio::Registry;
use mio::event::Event;

use super::socket::{Brought, Socket};
use super::{PeerEvent, StatePiece, StateSink, Taken};
use crate::proto::packet::{Packet, Side, Wrong};
use crate::proto::stream::Decoder;
use crate::zab::{In, Link};

/// Bytes of a state that wait for the socket, before the next piece is taken.
const AHEAD: usize = 1 << 20;

/// Bytes that a caller may send before its first packet is whole.
const INTRODUCTION_MAX: usize = 4096;

/// Why a link ends.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Over {
    /// The other end has closed it, or it has broken.
    #[error("it was closed by the other server, or broke")]
    Closed,
    /// What came is no packet that this end may be sent.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// A caller sent much and no packet.
    #[error("what it said first is no packet")]
    Introduction,
    /// So many bytes wait for it.
    #[error("{0} bytes wait for it: it does not keep up")]
    Behind(usize),
    /// The state that was to go out.
    #[error("its state cannot be sent: {0}")]
    Sending(String),
    /// The state that came.
    #[error("the state that came cannot be taken: {0}")]
    Taking(String),
}

/// A state on its way out.
struct Outgoing {
    pieces: Receiver<StatePiece>,
    /// Packets that were sent after it began.
    behind: Vec<u8>,
}

/// A state on its way in.
enum Incoming {
    /// None is.
    No,
    /// It was told of, and nobody has said where it goes.
    Told,
    /// It goes there; whether a chunk is under way.
    Taken(StateSink, bool),
}

/// One connection of the quorum port.
pub(super) struct LinkIo {
    link: Link,
    socket: Socket,
    writer: Side,
    decoder: Decoder,
    outgoing: Option<Outgoing>,
    incoming: Incoming,
    /// A whole packet has come.
    is_introduced: bool,
    output_max: usize,
}

impl LinkIo {
    /// A connection on which this server is `side`.
    pub const fn new(link: Link, socket: Socket, side: Side, packet_max: usize, output_max: usize) -> Self {
        Self {
            link,
            socket,
            writer: side,
            decoder: Decoder::new(side, packet_max),
            outgoing: None,
            incoming: Incoming::No,
            is_introduced: matches!(side, Side::Learner),
            output_max,
        }
    }

    /// Whom it leads to.
    pub const fn peer(&self) -> core::net::SocketAddr {
        self.socket.peer()
    }

    /// The kernel has told of it.
    pub fn note(&mut self, event: &Event) {
        self.socket.note(event);
    }

    /// Bytes that wait for it.
    pub fn waiting(&self) -> usize {
        self.socket.waiting() + self.outgoing.as_ref().map_or(0, |outgoing| outgoing.behind.len())
    }

    /// Sends a packet.
    pub fn send(&mut self, packet: &Packet) -> Result<(), Over> {
        let writer = self.writer;
        match &mut self.outgoing {
            Some(outgoing) => packet.encode(writer, &mut outgoing.behind),
            None => packet.encode(writer, self.socket.out()),
        }
        match self.waiting() {
            waiting if waiting > self.output_max => Err(Over::Behind(waiting)),
            _ => Ok(()),
        }
    }

    /// A state goes out from now on.
    ///
    /// # Panics
    /// Where another one does.
    pub fn begin_state(&mut self, pieces: Receiver<StatePiece>) {
        assert!(self.outgoing.is_none(), "one state at a time is asked for");
        self.outgoing = Some(Outgoing { pieces, behind: Vec::new() });
    }

    /// Writes what waits. Whether anything was written, or taken to be written.
    pub fn flush(&mut self, events: &mut Vec<PeerEvent>) -> Result<bool, Over> {
        let mut any = false;
        loop {
            any |= self.socket.write().map_err(|_| Over::Closed)?;
            let Some(outgoing) = self.outgoing.as_mut().filter(|_| self.socket.waiting() < AHEAD) else { return Ok(any) };
            match outgoing.pieces.try_recv() {
                Ok(StatePiece::Bytes(bytes)) => self.socket.out().extend_from_slice(&bytes),
                Ok(StatePiece::End { at }) => {
                    let mut behind = std::mem::take(&mut outgoing.behind);
                    self.socket.out().append(&mut behind);
                    self.outgoing = None;
                    events.push(PeerEvent::In(In::StateSent { link: self.link, at }));
                }
                Ok(StatePiece::Failed(why)) => return Err(Over::Sending(why)),
                Err(TryRecvError::Disconnected) => return Err(Over::Sending("whoever reads it has ended".to_owned())),
                Err(TryRecvError::Empty) => return Ok(any),
            }
            any = true;
        }
    }

    /// Says where the state goes that was told of.
    pub fn take_state(&mut self, sink: StateSink) {
        assert!(matches!(self.incoming, Incoming::Told), "a state is taken that was told of, once");
        self.incoming = Incoming::Taken(sink, false);
    }

    /// Reads what has come. Whether anything has, so that there may be more.
    pub fn turn(&mut self, scratch: &mut [u8], events: &mut Vec<PeerEvent>) -> Result<bool, Over> {
        let mut any = self.move_state(events)?;
        if self.may_read() && self.socket.is_readable() {
            match self.socket.read(scratch) {
                Brought::Bytes(n) => {
                    any = true;
                    self.decoder.push(&scratch[..n]);
                }
                Brought::Nothing => return Ok(any),
                Brought::End | Brought::Broken => return Err(Over::Closed),
            }
            self.packets(events)?;
            self.move_state(events)?;
        }
        Ok(any)
    }

    /// Not while a state waits for whoever takes it.
    const fn may_read(&self) -> bool {
        matches!(self.incoming, Incoming::No | Incoming::Taken(_, false))
    }

    /// Hands over the packets that are whole: a train where there are several.
    fn packets(&mut self, events: &mut Vec<PeerEvent>) -> Result<(), Over> {
        if !matches!(self.incoming, Incoming::No) {
            return Ok(());
        }
        let link = self.link;
        let mut train = Vec::new();
        let verdict: Result<(), Over> = loop {
            match self.decoder.next_packet() {
                Ok(None) => break Ok(()),
                Ok(Some(packet)) => {
                    self.is_introduced = true;
                    let state = if let Packet::Snap { at } = packet { Some(at) } else { None };
                    train.push(packet);
                    if let Some(at) = state {
                        couple(link, &mut train, events);
                        events.push(PeerEvent::StateBegins { link, at });
                        self.incoming = Incoming::Told;
                        break Ok(());
                    }
                }
                // Of a release to come, perhaps.
                Err(wrong @ Wrong::Kind(_)) => tracing::debug!("{}: {wrong}", self.socket.peer()),
                Err(wrong) => break Err(wrong.into()),
            }
        };
        // What came before the end is handed over before the end is told.
        couple(link, &mut train, events);
        verdict?;
        if !self.is_introduced && self.decoder.rest().len() > INTRODUCTION_MAX {
            return Err(Over::Introduction);
        }
        Ok(())
    }

    /// Moves the state that comes in. Whether anything moved.
    fn move_state(&mut self, events: &mut Vec<PeerEvent>) -> Result<bool, Over> {
        let Incoming::Taken(sink, is_under_way) = &mut self.incoming else { return Ok(false) };
        let mut any = false;
        if *is_under_way {
            match sink.from.try_recv() {
                Ok(Taken::More) => *is_under_way = false,
                Ok(Taken::End { rest }) => {
                    self.incoming = Incoming::No;
                    self.decoder.end_state();
                    self.decoder.push(&rest);
                    events.push(PeerEvent::In(In::StateReceived { link: self.link }));
                    self.packets(events)?;
                    return Ok(true);
                }
                Ok(Taken::Failed(why)) => return Err(Over::Taking(why)),
                Err(TryRecvError::Empty) => return Ok(false),
                Err(TryRecvError::Disconnected) => return Err(Over::Taking("whoever takes it has ended".to_owned())),
            }
            any = true;
        }
        let chunk = self.decoder.rest();
        if !chunk.is_empty() {
            let len = chunk.len();
            match sink.to.try_send(chunk.to_vec()) {
                Ok(()) => {}
                // It has room for one, and none is under way.
                Err(TrySendError::Full(_)) => {
                    return Err(Over::Taking("whoever takes it answers before it has taken".to_owned()));
                }
                Err(TrySendError::Disconnected(_)) => return Err(Over::Taking("whoever takes it has ended".to_owned())),
            }
            self.decoder.pass_state(len);
            *is_under_way = true;
            any = true;
        }
        Ok(any)
    }

    /// Shuts it. What waits is written as far as the kernel takes it at once.
    pub fn close(mut self, registry: &Registry) {
        // It ends either way.
        let _ = self.socket.write();
        self.socket.close(registry);
    }
}

/// Hands over packets that came together.
fn couple(link: Link, train: &mut Vec<Packet>, events: &mut Vec<PeerEvent>) {
    let input = match train.len() {
        0 => return,
        1 => In::Packet { link, packet: train.remove(0) },
        _ => In::Train { link, packets: std::mem::take(train) },
    };
    events.push(PeerEvent::In(input));
}
