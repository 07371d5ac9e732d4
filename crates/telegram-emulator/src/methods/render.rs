//! Messages as TL objects.

use grammers_tl_types::{enums, types as t};

use super::peers::Target;
use super::tl::{NO_FLAGS, blank, emoji, no_photo, part, user_peer};
use super::view::View;
use crate::world::{Chat, ChatKind, DialogPeer, Letter, MediaKind, Message, Reaction, Service};

/// Reactions shown with the message itself; the others have to be asked for.
pub(super) const RECENT_REACTIONS: usize = 3;
/// Commenters shown with a post.
const RECENT_REPLIERS: usize = 3;

impl View<'_> {
    /// A message of a supergroup or channel.
    pub(crate) fn post(&self, chat: &Chat, message: &Message) -> enums::Message {
        let peer = Target::Channel(chat.id).peer();
        let from = if message.author != 0 {
            Some(user_peer(message.author))
        } else {
            // In a discussion group the channel itself is the author of the copies of its posts.
            let copied = message.extras.as_ref().and_then(|extras| extras.copy_of);
            copied.map(|(channel, _)| Target::Channel(channel).peer())
        };
        let broadcast = chat.kind == ChatKind::Channel;
        match self.message(message, &peer, from, message.author == self.viewer && !broadcast) {
            enums::Message::Message(message_tl) => t::Message {
                post: broadcast,
                views: broadcast.then_some(message.views),
                forwards: broadcast.then_some(message.forwards),
                replies: self.replies(chat, message),
                ..message_tl
            }
            .into(),
            service => service,
        }
    }

    /// A message of the viewer's own mailbox.
    pub(crate) fn letter(&self, letter: &Letter) -> enums::Message {
        let peer = match letter.peer {
            DialogPeer::User(id) => Target::User(id).peer(),
            DialogPeer::Group(id) => Target::Group(id).peer(),
        };
        self.message(&letter.message, &peer, Some(user_peer(letter.message.author)), letter.out)
    }

    fn message(&self, message: &Message, peer: &enums::Peer, from: Option<enums::Peer>, out: bool) -> enums::Message {
        if let Some(service) = message.service() {
            let base: t::MessageService = blank(&[
                NO_FLAGS,
                &message.id.to_le_bytes(),
                &part(peer.clone()),
                &message.date.to_le_bytes(),
                &part(action(service)),
            ]);
            return t::MessageService { out, from_id: from, ..base }.into();
        }
        let base: t::Message = blank(&[
            NO_FLAGS,
            NO_FLAGS,
            &message.id.to_le_bytes(),
            &part(peer.clone()),
            &message.date.to_le_bytes(),
            &part(self.world.texts.get(message.text).to_owned()),
        ]);
        let copied = message.extras.as_ref().and_then(|extras| extras.copy_of);
        let media = message.extras.as_ref().map(|extras| extras.media).unwrap_or_default();
        t::Message {
            out,
            from_id: from,
            fwd_from: copied.map(|copied| forward_header(copied, message.date)),
            reply_to: (message.reply_to != 0).then(|| reply_header(message)),
            media: media_tl(media),
            reactions: (!message.reactions().is_empty()).then(|| self.reactions(message.reactions())),
            ..base
        }
        .into()
    }

    /// Comments of a channel's post, or answers to a message of a supergroup.
    fn replies(&self, chat: &Chat, message: &Message) -> Option<enums::MessageReplies> {
        if chat.kind == ChatKind::Channel {
            let group = self.world.chat(chat.linked?)?;
            let root = chat.history.copy_of(message.id)?;
            let mut replies = replies_of(group, root);
            replies.comments = true;
            replies.channel_id = Some(group.id);
            return Some(replies.into());
        }
        let shows = !chat.history.thread(message.id).is_empty()
            || message.extras.as_ref().is_some_and(|extras| extras.copy_of.is_some());
        shows.then(|| replies_of(chat, message.id).into())
    }

    fn reactions(&self, reactions: &[Reaction]) -> enums::MessageReactions {
        let mut counts: Vec<(&str, i32, bool)> = Vec::new();
        for reaction in reactions {
            let own = reaction.user == self.viewer;
            match counts.iter_mut().find(|(emoji, ..)| *emoji == reaction.emoji) {
                Some((_, count, chosen)) => {
                    *count += 1;
                    *chosen |= own;
                }
                None => counts.push((&reaction.emoji, 1, own)),
            }
        }
        counts.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
        let results = counts
            .into_iter()
            .map(|(emoticon, count, chosen)| {
                t::ReactionCount { chosen_order: chosen.then_some(0), reaction: emoji(emoticon), count }.into()
            })
            .collect();
        t::MessageReactions {
            min: false,
            can_see_list: true,
            reactions_as_tags: false,
            results,
            recent_reactions: Some(
                reactions.iter().rev().take(RECENT_REACTIONS).map(|reaction| self.reaction(reaction)).collect(),
            ),
            top_reactors: None,
        }
        .into()
    }

    pub(super) fn reaction(&self, reaction: &Reaction) -> enums::MessagePeerReaction {
        t::MessagePeerReaction {
            big: false,
            unread: false,
            my: reaction.user == self.viewer,
            peer_id: user_peer(reaction.user),
            date: reaction.date,
            reaction: emoji(&reaction.emoji),
        }
        .into()
    }
}

