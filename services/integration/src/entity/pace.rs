//! The table `pace`.

use sea_orm::entity::prelude::*;

/// When a Telegram user may do the next action of a kind.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "pace")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub telegram_user_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub action: i32,
    /// When the last one was reserved.
    pub last_at: i64,
    pub next_at: i64,
    pub since_pause: i32,
}

/// No relations: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
