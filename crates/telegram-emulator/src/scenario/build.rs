//! From a scenario to a world, collecting mistakes on the way.

use std::time::Duration;

use super::ScenarioError;
use super::crowds::*;
use super::generate::{populate, write_history};
use super::model::*;
use crate::error::RpcError;
use crate::faults::{Fault, FaultFilter, FaultKind};
use crate::world::hashing::Dice;
use crate::world::{
    AdminRights, BannedRights, Chat, ChatKind, Details, Draft, InviteLink, InvitePrivacy, LastSeen, LoginDemand,
    MediaKind, MessagePrivacy, NameOwner, Reaction, Service, Standing, User, World, parse_phone,
};

/// Ids of generated users begin here unless the scenario uses higher ones.
const FIRST_GENERATED_ID: i64 = 10_000_000;

pub(super) struct Builder<'a> {
    scenario: &'a Scenario,
    world: World,
    dice: Dice,
    now: i32,
    mistakes: Vec<String>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(scenario: &'a Scenario, now: i32, seed: u64) -> Self {
        Self { scenario, world: World::new(seed), dice: Dice::new(seed), now, mistakes: Vec::new() }
    }

    pub(super) fn build(mut self) -> Result<(World, Vec<Fault>), ScenarioError> {
        let scenario = self.scenario;
        if scenario.data_centres.is_empty() || scenario.data_centres.contains(&0) {
            self.mistake("data_centres", "at least one, numbered from 1");
        }
        for (at, user) in scenario.users.iter().enumerate() {
            self.add_user(&format!("user[{at}]"), user);
        }
        for (at, chat) in scenario.chats.iter().enumerate() {
            self.add_chat(&format!("chat[{at}]"), chat);
        }
        for (at, population) in scenario.populations.iter().enumerate() {
            self.add_population(&format!("population[{at}]"), population);
        }
        // Whoever is named by an explicit list may be a generated user, so lists come last.
        for (at, user) in scenario.users.iter().enumerate() {
            self.add_relations(&format!("user[{at}]"), user);
        }
        for (at, chat) in scenario.chats.iter().enumerate() {
            self.fill_chat(&format!("chat[{at}]"), chat);
        }
        for (at, history) in scenario.histories.iter().enumerate() {
            self.add_history(&format!("history[{at}]"), history);
        }
        for (at, message) in scenario.private_messages.iter().enumerate() {
            self.add_private_message(&format!("private_message[{at}]"), message);
        }
        for chat in self.world.chats.values_mut() {
            chat.history.settle();
        }
        let mut faults = Vec::new();
        for (at, fault) in scenario.faults.iter().enumerate() {
            faults.extend(self.fault(&format!("fault[{at}]"), fault));
        }
        if self.mistakes.is_empty() {
            Ok((self.world, faults))
        } else {
            Err(ScenarioError::Inconsistent(self.mistakes))
        }
    }

    fn mistake(&mut self, path: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.mistakes.push(format!("{path}: {what}"));
    }

    fn data_centre(&mut self, path: &str, wanted: Option<u8>) -> u8 {
        let known = &self.scenario.data_centres;
        let first = known.first().copied().unwrap_or(2);
        let Some(dc) = wanted else { return first };
        if !known.contains(&dc) {
            self.mistake(format!("{path}.data_centre"), format!("{dc} is not among the data_centres"));
        }
        dc
    }

    fn add_user(&mut self, path: &str, spec: &UserSpec) {
        if spec.id <= 0 {
            self.mistake(format!("{path}.id"), "a positive number is needed");
        }
        let phone = match spec.phone.as_str() {
            "" => 0,
            text => parse_phone(text).unwrap_or_else(|| {
                self.mistake(format!("{path}.phone"), "no phone number");
                0
            }),
        };
        if spec.bot && spec.username.is_empty() {
            self.mistake(format!("{path}.username"), "a bot needs one");
        }
        let dc = self.data_centre(path, spec.data_centre);
        let texts = &mut self.world.texts;
        let user = User {
            phone,
            first_name: texts.add(&spec.first_name),
            last_name: texts.add(&spec.last_name),
            username: texts.add(spec.username.trim_start_matches('@')),
            last_seen: last_seen(spec.last_seen, self.now),
            channels_elsewhere: spec.channels_elsewhere,
            dc,
            invites: spec.invites.into(),
            messages: spec.messages.into(),
            bot: spec.bot,
            premium: spec.premium,
            deleted: spec.deleted,
            phone_visible: spec.phone_visible,
            banned: spec.banned,
            phone_hidden_from_search: spec.phone_hidden_from_search,
            ..User::new(spec.id)
        };
        if let Err(error) = self.world.add_user(user) {
            return self.mistake(path, error);
        }
        let account = self.world.account_mut(spec.id);
        account.set_password(spec.password.clone(), &spec.password_hint);
        account.demand = spec.login_demand.into();
        account.frozen = spec.frozen;
        account.spam_limited = spec.spam_limited;
        account.banned_in_channels = spec.banned_in_channels;
        account.bot_token.clone_from(&spec.bot_token);
    }

    fn known_user(&mut self, path: impl std::fmt::Display, id: i64) -> bool {
        let known = self.world.user(id).is_some();
        if !known {
            self.mistake(path, format!("there is no user {id}"));
        }
        known
    }

    fn add_relations(&mut self, path: &str, spec: &UserSpec) {
        for (at, contact) in spec.contacts.iter().enumerate() {
            if self.known_user(format!("{path}.contacts[{at}]"), *contact) {
                self.world.add_contact(spec.id, *contact);
            }
        }
        for (at, blocked) in spec.blocked.iter().enumerate() {
            if self.known_user(format!("{path}.blocked[{at}]"), *blocked) {
                self.world.set_blocked(spec.id, *blocked, true);
            }
        }
    }

    fn add_chat(&mut self, path: &str, spec: &ChatSpec) {
        if spec.id <= 0 || self.world.chat(spec.id).is_some() {
            return self.mistake(format!("{path}.id"), "a positive number that no other chat has is needed");
        }
        if !spec.username.is_empty() {
            if spec.kind == ChatKindSpec::Group {
                self.mistake(format!("{path}.username"), "a basic group cannot be public");
            }
            if !self.world.claim_name(&spec.username, NameOwner::Chat(spec.id)) {
                self.mistake(format!("{path}.username"), "taken");
            }
        }
        let mut chat = Chat::new(spec.id, spec.kind.into(), &spec.title, self.now.saturating_sub(86_400 * 400));
        chat.creator = spec.creator;
        chat.username.clone_from(&spec.username);
        chat.about.clone_from(&spec.about);
        chat.members_hidden = spec.members_hidden;
        chat.default_banned = banned_rights(&spec.default_banned);
        chat.slow_mode = i32::from(spec.slow_mode);
        chat.member_limit = spec.member_limit.unwrap_or(chat.member_limit);
        chat.bot_limit = spec.bot_limit.unwrap_or(chat.bot_limit);
        chat.restricted = spec.restricted;
        chat.deactivated = spec.deactivated;
        chat.join_by_request = spec.join_by_request;
        chat.links = spec
            .links
            .iter()
            .map(|link| InviteLink {
                hash: link.hash.clone(),
                creator: spec.creator,
                date: chat.created,
                expires: 0,
                usage_limit: i32::from(link.usage_limit),
                usage: 0,
                by_request: link.by_request,
                revoked: link.revoked,
            })
            .collect();
        self.world.chats.insert(spec.id, chat);
    }

    fn seat_all(&mut self, path: &str, chat: i64, users: &[i64], standing: Standing) {
        for (at, user) in users.iter().enumerate() {
            if self.known_user(format!("{path}[{at}]"), *user) {
                self.world.seat(chat, *user, 0, standing, self.now.saturating_sub(86_400 * 100));
                if standing == Standing::Kicked {
                    let banned = BannedRights::VIEW_MESSAGES;
                    let by = self.world.chat(chat).map_or(0, |chat| chat.creator);
                    self.world.set_details(chat, *user, Details { banned, by, ..Details::default() });
                }
            }
        }
    }

    fn fill_chat(&mut self, path: &str, spec: &ChatSpec) {
        if spec.creator != 0 {
            self.seat_all(&format!("{path}.creator"), spec.id, &[spec.creator], Standing::Creator);
        }
        self.seat_all(&format!("{path}.members"), spec.id, &spec.members, Standing::Member);
        self.seat_all(&format!("{path}.left"), spec.id, &spec.left, Standing::Left);
        self.seat_all(&format!("{path}.kicked"), spec.id, &spec.kicked, Standing::Kicked);
        for (at, admin) in spec.admins.iter().enumerate() {
            self.seat_all(&format!("{path}.admins[{at}].user"), spec.id, &[admin.user], Standing::Admin);
            let rights = admin.rights.as_deref().map_or(AdminRights::ALL, admin_rights);
            let details = Details { admin: rights, by: spec.creator, rank: admin.rank.clone(), ..Details::default() };
            self.world.set_details(spec.id, admin.user, details);
        }
        for (at, member) in spec.restricted_members.iter().enumerate() {
            let path = format!("{path}.restricted_members[{at}].user");
            self.seat_all(&path, spec.id, &[member.user], Standing::Restricted);
            let details = Details { banned: banned_rights(&member.banned), by: spec.creator, ..Details::default() };
            self.world.set_details(spec.id, member.user, details);
        }
        if let Some(linked) = spec.linked {
            let fits = spec.kind == ChatKindSpec::Channel
                && self.world.chat(linked).is_some_and(|group| group.kind == ChatKind::Supergroup);
            if fits {
                if let Some(group) = self.world.chat_mut(linked) {
                    group.linked = Some(spec.id);
                }
                if let Some(channel) = self.world.chat_mut(spec.id) {
                    channel.linked = Some(linked);
                }
            } else {
                self.mistake(format!("{path}.linked"), "a channel can be linked with a supergroup of the scenario");
            }
        }
        self.world.post_service(spec.id, spec.creator, Service::Created, self.now.saturating_sub(86_400 * 400));
        for (at, message) in spec.messages.iter().enumerate() {
            self.add_message(&format!("{path}.message[{at}]"), spec, message);
        }
    }

    fn add_message(&mut self, path: &str, chat: &ChatSpec, spec: &MessageSpec) {
        if chat.kind != ChatKindSpec::Channel && !self.known_user(format!("{path}.author"), spec.author) {
            return;
        }
        let draft = Draft {
            author: spec.author,
            text: &spec.text,
            reply_to: spec.reply_to,
            date: self.now.saturating_sub(3600),
            media: match spec.media {
                MediaSpec::None => MediaKind::None,
                MediaSpec::Photo => MediaKind::Photo,
                MediaSpec::Document => MediaKind::Document,
            },
        };
        if chat.kind == ChatKindSpec::Group {
            if let Err(error) = self.world.post_in_group(chat.id, &draft) {
                self.mistake(path, error);
            }
            return;
        }
        let written = match self.world.post(chat.id, &draft) {
            Ok(written) => written,
            Err(error) => return self.mistake(path, error),
        };
        for (at, reaction) in spec.reactions.iter().enumerate() {
            self.known_user(format!("{path}.reactions[{at}].user"), reaction.user);
        }
        let message = self.world.chat_mut(chat.id).and_then(|chat| chat.history.get_mut(written.id));
        if let Some(message) = message {
            message.views = spec.views.max(message.views);
            message.forwards = spec.forwards;
            for reaction in &spec.reactions {
                let (user, emoji) = (reaction.user, reaction.emoji.clone());
                message.extras_mut().reactions.push(Reaction { user, date: draft.date, emoji });
            }
        }
        let root = written.posts.get(1).copied();
        if root.is_none() && !spec.comments.is_empty() {
            self.mistake(format!("{path}.comments"), "only posts of a channel with a discussion group have any");
        }
        for (at, comment) in spec.comments.iter().enumerate() {
            let Some((group, reply_to)) = root else { break };
            if self.known_user(format!("{path}.comments[{at}].author"), comment.author) {
                let (author, text) = (comment.author, comment.text.as_str());
                let comment = Draft { author, text, reply_to, date: draft.date + 60, ..Draft::default() };
                let _ = self.world.post(group, &comment);
            }
        }
    }

    fn add_private_message(&mut self, path: &str, spec: &PrivateMessageSpec) {
        let from = self.known_user(format!("{path}.from"), spec.from);
        let to = self.known_user(format!("{path}.to"), spec.to);
        if from && to {
            let date = self.now.saturating_sub(1800);
            let draft = Draft { author: spec.from, text: &spec.text, date, ..Draft::default() };
            self.world.write_to(spec.from, spec.to, &draft);
        }
    }

    fn add_population(&mut self, path: &str, spec: &PopulationSpec) {
        for (at, place) in spec.chats.iter().enumerate() {
            if self.world.chat(place.chat).is_none() {
                let what = format!("there is no chat {}", place.chat);
                self.mistake(format!("{path}.chats[{at}].chat"), what);
            }
        }
        let highest = self.world.users.iter().map(|user| user.id).max().unwrap_or(0);
        let first = spec.first_id.unwrap_or((highest + 1).max(FIRST_GENERATED_ID));
        if first <= 0 {
            return self.mistake(format!("{path}.first_id"), "a positive number is needed");
        }
        let dc = self.data_centre(path, None);
        let taken = populate(&mut self.world, spec, first, dc, &mut self.dice, self.now);
        if taken > 0 {
            self.mistake(format!("{path}.first_id"), format!("{taken} of the ids are taken"));
        }
    }

    fn add_history(&mut self, path: &str, spec: &HistorySpec) {
        let Some(chat) = self.world.chat(spec.chat).filter(|chat| chat.kind.is_channel()) else {
            let what = format!("there is no supergroup or channel {}", spec.chat);
            return self.mistake(format!("{path}.chat"), what);
        };
        if chat.kind != ChatKind::Channel && chat.roster.inside() == 0 {
            return self.mistake(format!("{path}.chat"), "nobody is in it to write");
        }
        write_history(&mut self.world, spec, &mut self.dice, self.now);
    }

    fn fault(&mut self, path: &str, spec: &FaultSpec) -> Option<Fault> {
        if (spec.kind == FaultKindSpec::Error) == spec.error.is_empty() {
            self.mistake(format!("{path}.error"), "needed for the kind \"error\", and for no other");
            return None;
        }
        let kind = match spec.kind {
            FaultKindSpec::Error => FaultKind::Error(RpcError::by_name(&spec.error)),
            FaultKindSpec::SlowAnswer => FaultKind::SlowAnswer(Duration::from_millis(spec.delay_ms)),
            FaultKindSpec::Silence => FaultKind::Silence,
            FaultKindSpec::DropBeforeEffect => FaultKind::DropBeforeEffect,
            FaultKindSpec::DropAfterEffect => FaultKind::DropAfterEffect,
            FaultKindSpec::HoldBeforeEffect => FaultKind::HoldBeforeEffect,
            FaultKindSpec::HoldAfterEffect => FaultKind::HoldAfterEffect,
        };
        let filter = FaultFilter {
            account: spec.account,
            method: spec.method.clone(),
            chat: spec.chat,
            user: spec.user,
            dc: None,
        };
        Some(Fault { skip: spec.skip, times: spec.times, ..Fault::always(filter, kind) })
    }
}

