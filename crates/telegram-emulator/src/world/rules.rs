//! Telegram's rules: who may see, write to, join, and invite into a chat.
//!
//! Every refusal carries the name that <https://core.telegram.org/method/channels.inviteToChannel> and its siblings
//! list for it. Where the documentation leaves the cause open, the choice is explained beside it.

use super::members::{AdminRights, BannedRights, Standing};
use super::users::{InvitePrivacy, MessagePrivacy};
use super::{Chat, ChatKind, World};
use crate::error::RpcError;

/// Channels and supergroups that an account may be in at once.
const CHANNELS: usize = 500;
/// The same for premium accounts.
const CHANNELS_PREMIUM: usize = 1000;
/// Members up to which a broadcast channel takes invitations.
const CHANNEL_INVITES: u32 = 200;

/// What an invitation of one user comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invitation {
    /// The user may be added.
    Possible,
    /// The user is a member.
    AlreadyMember,
    /// Privacy forbids it; reported among `missing_invitees`.
    Missing { premium_would_allow: bool, premium_required_to_write: bool },
    /// The call fails.
    Refused(RpcError),
}

impl World {
    /// Whether a chat is visible to an account at all.
    pub(crate) fn may_see(&self, account: i64, chat: &Chat) -> Result<(), RpcError> {
        let kicked = chat.roster.standing(account) == Some(Standing::Kicked);
        let visible = chat.roster.is_inside(account) || chat.is_public() || self.sees_by_link(account, chat);
        if visible && !kicked { Ok(()) } else { Err(RpcError::CHANNEL_PRIVATE) }
    }

    /// Members of a public channel see its discussion group, and the other way round.
    fn sees_by_link(&self, account: i64, chat: &Chat) -> bool {
        chat.linked.and_then(|linked| self.chat(linked)).is_some_and(|linked| {
            linked.linked == Some(chat.id) && (linked.roster.is_inside(account) || linked.is_public())
        })
    }

    /// Refuses accounts that may only read.
    pub(crate) fn may_act(&self, account: i64) -> Result<(), RpcError> {
        if self.account(account).is_some_and(|account| account.frozen) {
            return Err(RpcError::FROZEN_METHOD_INVALID);
        }
        Ok(())
    }

    /// Whether an account may invite into a chat, whoever it is.
    pub(crate) fn may_invite(&self, inviter: i64, chat: &Chat) -> Result<(), RpcError> {
        self.may_act(inviter)?;
        if chat.restricted {
            return Err(RpcError::CHAT_RESTRICTED);
        }
        if chat.deactivated {
            return Err(RpcError::CHAT_INVALID);
        }
        let standing = chat.roster.standing(inviter);
        if !standing.is_some_and(Standing::is_inside) {
            return Err(match (chat.kind, standing) {
                (ChatKind::Group, _) => RpcError::CHAT_ID_INVALID,
                (_, Some(Standing::Kicked)) => RpcError::CHANNEL_PRIVATE,
                (ChatKind::Channel, _) if chat.is_public() => RpcError::CHAT_ADMIN_REQUIRED,
                _ if chat.is_public() => RpcError::CHAT_WRITE_FORBIDDEN,
                _ => RpcError::CHANNEL_PRIVATE,
            });
        }
        if let Some(account) = self.account(inviter) {
            if account.spam_limited {
                return Err(RpcError::PEER_FLOOD);
            }
            if account.banned_in_channels && chat.kind.is_channel() && chat.is_public() {
                return Err(RpcError::USER_BANNED_IN_CHANNEL);
            }
        }
        let members_may = matches!(chat.kind, ChatKind::Group | ChatKind::Supergroup)
            && !chat.default_banned.has(BannedRights::INVITE_USERS);
        match chat.roster.admin_rights(inviter) {
            Some(rights) if rights.has(AdminRights::INVITE_USERS) || members_may => Ok(()),
            Some(_) => Err(RpcError::CHAT_ADMIN_INVITE_REQUIRED),
            None if chat.roster.banned_rights(inviter).has(BannedRights::INVITE_USERS) => {
                Err(RpcError::CHAT_WRITE_FORBIDDEN)
            }
            None if members_may => Ok(()),
            None => Err(RpcError::CHAT_ADMIN_REQUIRED),
        }
    }

