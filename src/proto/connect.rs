//! The first packet of each direction: ConnectRequest and ConnectResponse.

use super::frame;
use super::jute::{Malformed, Reader, Writer};
use crate::ground::ids::{SessionId, Zxid};

/// Bytes of a session's password.
pub const PASSWORD_LEN: usize = 16;

/// What a client asks for when it connects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectRequest<'a> {
    /// The newest zxid the client has seen; a server behind it must not take it.
    pub last_zxid_seen: Zxid,
    /// Wanted session timeout, ms.
    pub timeout_ms: i32,
    /// [`SessionId::NONE`] for a new session.
    pub session: SessionId,
    /// Password of the session to re-attach; null and empty read as empty.
    pub password: &'a [u8],
    /// Whether a read-only server will do. `None`: a client older than the flag, whose response must not have it either.
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    /// Reads the body of the first frame.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body);
        let _protocol_version = r.int()?;
        let last_zxid_seen = Zxid::from_wire(r.long()?);
        let timeout_ms = r.int()?;
        let session = SessionId(r.long()?);
        let password = r.buffer()?.unwrap_or_default();
        let read_only = r.bool().ok();
        Ok(Self { last_zxid_seen, timeout_ms, session, password, read_only })
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let body = frame::open(out);
        out.int(0);
        out.long(self.last_zxid_seen.as_wire());
        out.int(self.timeout_ms);
        out.long(self.session.0);
        out.buffer(Some(self.password));
        if let Some(read_only) = self.read_only {
            out.bool(read_only);
        }
        frame::close(out, body);
    }
}

/// What the server grants. A refused re-attachment is timeout 0, session 0 and a password of zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectResponse {
    /// Negotiated timeout, ms; 0 says the session is gone.
    pub timeout_ms: i32,
    /// The session.
    pub session: SessionId,
    /// Its password.
    pub password: [u8; PASSWORD_LEN],
    /// `None` leaves the byte out, for clients that did not send theirs.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The answer to a re-attachment that failed.
    #[must_use]
    pub const fn refused(read_only: Option<bool>) -> Self {
        Self { timeout_ms: 0, session: SessionId::NONE, password: [0; PASSWORD_LEN], read_only }
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let body = frame::open(out);
        out.int(0);
        out.int(self.timeout_ms);
        out.long(self.session.0);
        out.buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            out.bool(read_only);
        }
        frame::close(out, body);
    }

    /// Reads a body.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body);
        let _protocol_version = r.int()?;
        let timeout_ms = r.int()?;
        let session = SessionId(r.long()?);
        let password = r.buffer()?.unwrap_or_default().try_into().map_err(|_| Malformed::Length)?;
        let read_only = r.bool().ok();
        Ok(Self { timeout_ms, session, password, read_only })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn old_clients_get_no_flag() {
        let mut request = ConnectRequest {
            last_zxid_seen: Zxid(7),
            timeout_ms: 10_000,
            session: SessionId(0),
            password: &[0; 16],
            read_only: None,
        };
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(out.len(), 4 + 44);
        assert_eq!(ConnectRequest::decode(&out[4..]), Ok(request.clone()));
        request.read_only = Some(false);
        out.clear();
        request.encode(&mut out);
        assert_eq!(out.len(), 4 + 45);

        for (flag, len) in [(None, 36), (Some(false), 37)] {
            let response = ConnectResponse::refused(flag);
            let mut out = Vec::new();
            response.encode(&mut out);
            assert_eq!(out.len(), 4 + len);
            assert_eq!(ConnectResponse::decode(&out[4..]), Ok(response));
        }
    }

    #[test]
    fn short_request_is_malformed() {
        assert_eq!(ConnectRequest::decode(&[0; 20]), Err(Malformed::Short));
    }

    proptest! {
        #[test]
        fn both_directions_round_trip(
            seen in any::<u64>(), timeout_ms in any::<i32>(), session in any::<i64>(), password in any::<[u8; 16]>(),
            given in prop::collection::vec(any::<u8>(), 0..40), read_only in any::<Option<bool>>(),
        ) {
            let session = SessionId(session);
            let request = ConnectRequest { last_zxid_seen: Zxid(seen), timeout_ms, session, password: &given, read_only };
            let mut out = Vec::new();
            request.encode(&mut out);
            prop_assert_eq!(ConnectRequest::decode(&out[4..]), Ok(request));
            let response = ConnectResponse { timeout_ms, session, password, read_only };
            let mut out = Vec::new();
            response.encode(&mut out);
            prop_assert_eq!(ConnectResponse::decode(&out[4..]), Ok(response));
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..80)) {
            if let Ok(request) = ConnectRequest::decode(&bytes) {
                prop_assert!(bytes.len() >= 28 + request.password.len());
            }
            let _ = ConnectResponse::decode(&bytes);
        }
    }
}