fn replies_of(group: &Chat, root: i32) -> t::MessageReplies {
    let thread = group.history.thread(root);
    let mut repliers: Vec<i64> = Vec::new();
    for id in thread.iter().rev().take(50) {
        let author = group.history.get(*id).map_or(0, |message| message.author);
        if author != 0 && !repliers.contains(&author) && repliers.len() < RECENT_REPLIERS {
            repliers.push(author);
        }
    }
    t::MessageReplies {
        comments: false,
        replies: i32::try_from(thread.len()).unwrap_or(i32::MAX),
        replies_pts: group.history.pts(),
        recent_repliers: (!repliers.is_empty()).then(|| repliers.into_iter().map(user_peer).collect()),
        channel_id: None,
        max_id: thread.last().copied(),
        read_max_id: None,
    }
}

fn forward_header((channel, post): (i64, i32), date: i32) -> enums::MessageFwdHeader {
    let base: t::MessageFwdHeader = blank(&[NO_FLAGS, &date.to_le_bytes()]);
    let from = Target::Channel(channel).peer();
    t::MessageFwdHeader {
        from_id: Some(from.clone()),
        channel_post: Some(post),
        saved_from_peer: Some(from),
        saved_from_msg_id: Some(post),
        ..base
    }
    .into()
}

fn reply_header(message: &Message) -> enums::MessageReplyHeader {
    let base: t::MessageReplyHeader = blank(&[NO_FLAGS]);
    let top = (message.thread != 0 && message.thread != message.reply_to).then_some(message.thread);
    t::MessageReplyHeader { reply_to_msg_id: Some(message.reply_to), reply_to_top_id: top, ..base }.into()
}

fn media_tl(media: MediaKind) -> Option<enums::MessageMedia> {
    match media {
        MediaKind::None => None,
        MediaKind::Photo => {
            let base: t::MessageMediaPhoto = blank(&[NO_FLAGS]);
            Some(t::MessageMediaPhoto { photo: Some(no_photo()), ..base }.into())
        }
        MediaKind::Document => {
            let base: t::MessageMediaDocument = blank(&[NO_FLAGS]);
            Some(t::MessageMediaDocument { document: Some(t::DocumentEmpty { id: 0 }.into()), ..base }.into())
        }
    }
}

fn action(service: &Service) -> enums::MessageAction {
    match service {
        Service::Created => t::MessageActionChannelCreate { title: String::new() }.into(),
        Service::Added(users) => t::MessageActionChatAddUser { users: users.clone() }.into(),
        Service::JoinedByLink(inviter) => t::MessageActionChatJoinedByLink { inviter_id: *inviter }.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Draft, Member, Standing, User, World};

    fn world() -> World {
        let mut world = World::new(1);
        world.add_user(User::new(1)).unwrap();
        let mut channel = Chat::new(10, ChatKind::Channel, "c", 1);
        channel.linked = Some(11);
        channel.roster.put(Member { user: 1, inviter: 0, date: 1, standing: Standing::Creator });
        let mut group = Chat::new(11, ChatKind::Supergroup, "g", 1);
        group.linked = Some(10);
        world.chats.insert(10, channel);
        world.chats.insert(11, group);
        let draft = Draft { author: 1, text: "post", date: 5, media: MediaKind::Photo, ..Draft::default() };
        world.post(10, &draft).unwrap();
        let comment = Draft { author: 1, text: "comment", date: 6, reply_to: 1, ..Draft::default() };
        world.post(11, &comment).unwrap();
        world
    }

    #[test]
    fn posts_count_their_comments_and_copies_name_their_origin() {
        let mut world = world();
        let reactions = &mut world.chat_mut(10).unwrap().history.get_mut(1).unwrap().extras_mut().reactions;
        reactions.push(Reaction { user: 1, date: 7, emoji: "👍".into() });
        let view = View { world: &world, viewer: 1, now: 10 };
        let channel = world.chat(10).unwrap();
        let enums::Message::Message(post) = view.post(channel, channel.history.get(1).unwrap()) else { panic!() };
        let Some(enums::MessageReplies::Replies(replies)) = post.replies else { panic!("no comments") };
        assert_eq!((replies.replies, replies.channel_id, replies.max_id), (1, Some(11), Some(2)));
        assert!(post.post && post.media.is_some() && post.from_id.is_none() && post.reactions.is_some());

        let group = world.chat(11).unwrap();
        let enums::Message::Message(copy) = view.post(group, group.history.get(1).unwrap()) else { panic!() };
        assert!(copy.fwd_from.is_some() && copy.from_id == Some(Target::Channel(10).peer()));
        let enums::Message::Message(comment) = view.post(group, group.history.get(2).unwrap()) else { panic!() };
        let Some(enums::MessageReplyHeader::Header(header)) = comment.reply_to else { panic!("no reply") };
        assert_eq!(header.reply_to_msg_id, Some(1));
        assert!(comment.out);
    }

    #[test]
    fn every_service_message_and_media_renders() {
        let mut world = world();
        for service in [Service::Created, Service::Added(vec![1, 2]), Service::JoinedByLink(1)] {
            world.post_service(11, 1, service, 9).unwrap();
        }
        world.write_to(1, 1, &Draft { author: 1, text: "note", date: 3, ..Draft::default() });
        let view = View { world: &world, viewer: 1, now: 10 };
        let group = world.chat(11).unwrap();
        let services = group.history.messages().iter().filter(|message| message.service().is_some());
        assert_eq!(services.map(|message| view.post(group, message)).filter(is_service).count(), 3);
        assert!(matches!(view.letter(world.mailbox(1).get(1).unwrap()), enums::Message::Message(m) if m.out));
        assert!(media_tl(MediaKind::Document).is_some());
    }

    fn is_service(message: &enums::Message) -> bool {
        matches!(message, enums::Message::Service(_))
    }
}
