//! The table `parse_tasks`.

use sea_orm::entity::prelude::*;

/// A task. Times are milliseconds since the epoch; enums are the contract's numbers.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "parse_tasks")]
pub struct Model {
    /// Identifier.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The owner.
    pub workspace_id: Uuid,
    /// Who created it: the engine acts for him.
    pub user_id: Uuid,
    /// The source as it was given.
    pub source: String,
    /// `ParseKind`.
    pub kind: i32,
    /// `ParseFilter`, encoded.
    pub filter: Vec<u8>,
    /// `SpeedProfile`.
    pub speed: i32,
    /// `Priority`.
    pub priority: i32,
    /// `ParseTask.State`.
    pub state: i32,
    /// `Chat`, encoded; NULL until it was looked at.
    pub chat: Option<Vec<u8>>,
    /// Where reading goes on.
    pub cursor: Option<Vec<u8>>,
    /// Everything was read.
    pub read_to_end: bool,
    /// What Telegram reports to be there.
    pub total: Option<i64>,
    /// Members or messages read.
    pub read_count: i64,
    /// People found.
    pub unique_count: i64,
    /// Of these, not known as contacts before.
    pub new_count: i64,
    /// Messages with media.
    pub media_count: i64,
    /// Requests at Telegram.
    pub request_count: i64,
    /// Results kept.
    pub result_count: i64,
    /// Left out, by reason, as JSON.
    pub skipped: String,
    /// Time spent reading.
    pub work_ms: i64,
    /// The cap that was reached; 0 when none.
    pub cap_reached: i32,
    /// `Waiting.Reason`; 0 when it does not wait.
    pub waiting_reason: i32,
    /// Until when it waits, if anybody can tell.
    pub waiting_until: Option<i64>,
    /// Why it waits, in one line.
    pub waiting_detail: String,
    /// Reason of the catalogue, when failed.
    pub failure_reason: String,
    /// The failure in one line.
    pub failure_detail: String,
    /// The engine that runs it.
    pub claim_owner: Option<Uuid>,
    /// Counts claims: fences off earlier ones.
    pub claim_epoch: i64,
    /// Until when the claim holds unless renewed.
    pub claim_until: Option<i64>,
    /// Not to be taken before.
    pub run_after: i64,
    /// Failures since the last batch that was kept.
    pub strikes: i32,
    /// Counts changes.
    pub version: i64,
    /// When it was created.
    pub created_at: i64,
    /// When it first ran.
    pub started_at: Option<i64>,
    /// When it ended.
    pub ended_at: Option<i64>,
    /// When it changed last.
    pub updated_at: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
