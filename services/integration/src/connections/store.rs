//! The door to the table of claims.

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _};
use service_kit::Time;
use uuid::Uuid;

use crate::entity::key_claim::{ActiveModel, Column, Entity, Model};

/// Takes a key that nobody has, or whose holder gives no sign of life any more.
/// False when somebody has it, who is told that it is wanted.
///
/// # Errors
/// When the database fails.
pub(super) async fn take(tx: &impl ConnectionTrait, claim: &Model, now: Time) -> Result<bool, DbErr> {
    let row = ActiveModel {
        fingerprint: Set(claim.fingerprint.clone()),
        holder: Set(claim.holder),
        process: Set(claim.process),
        held_until_at: Set(claim.held_until_at),
        wanted: Set(false),
    };
    let over = OnConflict::column(Column::Fingerprint)
        .update_columns([Column::Holder, Column::Process, Column::HeldUntilAt, Column::Wanted])
        .action_and_where(Expr::col((Entity, Column::HeldUntilAt)).lte(now.millis()))
        .to_owned();
    match Entity::insert(row).on_conflict(over).exec_without_returning(tx).await {
        Ok(rows) if rows > 0 => return Ok(true),
        Ok(_) | Err(DbErr::RecordNotInserted) => {}
        Err(error) => return Err(error),
    }
    Entity::update_many()
        .set(ActiveModel { wanted: Set(true), ..Default::default() })
        .filter(Column::Fingerprint.eq(claim.fingerprint.clone()))
        .filter(Column::Wanted.eq(false))
        .exec(tx)
        .await?;
    Ok(false)
}

/// Says that a process has its keys until then; which they are. A key that was taken
/// meanwhile, and is held for longer, stays so: its holder relies on it.
///
/// # Errors
/// When the database fails.
pub(super) async fn renew(tx: &impl ConnectionTrait, process: Uuid, until: Time) -> Result<Vec<Model>, DbErr> {
    Entity::update_many()
        .set(ActiveModel { held_until_at: Set(until.millis()), ..Default::default() })
        .filter(Column::Process.eq(process))
        .filter(Column::HeldUntilAt.lt(until.millis()))
        .exec(tx)
        .await?;
    Entity::find().filter(Column::Process.eq(process)).all(tx).await
}

/// Gives a key back, unless somebody else has taken it.
///
/// # Errors
/// When the database fails.
pub(super) async fn release(tx: &impl ConnectionTrait, fingerprint: &[u8], holder: Uuid) -> Result<(), DbErr> {
    let row = Entity::delete_by_id(fingerprint.to_vec()).filter(Column::Holder.eq(holder));
    row.exec(tx).await.map(|_| ())
}

/// Gives all keys back.
///
/// # Errors
/// When the database fails.
pub(super) async fn clear(tx: &impl ConnectionTrait) -> Result<(), DbErr> {
    Entity::delete_many().exec(tx).await.map(|_| ())
}
