//! The table `restrictions`.

use sea_orm::entity::prelude::*;

/// What Telegram forbids an account, for a time.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "restrictions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub cause: i32,
    /// Bit n is set when the action with number n is forbidden; 0 for all actions.
    pub actions: i32,
    pub begin_at: i64,
    pub end_at: Option<i64>,
    pub telegram_error: String,
    pub method: String,
    pub ended: bool,
}

/// No relations: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
