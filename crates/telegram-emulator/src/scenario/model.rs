//! What a scenario file may say. The README has a commented example of every table.

use serde::Deserialize;

use super::crowds::{HistorySpec, PopulationSpec};

/// A world.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Decides everything that is generated, and all access hashes.
    pub seed: u64,
    /// Data centres to be listened on.
    pub data_centres: Vec<u8>,
    /// People and bots.
    #[serde(rename = "user")]
    pub users: Vec<UserSpec>,
    /// Groups and channels.
    #[serde(rename = "chat")]
    pub chats: Vec<ChatSpec>,
    /// Messages between two users, in order.
    #[serde(rename = "private_message")]
    pub private_messages: Vec<PrivateMessageSpec>,
    /// Generated crowds.
    #[serde(rename = "population")]
    pub populations: Vec<PopulationSpec>,
    /// Generated messages.
    #[serde(rename = "history")]
    pub histories: Vec<HistorySpec>,
    /// Faults injected from the start.
    #[serde(rename = "fault")]
    pub faults: Vec<FaultSpec>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 1,
            data_centres: vec![2],
            users: Vec::new(),
            chats: Vec::new(),
            private_messages: Vec::new(),
            populations: Vec::new(),
            histories: Vec::new(),
            faults: Vec::new(),
        }
    }
}

/// Who may invite a user.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum InvitePrivacySpec {
    /// Everybody.
    #[default]
    Everybody,
    /// Contacts.
    Contacts,
    /// Contacts and premium accounts.
    ContactsAndPremium,
    /// Nobody, reported among `missing_invitees`.
    Nobody,
    /// Nobody, reported as `USER_PRIVACY_RESTRICTED`.
    NobodyByError,
}

/// Who may write to a user.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum MessagePrivacySpec {
    /// Everybody.
    #[default]
    Everybody,
    /// Contacts and premium accounts.
    ContactsAndPremium,
    /// Contacts.
    Contacts,
}

/// When a user was last seen.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum LastSeenSpec {
    /// Not shown.
    #[default]
    LongAgo,
    /// Now.
    Online,
    /// An hour before the start.
    AnHourAgo,
    /// Within three days.
    Recently,
    /// Within a week.
    WithinWeek,
    /// Within a month.
    WithinMonth,
}

/// What a login meets instead of a code.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum LoginDemandSpec {
    /// Nothing.
    #[default]
    None,
    /// An e-mail address has to be set up.
    Email,
    /// A fee has to be paid.
    Payment,
}

/// A person or bot.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserSpec {
    /// User id, positive and unique.
    pub id: i64,
    /// Phone number; whoever has one can log in.
    pub phone: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Public name.
    pub username: String,
    /// Home data centre; the first one when absent.
    pub data_centre: Option<u8>,
    /// Is a bot.
    pub bot: bool,
    /// What a bot logs in with.
    pub bot_token: String,
    /// Has Telegram Premium.
    pub premium: bool,
    /// Has deleted the account.
    pub deleted: bool,
    /// Is banned: the phone number cannot log in.
    pub banned: bool,
    /// Shows the phone number to everybody.
    pub phone_visible: bool,
    /// Is not found by phone number, except by contacts.
    pub phone_hidden_from_search: bool,
    /// Who may invite.
    pub invites: InvitePrivacySpec,
    /// Who may write.
    pub messages: MessagePrivacySpec,
    /// When last seen.
    pub last_seen: LastSeenSpec,
    /// Two-step verification password.
    pub password: Option<String>,
    /// Its hint.
    pub password_hint: String,
    /// What a login meets instead of a code.
    pub login_demand: LoginDemandSpec,
    /// Acting is refused with `FROZEN_METHOD_INVALID`.
    pub frozen: bool,
    /// Strangers are refused with `PEER_FLOOD`.
    pub spam_limited: bool,
    /// Public groups refuse with `USER_BANNED_IN_CHANNEL`.
    pub banned_in_channels: bool,
    /// Channels joined elsewhere, counting towards the limit of 500 (1000 with premium).
    pub channels_elsewhere: u16,
    /// Ids of contacts.
    pub contacts: Vec<i64>,
    /// Ids of blocked users.
    pub blocked: Vec<i64>,
}

/// What a chat is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ChatKindSpec {
    /// Basic group.
    Group,
    /// Supergroup.
    Supergroup,
    /// Broadcast group.
    Gigagroup,
    /// Channel.
    Channel,
}

/// A right of an administrator, or one taken from a member.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RightSpec {
    /// Change title and description. Administrators only.
    ChangeInfo,
    /// Post in a channel. Administrators only.
    PostMessages,
    /// Delete messages. Administrators only.
    DeleteMessages,
    /// Ban and unban. Administrators only.
    BanUsers,
    /// Invite.
    InviteUsers,
    /// Write. Members only.
    SendMessages,
}

