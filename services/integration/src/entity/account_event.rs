//! The table `account_events`.

use sea_orm::entity::prelude::*;

/// An entry in the journal of an account.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account_events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub workspace_id: Uuid,
    pub event_at: i64,
    pub kind: i32,
    pub telegram_error: String,
    pub call: String,
    pub restriction_id: Option<Uuid>,
    pub chat_id: i64,
    pub actor: String,
}

/// No relations: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
