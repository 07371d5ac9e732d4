//! The table `do_not_contact`.

use sea_orm::entity::prelude::*;

/// Somebody who must not be contacted.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "do_not_contact")]
pub struct Model {
    /// Identifier.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Owner.
    pub workspace_id: Uuid,
    /// See [`crate::targets::Person::key`].
    pub person_key: String,
    /// Public name; empty when not known.
    pub username: String,
    /// Phone number; empty when not known.
    pub phone: String,
    /// Telegram's id; 0 when not known.
    pub user_id: i64,
    /// Why.
    pub reason: String,
    /// When he was put on the list.
    pub created_at: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