/// A group or channel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatSpec {
    /// Id, positive and unique among all chats.
    pub id: i64,
    /// What it is.
    pub kind: ChatKindSpec,
    /// Title.
    pub title: String,
    /// Public name; private without one.
    #[serde(default)]
    pub username: String,
    /// Description.
    #[serde(default)]
    pub about: String,
    /// Who made it.
    #[serde(default)]
    pub creator: i64,
    /// A channel's discussion group; the other direction is set by itself.
    #[serde(default)]
    pub linked: Option<i64>,
    /// Only administrators see the members.
    #[serde(default)]
    pub members_hidden: bool,
    /// Rights that ordinary members do not have.
    #[serde(default)]
    pub default_banned: Vec<RightSpec>,
    /// Seconds between two messages of one member.
    #[serde(default)]
    pub slow_mode: u16,
    /// Members that fit in; Telegram's limit for the kind when absent.
    #[serde(default)]
    pub member_limit: Option<u32>,
    /// Bots that fit in; 20 when absent.
    #[serde(default)]
    pub bot_limit: Option<u32>,
    /// Refuses everything with `CHAT_RESTRICTED`.
    #[serde(default)]
    pub restricted: bool,
    /// A basic group that has been given up.
    #[serde(default)]
    pub deactivated: bool,
    /// Joining has to be approved.
    #[serde(default)]
    pub join_by_request: bool,
    /// Ids of ordinary members.
    #[serde(default)]
    pub members: Vec<i64>,
    /// Administrators.
    #[serde(default)]
    pub admins: Vec<AdminSpec>,
    /// Members who may not do everything.
    #[serde(default)]
    pub restricted_members: Vec<RestrictedSpec>,
    /// Ids of users who were removed.
    #[serde(default)]
    pub kicked: Vec<i64>,
    /// Ids of users who have left.
    #[serde(default)]
    pub left: Vec<i64>,
    /// Invite links.
    #[serde(default)]
    pub links: Vec<LinkSpec>,
    /// Messages, in order. Ids count from 1 in channels; in supergroups 1 is the message of its creation.
    #[serde(default, rename = "message")]
    pub messages: Vec<MessageSpec>,
}

/// An administrator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSpec {
    /// User id.
    pub user: i64,
    /// Rights; all when absent.
    #[serde(default)]
    pub rights: Option<Vec<RightSpec>>,
    /// Title shown beside the name.
    #[serde(default)]
    pub rank: String,
}

/// A member who may not do everything.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestrictedSpec {
    /// User id.
    pub user: i64,
    /// Rights taken away.
    pub banned: Vec<RightSpec>,
}

/// An invite link.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// What follows `t.me/+`.
    pub hash: String,
    /// How often it may be used; 0 for any number.
    #[serde(default)]
    pub usage_limit: u16,
    /// Using it only asks to join.
    #[serde(default)]
    pub by_request: bool,
    /// Was taken back.
    #[serde(default)]
    pub revoked: bool,
}

/// What a message carries.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum MediaSpec {
    /// Nothing.
    #[default]
    None,
    /// A photo.
    Photo,
    /// A file.
    Document,
}

/// A message in a chat.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageSpec {
    /// User id of the author; of no matter in a channel.
    #[serde(default)]
    pub author: i64,
    /// Text.
    pub text: String,
    /// Id of the message that it answers.
    #[serde(default)]
    pub reply_to: i32,
    /// Views of a channel's post.
    #[serde(default)]
    pub views: i32,
    /// Times it was forwarded.
    #[serde(default)]
    pub forwards: i32,
    /// What it carries.
    #[serde(default)]
    pub media: MediaSpec,
    /// Reactions.
    #[serde(default)]
    pub reactions: Vec<ReactionSpec>,
    /// Comments under a channel's post, written into its discussion group.
    #[serde(default)]
    pub comments: Vec<CommentSpec>,
}

/// Somebody's reaction.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReactionSpec {
    /// User id.
    pub user: i64,
    /// The emoji.
    pub emoji: String,
}

/// A comment under a post.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommentSpec {
    /// User id of the author.
    pub author: i64,
    /// Text.
    pub text: String,
}

/// A message from one user to another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivateMessageSpec {
    /// User id of the author.
    pub from: i64,
    /// User id of the recipient.
    pub to: i64,
    /// Text.
    pub text: String,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum FaultKindSpec {
    /// Refuses with an error.
    Error,
    /// Keeps the answer back.
    SlowAnswer,
    /// Never answers.
    Silence,
    /// Closes the connection instead of executing.
    DropBeforeEffect,
    /// Closes the connection instead of answering.
    DropAfterEffect,
    /// Parks before executing.
    HoldBeforeEffect,
    /// Parks before answering.
    HoldAfterEffect,
}

/// A fault from the start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// What it does.
    pub kind: FaultKindSpec,
    /// Name of the error, as `FLOOD_WAIT_31`.
    #[serde(default)]
    pub error: String,
    /// Milliseconds of a slow answer.
    #[serde(default)]
    pub delay_ms: u64,
    /// Only this account.
    #[serde(default)]
    pub account: Option<i64>,
    /// Only this method, or `namespace.*`.
    #[serde(default)]
    pub method: Option<String>,
    /// Only about this chat.
    #[serde(default)]
    pub chat: Option<i64>,
    /// Only about this user.
    #[serde(default)]
    pub user: Option<i64>,
    /// Requests let pass first.
    #[serde(default)]
    pub skip: u32,
    /// Requests spoiled; all when absent.
    #[serde(default)]
    pub times: Option<u32>,
}
