//! `messages.*` that read: histories, threads, reactions, searches, dialogs.

use grammers_tl_types::{enums, functions as f, types as t};

use super::page::{MAX_PAGE, Page, select};
use super::peers::{Target, subject_of};
use super::tl::{NO_FLAGS, blank, notify_settings, part};
use super::view::Mentioned;
use super::{Answer, Context, Method, ok};
use crate::error::RpcError;
use crate::recorder::Subject;
use crate::world::{Chat, ChatKind, DialogPeer, MediaKind, Message};

/// Messages of a channel, as every method answers them. `count` is how many there are, on all pages.
pub(super) fn channel_messages(
    context: &Context<'_>,
    chat: &Chat,
    messages: &[&Message],
    count: usize,
) -> enums::messages::Messages {
    let view = context.view();
    let mut mentioned = Mentioned::default();
    mentioned.chat(chat.id);
    messages.iter().for_each(|message| mentioned.message(chat.id, message));
    let messages = messages.iter().map(|message| view.post(chat, message)).collect();
    let (users, chats) = mentioned.into_tl(view);
    t::messages::ChannelMessages {
        inexact: false,
        pts: chat.history.pts(),
        count: i32::try_from(count).unwrap_or(i32::MAX),
        offset_id_offset: None,
        messages,
        topics: Vec::new(),
        chats,
        users,
    }
    .into()
}

/// Letters of the caller's mailbox: a slice, unless they are all there is.
fn letters(context: &Context<'_>, ids: &[i32], count: usize) -> Result<enums::messages::Messages, RpcError> {
    let mailbox = context.world.mailbox(context.me()?);
    let view = context.view();
    let mut mentioned = Mentioned::default();
    let mut messages = Vec::new();
    for letter in ids.iter().filter_map(|id| mailbox.get(*id)) {
        mentioned.dialog(letter.peer);
        mentioned.message(0, &letter.message);
        messages.push(view.letter(letter));
    }
    let (users, chats) = mentioned.into_tl(view);
    Ok(if messages.len() == count {
        t::messages::Messages { messages, topics: Vec::new(), chats, users }.into()
    } else {
        t::messages::MessagesSlice {
            inexact: false,
            count: i32::try_from(count).unwrap_or(i32::MAX),
            next_rate: None,
            offset_id_offset: None,
            search_flood: None,
            messages,
            topics: Vec::new(),
            chats,
            users,
        }
        .into()
    })
}

/// A page of messages given oldest first.
fn paged<'a>(all: &[&'a Message], page: Page) -> Vec<&'a Message> {
    let newest_first = |at: usize| all[all.len() - 1 - at];
    select(all.len(), page, |at| newest_first(at).id, |at| newest_first(at).date).map(newest_first).collect()
}

fn page_of_letters(context: &Context<'_>, ids: &[i32], page: Page) -> Result<enums::messages::Messages, RpcError> {
    let mailbox = context.world.mailbox(context.me()?);
    let all: Vec<&Message> = ids.iter().filter_map(|id| mailbox.get(*id)).map(|letter| &letter.message).collect();
    let ids: Vec<i32> = paged(&all, page).into_iter().map(|message| message.id).collect();
    letters(context, &ids, all.len())
}

macro_rules! page_of {
    ($request:expr) => {
        Page {
            offset_id: $request.offset_id,
            offset_date: $request.offset_date,
            add_offset: $request.add_offset,
            limit: $request.limit,
            max_id: $request.max_id,
            min_id: $request.min_id,
        }
    };
}

impl Method for f::messages::GetHistory {
    fn subject(&self) -> Subject {
        subject_of(&self.peer)
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let page = page_of!(self);
        match context.target(&self.peer)? {
            Target::Channel(id) => {
                let chat = context.visible_channel(id)?;
                let all = chat.history.messages();
                let newest_first = |at: usize| &all[all.len() - 1 - at];
                let range = select(all.len(), page, |at| newest_first(at).id, |at| newest_first(at).date);
                let shown: Vec<&Message> = range.map(newest_first).collect();
                ok(channel_messages(context, chat, &shown, all.len()))
            }
            target @ (Target::User(_) | Target::Group(_)) => {
                let peer = target.dialog().ok_or(RpcError::PEER_ID_INVALID)?;
                let ids = context.world.mailbox(context.me()?).dialog(peer).to_vec();
                ok(page_of_letters(context, &ids, page)?)
            }
        }
    }
}

