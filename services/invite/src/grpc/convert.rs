//! Rows as the wire shows them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use service_kit::Time;
use service_kit::clock::duration_to_proto;
use sha2::{Digest as _, Sha256};
use tgmesh_proto::invite::v1::{Execution, Target};

use crate::targets::entity::{Model, execution};

/// A target.
pub fn target(row: &Model) -> Target {
    Target {
        id: row.id.to_string(),
        username: row.username.clone(),
        phone: row.phone.clone(),
        user_id: row.user_id,
        display_name: row.display_name.clone(),
        state: row.state,
        outcome: row.outcome,
        telegram_error: row.telegram_error.clone(),
        attempts: row.attempts,
        not_before_time: (row.not_before_at > 0).then(|| Time::from_millis(row.not_before_at).to_proto()),
        source: row.source.clone(),
        account_id: row.account_id.map(|id| id.to_string()).unwrap_or_default(),
        done_time: row.done_at.map(|at| Time::from_millis(at).to_proto()),
        first_name: row.first_name.clone(),
        last_name: row.last_name.clone(),
        etag: etag(row),
    }
}

/// A hash of all that changes: targets keep no version, since the engine would
/// have to write one with each step.
fn etag(row: &Model) -> String {
    let mut hash = Sha256::new();
    for text in [&row.username, &row.phone, &row.display_name, &row.telegram_error] {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    for number in [i64::from(row.state), i64::from(row.outcome), i64::from(row.attempts), row.not_before_at] {
        hash.update(number.to_be_bytes());
    }
    URL_SAFE_NO_PAD.encode(&hash.finalize()[..9])
}

/// An attempt.
pub fn execution(row: &execution::Model) -> Execution {
    let took = row.ended_at.map(|ended| Duration::from_millis(u64::try_from(ended - row.began_at).unwrap_or(0)));
    Execution {
        id: row.id.to_string(),
        target_id: row.target_id.to_string(),
        account_id: row.account_id.to_string(),
        lease_id: row.lease_id.to_string(),
        result: row.result,
        outcome: row.outcome,
        telegram_error: row.telegram_error.clone(),
        begin_time: Some(Time::from_millis(row.began_at).to_proto()),
        duration: took.map(duration_to_proto),
        trace_id: row.trace_id.clone(),
    }
}
