//! Echo: the trivial server against which the generator is measured.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};

use ringkeeper::ground::ids::{SessionId, Zxid};
use ringkeeper::proto::connect::ConnectResponse;
use ringkeeper::proto::stat::{self, Stat};
use ringkeeper::proto::{frame, opcode, reply};
use rustix::event::epoll;

use super::{Failure, INPUT};

/// The trivial server: grants sessions and answers every request as if it had done it.
pub fn echo(connections: usize, value_size: usize) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        if let Err(error) = echo_loop(&listener, connections, value_size) {
            eprintln!("the inner server: {error}");
        }
    });
    Ok(address)
}

fn echo_loop(listener: &TcpListener, connections: usize, value_size: usize) -> Result<(), Failure> {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let (mut read_reply, mut set_reply) = (Vec::new(), Vec::new());
    let value = vec![b'v'; value_size];
    reply::ok(&mut read_reply, 0, Zxid(1), |out| stat::encode_data(out, Some(&value), &Stat::default()));
    reply::ok(&mut set_reply, 0, Zxid(1), |out| Stat::default().encode(out));
    let mut peers = Vec::new();
    let mut input = vec![0u8; INPUT];
    for at in 0..connections {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut head = [0; 49];
        stream.read_exact(&mut head)?;
        let mut out = Vec::new();
        let granted =
            ConnectResponse { timeout_ms: 30_000, session: SessionId(at as i64 + 1), password: [0; 16], read_only: Some(false) };
        granted.encode(&mut out);
        stream.write_all(&out)?;
        stream.set_nonblocking(true)?;
        epoll::add(&set, &stream, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
        peers.push((stream, Vec::new()));
    }
    let mut events = Vec::with_capacity(1024);
    let mut open = connections;
    let mut out = Vec::new();
    while open > 0 {
        events.clear();
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let (stream, rest) = &mut peers[event.data.u64() as usize];
            let got = match stream.read(&mut input) {
                Ok(0) => {
                    epoll::delete(&set, &*stream)?;
                    open -= 1;
                    continue;
                }
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            rest.extend_from_slice(&input[..got]);
            out.clear();
            let mut at = 0;
            let mut closing = false;
            while let frame::Cut::Frame(body, used) = frame::cut(&rest[at..], INPUT)? {
                let template = match body[4..8] {
                    [0, 0, 0, 4] => &read_reply,
                    [0, 0, 0, 5] => &set_reply,
                    _ => {
                        closing |= body[4..8] == opcode::CLOSE_SESSION.to_be_bytes();
                        &set_reply
                    }
                };
                let start = out.len();
                out.extend_from_slice(template);
                out[start + 4..start + 8].copy_from_slice(&body[..4]);
                at += used;
            }
            rest.drain(..at);
            stream.set_nonblocking(false)?;
            stream.write_all(&out)?;
            stream.set_nonblocking(true)?;
            if closing {
                stream.shutdown(std::net::Shutdown::Both)?;
                epoll::delete(&set, &*stream)?;
                open -= 1;
            }
        }
    }
    Ok(())
}