fn last_seen(spec: LastSeenSpec, now: i32) -> LastSeen {
    match spec {
        LastSeenSpec::LongAgo => LastSeen::LongAgo,
        LastSeenSpec::Online => LastSeen::Online,
        LastSeenSpec::AnHourAgo => LastSeen::At(now.saturating_sub(3600)),
        LastSeenSpec::Recently => LastSeen::Recently,
        LastSeenSpec::WithinWeek => LastSeen::WithinWeek,
        LastSeenSpec::WithinMonth => LastSeen::WithinMonth,
    }
}

fn admin_rights(rights: &[RightSpec]) -> AdminRights {
    AdminRights(rights.iter().fold(0, |bits, right| {
        bits | match right {
            RightSpec::ChangeInfo => AdminRights::CHANGE_INFO.0,
            RightSpec::PostMessages => AdminRights::POST_MESSAGES.0,
            RightSpec::DeleteMessages => AdminRights::DELETE_MESSAGES.0,
            RightSpec::BanUsers => AdminRights::BAN_USERS.0,
            RightSpec::InviteUsers => AdminRights::INVITE_USERS.0,
            RightSpec::SendMessages => 0,
        }
    }))
}

fn banned_rights(rights: &[RightSpec]) -> BannedRights {
    BannedRights(rights.iter().fold(0, |bits, right| {
        bits | match right {
            RightSpec::InviteUsers => BannedRights::INVITE_USERS.0,
            RightSpec::SendMessages => BannedRights::SEND_MESSAGES.0,
            _ => 0,
        }
    }))
}

