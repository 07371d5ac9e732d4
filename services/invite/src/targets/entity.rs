//! The table `targets`.

use sea_orm::entity::prelude::*;

/// A target.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "targets")]
pub struct Model {
    /// Identifier.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Its campaign.
    pub campaign_id: Uuid,
    /// Owner.
    pub workspace_id: Uuid,
    /// Its place in the audience.
    pub seq: i64,
    /// See [`super::Person::key`].
    pub person_key: String,
    /// Public name; empty when not known.
    pub username: String,
    /// Phone number; empty when not known.
    pub phone: String,
    /// Telegram's id; 0 when not known.
    pub user_id: i64,
    /// Name to show.
    pub display_name: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Where it came from.
    pub source: String,
    /// Whether any account can address it.
    pub open: bool,
    /// `Target.State`.
    pub state: i32,
    /// `Outcome`.
    pub outcome: i32,
    /// Telegram's error behind the outcome.
    pub telegram_error: String,
    /// Attempts made.
    pub attempts: i32,
    /// Not tried before this time.
    pub not_before_at: i64,
    /// The process that works on it.
    pub owner: Option<Uuid>,
    /// The account of the last attempt.
    pub account_id: Option<Uuid>,
    /// The `request_id` of the last attempt.
    pub attempt_id: Option<Uuid>,
    /// When it got its outcome.
    pub done_at: Option<i64>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The table `target_peers`.
pub mod peer {
    use sea_orm::entity::prelude::*;

    /// What addresses a target at one account.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "target_peers")]
    pub struct Model {
        /// The target.
        #[sea_orm(primary_key, auto_increment = false)]
        pub target_id: Uuid,
        /// The account.
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: Uuid,
        /// The target's campaign.
        pub campaign_id: Uuid,
        /// The reference; only integration reads it.
        pub sealed: Vec<u8>,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The table `executions`.
pub mod execution {
    use sea_orm::entity::prelude::*;

    /// An attempt.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "executions")]
    pub struct Model {
        /// The `request_id` of its call.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        /// The campaign.
        pub campaign_id: Uuid,
        /// The target.
        pub target_id: Uuid,
        /// The account.
        pub account_id: Uuid,
        /// The lease.
        pub lease_id: Uuid,
        /// `Execution.Result`.
        pub result: i32,
        /// `Outcome`.
        pub outcome: i32,
        /// Telegram's error name.
        pub telegram_error: String,
        /// When it began.
        pub began_at: i64,
        /// When it ended.
        pub ended_at: Option<i64>,
        /// The trace it belongs to.
        pub trace_id: String,
        /// The campaign's version with which it ended.
        pub version: i64,
    }

    /// No relations.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
