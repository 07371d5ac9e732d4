//! Changes of the world from outside.

use super::{ControlError, Handle};
use crate::methods::Event;
use crate::world::{
    AdminRights, BannedRights, ChatKind, Details, Draft, InvitePrivacy, MediaKind, MessagePrivacy, Standing, User,
    Written, parse_phone,
};

/// A user to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewUser {
    /// User id; 0 for any.
    pub id: i64,
    /// Phone number; empty for none.
    pub phone: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Public name; empty for none.
    pub username: String,
    /// Home data centre; 0 for the first one.
    pub dc: i32,
    /// Two-step verification password; empty for none.
    pub password: String,
    /// Is a bot.
    pub bot: bool,
    /// Has premium.
    pub premium: bool,
    /// Who may invite.
    pub invites: InvitePrivacy,
    /// Who may write.
    pub messages: MessagePrivacy,
}

/// Changes of what a chat allows; `None` leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatRules {
    /// Ordinary members may invite.
    pub members_may_invite: Option<bool>,
    /// Ordinary members may write.
    pub members_may_write: Option<bool>,
    /// Refuses everything with `CHAT_RESTRICTED`.
    pub restricted: Option<bool>,
    /// Only administrators see the member list.
    pub members_hidden: Option<bool>,
    /// Joining has to be approved.
    pub join_by_request: Option<bool>,
    /// Seconds between two messages of one member; 0 for none.
    pub slow_mode: Option<i32>,
    /// Members that fit in.
    pub member_limit: Option<u32>,
}

/// A message to be written by somebody of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// User id of the author; of no matter in a channel.
    pub author: i64,
    /// Chat to write into; `user` in its place for a private message.
    pub chat: Option<i64>,
    /// User to write to.
    pub user: Option<i64>,
    /// Text.
    pub text: String,
    /// Message that it answers; 0 for none.
    pub reply_to: i32,
    /// What it carries.
    pub media: MediaKind,
}

/// Ids of users made by the control API when it names none.
const FIRST_ID: i64 = 5_000_000_000;

fn no_user(id: i64) -> ControlError {
    ControlError::NotFound(format!("user {id}"))
}

impl Handle {
    /// Makes a user; answers the id.
    pub fn create_user(&self, new: &NewUser) -> Result<i64, ControlError> {
        let mut state = self.kernel().lock();
        let id = match new.id {
            0 => FIRST_ID + i64::try_from(state.world.users.len()).unwrap_or(0),
            id if id > 0 => id,
            _ => return Err(ControlError::Invalid("a user id is positive".into())),
        };
        let phone = match new.phone.as_str() {
            "" => 0,
            text => parse_phone(text).ok_or_else(|| ControlError::Invalid("no phone number".into()))?,
        };
        let first = self.kernel().dcs.first().map_or(2, |(dc, _)| *dc);
        let dc = if new.dc == 0 { first } else { new.dc };
        if !self.kernel().dcs.iter().any(|(known, _)| *known == dc) {
            return Err(ControlError::NotFound(format!("data centre {dc}")));
        }
        let texts = &mut state.world.texts;
        let user = User {
            phone,
            first_name: texts.add(&new.first_name),
            last_name: texts.add(&new.last_name),
            username: texts.add(new.username.trim_start_matches('@')),
            dc: u8::try_from(dc).unwrap_or(2),
            bot: new.bot,
            premium: new.premium,
            invites: new.invites,
            messages: new.messages,
            ..User::new(id)
        };
        state.world.add_user(user).map_err(|error| ControlError::Invalid(error.into()))?;
        state.world.account_mut(id).set_password(Some(new.password.clone()), "");
        Ok(id)
    }

    /// Changes who may invite a user and who may write; `None` leaves it.
    pub fn set_privacy(
        &self,
        user: i64,
        invites: Option<InvitePrivacy>,
        messages: Option<MessagePrivacy>,
    ) -> Result<(), ControlError> {
        let mut state = self.kernel().lock();
        let user = state.world.users.get_mut(user).ok_or_else(|| no_user(user))?;
        user.invites = invites.unwrap_or(user.invites);
        user.messages = messages.unwrap_or(user.messages);
        Ok(())
    }

    /// Restricts or frees an account: frozen, limited for spam, banned in public groups; `None` leaves it.
    pub fn set_restrictions(
        &self,
        user: i64,
        frozen: Option<bool>,
        spam_limited: Option<bool>,
        banned_in_channels: Option<bool>,
    ) -> Result<(), ControlError> {
        let mut state = self.kernel().lock();
        state.world.user(user).ok_or_else(|| no_user(user))?;
        let account = state.world.account_mut(user);
        account.frozen = frozen.unwrap_or(account.frozen);
        account.spam_limited = spam_limited.unwrap_or(account.spam_limited);
        account.banned_in_channels = banned_in_channels.unwrap_or(account.banned_in_channels);
        Ok(())
    }

