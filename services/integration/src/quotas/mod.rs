//! Quotas: every limit in one place.

use tgmesh_proto::quota::v1::LimitName;
use tonic::Status;

/// A limit that forbids an action.
#[derive(Debug, Clone)]
pub struct Exceeded {
    /// Which.
    pub limit: LimitName,
}

impl Exceeded {
    /// As the caller learns it.
    pub fn to_status(&self) -> Status {
        tgmesh_proto::status::status(tgmesh_proto::ErrorReason::QuotaExceeded, "a limit is used up").build()
    }
}
