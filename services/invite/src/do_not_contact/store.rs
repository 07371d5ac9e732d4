//! The door to the table `do_not_contact`.

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, DbErr, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use service_kit::paging::Page;
use uuid::Uuid;

use super::entity::{Column, Entity, Model};
use crate::targets::store::starts_with;

/// A page of the list, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &impl ConnectionTrait,
    workspace_id: Uuid,
    search: &str,
    page: &Page<Uuid>,
) -> Result<Vec<Model>, DbErr> {
    let mut query =
        Entity::find().filter(Column::WorkspaceId.eq(workspace_id)).order_by_desc(Column::Id).limit(page.size + 1);
    let search = search.trim();
    if !search.is_empty() {
        query = query.filter(
            Condition::any()
                .add(Column::Username.like(starts_with(&search.trim_start_matches('@').to_lowercase())))
                .add(Column::Phone.like(starts_with(search))),
        );
    }
    if let Some(after) = page.after {
        query = query.filter(Column::Id.lt(after));
    }
    query.all(conn).await
}

/// Whether the list has somebody who may go by a name that it does not have.
///
/// # Errors
/// When the database fails.
pub async fn knows_more_than_names(conn: &impl ConnectionTrait, workspace_id: Uuid) -> Result<bool, DbErr> {
    let others = Condition::any().add(Column::UserId.ne(0)).add(Column::Phone.ne(""));
    let found = Entity::find().filter(Column::WorkspaceId.eq(workspace_id)).filter(others).limit(1).one(conn).await?;
    Ok(found.is_some())
}

/// Puts people on the list; who is on it keeps his entry. Answers the entries
/// of all of them.
///
/// # Errors
/// When the database fails.
pub async fn add(conn: &impl ConnectionTrait, workspace_id: Uuid, entries: Vec<Model>) -> Result<Vec<Model>, DbErr> {
    let keys: Vec<String> = entries.iter().map(|entry| entry.person_key.clone()).collect();
    let conflict = OnConflict::columns([Column::WorkspaceId, Column::PersonKey]).do_nothing().to_owned();
    let rows = entries.into_iter().map(|entry| entry.into_active_model().reset_all());
    match Entity::insert_many(rows).on_conflict(conflict).exec_without_returning(conn).await {
        Ok(_) | Err(DbErr::RecordNotInserted) => {}
        Err(error) => return Err(error),
    }
    Entity::find()
        .filter(Column::WorkspaceId.eq(workspace_id))
        .filter(Column::PersonKey.is_in(keys))
        .order_by_desc(Column::Id)
        .all(conn)
        .await
}

/// Takes entries off the list; answers how many were on it.
///
/// # Errors
/// When the database fails.
pub async fn remove(conn: &impl ConnectionTrait, workspace_id: Uuid, ids: Vec<Uuid>) -> Result<u64, DbErr> {
    let done = Entity::delete_many()
        .filter(Column::WorkspaceId.eq(workspace_id))
        .filter(Column::Id.is_in(ids))
        .exec(conn)
        .await?;
    Ok(done.rows_affected)
}