    /// Deletes a user's account: what is left is an id.
    pub fn delete_user(&self, user: i64) -> Result<(), ControlError> {
        let mut state = self.kernel().lock();
        state.world.users.get_mut(user).ok_or_else(|| no_user(user))?.deleted = true;
        Ok(())
    }

    /// Makes one user a contact of another.
    pub fn add_contact(&self, owner: i64, contact: i64) -> Result<(), ControlError> {
        let mut state = self.kernel().lock();
        for user in [owner, contact] {
            state.world.user(user).ok_or_else(|| no_user(user))?;
        }
        state.world.add_contact(owner, contact);
        Ok(())
    }

    /// Makes one user block another, or not any more.
    pub fn set_blocked(&self, who: i64, whom: i64, blocked: bool) -> Result<(), ControlError> {
        let mut state = self.kernel().lock();
        for user in [who, whom] {
            state.world.user(user).ok_or_else(|| no_user(user))?;
        }
        state.world.set_blocked(who, whom, blocked);
        Ok(())
    }

    /// Puts a user into a standing in a chat, whatever the rules say; members are told as usual.
    pub fn set_standing(&self, chat: i64, user: i64, standing: Standing) -> Result<(), ControlError> {
        let now = self.kernel().clock.unix();
        let mut state = self.kernel().lock();
        state.world.user(user).ok_or_else(|| no_user(user))?;
        let known = state.world.chat(chat).ok_or_else(|| ControlError::NotFound(format!("chat {chat}")))?;
        let was_inside = known.roster.is_inside(user);
        let mut events = vec![Event::Membership { chat, user }];
        if standing == Standing::Member && !was_inside {
            let written = state.world.join(chat, user, 0, now);
            events.extend(written.iter().flat_map(Event::of));
        } else {
            state.world.seat(chat, user, 0, standing, now);
        }
        self.kernel().deliver(&mut state, &events, None);
        Ok(())
    }

    /// Makes a user an administrator with exactly these rights.
    pub fn set_admin(&self, chat: i64, user: i64, rights: AdminRights) -> Result<(), ControlError> {
        self.set_standing(chat, user, Standing::Admin)?;
        let mut state = self.kernel().lock();
        let by = state.world.chat(chat).map_or(0, |chat| chat.creator);
        state.world.set_details(chat, user, Details { admin: rights, by, ..Details::default() });
        Ok(())
    }

    /// Changes what a chat allows.
    pub fn set_chat_rules(&self, chat: i64, rules: &ChatRules) -> Result<(), ControlError> {
        let mut state = self.kernel().lock();
        let chat = state.world.chat_mut(chat).ok_or_else(|| ControlError::NotFound(format!("chat {chat}")))?;
        let mut ban = |right: BannedRights, may: Option<bool>| match may {
            Some(true) => chat.default_banned.0 &= !right.0,
            Some(false) => chat.default_banned.0 |= right.0,
            None => {}
        };
        ban(BannedRights::INVITE_USERS, rules.members_may_invite);
        ban(BannedRights::SEND_MESSAGES, rules.members_may_write);
        chat.restricted = rules.restricted.unwrap_or(chat.restricted);
        chat.members_hidden = rules.members_hidden.unwrap_or(chat.members_hidden);
        chat.join_by_request = rules.join_by_request.unwrap_or(chat.join_by_request);
        chat.slow_mode = rules.slow_mode.unwrap_or(chat.slow_mode);
        chat.member_limit = rules.member_limit.unwrap_or(chat.member_limit);
        Ok(())
    }

    /// Writes a message as somebody of the world; answers its id in the chat, or in the author's numbering.
    pub fn post_message(&self, post: &Post) -> Result<i32, ControlError> {
        let now = self.kernel().clock.unix();
        let mut state = self.kernel().lock();
        let draft =
            Draft { author: post.author, text: &post.text, reply_to: post.reply_to, date: now, media: post.media };
        let written: Written = match (post.chat, post.user) {
            (Some(chat), None) => {
                let known = state.world.chat(chat).ok_or_else(|| ControlError::NotFound(format!("chat {chat}")))?;
                let kind = known.kind;
                if kind != ChatKind::Channel {
                    state.world.user(post.author).ok_or_else(|| no_user(post.author))?;
                }
                if kind == ChatKind::Group {
                    state.world.post_in_group(chat, &draft)?
                } else {
                    state.world.post(chat, &draft)?
                }
            }
            (None, Some(user)) => {
                for user in [user, post.author] {
                    state.world.user(user).ok_or_else(|| no_user(user))?;
                }
                state.world.write_to(post.author, user, &draft)
            }
            _ => return Err(ControlError::Invalid("either a chat or a user is needed".into())),
        };
        let events: Vec<Event> = Event::of(&written).collect();
        self.kernel().deliver(&mut state, &events, None);
        Ok(written.id)
    }
}
