//! Facts about the world, for an independent checker.

use super::{ControlError, Handle};
use crate::kernel::State;
use crate::world::{ChatKind, InvitePrivacy, LastSeen, MessagePrivacy, Standing};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFacts {
    /// User id.
    pub id: i64,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Public name; empty for none.
    pub username: String,
    /// Phone number in digits; empty for none.
    pub phone: String,
    /// Home data centre.
    pub dc: i32,
    /// Is a bot.
    pub bot: bool,
    /// Has premium.
    pub premium: bool,
    /// Has deleted the account.
    pub deleted: bool,
    /// Is banned.
    pub banned: bool,
    /// Owes a password after the code.
    pub has_password: bool,
    /// Who may invite.
    pub invites: InvitePrivacy,
    /// Who may write.
    pub messages: MessagePrivacy,
    /// When last seen.
    pub last_seen: LastSeen,
}

/// A chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatFacts {
    /// Chat id.
    pub id: i64,
    /// What it is.
    pub kind: ChatKind,
    /// Title.
    pub title: String,
    /// Public name; empty for a private chat.
    pub username: String,
    /// Number of members.
    pub members: u32,
    /// Number of messages; 0 for basic groups, which have none of their own.
    pub messages: usize,
    /// Channel's discussion group, or the other way round.
    pub linked: Option<i64>,
    /// The member list is hidden.
    pub members_hidden: bool,
    /// Invite links that can be used, as `https://t.me/+…`.
    pub links: Vec<String>,
}

/// Somebody's standing in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberFacts {
    /// User id.
    pub user: i64,
    /// How the user stands.
    pub standing: Standing,
    /// Who brought the user in; 0 for nobody.
    pub inviter: i64,
    /// Seconds since the epoch.
    pub date: i32,
}

fn user_facts(state: &State, id: i64) -> Option<UserFacts> {
    let user = state.world.user(id)?;
    let texts = &state.world.texts;
    Some(UserFacts {
        id,
        first_name: texts.get(user.first_name).to_owned(),
        last_name: texts.get(user.last_name).to_owned(),
        username: texts.get(user.username).to_owned(),
        phone: if user.phone == 0 { String::new() } else { user.phone.to_string() },
        dc: i32::from(user.dc),
        bot: user.bot,
        premium: user.premium,
        deleted: user.deleted,
        banned: user.banned,
        has_password: state.world.account(id).is_some_and(|account| account.has_password()),
        invites: user.invites,
        messages: user.messages,
        last_seen: user.last_seen,
    })
}

impl Handle {
    /// A user.
    pub fn user(&self, id: i64) -> Result<UserFacts, ControlError> {
        user_facts(&self.kernel().lock(), id).ok_or_else(|| ControlError::NotFound(format!("user {id}")))
    }

    /// Users in the order they were made, from index `from`, at most `limit`; empty at the end.
    pub fn users(&self, from: usize, limit: usize) -> Vec<UserFacts> {
        let state = self.kernel().lock();
        let ids = state.world.users.slice(from, limit).iter().map(|user| user.id);
        ids.filter_map(|id| user_facts(&state, id)).collect()
    }

    /// Number of users.
    pub fn user_count(&self) -> usize {
        self.kernel().lock().world.users.len()
    }

    /// All chats, by id.
    pub fn chats(&self) -> Vec<ChatFacts> {
        let (state, now) = (self.kernel().lock(), self.kernel().clock.unix());
        let chats = state.world.chats_in_order();
        chats
            .into_iter()
            .map(|chat| ChatFacts {
                id: chat.id,
                kind: chat.kind,
                title: chat.title.clone(),
                username: chat.username.clone(),
                members: chat.roster.inside(),
                messages: chat.history.messages().len(),
                linked: chat.linked,
                members_hidden: chat.members_hidden,
                links: chat
                    .links
                    .iter()
                    .filter(|link| link.is_usable(now))
                    .map(|link| format!("https://t.me/+{}", link.hash))
                    .collect(),
            })
            .collect()
    }

    /// Everybody who is or was in a chat, in order of first joining, from index `from`, at most `limit`.
    pub fn members(&self, chat: i64, from: usize, limit: usize) -> Result<Vec<MemberFacts>, ControlError> {
        let state = self.kernel().lock();
        let chat = state.world.chat(chat).ok_or_else(|| ControlError::NotFound(format!("chat {chat}")))?;
        let entries = chat.roster.entries().iter().skip(from).take(limit);
        Ok(entries
            .map(|member| MemberFacts {
                user: member.user,
                standing: member.standing,
                inviter: member.inviter,
                date: member.date,
            })
            .collect())
    }

    /// How a user stands to a chat; `None` for somebody who never was in it.
    pub fn standing(&self, chat: i64, user: i64) -> Result<Option<Standing>, ControlError> {
        let state = self.kernel().lock();
        let chat = state.world.chat(chat).ok_or_else(|| ControlError::NotFound(format!("chat {chat}")))?;
        Ok(chat.roster.standing(user))
    }

    /// Texts of the messages that a user got from another, oldest first.
    pub fn private_messages(&self, owner: i64, from: i64) -> Vec<String> {
        let state = self.kernel().lock();
        let letters = state.world.mailbox(owner).iter();
        letters
            .filter(|letter| letter.message.author == from)
            .map(|letter| state.world.texts.get(letter.message.text).to_owned())
            .collect()
    }
}
