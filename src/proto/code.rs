//! Error codes of replies (`KeeperException.Code`).

/// An error code as replies carry it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i32)]
pub enum Code {
    /// Success.
    Ok = 0,
    /// Something inside the server.
    SystemError = -1,
    /// A member of a multi after the one that failed.
    RuntimeInconsistency = -2,
    /// The record could not be read.
    MarshallingError = -5,
    /// Operation not known or not enabled.
    Unimplemented = -6,
    /// Illegal path, flags or other argument.
    BadArguments = -8,
    /// Session unknown to a standalone server.
    UnknownSession = -12,
    /// The znode is not there.
    NoNode = -101,
    /// The ACL forbids it.
    NoAuth = -102,
    /// The expected version is not the current one.
    BadVersion = -103,
    /// The parent is an ephemeral znode.
    NoChildrenForEphemerals = -108,
    /// The znode is there already.
    NodeExists = -110,
    /// The znode has children.
    NotEmpty = -111,
    /// The session is over.
    SessionExpired = -112,
    /// The ACL itself is not valid.
    InvalidAcl = -114,
    /// The credentials were refused.
    AuthFailed = -115,
    /// The session lives on another connection now.
    SessionMoved = -118,
    /// The server serves reads only.
    NotReadOnly = -119,
    /// Sessions that one server alone knows own no znodes.
    EphemeralOnLocalSession = -120,
    /// No such watch.
    NoWatcher = -121,
    /// Dynamic reconfiguration is switched off.
    ReconfigDisabled = -123,
    /// The server asks for a scheme of authentication that the client has not used.
    SessionClosedRequireSaslAuth = -124,
    /// More than a quota allows.
    QuotaExceeded = -125,
    /// It waited longer than the operator lets requests wait, and was not done.
    ThrottledOp = -127,
}

impl Code {
    /// All of them.
    const ALL: [Self; 24] = [
        Self::Ok,
        Self::SystemError,
        Self::RuntimeInconsistency,
        Self::MarshallingError,
        Self::Unimplemented,
        Self::BadArguments,
        Self::UnknownSession,
        Self::NoNode,
        Self::NoAuth,
        Self::BadVersion,
        Self::NoChildrenForEphemerals,
        Self::NodeExists,
        Self::NotEmpty,
        Self::SessionExpired,
        Self::InvalidAcl,
        Self::AuthFailed,
        Self::SessionMoved,
        Self::NotReadOnly,
        Self::EphemeralOnLocalSession,
        Self::NoWatcher,
        Self::ReconfigDisabled,
        Self::SessionClosedRequireSaslAuth,
        Self::QuotaExceeded,
        Self::ThrottledOp,
    ];

    /// From the wire. A code that only another server's leader knows says that something went wrong there.
    #[must_use]
    pub fn from_wire(code: i32) -> Self {
        Self::ALL.into_iter().find(|known| known.as_wire() == code).unwrap_or(Self::SystemError)
    }

    /// As the wire carries it.
    #[must_use]
    pub const fn as_wire(self) -> i32 {
        self as i32
    }
}