/// The chat and first message of the thread that a message belongs to: for a channel's post, its copy in the
/// discussion group.
fn thread_of<'a>(context: &'a Context<'_>, peer: &enums::InputPeer, id: i32) -> Result<(&'a Chat, i32), RpcError> {
    let Target::Channel(chat) = context.target(peer)? else { return Err(RpcError::PEER_ID_INVALID) };
    let chat = context.visible_channel(chat)?;
    chat.history.get(id).ok_or(RpcError::MSG_ID_INVALID)?;
    if chat.kind != ChatKind::Channel {
        return Ok((chat, id));
    }
    let copy = chat.history.copy_of(id).ok_or(RpcError::MSG_ID_INVALID)?;
    let group = chat.linked.and_then(|linked| context.world.chat(linked)).ok_or(RpcError::MSG_ID_INVALID)?;
    Ok((group, copy))
}

impl Method for f::messages::GetReplies {
    fn subject(&self) -> Subject {
        subject_of(&self.peer)
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let (chat, root) = thread_of(context, &self.peer, self.msg_id)?;
        let all: Vec<&Message> = chat.history.thread(root).iter().filter_map(|id| chat.history.get(*id)).collect();
        let shown = paged(&all, page_of!(self));
        ok(channel_messages(context, chat, &shown, all.len()))
    }
}

impl Method for f::messages::GetDiscussionMessage {
    fn subject(&self) -> Subject {
        subject_of(&self.peer)
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let (chat, root) = thread_of(context, &self.peer, self.msg_id)?;
        let message = chat.history.get(root).ok_or(RpcError::MSG_ID_INVALID)?;
        let view = context.view();
        let mut mentioned = Mentioned::default();
        mentioned.message(chat.id, message);
        let (users, chats) = mentioned.into_tl(view);
        ok(enums::messages::DiscussionMessage::Message(t::messages::DiscussionMessage {
            messages: vec![view.post(chat, message)],
            max_id: chat.history.thread(root).last().copied(),
            read_inbox_max_id: None,
            read_outbox_max_id: None,
            unread_count: 0,
            chats,
            users,
        }))
    }
}

impl Method for f::messages::GetMessageReactionsList {
    fn subject(&self) -> Subject {
        subject_of(&self.peer)
    }

    /// The offset is the number of reactions already seen.
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let message = match context.target(&self.peer)? {
            Target::Channel(chat) => context.visible_channel(chat)?.history.get(self.id),
            Target::User(_) | Target::Group(_) => context.world.mailbox(me).get(self.id).map(|letter| &letter.message),
        };
        let all = message.ok_or(RpcError::MSG_ID_INVALID)?.reactions();
        let wanted: Vec<_> = all
            .iter()
            .filter(|reaction| match &self.reaction {
                None => true,
                Some(enums::Reaction::Emoji(emoji)) => emoji.emoticon == reaction.emoji,
                Some(_) => false,
            })
            .collect();
        let from = self.offset.as_deref().map_or(Some(0), |offset| offset.parse::<usize>().ok()).unwrap_or(usize::MAX);
        let limit = usize::try_from(self.limit.clamp(1, MAX_PAGE)).unwrap_or(1);
        let shown: Vec<_> = wanted.iter().skip(from).take(limit).collect();
        let view = context.view();
        let mut mentioned = Mentioned::default();
        shown.iter().for_each(|reaction| mentioned.user(reaction.user));
        let next = from.saturating_add(shown.len());
        let (users, chats) = mentioned.into_tl(view);
        ok(enums::messages::MessageReactionsList::List(t::messages::MessageReactionsList {
            count: i32::try_from(wanted.len()).unwrap_or(i32::MAX),
            reactions: shown.into_iter().map(|reaction| view.reaction(reaction)).collect(),
            chats,
            users,
            next_offset: (next < wanted.len()).then(|| next.to_string()),
        }))
    }
}

fn has_media(message: &Message, filter: &enums::MessagesFilter) -> bool {
    use enums::MessagesFilter as Filter;
    let media = message.extras.as_ref().map(|extras| extras.media).unwrap_or_default();
    match filter {
        Filter::InputMessagesFilterEmpty => true,
        Filter::InputMessagesFilterPhotos | Filter::InputMessagesFilterPhotoVideo => media == MediaKind::Photo,
        Filter::InputMessagesFilterDocument => media == MediaKind::Document,
        _ => false,
    }
}

