//! `channels.*` that read.

use grammers_tl_types::{enums, functions as f, types as t};

use super::contacts::matches_chat;
use super::messages_read::{channel_messages, message_id};
use super::peers::about_channel;
use super::tl::{NO_FLAGS, blank, no_photo, notify_settings, part};
use super::view::Mentioned;
use super::{Answer, Context, Method, ok};
use crate::error::RpcError;
use crate::recorder::Subject;
use crate::wire::request::Field;
use crate::world::{Chat, ChatKind, Message, Standing};

impl Method for f::channels::GetChannels {
    const FIELDS: &'static [Field] = &[Field::Channels];

    fn run(self, context: &mut Context<'_>) -> Answer {
        let mut chats = Vec::new();
        for channel in &self.id {
            let id = context.input_channel(channel)?.id;
            chats.push(context.view().chat(id));
        }
        ok(enums::messages::Chats::Chats(t::messages::Chats { chats }))
    }
}

impl Method for f::channels::GetFullChannel {
    const FIELDS: &'static [Field] = &[Field::Channel];

    fn subject(&self) -> Subject {
        about_channel(&self.channel)
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let chat = context.input_channel(&self.channel)?;
        let me = context.me()?;
        let is_admin = chat.roster.admin_rights(me).is_some();
        let top = chat.history.top().map_or(0, |message| message.id);
        let base: t::ChannelFull = blank(&[
            NO_FLAGS,
            NO_FLAGS,
            &chat.id.to_le_bytes(),
            &part(chat.about.clone()),
            &top.to_le_bytes(),
            &top.to_le_bytes(),
            &[0; 4],
            &part(no_photo()),
            &part(notify_settings()),
            &part(Vec::<enums::BotInfo>::new()),
            &chat.history.pts().to_le_bytes(),
        ]);
        let with = |standing: fn(Standing) -> bool| {
            let count = chat.roster.entries().iter().filter(|entry| standing(entry.standing)).count();
            i32::try_from(count).unwrap_or(i32::MAX)
        };
        let last = chat.last_written.get(&me).copied().filter(|_| chat.slow_mode > 0);
        let full = t::ChannelFull {
            can_view_participants: super::channels_members::may_list(chat, me),
            participants_hidden: chat.members_hidden,
            participants_count: Some(chat.roster.inside().cast_signed()),
            admins_count: is_admin.then(|| with(|s| matches!(s, Standing::Creator | Standing::Admin))),
            kicked_count: is_admin.then(|| with(|s| s == Standing::Kicked)),
            banned_count: is_admin.then(|| with(|s| s == Standing::Restricted)),
            linked_chat_id: chat.linked,
            slowmode_seconds: (chat.slow_mode > 0).then_some(chat.slow_mode),
            slowmode_next_send_date: last.map(|last| last.saturating_add(chat.slow_mode)),
            requests_pending: (is_admin && !chat.requests.is_empty())
                .then(|| i32::try_from(chat.requests.len()).unwrap_or(i32::MAX)),
            recent_requesters: (is_admin && !chat.requests.is_empty())
                .then(|| chat.requests.iter().rev().take(3).copied().collect()),
            available_reactions: Some(t::ChatReactionsAll { allow_custom: false }.into()),
            ..base
        };
        let mut mentioned = Mentioned::default();
        mentioned.chat(chat.id);
        mentioned.chat(chat.linked.unwrap_or(0));
        let (users, chats) = mentioned.into_tl(context.view());
        ok(enums::messages::ChatFull::Full(t::messages::ChatFull { full_chat: full.into(), chats, users }))
    }
}

impl Method for f::channels::GetMessages {
    const FIELDS: &'static [Field] = &[Field::Channel];

    fn subject(&self) -> Subject {
        about_channel(&self.channel)
    }

    /// Missing messages are answered as `messageEmpty`, in place.
    fn run(self, context: &mut Context<'_>) -> Answer {
        let chat = context.input_channel(&self.channel)?;
        let ids: Vec<i32> = self.id.iter().filter_map(message_id).take(200).collect();
        let found: Vec<&Message> = ids.iter().filter_map(|id| chat.history.get(*id)).collect();
        let mut answer = channel_messages(context, chat, &found, found.len());
        if let enums::messages::Messages::ChannelMessages(page) = &mut answer {
            let mut shown = std::mem::take(&mut page.messages).into_iter();
            page.messages = ids
                .iter()
                .filter_map(|id| match chat.history.get(*id) {
                    Some(_) => shown.next(),
                    None => Some(t::MessageEmpty { id: *id, peer_id: None }.into()),
                })
                .collect();
        }
        ok(answer)
    }
}

