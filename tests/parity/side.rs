//! Side: one of the two servers. Plays steps one by one, and tells in words what every session heard.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ringkeeper::ground::ids::{SessionId, Zxid};
use ringkeeper::proto::connect::{ConnectRequest, ConnectResponse};
use ringkeeper::proto::event::NOTIFICATION_XID;
use ringkeeper::proto::frame::{self, Cut};
use ringkeeper::proto::jute::{Reader, Writer};
use ringkeeper::proto::opcode as op;
use ringkeeper::proto::reply::ReplyHeader;

use super::fault::Fault;
use super::step::{ATTACH, HANG_UP, Step};
use super::wording::Wording;

/// Sessions of a scenario, at most.
pub const SEATS: usize = 4;
/// xid of what makes sure that all events have come.
const BARRIER: i32 = 2_000_000_000;
/// What a server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);
const TIMEOUT_MS: i32 = 30_000;

/// Whatever answers steps: a server, or what one has answered once.
pub trait Answers {
    /// What all sessions heard of this step, in the order of their seats, each in its order.
    fn play(&mut self, at: usize, step: &Step) -> io::Result<Vec<String>>;
}

struct Conn {
    stream: TcpStream,
    input: Vec<u8>,
}

/// What a session is known by.
#[derive(Clone)]
struct Papers {
    id: i64,
    password: Vec<u8>,
    closed: bool,
}

#[derive(Default)]
struct Seat {
    conn: Option<Conn>,
    papers: Option<Papers>,
    last_zxid: i64,
    generation: u32,
}

pub struct Side {
    address: SocketAddr,
    seats: Vec<Seat>,
    /// zxids of the replies so far.
    seen: Vec<i64>,
    wording: Wording,
    fault: Option<Fault>,
}

impl Conn {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, input: Vec::new() })
    }

    /// Sends a frame. Whoever has hung up is found when its answer is read.
    fn send(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut out = Vec::new();
        let body = frame::open(&mut out);
        fill(&mut out);
        frame::close(&mut out, body);
        match self.stream.write_all(&out) {
            Err(error) if hung_up(&error) => Ok(()),
            done => done,
        }
    }

    fn ask(&mut self, xid: i32, op: i32, body: &[u8]) -> io::Result<()> {
        self.send(|out| {
            out.int(xid);
            out.int(op);
            out.extend_from_slice(body);
        })
    }

    /// The next frame; none where the server has hung up.
    fn frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match frame::cut(&self.input, 16 << 20).map_err(|error| io::Error::other(error.to_string()))? {
                Cut::Frame(body, used) => {
                    let body = body.to_vec();
                    self.input.drain(..used);
                    return Ok(Some(body));
                }
                Cut::More(_) => {}
            }
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(got) => self.input.extend_from_slice(&chunk[..got]),
                Err(error) if hung_up(&error) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

impl Side {
    /// With a znode of its own, which is made here. Nobody may have one of that name at this server yet.
    pub fn new(address: SocketAddr, root: &str, fault: Option<Fault>) -> io::Result<Self> {
        let seats = std::iter::repeat_with(Seat::default).take(SEATS).collect();
        let mut side = Self { address, seats, seen: Vec::new(), wording: Wording::new(root.to_owned()), fault: None };
        let line = "0 create / x 1 31 \"world\" \"anyone\" 0";
        let made = side.play(0, &Step::parse(line).expect("a step"))?;
        if !made.iter().any(|line| line.contains(" OK ")) {
            return Err(io::Error::other(format!("{root} cannot be made: {made:?}")));
        }
        side.play(0, &Step::parse("0 closeSession").expect("a step"))?;
        side.seats[0] = Seat::default();
        side.wording.sessions.clear();
        side.fault = fault;
        Ok(side)
    }

    fn attach(&mut self, seat: usize, lines: &mut Vec<String>) -> io::Result<()> {
        let papers = self.seats[seat].papers.clone();
        let mut conn = Conn::open(self.address)?;
        let (id, password) = papers.as_ref().map_or((0, vec![0; 16]), |papers| (papers.id, papers.password.clone()));
        let mut out = Vec::new();
        ConnectRequest {
            last_zxid_seen: Zxid::from_wire(self.seats[seat].last_zxid),
            timeout_ms: TIMEOUT_MS,
            session: SessionId(id),
            password: &password,
            read_only: Some(false),
        }
        .encode(&mut out);
        conn.stream.write_all(&out)?;
        let granted = conn.frame()?.and_then(|body| ConnectResponse::decode(&body).ok());
        let Some(ConnectResponse { timeout_ms, session, password, read_only }) = granted else {
            lines.push(format!("{seat} not connected"));
            return Ok(());
        };
        let chair = &mut self.seats[seat];
        if timeout_ms <= 0 {
            chair.papers = None;
            let nobody = session.0 == 0 && password == [0; 16];
            lines.push(format!("{seat} session refused {timeout_ms} {nobody} {read_only:?}"));
            return Ok(());
        }
        let again = id == session.0 && papers.is_some_and(|papers| papers.password == password);
        if !again {
            chair.generation += 1;
            self.wording.sessions.insert(session.0, format!("s{seat}.{}", chair.generation));
        }
        chair.papers = Some(Papers { id: session.0, password: password.to_vec(), closed: false });
        chair.conn = Some(conn);
        lines.push(format!("{seat} session {timeout_ms} again {again} {read_only:?}"));
        Ok(())
    }