impl Method for f::messages::Search {
    fn subject(&self) -> Subject {
        subject_of(&self.peer)
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let author = match &self.from_id {
            None => None,
            Some(peer) => match context.target(peer)? {
                Target::User(id) => Some(id),
                Target::Group(_) | Target::Channel(_) => Some(0),
            },
        };
        let query = self.q.to_lowercase();
        let texts = &context.world.texts;
        let takes = |message: &Message| {
            author.is_none_or(|author| message.author == author)
                && (query.is_empty() || texts.get(message.text).to_lowercase().contains(&query))
                && has_media(message, &self.filter)
                && (self.min_date == 0 || message.date > self.min_date)
                && (self.max_date == 0 || message.date < self.max_date)
        };
        let page = Page {
            offset_id: self.offset_id,
            offset_date: 0,
            add_offset: self.add_offset,
            limit: self.limit,
            max_id: self.max_id,
            min_id: self.min_id,
        };
        match context.target(&self.peer)? {
            Target::Channel(id) => {
                let chat = context.visible_channel(id)?;
                let in_thread = |message: &Message| self.top_msg_id.is_none_or(|top| message.thread == top);
                let all: Vec<&Message> =
                    chat.history.messages().iter().filter(|message| takes(message) && in_thread(message)).collect();
                let shown = paged(&all, page);
                ok(channel_messages(context, chat, &shown, all.len()))
            }
            target @ (Target::User(_) | Target::Group(_)) => {
                let peer = target.dialog().ok_or(RpcError::PEER_ID_INVALID)?;
                let mailbox = context.world.mailbox(context.me()?);
                let fits = |id: &&i32| mailbox.get(**id).is_some_and(|letter| takes(&letter.message));
                let ids: Vec<i32> = mailbox.dialog(peer).iter().filter(fits).copied().collect();
                ok(page_of_letters(context, &ids, page)?)
            }
        }
    }
}

impl Method for f::messages::SearchGlobal {
    /// Searches the caller's mailbox only, newest first, by message id.
    fn run(self, context: &mut Context<'_>) -> Answer {
        let query = self.q.to_lowercase();
        if query.is_empty() {
            return Err(RpcError::SEARCH_QUERY_EMPTY);
        }
        let texts = &context.world.texts;
        let ids: Vec<i32> = context
            .world
            .mailbox(context.me()?)
            .iter()
            .filter(|letter| texts.get(letter.message.text).to_lowercase().contains(&query))
            .map(|letter| letter.message.id)
            .collect();
        let page = Page { offset_id: self.offset_id, limit: self.limit, ..Page::default() };
        ok(page_of_letters(context, &ids, page)?)
    }
}

impl Method for f::messages::GetMessages {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let ids: Vec<i32> = self.id.iter().filter_map(message_id).collect();
        let found =
            ids.iter().filter(|id| context.account.is_some_and(|me| context.world.mailbox(me).get(**id).is_some()));
        let count = found.count();
        ok(letters(context, &ids, count)?)
    }
}

/// The id of an `InputMessage`; the other forms are not emulated.
pub(super) fn message_id(message: &enums::InputMessage) -> Option<i32> {
    match message {
        enums::InputMessage::Id(message) => Some(message.id),
        _ => None,
    }
}

fn dialog(peer: enums::Peer, top: i32, pts: Option<i32>) -> enums::Dialog {
    let base: t::Dialog = blank(&[NO_FLAGS, &part(peer), &top.to_le_bytes(), &[0; 24], &part(notify_settings())]);
    t::Dialog { pts, ..base }.into()
}

pub(super) fn channel_dialog(chat: &Chat) -> enums::Dialog {
    let top = chat.history.top().map_or(0, |message| message.id);
    dialog(Target::Channel(chat.id).peer(), top, Some(chat.history.pts()))
}

/// A dialog with its newest message, ready to be sorted.
struct Row {
    date: i32,
    top: i32,
    target: Target,
}

fn row(context: &Context<'_>, me: i64, target: Target) -> Option<Row> {
    let (top, date) = match target.dialog() {
        Some(peer) => {
            let mailbox = context.world.mailbox(me);
            let newest = mailbox.dialog(peer).last().and_then(|id| mailbox.get(*id));
            newest.map(|letter| (letter.message.id, letter.message.date))?
        }
        None => {
            let Target::Channel(id) = target else { return None };
            let chat = context.world.chat(id)?;
            chat.history.top().map_or((0, chat.created), |message| (message.id, message.date))
        }
    };
    Some(Row { date, top, target })
}

