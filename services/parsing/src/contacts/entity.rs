//! The table `contacts`.

use sea_orm::entity::prelude::*;

use crate::person::{Person, person_of_row};

/// A person, as he was seen last. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contacts")]
pub struct Model {
    /// The owner.
    #[sea_orm(primary_key, auto_increment = false)]
    pub workspace_id: Uuid,
    /// Telegram's id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: i64,
    /// Identifier.
    pub id: Uuid,
    /// When he was first found.
    pub first_found_at: i64,
    /// When he was last found.
    pub last_found_at: i64,
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
    /// Administers the chat he was last found in.
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
    /// The person, without what addresses him.
    pub fn person(&self) -> Person {
        person_of_row!(self, None)
    }
}

/// The table `contact_accounts`.
pub mod accounts {
    use sea_orm::entity::prelude::*;

    /// An account that can address a contact.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "contact_accounts")]
    pub struct Model {
        /// The owner.
        #[sea_orm(primary_key, auto_increment = false)]
        pub workspace_id: Uuid,
        /// Telegram's id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub user_id: i64,
        /// The account.
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: Uuid,
        /// What addresses him from it, sealed.
        pub sealed: Vec<u8>,
        /// When the account saw him.
        pub seen_at: i64,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