impl From<InvitePrivacySpec> for InvitePrivacy {
    fn from(spec: InvitePrivacySpec) -> Self {
        match spec {
            InvitePrivacySpec::Everybody => Self::Everybody,
            InvitePrivacySpec::Contacts => Self::Contacts,
            InvitePrivacySpec::ContactsAndPremium => Self::ContactsAndPremium,
            InvitePrivacySpec::Nobody => Self::Nobody,
            InvitePrivacySpec::NobodyByError => Self::NobodyByError,
        }
    }
}

impl From<MessagePrivacySpec> for MessagePrivacy {
    fn from(spec: MessagePrivacySpec) -> Self {
        match spec {
            MessagePrivacySpec::Everybody => Self::Everybody,
            MessagePrivacySpec::ContactsAndPremium => Self::ContactsAndPremium,
            MessagePrivacySpec::Contacts => Self::Contacts,
        }
    }
}

impl From<LoginDemandSpec> for LoginDemand {
    fn from(spec: LoginDemandSpec) -> Self {
        match spec {
            LoginDemandSpec::None => Self::None,
            LoginDemandSpec::Email => Self::Email,
            LoginDemandSpec::Payment => Self::Payment,
        }
    }
}

impl From<ChatKindSpec> for ChatKind {
    fn from(spec: ChatKindSpec) -> Self {
        match spec {
            ChatKindSpec::Group => Self::Group,
            ChatKindSpec::Supergroup => Self::Supergroup,
            ChatKindSpec::Gigagroup => Self::Gigagroup,
            ChatKindSpec::Channel => Self::Channel,
        }
    }
}
