//! The tables `audiences` and `audience_rows`.

use sea_orm::entity::prelude::*;

/// A file that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audiences")]
pub struct Model {
    /// Identifier.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Owner.
    pub workspace_id: Uuid,
    /// The file's name.
    pub file_name: String,
    /// The message `ImportReport`.
    pub report: Vec<u8>,
    /// When it came.
    pub created_at: i64,
    /// When it is forgotten.
    pub expires_at: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The table `audience_rows`.
pub mod row {
    use sea_orm::entity::prelude::*;

    /// One person of an upload.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "audience_rows")]
    pub struct Model {
        /// The upload.
        #[sea_orm(primary_key, auto_increment = false)]
        pub audience_id: Uuid,
        /// The row's place in the file.
        #[sea_orm(primary_key, auto_increment = false)]
        pub seq: i64,
        /// All of [`crate::targets::Person::keys`].
        pub person_key: String,
        /// Public name.
        pub username: String,
        /// Phone number.
        pub phone: String,
        /// Telegram's id.
        pub user_id: i64,
        /// Name to show.
        pub display_name: String,
        /// First name.
        pub first_name: String,
        /// Last name.
        pub last_name: String,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
