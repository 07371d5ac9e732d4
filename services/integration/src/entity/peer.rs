//! The table `peers`.

use sea_orm::entity::prelude::*;

/// A chat or user that an account can address.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "peers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    /// As the Bot API writes ids: users are positive, chats negative.
    #[sea_orm(primary_key, auto_increment = false)]
    pub peer_id: i64,
    pub access_hash: i64,
    pub username: Option<String>,
    pub seen_at: i64,
}

/// No relations: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
