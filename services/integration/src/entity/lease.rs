//! The table `leases`.

use sea_orm::entity::prelude::*;

/// A lease, held or ended.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "leases")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub workspace_id: Uuid,
    pub account_id: Uuid,
    /// The user whom the holder acts for.
    pub user_id: Uuid,
    /// The account while the lease is held; NULL once it has ended.
    pub live_account_id: Option<Uuid>,
    pub fencing_token: i64,
    pub state: i32,
    pub purpose: i32,
    pub chat_id: i64,
    pub holder: String,
    pub work: String,
    pub acquired_at: i64,
    pub expire_at: i64,
    pub ended_at: Option<i64>,
    pub revision: i64,
}

/// No relations: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
