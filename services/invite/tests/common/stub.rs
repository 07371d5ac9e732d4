//! Calls that the service never makes.

use tgmesh_proto::ErrorReason;
use tonic::Status;

pub fn never<T>() -> Result<T, Status> {
    Err(tgmesh_proto::status::status(ErrorReason::NotImplemented, "not in this world").with("method", "").build())
}
