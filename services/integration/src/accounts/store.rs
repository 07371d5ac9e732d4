//! The door to the tables of accounts. Whose they are is part of every question.

use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, DbErr, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use service_kit::Time;
use tgmesh_proto::integration::v1::account_event;
use uuid::Uuid;

use crate::entity::{account, account_event as event, restriction, session};

/// An account with the restrictions that may still hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// The account.
    pub account: account::Model,
    /// Its restrictions that have not ended.
    pub restrictions: Vec<restriction::Model>,
}

/// An account of a workspace.
///
/// # Errors
/// When the database fails.
pub async fn find(db: &impl ConnectionTrait, workspace: Uuid, id: Uuid) -> Result<Option<AccountRow>, DbErr> {
    let found = account::Entity::find_by_id(id).filter(account::Column::WorkspaceId.eq(workspace)).one(db).await?;
    with_restrictions(db, found.into_iter().collect()).await.map(|mut rows| rows.pop())
}

/// An account, whoever's it is: for work of the service itself.
///
/// # Errors
/// When the database fails.
pub async fn find_any(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<account::Model>, DbErr> {
    account::Entity::find_by_id(id).one(db).await
}

/// The account of a Telegram user, whoever's it is.
///
/// # Errors
/// When the database fails.
pub async fn find_by_user(db: &impl ConnectionTrait, telegram_user_id: i64) -> Result<Option<account::Model>, DbErr> {
    account::Entity::find().filter(account::Column::TelegramUserId.eq(telegram_user_id)).one(db).await
}

/// Accounts of a workspace, newest first, after an id.
///
/// # Errors
/// When the database fails.
pub async fn list(
    db: &impl ConnectionTrait,
    workspace: Uuid,
    search: &str,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<AccountRow>, DbErr> {
    let mut query = account::Entity::find().filter(account::Column::WorkspaceId.eq(workspace));
    if let Some(after) = after {
        query = query.filter(account::Column::Id.lt(after));
    }
    if !search.is_empty() {
        let pattern = format!("%{}%", escape_like(&search.to_lowercase()));
        let any =
            [account::Column::Label, account::Column::Username, account::Column::FirstName, account::Column::LastName]
                .into_iter()
                .fold(Condition::any(), |any, column| {
                    let lower = Expr::expr(sea_orm::sea_query::Func::lower(Expr::col(column)));
                    any.add(lower.like(sea_orm::sea_query::LikeExpr::new(pattern.clone()).escape('\\')))
                });
        query = query.filter(any);
    }
    let found = query.order_by_desc(account::Column::Id).limit(limit).all(db).await?;
    with_restrictions(db, found).await
}

/// All accounts of a workspace, or these of them.
///
/// # Errors
/// When the database fails.
pub async fn all(db: &impl ConnectionTrait, workspace: Uuid, ids: &[Uuid]) -> Result<Vec<AccountRow>, DbErr> {
    let mut query = account::Entity::find().filter(account::Column::WorkspaceId.eq(workspace));
    if !ids.is_empty() {
        query = query.filter(account::Column::Id.is_in(ids.iter().copied()));
    }
    let found = query.order_by_desc(account::Column::Id).all(db).await?;
    with_restrictions(db, found).await
}

async fn with_restrictions(db: &impl ConnectionTrait, accounts: Vec<account::Model>) -> Result<Vec<AccountRow>, DbErr> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let held = restriction::Entity::find()
        .filter(restriction::Column::AccountId.is_in(accounts.iter().map(|account| account.id)))
        .filter(restriction::Column::Ended.eq(false))
        .order_by_asc(restriction::Column::BeginAt)
        .all(db)
        .await?;
    Ok(accounts
        .into_iter()
        .map(|account| {
            let restrictions = held.iter().filter(|held| held.account_id == account.id).cloned().collect();
            AccountRow { account, restrictions }
        })
        .collect())
}

/// Changes an account, and its etag. `etag`, when given, must be the current one.
///
/// # Errors
/// When the database fails. False when there is no such account with this etag.
pub async fn update(
    tx: &impl ConnectionTrait,
    id: Uuid,
    etag: Option<i64>,
    mut change: account::ActiveModel,
    now: Time,
) -> Result<bool, DbErr> {
    change.updated_at = Set(now.millis());
    let mut update = account::Entity::update_many()
        .set(change)
        .col_expr(account::Column::Revision, Expr::col(account::Column::Revision).add(1))
        .filter(account::Column::Id.eq(id));
    if let Some(etag) = etag {
        update = update.filter(account::Column::Revision.eq(etag));
    }
    Ok(update.exec(tx).await?.rows_affected > 0)
}

/// Stores the sealed session of an account, in place of any before.
///
/// # Errors
/// When the database fails.
pub async fn put_session(tx: &impl ConnectionTrait, account_id: Uuid, sealed: Vec<u8>, now: Time) -> Result<(), DbErr> {
    let row = session::ActiveModel { account_id: Set(account_id), sealed: Set(sealed), created_at: Set(now.millis()) };
    session::Entity::insert(row)
        .on_conflict(
            sea_orm::sea_query::OnConflict::column(session::Column::AccountId)
                .update_columns([session::Column::Sealed, session::Column::CreatedAt])
                .to_owned(),
        )
        .exec_without_returning(tx)
        .await
        .map(|_| ())
}

/// What goes into the journal.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub kind: account_event::Kind,
    /// Telegram's error behind it.
    pub telegram_error: String,
    /// The call that met it.
    pub call: String,
    /// The restriction that began or ended.
    pub restriction_id: Option<Uuid>,
    /// The chat concerned.
    pub chat_id: i64,
    /// Who caused it.
    pub actor: String,
}

