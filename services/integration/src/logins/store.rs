//! The door to the table of logins.

use sea_orm::ActiveValue::Set;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use service_kit::Time;
use tgmesh_proto::integration::v1::login::State;
use uuid::Uuid;

use crate::entity::login::{ActiveModel, Column, Entity, Model};

/// States in which a login is under way. 0 is a login whose code is being asked for.
pub const LIVE: [i32; 4] = [0, State::CodeRequired as i32, State::PasswordRequired as i32, State::ScanRequired as i32];

/// Logins expired in one step of the sweep.
const BATCH: u64 = 50;

/// A login of a workspace.
///
/// # Errors
/// When the database fails.
pub async fn find(db: &impl ConnectionTrait, workspace: Uuid, id: Uuid) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(id).filter(Column::WorkspaceId.eq(workspace)).one(db).await
}

/// The login under way for a number.
///
/// # Errors
/// When the database fails.
pub async fn find_live(db: &impl ConnectionTrait, workspace: Uuid, phone: &str) -> Result<Option<Model>, DbErr> {
    Entity::find().filter(Column::WorkspaceId.eq(workspace)).filter(Column::LivePhone.eq(phone)).one(db).await
}

/// The login that a request started.
///
/// # Errors
/// When the database fails.
pub async fn find_by_request(
    db: &impl ConnectionTrait,
    workspace: Uuid,
    user: Uuid,
    request: Uuid,
) -> Result<Option<Model>, DbErr> {
    Entity::find()
        .filter(Column::WorkspaceId.eq(workspace))
        .filter(Column::UserId.eq(user))
        .filter(Column::RequestId.eq(request))
        .one(db)
        .await
}

/// Moves a login that is in one of these states. False when it is not.
///
/// # Errors
/// When the database fails.
pub async fn advance(db: &impl ConnectionTrait, id: Uuid, from: &[i32], change: ActiveModel) -> Result<bool, DbErr> {
    let done = Entity::update_many()
        .set(change)
        .filter(Column::Id.eq(id))
        .filter(Column::State.is_in(from.iter().copied()))
        .exec(db)
        .await?;
    Ok(done.rows_affected > 0)
}

/// The change that ends a login: its secrets are gone, its number is free.
pub fn end(state: State) -> ActiveModel {
    ActiveModel { state: Set(state as i32), sealed: Set(None), live_phone: Set(None), ..Default::default() }
}

/// Logins whose time is over.
///
/// # Errors
/// When the database fails.
pub async fn overdue(db: &impl ConnectionTrait, now: Time) -> Result<Vec<Model>, DbErr> {
    Entity::find()
        .filter(Column::State.is_in(LIVE))
        .filter(Column::ExpireAt.lte(now.millis()))
        .order_by_asc(Column::ExpireAt)
        .limit(BATCH)
        .all(db)
        .await
}