    /// Reads until the reply with this xid, which is told unless it belongs to a barrier. Whether it came.
    fn hear(&mut self, seat: usize, xid: i32, op: i32, lines: &mut Vec<String>) -> io::Result<bool> {
        loop {
            let Some(conn) = &mut self.seats[seat].conn else { return Ok(false) };
            let Some(mut body) = conn.frame()? else {
                self.seats[seat].conn = None;
                lines.push(format!("{seat} closed"));
                return Ok(false);
            };
            let header = ReplyHeader::decode(&mut Reader::new(&body)).map_err(|error| io::Error::other(error.to_string()))?;
            if xid != BARRIER && header.xid == xid {
                self.seats[seat].last_zxid = self.seats[seat].last_zxid.max(header.zxid);
                self.seen.push(header.zxid);
            }
            if header.xid != BARRIER && self.fault.as_mut().is_some_and(|fault| fault.strikes(op, header.xid, &mut body)) {
                continue;
            }
            if header.xid == NOTIFICATION_XID {
                lines.push(format!("{seat} {}", self.wording.event(&body)));
            } else if header.xid != BARRIER {
                lines.push(format!("{seat} {}", self.wording.reply(op, &body)));
            }
            if header.xid == xid {
                return Ok(true);
            }
        }
    }

    /// Waits until every session has heard of everything.
    fn settle(&mut self, lines: &mut Vec<String>) -> io::Result<()> {
        let mut path = Vec::new();
        path.string(&self.wording.root);
        for seat in &mut self.seats {
            if let Some(conn) = &mut seat.conn {
                conn.ask(BARRIER, op::SYNC, &path)?;
            }
        }
        for seat in 0..self.seats.len() {
            self.hear(seat, BARRIER, op::SYNC, lines)?;
        }
        Ok(())
    }

    /// Closes all sessions.
    pub fn end(mut self) -> io::Result<()> {
        for session in 0..self.seats.len() {
            if self.seats[session].papers.as_ref().is_some_and(|papers| !papers.closed) {
                self.fault = None;
                self.play(0, &Step { session, op: op::CLOSE_SESSION, fields: Vec::new() })?;
            }
        }
        Ok(())
    }
}

impl Answers for Side {
    fn play(&mut self, at: usize, step: &Step) -> io::Result<Vec<String>> {
        let (seat, mut lines) = (step.session, Vec::new());
        if step.op == HANG_UP {
            self.seats[seat].conn = None;
            return Ok(lines);
        }
        if step.op == ATTACH {
            self.seats[seat].conn = None;
        } else if self.seats[seat].papers.as_ref().is_some_and(|papers| papers.closed) {
            self.seats[seat].papers = None;
        }
        if self.seats[seat].conn.is_none() {
            self.attach(seat, &mut lines)?;
        }
        if step.op == ATTACH || self.seats[seat].conn.is_none() {
            return Ok(lines);
        }
        let seen = &self.seen;
        let body =
            step.body(&self.wording.root, &|back| seen.len().checked_sub(back).and_then(|at| seen.get(at)).copied().unwrap_or(0));
        let xid = match step.op {
            op::PING => -2,
            op::AUTH => -4,
            op::SET_WATCHES | op::SET_WATCHES2 => -8,
            _ => i32::try_from(at).expect("few steps") + 1,
        };
        self.seats[seat].conn.as_mut().expect("just made").ask(xid, step.op, &body)?;
        let answered = self.hear(seat, xid, step.op, &mut lines)?;
        if answered && step.op == op::CLOSE_SESSION {
            self.hear(seat, i32::MIN, step.op, &mut lines)?;
            if let Some(papers) = &mut self.seats[seat].papers {
                papers.closed = true;
            }
        }
        // Whoever hangs up after an answer may still take a request before it does.
        let parting = lines.last().is_some_and(|line| line.ends_with(" UNIMPLEMENTED") || line.ends_with(" AUTHFAILED"));
        for _ in 0..if parting { 100 } else { 0 } {
            if self.seats[seat].conn.is_some() {
                self.settle(&mut lines)?;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if !step.only_reads() || !lines.last().is_some_and(|line| line.contains(" OK")) {
            self.settle(&mut lines)?;
        }
        if step.op == op::CLOSE_SESSION {
            // Ephemerals go in no order that one may rely on.
            lines.sort();
        }
        Ok(lines)
    }
}
