//! `channels.*` about members: lists, invitations, joining and leaving.

use grammers_tl_types::{enums, functions as f, types as t};

use super::messages::own_updates;
use super::peers::{Target, about_channel, named_channel, named_user, subject_of};
use super::tl::{updates, user_peer};
use super::view::{Mentioned, View, admin_rights, banned_rights};
use super::{Answer, Context, Event, Method, ok};
use crate::error::RpcError;
use crate::recorder::{Effect, Subject};
use crate::wire::request::Field;
use crate::world::{Chat, ChatKind, Invitation, Member, Standing, World, Written, searchable_name};

/// Most members on a page.
const MAX_PAGE: usize = 200;
/// Members that a list of a supergroup reaches down to.
const REACH_GROUP: usize = 10_000;
/// Members that a list of a channel reaches down to.
const REACH_CHANNEL: usize = 200;

/// Whether an account may list the members of a chat at all.
pub(super) fn may_list(chat: &Chat, account: i64) -> bool {
    let is_admin = chat.roster.admin_rights(account).is_some();
    is_admin || (chat.kind != ChatKind::Channel && !chat.members_hidden)
}

impl Method for f::channels::GetParticipants {
    const FIELDS: &'static [Field] = &[Field::Channel];

    fn subject(&self) -> Subject {
        about_channel(&self.channel)
    }

    /// `count` is how many there are, however many the list reaches down to.
    ///
    /// A hidden list shows nobody but the administrators, and its count is theirs; what Telegram answers in that
    /// case is not documented.
    fn run(self, context: &mut Context<'_>) -> Answer {
        use enums::ChannelParticipantsFilter as Filter;

        let me = context.me()?;
        let chat = context.input_channel(&self.channel)?;
        let is_admin = chat.roster.admin_rights(me).is_some();
        let lists_admins = matches!(self.filter, Filter::ChannelParticipantsAdmins);
        let only_for_admins =
            matches!(self.filter, Filter::ChannelParticipantsKicked(_) | Filter::ChannelParticipantsBanned(_));
        if !is_admin && (only_for_admins || (chat.kind == ChatKind::Channel && !lists_admins)) {
            return Err(RpcError::CHAT_ADMIN_REQUIRED);
        }
        let hidden = chat.members_hidden && !is_admin;
        let everybody = matches!(&self.filter, Filter::ChannelParticipantsRecent)
            || matches!(&self.filter, Filter::ChannelParticipantsSearch(search) if search.q.is_empty());
        let reach = if chat.kind == ChatKind::Channel { REACH_CHANNEL } else { REACH_GROUP };
        let limit = usize::try_from(self.limit.max(0)).unwrap_or(0).min(MAX_PAGE);
        let offset = usize::try_from(self.offset.max(0)).unwrap_or(0);
        let world = &*context.world;
        let query = query_of(&self.filter).to_lowercase();
        let takes = |member: &&Member| {
            let admin = matches!(member.standing, Standing::Creator | Standing::Admin);
            (!hidden || admin)
                && (everybody && member.standing.is_inside() || fits(world, me, member, &self.filter, &query))
        };
        let end = offset.saturating_add(limit).min(reach);
        let mut found = chat.roster.entries().iter().filter(takes);
        let shown: Vec<&Member> = found.by_ref().take(end).skip(offset).collect();
        let count = if everybody && !hidden {
            chat.roster.inside() as usize
        } else {
            chat.roster.entries().iter().filter(takes).count()
        };
        let view = context.view();
        let mut mentioned = Mentioned::default();
        let participants = shown.iter().map(|member| participant(&view, chat, member, &mut mentioned)).collect();
        let (users, chats) = mentioned.into_tl(view);
        ok(enums::channels::ChannelParticipants::Participants(t::channels::ChannelParticipants {
            count: i32::try_from(count).unwrap_or(i32::MAX),
            participants,
            chats,
            users,
        }))
    }
}

fn query_of(filter: &enums::ChannelParticipantsFilter) -> &str {
    use enums::ChannelParticipantsFilter as Filter;
    match filter {
        Filter::ChannelParticipantsKicked(filter) => &filter.q,
        Filter::ChannelParticipantsBanned(filter) => &filter.q,
        Filter::ChannelParticipantsSearch(filter) => &filter.q,
        Filter::ChannelParticipantsContacts(filter) => &filter.q,
        Filter::ChannelParticipantsMentions(filter) => filter.q.as_deref().unwrap_or_default(),
        _ => "",
    }
}

