//! The table `key_claims`.

use sea_orm::entity::prelude::*;

/// A session's key that a connection has, or is about to have.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "key_claims")]
pub struct Model {
    /// SHA-256 of the key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub fingerprint: Vec<u8>,
    /// The connection. New with each.
    pub holder: Uuid,
    /// The process that has it. New with each start.
    pub process: Uuid,
    /// Until when it does, unless it says so again.
    pub held_until_at: i64,
    /// Whether somebody else waits for the key.
    pub wanted: bool,
}

/// No relations: joins are written where they are needed.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
