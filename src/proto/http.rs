//! HTTP: the little of it that those who collect metrics speak: one GET a connection, and its answer.

use std::fmt::Write as _;

/// Bytes of a request at most, its headers with it.
pub const REQUEST_MAX: usize = 8192;

/// Headers of a request at most.
const HEADERS_MAX: usize = 64;

/// What somebody has asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// The request is not whole yet.
    More,
    /// `GET /metrics`.
    Metrics,
    /// Something that is not here.
    NotFound,
    /// Another method than GET.
    NotAllowed,
    /// No request of HTTP, or one that is too long.
    Bad,
}

/// Reads a request; bodies are not looked at.
#[must_use]
pub fn asked(input: &[u8]) -> Asked {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(input) {
        Ok(httparse::Status::Partial) if input.len() < REQUEST_MAX => Asked::More,
        Ok(httparse::Status::Complete(len)) if len <= REQUEST_MAX => match (request.method, request.path) {
            (Some("GET"), Some(path)) if path.split('?').next() == Some("/metrics") => Asked::Metrics,
            (Some("GET"), _) => Asked::NotFound,
            _ => Asked::NotAllowed,
        },
        _ => Asked::Bad,
    }
}

/// The answer with metrics, in the text format of Prometheus.
#[must_use]
pub fn metrics(body: &str) -> String {
    answer("200 OK", "text/plain; version=0.0.4; charset=utf-8", body)
}

/// The answer to anything else; `None` where there is nothing to refuse.
#[must_use]
pub fn refusal(asked: Asked) -> Option<String> {
    let (status, body) = match asked {
        Asked::More | Asked::Metrics => return None,
        Asked::NotFound => ("404 Not Found", "metrics are at /metrics\n"),
        Asked::NotAllowed => ("405 Method Not Allowed", "metrics are read by GET\n"),
        Asked::Bad => ("400 Bad Request", "this is no request of HTTP\n"),
    };
    Some(answer(status, "text/plain; charset=utf-8", body))
}

/// Every answer is the connection's last.
fn answer(status: &str, kind: &str, body: &str) -> String {
    let mut text = String::with_capacity(body.len() + 160);
    write!(
        text,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("a String takes every write");
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests() {
        let whole = b"GET /metrics HTTP/1.1\r\nHost: a:7000\r\nAccept: */*\r\n\r\n";
        assert_eq!(asked(whole), Asked::Metrics);
        assert_eq!(asked(b"GET /metrics?name[]=a HTTP/1.0\r\n\r\n"), Asked::Metrics);
        for len in 0..whole.len() {
            assert_eq!(asked(&whole[..len]), Asked::More, "{len}");
        }
        assert_eq!(asked(b"GET / HTTP/1.1\r\n\r\n"), Asked::NotFound);
        assert_eq!(asked(b"GET /metricses HTTP/1.1\r\n\r\n"), Asked::NotFound);
        assert_eq!(asked(b"POST /metrics HTTP/1.1\r\n\r\n"), Asked::NotAllowed);
        assert_eq!(asked(&[0, 0, 0, 45, 0]), Asked::Bad);
        assert_eq!(asked(&[b'a'; REQUEST_MAX]), Asked::Bad, "it has no end");
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(asked(many.as_bytes()), Asked::Bad);
    }

    #[test]
    fn answers_say_how_long_they_are() {
        let text = metrics("a 1\n");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{text}");
        assert!(text.ends_with("Content-Length: 4\r\nConnection: close\r\n\r\na 1\n"), "{text}");
        assert_eq!(refusal(Asked::Metrics), None);
        assert!(refusal(Asked::NotFound).unwrap().starts_with("HTTP/1.1 404 "));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_answered_or_waited_for(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let asked = asked(&input);
            prop_assert_eq!(refusal(asked).is_none(), matches!(asked, Asked::More | Asked::Metrics));
        }
    }
}
