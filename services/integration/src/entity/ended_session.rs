//! The table `ended_sessions`.

use sea_orm::entity::prelude::*;

/// A sealed session that is still to be logged out at Telegram.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ended_sessions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The account to erase once this is done; NULL when a login replaced the session.
    pub account_id: Option<Uuid>,
    pub sealed: Vec<u8>,
    pub created_at: i64,
    pub try_at: i64,
    pub tries: i32,
}

/// No relations: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
