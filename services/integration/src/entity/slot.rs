//! The table `slots`.

use sea_orm::entity::prelude::*;

/// When an account can be leased for an action, and why not sooner.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "slots")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub action: i32,
    pub workspace_id: Uuid,
    pub ready_at: i64,
    pub reason: i32,
    pub last_used_at: i64,
}

/// No relations: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
