//! Messages of a supergroup or channel, and the threads among them.

use super::hashing::IdMap;
use super::text::Text;

/// What a service message reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// The chat was made.
    Created,
    /// The author added these users.
    Added(Vec<i64>),
    /// The author came by an invite link of this user.
    JoinedByLink(i64),
}

/// One person's reaction to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reaction {
    pub(crate) user: i64,
    pub(crate) date: i32,
    pub(crate) emoji: String,
}

/// What a message carries besides its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaKind {
    /// Nothing.
    #[default]
    None,
    /// A photo.
    Photo,
    /// Any file.
    Document,
}

/// What only few messages have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    pub(crate) service: Option<Service>,
    /// The post of a channel that this message is the automatic copy of.
    pub(crate) copy_of: Option<(i64, i32)>,
    pub(crate) reactions: Vec<Reaction>,
    pub(crate) media: MediaKind,
}

/// A message; the box it lies in says which chat it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: i32,
    pub(crate) date: i32,
    /// The user who wrote it; 0 for the channel itself.
    pub(crate) author: i64,
    pub(crate) text: Text,
    /// The message that it answers; 0 for none.
    pub(crate) reply_to: i32,
    /// The message that its thread began with; 0 for none.
    pub(crate) thread: i32,
    pub(crate) views: i32,
    pub(crate) forwards: i32,
    pub(crate) extras: Option<Box<Extras>>,
}

impl Message {
    pub(crate) fn new(id: i32, date: i32, author: i64, text: Text) -> Self {
        Self { id, date, author, text, reply_to: 0, thread: 0, views: 0, forwards: 0, extras: None }
    }

    pub(crate) fn extras_mut(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    pub(crate) fn reactions(&self) -> &[Reaction] {
        self.extras.as_ref().map(|extras| &extras.reactions[..]).unwrap_or_default()
    }

    pub(crate) fn service(&self) -> Option<&Service> {
        self.extras.as_ref().and_then(|extras| extras.service.as_ref())
    }
}

/// Most new messages that a difference carries before it becomes "too long".
pub(crate) const MAX_DIFFERENCE: usize = 1000;

/// The messages of one supergroup or channel, by ascending id, and its pts.
#[derive(Debug)]
pub(crate) struct History {
    messages: Vec<Message>,
    /// Ids of the messages of each thread, by the id of its first message.
    threads: IdMap<i32, Vec<i32>>,
    /// In a channel: the discussion group's copy of each post.
    copies: IdMap<i32, i32>,
    /// Message of each pts above `pts_base`: pts rises by one with every message.
    since: Vec<i32>,
    pts_base: i32,
    next_id: i32,
}

impl Default for History {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            threads: IdMap::default(),
            copies: IdMap::default(),
            since: Vec::new(),
            pts_base: 1,
            next_id: 1,
        }
    }
}

impl History {
    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub(crate) fn reserve(&mut self, more: usize) {
        self.messages.reserve(more);
    }

    pub(crate) fn pts(&self) -> i32 {
        self.pts_base.saturating_add(i32::try_from(self.since.len()).unwrap_or(i32::MAX))
    }

    /// Appends a message, giving it the next id; its pts is the history's afterwards.
    pub(crate) fn push(&mut self, mut message: Message) -> i32 {
        message.id = self.next_id;
        self.next_id = self.next_id.saturating_add(1);
        if message.thread != 0 {
            self.threads.entry(message.thread).or_default().push(message.id);
        }
        self.since.push(message.id);
        let id = message.id;
        self.messages.push(message);
        id
    }

    /// Forgets which pts each message had: what lies behind was there before anybody looked.
    pub(crate) fn settle(&mut self) {
        self.pts_base = self.pts();
        self.since.clear();
    }

    /// The pts that the history had once this message was in it; for old messages, one that everybody has.
    pub(crate) fn pts_of(&self, id: i32) -> i32 {
        let at = self.since.partition_point(|known| *known < id);
        let known = self.since.get(at) == Some(&id);
        self.pts_base.saturating_add(if known { i32::try_from(at).unwrap_or(i32::MAX - 1) + 1 } else { 0 })
    }

    fn position(&self, id: i32) -> Option<usize> {
        self.messages.binary_search_by_key(&id, |message| message.id).ok()
    }

    pub(crate) fn get(&self, id: i32) -> Option<&Message> {
        self.position(id).and_then(|at| self.messages.get(at))
    }

    pub(crate) fn get_mut(&mut self, id: i32) -> Option<&mut Message> {
        self.position(id).and_then(|at| self.messages.get_mut(at))
    }

    pub(crate) fn top(&self) -> Option<&Message> {
        self.messages.last()
    }

    /// Ids of the messages of a thread, ascending, without its first message.
    pub(crate) fn thread(&self, root: i32) -> &[i32] {
        self.threads.get(&root).map(Vec::as_slice).unwrap_or_default()
    }

    /// The thread that a reply to `id` belongs to.
    pub(crate) fn thread_of_reply(&self, id: i32) -> i32 {
        match self.get(id) {
            Some(message) if message.thread != 0 => message.thread,
            _ => id,
        }
    }

    pub(crate) fn set_copy(&mut self, post: i32, copy: i32) {
        self.copies.insert(post, copy);
    }

    pub(crate) fn copy_of(&self, post: i32) -> Option<i32> {
        self.copies.get(&post).copied()
    }

    /// Messages newer than a pts, oldest first; `None` when that lies too far back.
    pub(crate) fn difference(&self, pts: i32) -> Option<&[i32]> {
        let known = usize::try_from(pts.checked_sub(self.pts_base)?).ok()?;
        let new = self.since.get(known.min(self.since.len())..)?;
        (new.len() <= MAX_DIFFERENCE).then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pts_counts_messages_and_differences_follow_it() {
        let mut history = History::default();
        for _ in 0..3 {
            history.push(Message::new(0, 1, 1, Text::default()));
        }
        assert_eq!(history.pts(), 4);
        history.settle();
        assert_eq!((history.pts(), history.difference(4)), (4, Some(&[][..])));
        assert_eq!(history.difference(3), None, "too far back");
        let id = history.push(Message::new(0, 1, 1, Text::default()));
        assert_eq!((id, history.pts()), (4, 5));
        assert_eq!((history.pts_of(4), history.pts_of(2)), (5, 4));
        assert_eq!(history.difference(4), Some(&[4][..]));
        assert_eq!(history.difference(99), Some(&[][..]));
    }

    #[test]
    fn threads_collect_their_replies() {
        let mut history = History::default();
        let root = history.push(Message::new(0, 1, 1, Text::default()));
        let thread = history.thread_of_reply(root);
        let reply = history.push(Message { reply_to: root, thread, ..Message::new(0, 1, 2, Text::default()) });
        let thread = history.thread_of_reply(reply);
        history.push(Message { reply_to: reply, thread, ..Message::new(0, 1, 3, Text::default()) });
        assert_eq!(history.thread(root), [2, 3]);
        assert!(size_of::<Message>() <= 56);
    }
}