    /// What an invitation of `user` by `inviter` comes to; the inviter's own right is not looked at.
    pub(crate) fn judge_invitation(&self, inviter: i64, chat: &Chat, user: i64) -> Invitation {
        use Invitation::{AlreadyMember, Possible, Refused};

        let Some(invited) = self.user(user) else { return Refused(RpcError::USER_ID_INVALID) };
        if invited.deleted {
            return Refused(RpcError::INPUT_USER_DEACTIVATED);
        }
        match chat.roster.standing(user) {
            Some(standing) if standing.is_inside() => return AlreadyMember,
            Some(Standing::Kicked) => {
                let may_unban =
                    chat.roster.admin_rights(inviter).is_some_and(|rights| rights.has(AdminRights::BAN_USERS));
                if !may_unban {
                    return Refused(RpcError::USER_KICKED);
                }
            }
            // Who left of their own accord can only be brought back by a mutual contact.
            Some(Standing::Left) if !self.is_mutual_contact(inviter, user) => {
                return Refused(RpcError::USER_NOT_MUTUAL_CONTACT);
            }
            _ => {}
        }
        if self.has_blocked(inviter, user) {
            return Refused(RpcError::YOU_BLOCKED_USER);
        }
        if self.has_blocked(user, inviter) {
            // Only the list of addChatUser knows USER_IS_BLOCKED; inviteToChannel's has USER_BLOCKED.
            let error = if chat.kind.is_channel() { RpcError::USER_BLOCKED } else { RpcError::USER_IS_BLOCKED };
            return Refused(error);
        }
        if invited.bot {
            if chat.kind == ChatKind::Channel {
                return Refused(RpcError::USER_BOT);
            }
            let bots = chat.roster.members().filter(|member| self.user(member.user).is_some_and(|user| user.bot));
            if bots.count() >= chat.bot_limit as usize {
                return Refused(RpcError::BOTS_TOO_MUCH);
            }
        }
        if chat.is_full() || (chat.kind == ChatKind::Channel && chat.roster.inside() >= CHANNEL_INVITES) {
            return Refused(RpcError::USERS_TOO_MUCH);
        }
        if chat.kind.is_channel() && self.is_in_too_many_channels(user) {
            return Refused(RpcError::USER_CHANNELS_TOO_MUCH);
        }
        self.judge_privacy(inviter, user).unwrap_or(Possible)
    }

    fn judge_privacy(&self, inviter: i64, user: i64) -> Option<Invitation> {
        let invited = self.user(user)?;
        let premium = self.user(inviter).is_some_and(|inviter| inviter.premium);
        let known = self.is_contact(user, inviter);
        let allowed = match invited.invites {
            InvitePrivacy::Everybody => true,
            InvitePrivacy::Contacts => known,
            InvitePrivacy::ContactsAndPremium => known || premium,
            InvitePrivacy::Nobody | InvitePrivacy::NobodyByError => false,
        };
        if allowed {
            return None;
        }
        if invited.invites == InvitePrivacy::NobodyByError {
            return Some(Invitation::Refused(RpcError::USER_PRIVACY_RESTRICTED));
        }
        Some(Invitation::Missing {
            premium_would_allow: invited.invites == InvitePrivacy::ContactsAndPremium,
            premium_required_to_write: invited.messages == MessagePrivacy::ContactsAndPremium && !known && !premium,
        })
    }

    /// Whether an account may become a member by itself; `by_link` holds an invite link of the chat.
    pub(crate) fn may_join(&self, account: i64, chat: &Chat, by_link: bool) -> Result<(), RpcError> {
        self.may_act(account)?;
        if chat.restricted {
            return Err(RpcError::CHAT_RESTRICTED);
        }
        match chat.roster.standing(account) {
            Some(Standing::Kicked) => {
                return Err(if by_link { RpcError::INVITE_HASH_EXPIRED } else { RpcError::CHANNEL_PRIVATE });
            }
            Some(standing) if standing.is_inside() => return Err(RpcError::USER_ALREADY_PARTICIPANT),
            _ => {}
        }
        if !by_link {
            self.may_see(account, chat)?;
        }
        if chat.kind.is_channel() && self.is_in_too_many_channels(account) {
            return Err(RpcError::CHANNELS_TOO_MUCH);
        }
        if chat.is_full() { Err(RpcError::USERS_TOO_MUCH) } else { Ok(()) }
    }