impl Event {
    /// An event that somebody caused.
    pub fn by(kind: account_event::Kind, actor: impl Into<String>) -> Self {
        Self {
            kind,
            telegram_error: String::new(),
            call: String::new(),
            restriction_id: None,
            chat_id: 0,
            actor: actor.into(),
        }
    }
}

/// Writes an entry into the journal.
///
/// # Errors
/// When the database fails.
pub async fn record(
    tx: &impl ConnectionTrait,
    id: Uuid,
    account_id: Uuid,
    workspace_id: Uuid,
    event: Event,
    now: Time,
) -> Result<(), DbErr> {
    let row = event::ActiveModel {
        id: Set(id),
        account_id: Set(account_id),
        workspace_id: Set(workspace_id),
        event_at: Set(now.millis()),
        kind: Set(event.kind as i32),
        telegram_error: Set(event.telegram_error),
        call: Set(event.call),
        restriction_id: Set(event.restriction_id),
        chat_id: Set(event.chat_id),
        actor: Set(event.actor),
    };
    event::Entity::insert(row).exec_without_returning(tx).await.map(|_| ())
}

/// The journal of an account, newest first, after an id; each entry with its restriction.
///
/// # Errors
/// When the database fails.
pub async fn events(
    db: &impl ConnectionTrait,
    workspace: Uuid,
    account_id: Uuid,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<(event::Model, Option<restriction::Model>)>, DbErr> {
    let mut query = event::Entity::find()
        .filter(event::Column::WorkspaceId.eq(workspace))
        .filter(event::Column::AccountId.eq(account_id));
    if let Some(after) = after {
        query = query.filter(event::Column::Id.lt(after));
    }
    let found = query.order_by_desc(event::Column::Id).limit(limit).all(db).await?;
    let ids: Vec<Uuid> = found.iter().filter_map(|event| event.restriction_id).collect();
    let restrictions = if ids.is_empty() {
        Vec::new()
    } else {
        restriction::Entity::find().filter(restriction::Column::Id.is_in(ids)).all(db).await?
    };
    Ok(found
        .into_iter()
        .map(|event| {
            let restriction = restrictions.iter().find(|held| Some(held.id) == event.restriction_id).cloned();
            (event, restriction)
        })
        .collect())
}

/// Telegram's errors in a workspace's journals since a time, with how often each was met.
///
/// # Errors
/// When the database fails.
pub async fn errors_since(
    db: &impl ConnectionTrait,
    workspace: Uuid,
    since: Time,
) -> Result<Vec<(String, i64)>, DbErr> {
    let mut counts: Vec<(String, i64)> = event::Entity::find()
        .select_only()
        .column(event::Column::TelegramError)
        .column_as(event::Column::Id.count(), "times")
        .filter(event::Column::WorkspaceId.eq(workspace))
        .filter(event::Column::EventAt.gte(since.millis()))
        .filter(event::Column::TelegramError.ne(""))
        .filter(event::Column::Kind.ne(account_event::Kind::RestrictionEnded as i32))
        .group_by(event::Column::TelegramError)
        .into_tuple()
        .all(db)
        .await?;
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(counts)
}

/// Accounts of the whole deployment.
///
/// # Errors
/// When the database fails.
pub async fn count(db: &impl ConnectionTrait) -> Result<u64, DbErr> {
    account::Entity::find().count(db).await
}

/// A text with the wildcards of LIKE taken literally.
pub fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
