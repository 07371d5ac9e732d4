//! The integration service as its clients see it: logins, accounts, and calls
//! to Telegram, on the emulator over real MTProto.

#[path = "../common/mod.rs"]
mod common;

mod accounts;
mod interrupted;
mod keys;
mod leases;
mod logins;
mod quotas;
mod readiness;
mod rights;
mod telegram;

use tgmesh_proto::ErrorReason;
use tonic::Status;

/// The reason of a refused call.
fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> Option<ErrorReason> {
    tgmesh_proto::status::reason(&answer.expect_err("it is refused"))
}
