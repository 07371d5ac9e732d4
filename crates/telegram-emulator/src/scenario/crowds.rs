//! What a scenario file may say about generated users and messages.

use serde::Deserialize;

/// A generated crowd. Percentages are of its users, drawn one by one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PopulationSpec {
    /// How many.
    pub users: u32,
    /// Id of the first; the others follow. Beyond all ids in use when absent.
    pub first_id: Option<i64>,
    /// Percent that are bots.
    pub bots: f64,
    /// Percent that have deleted their account.
    pub deleted: f64,
    /// Percent that have premium.
    pub premium: f64,
    /// Percent that have a public name.
    pub usernames: f64,
    /// Percent that have a phone number, and so could log in.
    pub phones: f64,
    /// Percent that only contacts may invite.
    pub invites_contacts: f64,
    /// Percent that only contacts and premium accounts may invite.
    pub invites_contacts_and_premium: f64,
    /// Percent that nobody may invite, reported among `missing_invitees`.
    pub invites_nobody: f64,
    /// Percent that nobody may invite, reported as an error.
    pub invites_nobody_by_error: f64,
    /// Percent that only contacts may write to.
    pub messages_contacts: f64,
    /// Percent that are in as many channels as they may be.
    pub full_of_channels: f64,
    /// Where they are members, or were.
    pub chats: Vec<PopulationChatSpec>,
}

impl Default for PopulationSpec {
    fn default() -> Self {
        Self {
            users: 0,
            first_id: None,
            bots: 0.0,
            deleted: 0.0,
            premium: 0.0,
            usernames: 60.0,
            phones: 0.0,
            invites_contacts: 0.0,
            invites_contacts_and_premium: 0.0,
            invites_nobody: 0.0,
            invites_nobody_by_error: 0.0,
            messages_contacts: 0.0,
            full_of_channels: 0.0,
            chats: Vec::new(),
        }
    }
}

/// How a crowd stands to a chat.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum StandingSpec {
    /// Members.
    #[default]
    Member,
    /// Gone of their own accord.
    Left,
    /// Removed.
    Kicked,
}

/// A chat of a crowd.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PopulationChatSpec {
    /// Chat id.
    pub chat: i64,
    /// Percent of the crowd.
    #[serde(default = "everybody")]
    pub percent: f64,
    /// How they stand to it.
    #[serde(default)]
    pub standing: StandingSpec,
    /// So many of them, the first ones, are administrators without the right to invite.
    #[serde(default)]
    pub admins: u32,
}

fn everybody() -> f64 {
    100.0
}

/// Generated messages of a chat.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistorySpec {
    /// Chat id of a supergroup, gigagroup or channel.
    pub chat: i64,
    /// How many.
    pub messages: u32,
    /// How many members write; all of them when absent.
    #[serde(default)]
    pub authors: Option<u32>,
    /// Over how many days before the start.
    #[serde(default = "a_month")]
    pub days: u32,
    /// Percent that answer an earlier message.
    #[serde(default)]
    pub replies: f64,
    /// Percent that carry a photo.
    #[serde(default)]
    pub photos: f64,
    /// Most reactions of a message.
    #[serde(default)]
    pub reactions: u32,
    /// Most comments under a channel's post, by members of its discussion group.
    #[serde(default)]
    pub comments: u32,
}

fn a_month() -> u32 {
    30
}
