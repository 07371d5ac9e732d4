//! The door to the table `audiences`.

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use uuid::Uuid;

use super::entity::{Column, Entity, Model, row};
use crate::error::Error;
use crate::targets::Person;

/// The workspace's upload of this id, unless it is forgotten.
///
/// # Errors
/// `AudienceNotFound`, also for what belongs to another workspace.
pub async fn find(conn: &impl ConnectionTrait, workspace_id: Uuid, id: Uuid, now: i64) -> Result<Model, Error> {
    Entity::find_by_id(id)
        .filter(Column::WorkspaceId.eq(workspace_id))
        .filter(Column::ExpiresAt.gt(now))
        .one(conn)
        .await?
        .ok_or(Error::AudienceNotFound)
}

/// How many rows an upload has, of which the workspace's was found before.
///
/// # Errors
/// When the database fails.
pub async fn count(conn: &impl ConnectionTrait, audience_id: Uuid) -> Result<i64, Error> {
    let rows = row::Entity::find().filter(row::Column::AudienceId.eq(audience_id)).count(conn).await?;
    Ok(i64::try_from(rows).unwrap_or(i64::MAX))
}

/// The next people of an upload, with the place of the last.
///
/// # Errors
/// When the database fails.
pub async fn rows(
    conn: &impl ConnectionTrait,
    audience_id: Uuid,
    after: i64,
    most: u64,
) -> Result<(Vec<Person>, i64), Error> {
    let found = row::Entity::find()
        .filter(row::Column::AudienceId.eq(audience_id))
        .filter(row::Column::Seq.gt(after))
        .order_by_asc(row::Column::Seq)
        .limit(most)
        .all(conn)
        .await?;
    let last = found.last().map_or(after, |row| row.seq);
    let people = found.into_iter().map(|row| Person {
        username: row.username,
        phone: row.phone,
        user_id: row.user_id,
        display_name: row.display_name,
        first_name: row.first_name,
        last_name: row.last_name,
        peers: Vec::new(),
    });
    Ok((people.collect(), last))
}
