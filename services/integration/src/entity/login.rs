//! The table `logins`.

use sea_orm::entity::prelude::*;

/// A login under way, or ended.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "logins")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub user_id: Uuid,
    pub kind: i32,
    pub state: i32,
    pub phone: String,
    pub live_phone: Option<String>,
    /// The key of its connection and the hash of its code; NULL once it has ended.
    pub sealed: Option<Vec<u8>>,
    pub code_channel: i32,
    pub code_length: i32,
    pub code_resend_at: Option<i64>,
    pub code_next_channel: i32,
    pub password_hint: String,
    pub failure_reason: String,
    pub account_id: Option<Uuid>,
    pub request_id: Option<Uuid>,
    pub created_at: i64,
    pub expire_at: i64,
}

/// No relations: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
