//! The table `chat_rights`.

use sea_orm::entity::prelude::*;

/// What an account may do in a chat, as Telegram said last.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chat_rights")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub chat_id: i64,
    /// Bit n is set when the right with number n is held.
    pub rights: i32,
    pub problem: i32,
    pub detail: String,
    pub checked_at: i64,
}

/// No relations: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