impl Method for f::channels::ReadHistory {
    const FIELDS: &'static [Field] = &[Field::Channel];

    fn subject(&self) -> Subject {
        about_channel(&self.channel)
    }

    /// Nothing is marked: the emulator does not count unread messages.
    fn run(self, context: &mut Context<'_>) -> Answer {
        context.input_channel(&self.channel)?;
        ok(true)
    }
}

/// Free searches for posts that an account has in a day.
const FREE_SEARCHES: i32 = 10;

impl Method for f::channels::CheckSearchPostsFlood {
    fn run(self, context: &mut Context<'_>) -> Answer {
        context.me()?;
        ok(enums::SearchPostsFlood::Flood(t::SearchPostsFlood {
            query_is_free: true,
            total_daily: FREE_SEARCHES,
            remains: FREE_SEARCHES,
            wait_till: None,
            stars_amount: 10,
        }))
    }
}

impl Method for f::channels::SearchPosts {
    /// Searches the posts of all public channels, newest first. The offset is the last date and id seen.
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let query = self.query.or(self.hashtag.map(|tag| format!("#{}", tag.trim_start_matches('#'))));
        let query = query.map(|query| query.to_lowercase()).filter(|query| !query.is_empty());
        let query = query.ok_or(RpcError::SEARCH_QUERY_EMPTY)?;
        let texts = &context.world.texts;
        let mut hits: Vec<(&Chat, &Message)> = Vec::new();
        for chat in context.world.chats_in_order() {
            if chat.kind == ChatKind::Channel && chat.is_public() && context.world.may_see(me, chat).is_ok() {
                let fits = |message: &&Message| texts.get(message.text).to_lowercase().contains(&query);
                hits.extend(chat.history.messages().iter().filter(fits).map(|message| (chat, message)));
            }
        }
        hits.sort_by_key(|(chat, message)| std::cmp::Reverse((message.date, chat.id, message.id)));
        let count = hits.len();
        let offset_chat = super::peers::subject_of(&self.offset_peer).chat.unwrap_or(0);
        let offset = (self.offset_rate, offset_chat, self.offset_id);
        let limit = usize::try_from(self.limit.clamp(1, 100)).unwrap_or(1);
        let shown: Vec<_> = hits
            .into_iter()
            .filter(|(chat, message)| self.offset_rate == 0 || (message.date, chat.id, message.id) < offset)
            .take(limit)
            .collect();
        let view = context.view();
        let mut mentioned = Mentioned::default();
        shown.iter().for_each(|(chat, message)| mentioned.message(chat.id, message));
        let next_rate = shown.last().filter(|_| shown.len() == limit).map(|(_, message)| message.date);
        let messages = shown.iter().map(|(chat, message)| view.post(chat, message)).collect();
        let (users, chats) = mentioned.into_tl(view);
        ok(enums::messages::Messages::Slice(t::messages::MessagesSlice {
            inexact: false,
            count: i32::try_from(count).unwrap_or(i32::MAX),
            next_rate,
            offset_id_offset: None,
            search_flood: None,
            messages,
            topics: Vec::new(),
            chats,
            users,
        }))
    }
}

impl Method for f::channels::GetChannelRecommendations {
    const FIELDS: &'static [Field] = &[Field::Skip(4), Field::Channel];

    /// Public channels whose titles share a word with the given one's; ten for accounts without premium.
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let Some(channel) = &self.channel else {
            return ok(enums::messages::Chats::Chats(t::messages::Chats { chats: Vec::new() }));
        };
        let given = context.input_channel(channel)?;
        let title = given.title.to_lowercase();
        let words: Vec<&str> = title.split_whitespace().filter(|word| word.chars().count() >= 3).collect();
        let similar: Vec<i64> = context
            .world
            .chats_in_order()
            .into_iter()
            .filter(|chat| chat.kind == ChatKind::Channel && chat.is_public() && chat.id != given.id)
            .filter(|chat| words.iter().any(|word| matches_chat(chat, word)))
            .map(|chat| chat.id)
            .collect();
        let premium = context.world.user(me).is_some_and(|user| user.premium);
        let limit = if premium { 100 } else { 10 };
        let view = context.view();
        let chats: Vec<enums::Chat> = similar.iter().take(limit).map(|id| view.chat(*id)).collect();
        ok(if chats.len() < similar.len() {
            let count = i32::try_from(similar.len()).unwrap_or(i32::MAX);
            enums::messages::Chats::Slice(t::messages::ChatsSlice { count, chats })
        } else {
            enums::messages::Chats::Chats(t::messages::Chats { chats })
        })
    }
}