/// All dialogs of the caller, newest first.
fn rows(context: &Context<'_>) -> Result<Vec<Row>, RpcError> {
    let me = context.me()?;
    let mailbox = context.world.mailbox(me);
    let mut targets: Vec<Target> = mailbox
        .peers()
        .map(|peer| match peer {
            DialogPeer::User(id) => Target::User(id),
            DialogPeer::Group(id) => Target::Group(id),
        })
        .collect();
    let chats = context.world.chats_in_order();
    targets.extend(
        chats
            .iter()
            .filter(|chat| chat.kind.is_channel() && chat.roster.is_inside(me))
            .map(|chat| Target::Channel(chat.id)),
    );
    let mut rows: Vec<Row> = targets.into_iter().filter_map(|target| row(context, me, target)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.date, row.top)));
    Ok(rows)
}

type RenderedRows = (Vec<enums::Dialog>, Vec<enums::Message>, Vec<enums::Chat>, Vec<enums::User>);

fn render_rows(context: &Context<'_>, rows: &[Row]) -> Result<RenderedRows, RpcError> {
    let me = context.me()?;
    let view = context.view();
    let mut mentioned = Mentioned::default();
    let (mut dialogs, mut messages) = (Vec::new(), Vec::new());
    for row in rows {
        match row.target {
            Target::User(id) => mentioned.user(id),
            Target::Group(id) | Target::Channel(id) => mentioned.chat(id),
        }
        if let Target::Channel(id) = row.target {
            let Some(chat) = context.world.chat(id) else { continue };
            dialogs.push(channel_dialog(chat));
            if let Some(message) = chat.history.top() {
                mentioned.message(chat.id, message);
                messages.push(view.post(chat, message));
            }
        } else {
            dialogs.push(dialog(row.target.peer(), row.top, None));
            if let Some(letter) = context.world.mailbox(me).get(row.top) {
                mentioned.message(0, &letter.message);
                messages.push(view.letter(letter));
            }
        }
    }
    let (users, chats) = mentioned.into_tl(view);
    Ok((dialogs, messages, chats, users))
}

impl Method for f::messages::GetDialogs {
    /// Pages by date and message id, as Telegram does. There are no pinned dialogs and no folders.
    fn run(self, context: &mut Context<'_>) -> Answer {
        if self.folder_id.is_some_and(|folder| folder != 0) {
            return ok(enums::messages::Dialogs::Dialogs(t::messages::Dialogs {
                dialogs: Vec::new(),
                messages: Vec::new(),
                chats: Vec::new(),
                users: Vec::new(),
            }));
        }
        let all = rows(context)?;
        let after_offset = |row: &&Row| {
            self.offset_date == 0
                || (row.date, row.top) < (self.offset_date, if self.offset_id == 0 { i32::MAX } else { self.offset_id })
        };
        let limit = usize::try_from(self.limit.clamp(1, MAX_PAGE)).unwrap_or(1);
        let total = all.len();
        let rest = all.iter().filter(after_offset).count();
        let shown: Vec<Row> = all.into_iter().filter(|row| after_offset(&row)).take(limit).collect();
        let (dialogs, messages, chats, users) = render_rows(context, &shown)?;
        ok(if rest == shown.len() && rest == total {
            enums::messages::Dialogs::Dialogs(t::messages::Dialogs { dialogs, messages, chats, users })
        } else {
            let count = i32::try_from(total).unwrap_or(i32::MAX);
            enums::messages::Dialogs::Slice(t::messages::DialogsSlice { count, dialogs, messages, chats, users })
        })
    }
}

impl Method for f::messages::GetPeerDialogs {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let mut wanted = Vec::new();
        for peer in &self.peers {
            let enums::InputDialogPeer::Peer(peer) = peer else { continue };
            let target = context.target(&peer.peer)?;
            wanted.push(row(context, me, target).unwrap_or(Row { date: 0, top: 0, target }));
        }
        let (dialogs, messages, chats, users) = render_rows(context, &wanted)?;
        let pts = context.world.mailbox(me).pts();
        let state = t::updates::State { pts, qts: 0, date: context.now, seq: 0, unread_count: 0 }.into();
        ok(enums::messages::PeerDialogs::Dialogs(t::messages::PeerDialogs { dialogs, messages, chats, users, state }))
    }
}