fn fits(world: &World, me: i64, member: &Member, filter: &enums::ChannelParticipantsFilter, query: &str) -> bool {
    use enums::ChannelParticipantsFilter as Filter;
    let inside = member.standing.is_inside();
    let by_kind = match filter {
        Filter::ChannelParticipantsRecent
        | Filter::ChannelParticipantsSearch(_)
        | Filter::ChannelParticipantsMentions(_) => inside,
        Filter::ChannelParticipantsAdmins => matches!(member.standing, Standing::Creator | Standing::Admin),
        Filter::ChannelParticipantsKicked(_) => member.standing == Standing::Kicked,
        Filter::ChannelParticipantsBanned(_) => member.standing == Standing::Restricted,
        Filter::ChannelParticipantsBots => inside && world.user(member.user).is_some_and(|user| user.bot),
        Filter::ChannelParticipantsContacts(_) => inside && world.is_contact(me, member.user),
    };
    by_kind && (query.is_empty() || is_named(world, member.user, query))
}

/// A query matches the beginning of a word of the name, or of the username.
fn is_named(world: &World, user: i64, query: &str) -> bool {
    let Some(user) = world.user(user).filter(|user| !user.deleted) else { return false };
    let name = searchable_name(&world.texts, user);
    name.starts_with(query)
        || name.split_whitespace().any(|word| word.starts_with(query))
        || world.texts.get(user.username).to_lowercase().starts_with(query)
}

fn participant(view: &View<'_>, chat: &Chat, member: &Member, mentioned: &mut Mentioned) -> enums::ChannelParticipant {
    mentioned.user(member.user);
    let details = chat.roster.details(member.user);
    let rank = Some(details.rank).filter(|rank| !rank.is_empty());
    let is_self = member.user == view.viewer;
    match member.standing {
        Standing::Creator => t::ChannelParticipantCreator {
            user_id: member.user,
            admin_rights: admin_rights(crate::world::AdminRights::ALL),
            rank,
        }
        .into(),
        Standing::Admin => {
            mentioned.user(details.by);
            t::ChannelParticipantAdmin {
                can_edit: false,
                is_self,
                user_id: member.user,
                inviter_id: is_self.then_some(member.inviter),
                promoted_by: details.by,
                date: member.date,
                admin_rights: admin_rights(details.admin),
                rank,
            }
            .into()
        }
        Standing::Restricted | Standing::Kicked => {
            mentioned.user(details.by);
            t::ChannelParticipantBanned {
                left: member.standing == Standing::Kicked,
                peer: user_peer(member.user),
                kicked_by: details.by,
                date: member.date,
                banned_rights: banned_rights(details.banned, details.until),
                rank,
            }
            .into()
        }
        Standing::Left => t::ChannelParticipantLeft { peer: user_peer(member.user) }.into(),
        Standing::Member if is_self => {
            // Whoever came by themselves is their own inviter.
            let inviter_id = if member.inviter == 0 { member.user } else { member.inviter };
            mentioned.user(inviter_id);
            t::ChannelParticipantSelf {
                via_request: false,
                user_id: member.user,
                inviter_id,
                date: member.date,
                subscription_until_date: None,
                rank,
            }
            .into()
        }
        Standing::Member => {
            t::ChannelParticipant { user_id: member.user, date: member.date, subscription_until_date: None, rank }
                .into()
        }
    }
}

impl Method for f::channels::GetParticipant {
    const FIELDS: &'static [Field] = &[Field::Channel];

    fn subject(&self) -> Subject {
        Subject { chat: named_channel(&self.channel), ..subject_of(&self.participant) }
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let chat = context.input_channel(&self.channel)?;
        let target = context.target(&self.participant).map_err(|_| RpcError::PARTICIPANT_ID_INVALID)?;
        let Target::User(user) = target else { return Err(RpcError::PARTICIPANT_ID_INVALID) };
        if user != me && !may_list(chat, me) {
            return Err(RpcError::CHAT_ADMIN_REQUIRED);
        }
        let is_admin = chat.roster.admin_rights(me).is_some();
        let member = chat.roster.get(user).filter(|member| member.standing.is_inside() || is_admin);
        let member = member.ok_or(RpcError::USER_NOT_PARTICIPANT)?;
        let view = context.view();
        let mut mentioned = Mentioned::default();
        let participant = participant(&view, chat, member, &mut mentioned);
        let (users, chats) = mentioned.into_tl(view);
        ok(enums::channels::ChannelParticipant::Participant(t::channels::ChannelParticipant {
            participant,
            chats,
            users,
        }))
    }
}

impl Method for f::channels::InviteToChannel {
    const FIELDS: &'static [Field] = &[Field::Channel, Field::Users];

    fn subject(&self) -> Subject {
        Subject { users: self.users.iter().filter_map(named_user).collect(), ..about_channel(&self.channel) }
    }

