//! What Telegram's answers do to an account: restrictions and lost sessions.

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use service_kit::Time;
use service_kit::db::Tx;
use tgmesh_proto::integration::v1::account::SessionState;
use tgmesh_proto::integration::v1::account_event::Kind;
use tgmesh_proto::integration::v1::restriction::Cause;
use uuid::Uuid;

use super::state::action_mask;
use super::store::{self, Event};
use crate::connections::LineId;
use crate::core::Core;
use crate::entity::{account, restriction, session};
use crate::error::Result;
use crate::leases::RevokeCause;
use crate::telegram::outcome::Restricted;

/// Restrictions ended in one step of the sweep.
const BATCH: u64 = 100;

/// Whom an answer is about, and which call met it.
#[derive(Debug, Clone, Copy)]
pub struct Met<'a> {
    /// The account.
    pub account_id: Uuid,
    /// Its workspace.
    pub workspace_id: Uuid,
    /// Telegram's error, with its number.
    pub telegram_error: &'a str,
    /// Telegram's method.
    pub method: &'a str,
    /// The chat concerned; 0 when none.
    pub chat_id: i64,
}

/// Begins a restriction.
///
/// # Errors
/// When the database fails.
pub async fn restrict(core: &Core, met: Met<'_>, restricted: &Restricted) -> Result<()> {
    let (now, id) = (core.now(), core.id());
    let end = restricted.lasts.map(|lasts| now + lasts);
    let row = restriction::ActiveModel {
        id: Set(id),
        account_id: Set(met.account_id),
        cause: Set(restricted.cause as i32),
        actions: Set(action_mask(&restricted.actions)),
        begin_at: Set(now.millis()),
        end_at: Set(end.map(Time::millis)),
        telegram_error: Set(met.telegram_error.to_owned()),
        method: Set(met.method.to_owned()),
        ended: Set(false),
    };
    let tx = core.begin().await?;
    restriction::Entity::insert(row).exec_without_returning(&*tx).await.map_err(|error| core.failed(&error))?;
    let event = Event {
        telegram_error: met.telegram_error.to_owned(),
        call: met.method.to_owned(),
        restriction_id: Some(id),
        chat_id: met.chat_id,
        ..Event::by(Kind::Restricted, "telegram")
    };
    record(core, &tx, met.account_id, met.workspace_id, event).await?;
    touch(core, &tx, met.account_id, account::ActiveModel::default()).await?;
    core.refresh(&tx, met.account_id).await?;
    core.commit(tx).await?;
    core.changed(met.workspace_id);
    tracing::warn!(account_id = %met.account_id, error = met.telegram_error, method = met.method, "account restricted");
    Ok(())
}

/// Notes that the account lost a right in a chat.
///
/// # Errors
/// When the database fails.
pub async fn lose_right(core: &Core, met: Met<'_>) -> Result<()> {
    let tx = core.begin().await?;
    let event = Event {
        telegram_error: met.telegram_error.to_owned(),
        call: met.method.to_owned(),
        chat_id: met.chat_id,
        ..Event::by(Kind::RightLost, "telegram")
    };
    record(core, &tx, met.account_id, met.workspace_id, event).await?;
    core.commit(tx).await?;
    core.changed(met.workspace_id);
    Ok(())
}

/// Ends the session that an account had at `begun`: it has to log in again. One
/// that it was given since has nothing to do with what an older call met.
///
/// # Errors
/// When the database fails.
pub async fn lose_session(core: &Core, met: Met<'_>, state: SessionState, begun: Time) -> Result<()> {
    let tx = core.begin().await?;
    // The key is of no use any more, and must not be used again.
    let lost = session::Entity::delete_many()
        .filter(session::Column::AccountId.eq(met.account_id))
        .filter(session::Column::CreatedAt.lte(begun.millis()))
        .exec(&*tx)
        .await
        .map_err(|error| core.failed(&error))?;
    if lost.rows_affected == 0 {
        tracing::info!(account_id = %met.account_id, error = met.telegram_error, "the session that met it is not the account's any more");
        return Ok(());
    }
    let change = account::ActiveModel {
        session_state: Set(state as i32),
        session_error: Set(met.telegram_error.to_owned()),
        ..Default::default()
    };
    touch(core, &tx, met.account_id, change).await?;
    let event = Event {
        telegram_error: met.telegram_error.to_owned(),
        call: met.method.to_owned(),
        ..Event::by(Kind::SessionLost, "telegram")
    };
    record(core, &tx, met.account_id, met.workspace_id, event).await?;
    core.refresh(&tx, met.account_id).await?;
    core.commit(tx).await?;
    core.leases.revoke_account(met.account_id, RevokeCause::SessionLost).await?;
    let connections = core.connections.clone();
    let line = LineId::Account(met.account_id);
    // Not awaited: this may run in a call that the line's own actor answers.
    core.tasks.spawn("the end of a lost session", async move { connections.close(line).await });
    core.changed(met.workspace_id);
    tracing::warn!(account_id = %met.account_id, error = met.telegram_error, ?state, "session lost");
    Ok(())
}

