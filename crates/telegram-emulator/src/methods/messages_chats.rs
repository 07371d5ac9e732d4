//! `messages.*` about basic groups and invite links.

use grammers_tl_types::{enums, functions as f, types as t};

use super::messages::own_updates;
use super::peers::{Target, named_user, subject_of};
use super::tl::{NO_FLAGS, blank, no_photo, notify_settings, part, updates};
use super::{Answer, Context, Event, Method, ok};
use crate::error::RpcError;
use crate::recorder::{Effect, Subject};
use crate::wire::request::Field;
use crate::world::{AdminRights, Chat, ChatKind, Invitation, InviteLink, Standing};

impl Method for f::messages::GetChats {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let view = context.view();
        let chats = self.id.iter().filter(|id| context.group(**id).is_ok()).map(|id| view.chat(*id)).collect();
        ok(enums::messages::Chats::Chats(t::messages::Chats { chats }))
    }
}

impl Method for f::messages::GetFullChat {
    fn subject(&self) -> Subject {
        Subject { chat: Some(self.chat_id), ..Subject::default() }
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let chat = context.group(self.chat_id)?;
        let inside = chat.roster.is_inside(context.me()?);
        let participants: enums::ChatParticipants = if inside {
            t::ChatParticipants { chat_id: chat.id, participants: participants(chat), version: chat.version }.into()
        } else {
            t::ChatParticipantsForbidden { chat_id: chat.id, self_participant: None }.into()
        };
        let base: t::ChatFull = blank(&[
            NO_FLAGS,
            &chat.id.to_le_bytes(),
            &part(chat.about.clone()),
            &part(participants),
            &part(notify_settings()),
        ]);
        let view = context.view();
        let users = chat.roster.members().filter(|_| inside).map(|member| view.user(member.user)).collect();
        ok(enums::messages::ChatFull::Full(t::messages::ChatFull {
            full_chat: t::ChatFull { chat_photo: Some(no_photo()), ..base }.into(),
            chats: vec![view.chat(chat.id)],
            users,
        }))
    }
}

fn participants(chat: &Chat) -> Vec<enums::ChatParticipant> {
    chat.roster
        .members()
        .map(|member| (member, if member.inviter == 0 { chat.creator } else { member.inviter }))
        .map(|(member, inviter_id)| match member.standing {
            Standing::Creator => t::ChatParticipantCreator { user_id: member.user, rank: None }.into(),
            Standing::Admin => {
                t::ChatParticipantAdmin { user_id: member.user, inviter_id, date: member.date, rank: None }.into()
            }
            _ => t::ChatParticipant { user_id: member.user, inviter_id, date: member.date, rank: None }.into(),
        })
        .collect()
}

impl Method for f::messages::AddChatUser {
    const FIELDS: &'static [Field] = &[Field::Skip(8), Field::User];

    fn subject(&self) -> Subject {
        Subject { chat: Some(self.chat_id), users: named_user(&self.user_id).into_iter().collect(), random_id: None }
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let chat = context.group(self.chat_id)?;
        context.world.may_invite(me, chat)?;
        let user = context.input_user(&self.user_id)?;
        match context.world.judge_invitation(me, chat, user) {
            Invitation::Refused(error) => Err(error),
            Invitation::AlreadyMember => {
                context.effects.push(Effect::AlreadyMember { chat: self.chat_id, user });
                Err(RpcError::USER_ALREADY_PARTICIPANT)
            }
            Invitation::Missing { premium_would_allow, premium_required_to_write } => {
                context.effects.push(Effect::NotInvited {
                    chat: self.chat_id,
                    user,
                    premium_would_allow,
                    premium_required: premium_required_to_write,
                });
                let missing = t::MissingInvitee {
                    premium_would_allow_invite: premium_would_allow,
                    premium_required_for_pm: premium_required_to_write,
                    user_id: user,
                };
                let view = context.view();
                ok(enums::messages::InvitedUsers::Users(t::messages::InvitedUsers {
                    updates: updates(Vec::new(), vec![view.user(user)], vec![view.chat(self.chat_id)], context.now),
                    missing_invitees: vec![missing.into()],
                }))
            }
            Invitation::Possible => {
                let written = context.world.add_member(self.chat_id, user, me, context.now);
                context.effects.push(Effect::Invited { chat: self.chat_id, user });
                context.events.push(Event::Membership { chat: self.chat_id, user });
                let updates = match &written {
                    Some(written) => {
                        context.events.extend(Event::of(written));
                        own_updates(context, written, &mut Vec::new())
                    }
                    None => updates(Vec::new(), Vec::new(), vec![context.view().chat(self.chat_id)], context.now),
                };
                ok(enums::messages::InvitedUsers::Users(t::messages::InvitedUsers {
                    updates,
                    missing_invitees: Vec::new(),
                }))
            }
        }
    }
}

