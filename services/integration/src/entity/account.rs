//! The table `accounts`.

use sea_orm::entity::prelude::*;

/// A Telegram account of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "accounts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub telegram_user_id: i64,
    pub kind: i32,
    pub label: String,
    /// Bit n is set when the purpose with number n is allowed.
    pub purposes: i32,
    pub username: String,
    pub first_name: String,
    pub last_name: String,
    pub phone: String,
    pub premium: bool,
    pub session_state: i32,
    pub session_error: String,
    pub paused_at: Option<i64>,
    pub deleting_at: Option<i64>,
    pub checked_at: Option<i64>,
    /// The last fencing token given out; never decreases.
    pub fencing_token: i64,
    pub created_at: i64,
    pub updated_at: i64,
    /// Grows with every change of the row: its etag.
    pub revision: i64,
}

/// No relations: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
