//! Logs sessions out that are out of use, and erases the accounts that wait for it.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use service_kit::shutdown::Shutdown;
use uuid::Uuid;

use super::connect::erase_rows;
use super::store;
use crate::connections::{CallError, LineId};
use crate::core::Core;
use crate::entity::ended_session;
use crate::error::Result;
use crate::telegram::auth;

/// Sessions logged out at the same time. Each may take as long as Telegram is
/// waited for, and none waits for another.
const AT_ONCE: usize = 8;
/// Pause between two looks for sessions that are due.
const ROUND: Duration = Duration::from_secs(1);
/// First and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// Logs out what is due, until shutdown.
pub async fn run(core: &Core, shutdown: &Shutdown) {
    let stop = shutdown.token();
    let mut tries = FuturesUnordered::new();
    let mut under_way = HashSet::new();
    while !stop.is_cancelled() {
        match due(core, &under_way).await {
            Ok(rows) => {
                for row in rows {
                    under_way.insert(row.id);
                    tries.push(try_one(core, row));
                }
            }
            Err(error) => tracing::warn!(%error, "ended sessions cannot be logged out"),
        }
        tokio::select! {
            Some(id) = tries.next() => {
                under_way.remove(&id);
            }
            () = core.clock.sleep(ROUND) => {}
            () = core.ended.notified() => {}
            () = stop.cancelled() => {}
        }
    }
}

/// As many as there is room for, beside those that are under way.
async fn due(core: &Core, under_way: &HashSet<Uuid>) -> Result<Vec<ended_session::Model>> {
    let room = AT_ONCE.saturating_sub(under_way.len());
    if room == 0 {
        return Ok(Vec::new());
    }
    ended_session::Entity::find()
        .filter(ended_session::Column::TryAt.lte(core.now().millis()))
        .filter(ended_session::Column::Id.is_not_in(under_way.iter().copied()))
        .order_by_asc(ended_session::Column::TryAt)
        .limit(u64::try_from(room).unwrap_or(0))
        .all(core.db.conn())
        .await
        .map_err(|error| core.failed(&error))
}

async fn try_one(core: &Core, row: ended_session::Model) -> Uuid {
    if let Err(error) = log_out(core, &row).await {
        tracing::warn!(%error, "an ended session cannot be logged out");
        // It is due still, and the database may be away for a while.
        core.clock.sleep(ROUND).await;
    }
    row.id
}

/// Logs out the session of an account that is being deleted, and erases the account.
///
/// # Errors
/// When the database fails.
pub(super) async fn of_account(core: &Core, account: Uuid) -> Result<()> {
    let rows = ended_session::Entity::find()
        .filter(ended_session::Column::AccountId.eq(account))
        .all(core.db.conn())
        .await
        .map_err(|error| core.failed(&error))?;
    for row in rows {
        log_out(core, &row).await?;
    }
    Ok(())
}

/// The connection waits for the claim of the key: the one that had it before is
/// closed when this one opens.
async fn log_out(core: &Core, row: &ended_session::Model) -> Result<()> {
    if let Some(account) = row.account_id {
        core.connections.close(LineId::Account(account)).await;
    }
    let line = LineId::Session(row.id);
    let answer = auth::log_out(&core.connections, line).await;
    core.connections.close(line).await;
    let over = match &answer {
        Ok(_) | Err(CallError::KeyUnknown) => true,
        // The session is over already.
        Err(CallError::Rpc(error)) => matches!(error.code, 401 | 406),
        Err(_) => false,
    };
    if over {
        return erase(core, row).await;
    }
    tracing::info!(error = ?answer.err(), tries = row.tries, "session not logged out yet");
    let pause = PAUSE.0.saturating_mul(1 << row.tries.clamp(0, 10)).min(PAUSE.1);
    let change = ended_session::ActiveModel {
        try_at: Set((core.now() + pause).millis()),
        tries: Set(row.tries.saturating_add(1)),
        ..Default::default()
    };
    ended_session::Entity::update_many()
        .set(change)
        .filter(ended_session::Column::Id.eq(row.id))
        .exec(core.db.conn())
        .await
        .map(|_| ())
        .map_err(|error| core.failed(&error))
}

/// Deletes a session that is logged out, and the account that waited for it.
/// The ledger stays: limits belong to the Telegram user.
async fn erase(core: &Core, row: &ended_session::Model) -> Result<()> {
    let failed = |error| core.failed(&error);
    let tx = core.begin().await?;
    ended_session::Entity::delete_by_id(row.id).exec(&*tx).await.map_err(failed)?;
    let mut workspace = None;
    if let Some(id) = row.account_id
        && let Some(found) = store::find_any(&*tx, id).await.map_err(failed)?
        // A login may have brought the account back meanwhile.
        && found.deleting_at.is_some()
    {
        erase_rows(core, &tx, id).await?;
        workspace = Some(found.workspace_id);
    }
    core.commit(tx).await?;
    if let Some(workspace) = workspace {
        core.changed(workspace);
    }
    Ok(())
}
