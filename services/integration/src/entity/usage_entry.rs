//! The table `usage_entries`.

use sea_orm::entity::prelude::*;

/// An entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_entries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub telegram_user_id: i64,
    pub account_id: Uuid,
    pub workspace_id: Uuid,
    pub action: i32,
    pub chat_id: i64,
    pub state: i32,
    /// Whether it was the success that limits "for ever" count.
    pub success: bool,
    pub method: String,
    pub telegram_error: String,
    pub lease_id: Option<Uuid>,
    pub fencing_token: i64,
    pub reserved_at: i64,
    pub settled_at: Option<i64>,
}

/// No relations: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
