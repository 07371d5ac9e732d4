//! The table `parse_results`.

use sea_orm::entity::prelude::*;

use crate::person::{Person, person_of_row};

/// One person a task found, kept or not. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "parse_results")]
pub struct Model {
    /// The task.
    #[sea_orm(primary_key, auto_increment = false)]
    pub task_id: Uuid,
    /// Telegram's id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// The owner.
    pub workspace_id: Uuid,
    /// Identifier.
    pub id: Uuid,
    /// Place in the order of finding; negative while undecided, NULL when left out.
    pub seq: Option<i64>,
    /// `SkipCount.Reason`; 0 when kept.
    pub skip_reason: i32,
    /// Messages found; 0 for members.
    pub activity: i32,
    /// When he was last active in the source.
    pub last_active_at: Option<i64>,
    /// When he was found.
    pub found_at: i64,
    /// The account that saw him.
    pub account_id: Option<Uuid>,
    /// What addresses him from that account, sealed.
    pub sealed: Option<Vec<u8>>,
    /// Public name.
    pub username: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Phone number.
    pub phone: String,
    /// A bot.
    pub bot: bool,
    /// Deleted.
    pub deleted: bool,
    /// With Premium.
    pub premium: bool,
    /// Administers the chat.
    pub admin: bool,
    /// `LastSeen`.
    pub last_seen: i32,
    /// When he was last online, when known.
    pub last_seen_at: Option<i64>,
    /// See `Person::search_text`.
    pub search_text: String,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The person.
    pub fn person(&self) -> Person {
        person_of_row!(self, self.account_id.zip(self.sealed.clone()))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A result on which tests build.
    pub fn result() -> Model {
        Model {
            task_id: Uuid::from_u128(1),
            user_id: 1,
            workspace_id: Uuid::from_u128(2),
            id: Uuid::from_u128(3),
            seq: Some(1),
            skip_reason: 0,
            activity: 0,
            last_active_at: None,
            found_at: 1_763_654_400_000,
            account_id: None,
            sealed: None,
            username: String::new(),
            first_name: String::new(),
            last_name: String::new(),
            phone: String::new(),
            bot: false,
            deleted: false,
            premium: false,
            admin: false,
            last_seen: 0,
            last_seen_at: None,
            search_text: String::new(),
        }
    }
}
