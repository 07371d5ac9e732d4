//! Leases: one holder per account, until a deadline.

use tonic::Status;

/// Why no account can be leased.
#[derive(Debug, Clone)]
pub struct Unavailable {}

impl Unavailable {
    /// As the caller learns it.
    pub fn to_status(&self) -> Status {
        tgmesh_proto::status::status(tgmesh_proto::ErrorReason::NoAccountAvailable, "no account is available").build()
    }
}
