//! What each method promises and demands, as its contract states it.

#![warn(clippy::all)]

use std::time::Duration;

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A user with an access token.
    User,
    /// The invite service, acting for a user.
    Invite,
    /// The parsing service, acting for a user.
    Parsing,
    /// A user whose token carries the role operator.
    Operator,
}

/// One method of a tgmesh service.
#[derive(Debug, Clone, Copy)]
pub struct MethodInfo {
    /// The path on the wire, such as `/tgmesh.lease.v1.LeaseService/GetLease`.
    pub path: &'static str,
    /// Full name of the service.
    pub service: &'static str,
    /// Name of the method.
    pub name: &'static str,
    /// Callers admitted.
    pub callers: &'static [Caller],
    /// Longest time the call may take; `None` for streams that last as long as
    /// the client listens.
    pub deadline: Option<Duration>,
    /// Whether the request carries a `request_id`.
    pub mutating: bool,
    /// Whether the client sends a stream.
    pub client_streaming: bool,
    /// Whether the server answers with a stream.
    pub server_streaming: bool,
}

include!(concat!(env!("OUT_DIR"), "/methods.rs"));

impl MethodInfo {
    /// The entry for a path on the wire.
    pub fn find(path: &str) -> Option<&'static MethodInfo> {
        METHODS.iter().find(|method| method.path == path)
    }
}