    /// Whether an account may write into a chat now.
    pub(crate) fn may_write(&self, account: i64, chat: &Chat, now: i32) -> Result<(), RpcError> {
        self.may_act(account)?;
        if chat.restricted {
            return Err(RpcError::CHAT_RESTRICTED);
        }
        if chat.deactivated {
            return Err(RpcError::CHAT_WRITE_FORBIDDEN);
        }
        if !chat.roster.is_inside(account) {
            self.may_see(account, chat)?;
            // Everybody who sees a discussion group may comment in it.
            if chat.linked.is_none() || chat.kind == ChatKind::Channel {
                return Err(RpcError::CHAT_WRITE_FORBIDDEN);
            }
        }
        let limited = self.account(account).is_some_and(|account| account.banned_in_channels);
        if limited && chat.kind.is_channel() && chat.is_public() {
            return Err(RpcError::USER_BANNED_IN_CHANNEL);
        }
        if let Some(rights) = chat.roster.admin_rights(account) {
            let may = chat.kind != ChatKind::Channel || rights.has(AdminRights::POST_MESSAGES);
            return if may { Ok(()) } else { Err(RpcError::CHAT_ADMIN_REQUIRED) };
        }
        match chat.kind {
            ChatKind::Channel => return Err(RpcError::CHAT_ADMIN_REQUIRED),
            ChatKind::Gigagroup => return Err(RpcError::CHAT_WRITE_FORBIDDEN),
            ChatKind::Group | ChatKind::Supergroup => {}
        }
        let banned = BannedRights(chat.default_banned.0 | chat.roster.banned_rights(account).0);
        if banned.has(BannedRights::SEND_MESSAGES) {
            return Err(RpcError::CHAT_WRITE_FORBIDDEN);
        }
        let next = chat.last_written.get(&account).map_or(0, |last| last.saturating_add(chat.slow_mode));
        if chat.slow_mode > 0 && next > now { Err(RpcError::slow_mode_wait(next - now)) } else { Ok(()) }
    }

    /// Whether an account may write to a user.
    pub(crate) fn may_write_to(&self, account: i64, user: i64) -> Result<(), RpcError> {
        self.may_act(account)?;
        let recipient = self.user(user).ok_or(RpcError::PEER_ID_INVALID)?;
        if user == account {
            return Ok(());
        }
        if recipient.deleted {
            return Err(RpcError::INPUT_USER_DEACTIVATED);
        }
        if self.has_blocked(account, user) {
            return Err(RpcError::YOU_BLOCKED_USER);
        }
        if self.has_blocked(user, account) {
            return Err(RpcError::USER_IS_BLOCKED);
        }
        let sender = self.user(account).ok_or(RpcError::PEER_ID_INVALID)?;
        if sender.bot && recipient.bot {
            return Err(RpcError::USER_IS_BOT);
        }
        let known = self.is_contact(user, account);
        let spoken = self.mailbox(account).dialog(super::DialogPeer::User(user));
        let answered = spoken.iter().any(|id| self.mailbox(account).get(*id).is_some_and(|letter| !letter.out));
        if known || answered {
            return Ok(());
        }
        match recipient.messages {
            MessagePrivacy::ContactsAndPremium if !sender.premium => {
                return Err(RpcError::PRIVACY_PREMIUM_REQUIRED);
            }
            MessagePrivacy::Contacts => return Err(RpcError::USER_PRIVACY_RESTRICTED),
            _ => {}
        }
        let limited = self.account(account).is_some_and(|account| account.spam_limited);
        if limited { Err(RpcError::PEER_FLOOD) } else { Ok(()) }
    }

    fn is_in_too_many_channels(&self, user: i64) -> bool {
        let Some(who) = self.user(user) else { return false };
        let limit = if who.premium { CHANNELS_PREMIUM } else { CHANNELS };
        let here = self.chats.values().filter(|chat| chat.kind.is_channel() && chat.roster.is_inside(user)).count();
        usize::from(who.channels_elsewhere) + here >= limit
    }
}
