//! The history of a chat, newest first, batch by batch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use grammers_tl_types::{enums, functions, types};
use service_kit::Time;
use service_kit::sealing::Sealer;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::{MediaKind, SpeedProfile};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::caller::{About, Caller};
use super::members::{Batches, admins};
use super::peers::ChatPeer;
use super::people;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::leases::Verified;

/// Messages that Telegram gives at once.
const PAGE: i32 = 100;

/// Where a stream goes on: below which id, and how many messages it had sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cursor {
    below: i32,
    sent: i32,
}

impl Cursor {
    fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let invalid = || {
            Error::plain(ErrorReason::ResumeTokenInvalid, "the cursor is not one of this stream")
                .with("field", "cursor")
        };
        let (below, sent) = bytes.split_at_checked(4).ok_or_else(invalid)?;
        let number = |bytes: &[u8]| bytes.try_into().map(i32::from_be_bytes).map_err(|_| invalid());
        let cursor = Self { below: number(below)?, sent: number(sent)? };
        if cursor.below < 0 || cursor.sent < 0 { Err(invalid()) } else { Ok(cursor) }
    }

    fn write(self) -> Vec<u8> {
        [self.below.to_be_bytes(), self.sent.to_be_bytes()].concat()
    }
}

/// Starts to read history.
///
/// # Errors
/// As the contract says; what fails later ends the stream.
pub async fn stream(
    core: Arc<Core>,
    lease: Verified,
    request: pb::StreamMessagesRequest,
) -> Result<Batches<pb::StreamMessagesResponse>> {
    let cursor = Cursor::read(&request.cursor)?;
    let speed = SpeedProfile::try_from(request.speed).unwrap_or_default();
    let caller = Caller::under(&core, lease.clone()).at(speed);
    let chat = caller.chat(&request.chat).await?;
    drop(caller);
    let (batches, receiver) = mpsc::channel(1);
    let task = core.clone();
    task.tasks.spawn("a reader of messages", async move {
        if let Err(error) = read(&core, lease, chat, cursor, &request, &batches).await {
            batches.send(Err(error)).await.ok();
        }
    });
    Ok(receiver)
}

async fn read(
    core: &Core,
    lease: Verified,
    chat: ChatPeer,
    mut cursor: Cursor,
    request: &pb::StreamMessagesRequest,
    batches: &mpsc::Sender<Result<pb::StreamMessagesResponse>>,
) -> Result<()> {
    let speed = SpeedProfile::try_from(request.speed).unwrap_or_default();
    let caller = Caller::under(core, lease).at(speed);
    let since = request.since_time.as_ref().map(Time::from_proto);
    let until = request.until_time.as_ref().map(Time::from_proto);
    let admins = match chat.channel() {
        Some(channel) => admins(&caller, channel, chat.chat_id()).await?,
        None => HashSet::new(),
    };
    loop {
        tokio::select! {
            () = batches.closed() => return Ok(()),
            () = caller.turn() => {}
        }
        let want = if request.limit > 0 { (request.limit - cursor.sent).clamp(0, PAGE) } else { PAGE };
        let about = About::reading("messages.getHistory", chat.chat_id());
        let call = functions::messages::GetHistory {
            peer: chat.input(),
            offset_id: cursor.below,
            // Only the first page is cut by time; later ones go on by id.
            offset_date: if cursor.below == 0 {
                until.map_or(0, |until| i32::try_from(until.secs()).unwrap_or(i32::MAX))
            } else {
                0
            },
            add_offset: 0,
            limit: want.max(1),
            max_id: 0,
            min_id: request.after_message_id,
            hash: 0,
        };
        let page = Page::read(caller.send(about, &call).await.map_err(Error::from)?)?;
        let read = page.messages.len();
        let lowest = page.messages.iter().map(message_id).min();
        let mut messages = page.show(&core.sealer, caller.account_id, chat.chat_id(), &admins);
        let at = |message: &pb::Message| message.send_time.as_ref().map(Time::from_proto).unwrap_or_default();
        let too_old = since.is_some_and(|since| messages.iter().any(|message| at(message) < since));
        messages.retain(|message| {
            since.is_none_or(|since| at(message) >= since) && until.is_none_or(|until| at(message) < until)
        });
        if request.limit > 0 {
            let left = usize::try_from(request.limit - cursor.sent).unwrap_or(0);
            messages.truncate(left);
        }
        cursor.sent = cursor.sent.saturating_add(i32::try_from(messages.len()).unwrap_or(i32::MAX));
        cursor.below = lowest.unwrap_or(cursor.below);
        let enough = request.limit > 0 && cursor.sent >= request.limit;
        let done = read == 0
            || enough
            || too_old
            || lowest.is_some_and(|lowest| lowest <= 1 || lowest <= request.after_message_id + 1);
        let batch = pb::StreamMessagesResponse {
            messages,
            cursor: cursor.write(),
            reported_total: page.total,
            requests: 1,
            done,
        };
        if batches.send(Ok(batch)).await.is_err() || done {
            return Ok(());
        }
    }
}

