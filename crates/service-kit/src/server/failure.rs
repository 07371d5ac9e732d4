//! Statuses for faults of ours and of what we depend on.

use sea_orm::DbErr;
use tgmesh_proto::ErrorReason;
use tonic::Status;

use crate::db::{Db, is_unavailable};
use crate::trace::call_id;

/// What a caller learns of a fault of ours: the id under which the log has it.
pub fn internal() -> Status {
    let id = call_id();
    tgmesh_proto::status::status(ErrorReason::Internal, format!("internal error, request {id}"))
        .with("request_id", id)
        .build()
}

/// What a caller learns of a failing database: its name when it cannot be
/// reached, otherwise that it is a fault of ours. The log has the rest.
pub fn database(db: &Db, error: &DbErr) -> Status {
    if is_unavailable(error) {
        tracing::warn!(database = db.name(), %error, "database cannot be reached");
        let kind = if db.is_sqlite() { "sqlite" } else { "postgresql" };
        return tgmesh_proto::status::status(
            ErrorReason::DependencyUnavailable,
            format!("the database at {} cannot be reached", db.name()),
        )
        .with("dependency", format!("{kind} at {}", db.name()))
        .build();
    }
    tracing::error!(database = db.name(), %error, "database refused");
    internal()
}