impl Method for f::messages::DeleteChatUser {
    const FIELDS: &'static [Field] = &[Field::Skip(12), Field::User];

    fn subject(&self) -> Subject {
        Subject { chat: Some(self.chat_id), users: named_user(&self.user_id).into_iter().collect(), random_id: None }
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let (me, user) = (context.me()?, context.input_user(&self.user_id)?);
        let chat = context.group(self.chat_id)?;
        if !chat.roster.is_inside(user) {
            return Err(RpcError::USER_NOT_PARTICIPANT);
        }
        let may_remove = chat.roster.admin_rights(me).is_some_and(|rights| rights.has(AdminRights::BAN_USERS));
        if user != me && !may_remove {
            return Err(RpcError::CHAT_ADMIN_REQUIRED);
        }
        let standing = if user == me { Standing::Left } else { Standing::Kicked };
        context.world.seat(self.chat_id, user, me, standing, context.now);
        if user == me {
            context.effects.push(Effect::Left { chat: self.chat_id });
        }
        context.events.push(Event::Membership { chat: self.chat_id, user });
        let chat = context.view().chat(self.chat_id);
        ok(updates(Vec::new(), Vec::new(), vec![chat], context.now))
    }
}

/// `messages.checkChatInvite` and its sibling take the hash alone, some clients send the whole link.
fn bare_hash(link: &str) -> &str {
    let tail = link.rsplit('/').next().unwrap_or(link);
    tail.trim_start_matches('+')
}

impl Method for f::messages::CheckChatInvite {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let (id, link) = context.world.link(bare_hash(&self.hash), context.now)?;
        let by_request = link.by_request;
        let chat = context.world.chat(id).ok_or(RpcError::INVITE_HASH_INVALID)?;
        if chat.roster.is_inside(me) {
            let chat = context.view().chat(id);
            return ok(enums::ChatInvite::Already(t::ChatInviteAlready { chat }));
        }
        let base: t::ChatInvite = blank(&[
            NO_FLAGS,
            &part(chat.title.clone()),
            &part(no_photo()),
            &chat.roster.inside().to_le_bytes(),
            &[0; 4],
        ]);
        ok(enums::ChatInvite::Invite(t::ChatInvite {
            channel: chat.kind.is_channel(),
            broadcast: chat.kind == ChatKind::Channel,
            megagroup: matches!(chat.kind, ChatKind::Supergroup | ChatKind::Gigagroup),
            public: chat.is_public(),
            request_needed: by_request,
            about: Some(chat.about.clone()).filter(|about| !about.is_empty()),
            ..base
        }))
    }
}

impl Method for f::messages::ImportChatInvite {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let hash = bare_hash(&self.hash);
        let (id, link) = context.world.link(hash, context.now)?;
        let (by_request, inviter) = (link.by_request, link.creator);
        let chat = context.world.chat(id).ok_or(RpcError::INVITE_HASH_INVALID)?;
        context.world.may_join(me, chat, true)?;
        if by_request {
            return super::channels_members::request_to_join(context, id);
        }
        context.world.use_link(id, hash);
        super::channels_members::joined(context, id, inviter)
    }
}

impl Method for f::messages::ExportChatInvite {
    fn subject(&self) -> Subject {
        subject_of(&self.peer)
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let (Target::Group(id) | Target::Channel(id)) = context.target(&self.peer)? else {
            return Err(RpcError::PEER_ID_INVALID);
        };
        let chat = context.world.chat(id).ok_or(RpcError::PEER_ID_INVALID)?;
        let may = chat.roster.admin_rights(me).is_some_and(|rights| rights.has(AdminRights::INVITE_USERS));
        if !may {
            return Err(RpcError::CHAT_ADMIN_REQUIRED);
        }
        let link = InviteLink {
            hash: String::new(),
            creator: me,
            date: context.now,
            expires: self.expire_date.unwrap_or(0),
            usage_limit: self.usage_limit.unwrap_or(0),
            usage: 0,
            by_request: self.request_needed,
            revoked: false,
        };
        let link = context.world.add_link(id, link).ok_or(RpcError::PEER_ID_INVALID)?;
        context.effects.push(Effect::InviteLinkExported { chat: id });
        let base: t::ChatInviteExported = blank(&[
            NO_FLAGS,
            &part(format!("https://t.me/+{}", link.hash)),
            &me.to_le_bytes(),
            &link.date.to_le_bytes(),
        ]);
        ok(enums::ExportedChatInvite::ChatInviteExported(t::ChatInviteExported {
            request_needed: link.by_request,
            expire_date: self.expire_date,
            usage_limit: self.usage_limit,
            title: self.title,
            ..base
        }))
    }
}