/// A page of messages, in whatever form Telegram gave it.
pub(super) struct Page {
    pub(super) messages: Vec<enums::Message>,
    users: HashMap<i64, types::User>,
    total: Option<i32>,
}

impl Page {
    pub(super) fn read(found: enums::messages::Messages) -> Result<Self> {
        use enums::messages::Messages;
        let (messages, users, total) = match found {
            Messages::Messages(found) => {
                let total = i32::try_from(found.messages.len()).ok();
                (found.messages, found.users, total)
            }
            Messages::Slice(found) => (found.messages, found.users, Some(found.count)),
            Messages::ChannelMessages(found) => (found.messages, found.users, Some(found.count)),
            Messages::NotModified(_) => {
                return Err(Error::internal("telegram says that messages have not changed, and was not asked"));
            }
        };
        let users = users
            .into_iter()
            .filter_map(|user| match user {
                enums::User::User(user) => Some((user.id, user)),
                enums::User::Empty(_) => None,
            })
            .collect();
        Ok(Self { messages, users, total })
    }

    pub(super) fn show(&self, sealer: &Sealer, account: Uuid, chat_id: i64, admins: &HashSet<i64>) -> Vec<pb::Message> {
        self.messages
            .iter()
            .filter_map(|message| match message {
                enums::Message::Message(message) => Some(self.one(sealer, account, chat_id, message, admins)),
                // Somebody joined, or was pinned: nobody wrote anything.
                enums::Message::Service(_) | enums::Message::Empty(_) => None,
            })
            .collect()
    }

    fn one(
        &self,
        sealer: &Sealer,
        account: Uuid,
        chat_id: i64,
        message: &types::Message,
        admins: &HashSet<i64>,
    ) -> pb::Message {
        let author_id = message.from_id.as_ref().map(peer_id).unwrap_or_default();
        let author =
            self.users.get(&author_id).map(|user| people::person(sealer, account, user, admins.contains(&author_id)));
        let replies = message.replies.as_ref().map(|enums::MessageReplies::Replies(replies)| replies.replies);
        let reply_to = match &message.reply_to {
            Some(enums::MessageReplyHeader::Header(header)) => header.reply_to_msg_id.unwrap_or(0),
            _ => 0,
        };
        pb::Message {
            chat_id,
            message_id: message.id,
            send_time: Some(Time::from_secs(message.date.into()).to_proto()),
            author,
            author_id,
            text: message.message.clone(),
            views: message.views,
            forwards: message.forwards,
            replies,
            reply_to_message_id: reply_to,
            reactions: reactions(message),
            media_kind: media_kind(message.media.as_ref()).into(),
            links: links(message),
            outgoing: message.out,
        }
    }
}

/// The id of a message of any kind.
pub(super) fn message_id(message: &enums::Message) -> i32 {
    match message {
        enums::Message::Message(message) => message.id,
        enums::Message::Service(message) => message.id,
        enums::Message::Empty(message) => message.id,
    }
}

fn peer_id(peer: &enums::Peer) -> i64 {
    match peer {
        enums::Peer::User(peer) => peer.user_id,
        enums::Peer::Chat(peer) => ChatPeer::Basic { id: peer.chat_id }.chat_id(),
        enums::Peer::Channel(peer) => ChatPeer::Channel { id: peer.channel_id, access_hash: 0 }.chat_id(),
    }
}

fn reactions(message: &types::Message) -> Vec<pb::ReactionCount> {
    let Some(enums::MessageReactions::Reactions(found)) = &message.reactions else {
        return Vec::new();
    };
    found
        .results
        .iter()
        .filter_map(|count| {
            let enums::ReactionCount::Count(count) = count;
            let reaction = match &count.reaction {
                enums::Reaction::Emoji(emoji) => emoji.emoticon.clone(),
                enums::Reaction::CustomEmoji(custom) => format!("custom:{}", custom.document_id),
                enums::Reaction::Paid => "paid".to_owned(),
                enums::Reaction::Empty => return None,
            };
            Some(pb::ReactionCount { reaction, count: count.count })
        })
        .collect()
}

