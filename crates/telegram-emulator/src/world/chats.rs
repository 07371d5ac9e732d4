//! Chats of all kinds.

use super::hashing::IdMap;
use super::history::History;
use super::members::{BannedRights, Roster};

/// What a chat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatKind {
    /// Basic group: at most 200 members, messages in each member's own numbering.
    Group,
    /// Supergroup.
    Supergroup,
    /// Broadcast group: a supergroup in which only administrators write.
    Gigagroup,
    /// Broadcast channel.
    Channel,
}

impl ChatKind {
    /// Whether the API calls it a channel, as it does everything but a basic group.
    pub fn is_channel(self) -> bool {
        self != Self::Group
    }

    /// Members that fit in, as Telegram has it.
    pub(crate) fn member_limit(self) -> u32 {
        match self {
            Self::Group => 200,
            Self::Supergroup => 200_000,
            Self::Gigagroup | Self::Channel => u32::MAX,
        }
    }
}

/// An invite link of a chat.
#[derive(Clone, Debug)]
pub(crate) struct InviteLink {
    /// What follows `t.me/+`.
    pub(crate) hash: String,
    pub(crate) creator: i64,
    pub(crate) date: i32,
    /// When it ends; 0 for never.
    pub(crate) expires: i32,
    /// How often it may be used; 0 for any number.
    pub(crate) usage_limit: i32,
    pub(crate) usage: i32,
    /// Whoever uses it only asks to join.
    pub(crate) by_request: bool,
    pub(crate) revoked: bool,
}

impl InviteLink {
    pub(crate) fn is_usable(&self, now: i32) -> bool {
        !self.revoked
            && (self.expires == 0 || now < self.expires)
            && (self.usage_limit == 0 || self.usage < self.usage_limit)
    }
}

/// A basic group, supergroup, gigagroup or channel.
#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) id: i64,
    pub(crate) kind: ChatKind,
    pub(crate) title: String,
    /// Public name; empty for a private chat.
    pub(crate) username: String,
    pub(crate) about: String,
    pub(crate) created: i32,
    /// Who made it; 0 for nobody of this world.
    pub(crate) creator: i64,
    pub(crate) roster: Roster,
    /// Messages of a channel of any kind; those of basic groups lie in their members' mailboxes.
    pub(crate) history: History,
    /// A channel's discussion group, or the other way round.
    pub(crate) linked: Option<i64>,
    /// Only administrators see the member list.
    pub(crate) members_hidden: bool,
    /// What ordinary members may not do.
    pub(crate) default_banned: BannedRights,
    /// Seconds between two messages of one member.
    pub(crate) slow_mode: i32,
    pub(crate) member_limit: u32,
    pub(crate) bot_limit: u32,
    /// Refuses everything with `CHAT_RESTRICTED`.
    pub(crate) restricted: bool,
    /// A basic group that has been given up.
    pub(crate) deactivated: bool,
    /// Joining has to be approved.
    pub(crate) join_by_request: bool,
    pub(crate) requests: Vec<i64>,
    pub(crate) links: Vec<InviteLink>,
    /// When each member last wrote, while there is a slow mode.
    pub(crate) last_written: IdMap<i64, i32>,
    /// Rises with every change of a basic group's members.
    pub(crate) version: i32,
}

impl Chat {
    pub(crate) fn new(id: i64, kind: ChatKind, title: &str, created: i32) -> Self {
        Self {
            id,
            kind,
            title: title.to_owned(),
            username: String::new(),
            about: String::new(),
            created,
            creator: 0,
            roster: Roster::default(),
            history: History::default(),
            linked: None,
            members_hidden: false,
            default_banned: BannedRights::default(),
            slow_mode: 0,
            member_limit: kind.member_limit(),
            bot_limit: 20,
            restricted: false,
            deactivated: false,
            join_by_request: false,
            requests: Vec::new(),
            links: Vec::new(),
            last_written: IdMap::default(),
            version: 1,
        }
    }

    pub(crate) fn is_public(&self) -> bool {
        !self.username.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.roster.inside() >= self.member_limit
    }
}