    /// An error about one user fails the whole call, before anybody is added.
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let chat = context.input_channel(&self.channel)?;
        context.world.may_invite(me, chat)?;
        if self.users.is_empty() {
            return Err(RpcError::USERS_TOO_FEW);
        }
        let id = chat.id;
        let mut possible = Vec::new();
        let mut missing_invitees: Vec<enums::MissingInvitee> = Vec::new();
        let mut effects = Vec::new();
        for user in &self.users {
            let user = context.input_user(user)?;
            match context.world.judge_invitation(me, chat, user) {
                Invitation::Possible if possible.contains(&user) => {}
                Invitation::Possible => possible.push(user),
                Invitation::AlreadyMember => effects.push(Effect::AlreadyMember { chat: id, user }),
                Invitation::Refused(error) => return Err(error),
                Invitation::Missing { premium_would_allow, premium_required_to_write } => {
                    effects.push(Effect::NotInvited {
                        chat: id,
                        user,
                        premium_would_allow,
                        premium_required: premium_required_to_write,
                    });
                    missing_invitees.push(
                        t::MissingInvitee {
                            premium_would_allow_invite: premium_would_allow,
                            premium_required_for_pm: premium_required_to_write,
                            user_id: user,
                        }
                        .into(),
                    );
                }
            }
        }
        context.effects.extend(effects);
        if possible.is_empty() && missing_invitees.is_empty() {
            return Err(RpcError::USER_ALREADY_PARTICIPANT);
        }
        let mut all = Written { id: 0, letters: Vec::new(), posts: Vec::new() };
        for user in possible {
            if let Some(written) = context.world.add_member(id, user, me, context.now) {
                context.events.extend(Event::of(&written));
                all.posts.extend(written.posts);
            }
            context.effects.push(Effect::Invited { chat: id, user });
            context.events.push(Event::Membership { chat: id, user });
        }
        let updates = invited_updates(context, id, &all, &missing_invitees);
        ok(enums::messages::InvitedUsers::Users(t::messages::InvitedUsers { updates, missing_invitees }))
    }
}

fn invited_updates(
    context: &Context<'_>,
    chat: i64,
    written: &Written,
    missing: &[enums::MissingInvitee],
) -> enums::Updates {
    let mut out: Vec<enums::Update> = vec![t::UpdateChannel { channel_id: chat }.into()];
    let enums::Updates::Updates(mut updates) = own_updates(context, written, &mut out) else {
        return updates(Vec::new(), Vec::new(), Vec::new(), context.now);
    };
    if !updates.chats.iter().any(|known| known.id() == chat) {
        updates.chats.push(context.view().chat(chat));
    }
    updates
        .users
        .extend(missing.iter().map(|enums::MissingInvitee::Invitee(missing)| context.view().user(missing.user_id)));
    updates.into()
}

impl Method for f::channels::JoinChannel {
    const FIELDS: &'static [Field] = &[Field::Channel];

    fn subject(&self) -> Subject {
        about_channel(&self.channel)
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let chat = context.input_channel(&self.channel)?;
        let (id, by_request) = (chat.id, chat.join_by_request);
        context.world.may_join(me, chat, false)?;
        if by_request { request_to_join(context, id) } else { joined(context, id, 0) }
    }
}

/// Leaves a request behind that an administrator would have to approve.
pub(super) fn request_to_join(context: &mut Context<'_>, id: i64) -> Answer {
    let me = context.me()?;
    let chat = context.world.chat_mut(id).ok_or(RpcError::CHANNEL_INVALID)?;
    if !chat.requests.contains(&me) {
        chat.requests.push(me);
        context.effects.push(Effect::JoinRequested { chat: id });
    }
    Err(RpcError::INVITE_REQUEST_SENT)
}

/// Makes the caller a member and tells everybody.
pub(super) fn joined(context: &mut Context<'_>, id: i64, inviter: i64) -> Answer {
    let me = context.me()?;
    let written = context.world.join(id, me, inviter, context.now);
    context.effects.push(Effect::Joined { chat: id });
    context.events.push(Event::Membership { chat: id, user: me });
    let written = written.unwrap_or(Written { id: 0, letters: Vec::new(), posts: Vec::new() });
    context.events.extend(Event::of(&written));
    let updates = invited_updates(context, id, &written, &[]);
    ok(enums::messages::ChatInviteJoinResult::Ok(t::messages::ChatInviteJoinResultOk { updates }))
}

impl Method for f::channels::LeaveChannel {
    const FIELDS: &'static [Field] = &[Field::Channel];

    fn subject(&self) -> Subject {
        about_channel(&self.channel)
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let chat = context.input_channel(&self.channel)?;
        let id = chat.id;
        match chat.roster.standing(me) {
            Some(Standing::Creator) => return Err(RpcError::USER_CREATOR),
            Some(standing) if standing.is_inside() => {}
            _ => return Err(RpcError::USER_NOT_PARTICIPANT),
        }
        context.world.seat(id, me, 0, Standing::Left, context.now);
        context.effects.push(Effect::Left { chat: id });
        let chats = vec![context.view().chat(id)];
        ok(updates(vec![t::UpdateChannel { channel_id: id }.into()], Vec::new(), chats, context.now))
    }
}