fn media_kind(media: Option<&enums::MessageMedia>) -> MediaKind {
    use enums::MessageMedia as Media;
    match media {
        None | Some(Media::Empty) => MediaKind::Unspecified,
        Some(Media::Photo(_)) => MediaKind::Photo,
        Some(Media::Document(document)) if document.voice => MediaKind::Voice,
        Some(Media::Document(document)) if document.video || document.round => MediaKind::Video,
        Some(Media::Document(document)) => document_kind(document),
        Some(Media::Poll(_)) => MediaKind::Poll,
        Some(Media::Geo(_) | Media::GeoLive(_) | Media::Venue(_)) => MediaKind::Location,
        Some(Media::Contact(_)) => MediaKind::Contact,
        Some(Media::WebPage(_)) => MediaKind::WebPage,
        Some(_) => MediaKind::Other,
    }
}

fn document_kind(media: &types::MessageMediaDocument) -> MediaKind {
    let Some(enums::Document::Document(document)) = &media.document else {
        return MediaKind::Document;
    };
    document
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            enums::DocumentAttribute::Sticker(_) | enums::DocumentAttribute::Animated => Some(MediaKind::Sticker),
            enums::DocumentAttribute::Video(_) => Some(MediaKind::Video),
            enums::DocumentAttribute::Audio(audio) if audio.voice => Some(MediaKind::Voice),
            enums::DocumentAttribute::Audio(_) => Some(MediaKind::Audio),
            _ => None,
        })
        .unwrap_or(MediaKind::Document)
}

/// Links in a message: those behind words, and those written out. Positions
/// count UTF-16 units, as Telegram does.
fn links(message: &types::Message) -> Vec<String> {
    let units: Vec<u16> = message.message.encode_utf16().collect();
    message
        .entities
        .iter()
        .flatten()
        .filter_map(|entity| match entity {
            enums::MessageEntity::TextUrl(link) => Some(link.url.clone()),
            enums::MessageEntity::Url(link) => {
                let begin = usize::try_from(link.offset).ok()?;
                let end = begin.checked_add(usize::try_from(link.length).ok()?)?;
                Some(String::from_utf16_lossy(units.get(begin..end)?))
            }
            _ => None,
        })
        .collect()
}

/// The messages of a chat that follow an id.
#[derive(Debug)]
pub(super) struct Following {
    /// What somebody wrote, oldest first.
    pub(super) messages: Vec<pb::Message>,
    /// The newest id, of whatever kind of message.
    pub(super) last: i32,
    /// Whether there may be more.
    pub(super) more: bool,
}

/// The page of messages that follow an id, which is the last one known. The
/// caller has waited for its turn.
pub(super) async fn following(caller: &Caller<'_>, chat: ChatPeer, last: i32) -> Result<Following> {
    // From the message after it upwards, as many as there are on a page.
    let page = look(caller, chat, last.saturating_add(1), -PAGE, PAGE).await?;
    let newest = page.messages.iter().map(message_id).max();
    let mut messages = page.show(&caller.core.sealer, caller.account_id, chat.chat_id(), &HashSet::new());
    messages.retain(|message| message.message_id > last);
    messages.sort_by_key(|message| message.message_id);
    // A page that is not full leaves nothing out that the next look would not find.
    let more = i32::try_from(page.messages.len()).is_ok_and(|read| read >= PAGE);
    Ok(Following { messages, last: newest.map_or(last, |newest| newest.max(last)), more })
}

/// The id of the newest message of a chat; 0 when it has none. The caller has
/// waited for its turn.
pub(super) async fn newest(caller: &Caller<'_>, chat: ChatPeer) -> Result<i32> {
    let page = look(caller, chat, 0, 0, 1).await?;
    Ok(page.messages.iter().map(message_id).max().unwrap_or(0))
}

async fn look(caller: &Caller<'_>, chat: ChatPeer, offset_id: i32, add_offset: i32, limit: i32) -> Result<Page> {
    let about = About::reading("messages.getHistory", chat.chat_id());
    let call = functions::messages::GetHistory {
        peer: chat.input(),
        offset_id,
        offset_date: 0,
        add_offset,
        limit,
        max_id: 0,
        min_id: 0,
        hash: 0,
    };
    Page::read(caller.send(about, &call).await.map_err(Error::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_and_a_strange_one_is_refused() {
        let cursor = Cursor { below: 77, sent: 200 };
        assert_eq!(Cursor::read(&cursor.write()).unwrap(), cursor);
        for bad in [&[1][..], &[0; 9], &[255; 8]] {
            assert_eq!(Cursor::read(bad).unwrap_err().reason(), ErrorReason::ResumeTokenInvalid);
        }
    }
}
