//! The tables `campaigns` and `campaign_counters`.

use sea_orm::entity::prelude::*;
use service_kit::identity::Acting;
use tgmesh_proto::invite::v1::campaign::State;

/// A campaign.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "campaigns")]
pub struct Model {
    /// Identifier.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Owner.
    pub workspace_id: Uuid,
    /// In whose name the campaign works.
    pub user_id: Uuid,
    /// Name.
    pub name: String,
    /// Name in lower case.
    pub name_key: String,
    /// `CampaignKind`.
    pub kind: i32,
    /// The chat in its normal form.
    pub chat: String,
    /// The chat's title.
    pub chat_title: String,
    /// Telegram's id of the chat.
    pub chat_id: i64,
    /// Notes.
    pub description: String,
    /// `ConsentBasis`.
    pub consent_basis: i32,
    /// `Priority`.
    pub priority: i32,
    /// `Campaign.State`.
    pub state: i32,
    /// The message `Waiting`; absent while something happens.
    pub waiting: Option<Vec<u8>>,
    /// Reason of the catalogue, when failed.
    pub failure_reason: String,
    /// The failure in plain words.
    pub failure_detail: String,
    /// What the audience lacks, in plain words; empty when nothing.
    pub audience_notice: String,
    /// All targets.
    pub targets: i64,
    /// Targets with an outcome.
    pub done: i64,
    /// Targets with an outcome, in millionths of all.
    pub progress: i64,
    /// Grows with every change.
    pub version: i64,
    /// Milliseconds since the epoch, like all times.
    pub created_at: i64,
    /// Last change.
    pub updated_at: i64,
    /// First start.
    pub started_at: Option<i64>,
    /// End.
    pub ended_at: Option<i64>,
}

impl Model {
    /// How far it is.
    pub fn state(&self) -> State {
        State::try_from(self.state).unwrap_or_default()
    }

    /// For whom the service acts when it works on the campaign.
    pub fn acting(&self) -> Acting {
        Acting { user_id: self.user_id, workspace_id: self.workspace_id }
    }
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