/// Writes into the journal that restrictions ended by themselves. The state is
/// derived from the time, so nobody waits for this.
///
/// # Errors
/// When the database fails.
pub async fn end_restrictions(core: &Core) -> Result<()> {
    let now = core.now();
    let over = restriction::Entity::find()
        .filter(restriction::Column::Ended.eq(false))
        .filter(restriction::Column::EndAt.lte(now.millis()))
        .order_by_asc(restriction::Column::EndAt)
        .limit(BATCH)
        .all(core.db.conn())
        .await
        .map_err(|error| core.failed(&error))?;
    for held in over {
        let tx = core.begin().await?;
        let found = store::find_any(&*tx, held.account_id).await.map_err(|error| core.failed(&error))?;
        let ended = match &found {
            Some(account) => end(core, &tx, account, &held, "time").await?,
            None => false,
        };
        core.commit(tx).await?;
        if let Some(account) = found.filter(|_| ended) {
            core.changed(account.workspace_id);
        }
    }
    Ok(())
}

/// Ends the restrictions of an account that have no end of their own: a freeze
/// lasts until told otherwise. Whether there were any.
///
/// # Errors
/// When the database fails.
pub(super) async fn thaw(core: &Core, tx: &Tx, account: &account::Model, actor: &str) -> Result<bool> {
    let held = restriction::Entity::find()
        .filter(restriction::Column::AccountId.eq(account.id))
        .filter(restriction::Column::Cause.eq(Cause::Frozen as i32))
        .filter(restriction::Column::Ended.eq(false))
        .all(&**tx)
        .await
        .map_err(|error| core.failed(&error))?;
    let mut ended = false;
    for held in held {
        ended |= end(core, tx, account, &held, actor).await?;
    }
    Ok(ended)
}

/// Ends a restriction; false when it had ended already.
async fn end(core: &Core, tx: &Tx, account: &account::Model, held: &restriction::Model, actor: &str) -> Result<bool> {
    let change = restriction::ActiveModel {
        ended: Set(true),
        end_at: Set(held.end_at.or(Some(core.now().millis()))),
        ..Default::default()
    };
    let done = restriction::Entity::update_many()
        .set(change)
        .filter(restriction::Column::Id.eq(held.id))
        .filter(restriction::Column::Ended.eq(false))
        .exec(&**tx)
        .await
        .map_err(|error| core.failed(&error))?;
    if done.rows_affected == 0 {
        return Ok(false);
    }
    let event = Event {
        telegram_error: held.telegram_error.clone(),
        call: held.method.clone(),
        restriction_id: Some(held.id),
        ..Event::by(Kind::RestrictionEnded, actor)
    };
    record(core, tx, account.id, account.workspace_id, event).await?;
    touch(core, tx, account.id, account::ActiveModel::default()).await?;
    core.refresh(tx, account.id).await?;
    Ok(true)
}

/// Changes an account whatever its etag is.
pub(super) async fn touch(core: &Core, tx: &Tx, id: Uuid, change: account::ActiveModel) -> Result<()> {
    store::update(&**tx, id, None, change, core.now()).await.map(|_| ()).map_err(|error| core.failed(&error))
}

pub(super) async fn record(core: &Core, tx: &Tx, account: Uuid, workspace: Uuid, event: Event) -> Result<()> {
    store::record(&**tx, core.id(), account, workspace, event, core.now()).await.map_err(|error| core.failed(&error))
}
