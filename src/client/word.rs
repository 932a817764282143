//! Word: asks a server a four-letter word.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Bytes of an answer that are read.
const ANSWER_MAX: u64 = 1 << 20;

/// What a server answers to a word; `patience` counts for the connection and for each silence.
///
/// # Errors
/// Where nobody answers in time, or what is answered is no text.
pub fn ask(server: impl ToSocketAddrs, word: &str, patience: Duration) -> io::Result<String> {
    let mut found = Err(io::Error::other("the name has no address"));
    for address in server.to_socket_addrs()? {
        found = TcpStream::connect_timeout(&address, patience);
        if found.is_ok() {
            break;
        }
    }
    let mut stream = found?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_is_said_until_the_end_is_the_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"ruok");
            stream.write_all(b"imok").unwrap();
        });
        assert_eq!(ask(address, "ruok", Duration::from_secs(60)).unwrap(), "imok");
        server.join().unwrap();
        assert_eq!(ask(address, "ruok", Duration::from_secs(60)).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
