//! The messages of one account outside of channels: private chats and basic groups, with ids of its own.

use std::collections::BTreeMap;

use super::history::{MAX_DIFFERENCE, Message};

/// A dialog of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DialogPeer {
    User(i64),
    Group(i64),
}

/// A message with the dialog it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) peer: DialogPeer,
    /// Written by the owner of the mailbox.
    pub(crate) out: bool,
    pub(crate) message: Message,
}

/// One account's mailbox. Its pts rises by one with every letter and equals the letter's id plus one.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    letters: BTreeMap<i32, Letter>,
    by_peer: BTreeMap<DialogPeer, Vec<i32>>,
    last: i32,
}

impl Mailbox {
    pub(crate) fn pts(&self) -> i32 {
        self.last + 1
    }

    /// Adds a letter, giving its message the next id.
    pub(crate) fn push(&mut self, mut letter: Letter) -> i32 {
        self.last += 1;
        letter.message.id = self.last;
        self.by_peer.entry(letter.peer).or_default().push(self.last);
        self.letters.insert(self.last, letter);
        self.last
    }

    pub(crate) fn get(&self, id: i32) -> Option<&Letter> {
        self.letters.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: i32) -> Option<&mut Letter> {
        self.letters.get_mut(&id)
    }

    /// Ids of a dialog's messages, ascending.
    pub(crate) fn dialog(&self, peer: DialogPeer) -> &[i32] {
        self.by_peer.get(&peer).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = DialogPeer> + '_ {
        self.by_peer.keys().copied()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Letter> {
        self.letters.values()
    }

    /// Letters newer than a pts, oldest first, at most as many as a difference carries; and whether that is all.
    pub(crate) fn difference(&self, pts: i32) -> (Vec<&Letter>, bool) {
        let mut new: Vec<&Letter> = self.letters.range(pts.max(1)..).map(|(_, letter)| letter).collect();
        let complete = new.len() <= MAX_DIFFERENCE;
        new.truncate(MAX_DIFFERENCE);
        (new, complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::text::Text;

    #[test]
    fn differences_begin_where_the_client_stands() {
        let mut mailbox = Mailbox::default();
        let start = mailbox.pts();
        for user in [5, 6, 5] {
            let message = Message::new(0, 1, user, Text::default());
            mailbox.push(Letter { peer: DialogPeer::User(user), out: false, message });
        }
        assert_eq!(mailbox.dialog(DialogPeer::User(5)), [1, 3]);
        assert_eq!(mailbox.difference(start).0.len(), 3);
        assert_eq!(mailbox.difference(mailbox.pts()).0.len(), 0);
        assert_eq!(mailbox.difference(3).0[0].message.id, 3);
    }
}
