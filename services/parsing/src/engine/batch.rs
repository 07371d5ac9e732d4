//! What one answer of Telegram adds to a task. Pure.

use std::collections::HashMap;

use service_kit::Time;
use tgmesh_proto::parsing::v1::ParseFilter;
use tgmesh_proto::parsing::v1::skip_count::Reason;
use tgmesh_proto::telegram::v1::{StreamMembersResponse, StreamMessagesResponse};

use crate::person::Person;
use crate::results::store::Sighting;
use crate::tasks::filter;
use crate::tasks::progress::Skipped;

/// A batch, counted and filtered; each person is in it once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Where to go on after it.
    pub cursor: Vec<u8>,
    /// Members or messages read.
    pub read: i64,
    /// Messages with media.
    pub media: i64,
    /// Requests made for it.
    pub requests: i64,
    /// What Telegram reports to be there.
    pub total: Option<i64>,
    /// The cap, when it was reached.
    pub cap_reached: i32,
    /// Messages left out, by reason. People are counted when they are stored.
    pub skipped: Skipped,
    /// The people.
    pub people: Vec<Sighting>,
    /// Whether it is the last.
    pub done: bool,
}

/// Of members.
pub fn members(answer: StreamMembersResponse, filter: &ParseFilter) -> Batch {
    let read = count(answer.persons.len());
    let mut people = People::default();
    for person in answer.persons {
        people.meet(Person::from_proto(person), 0, None, filter);
    }
    Batch {
        cursor: answer.cursor,
        read,
        requests: i64::from(answer.requests),
        total: answer.reported_total.map(i64::from),
        cap_reached: answer.cap_reached,
        people: people.met,
        done: answer.done,
        ..Batch::default()
    }
}

/// Of messages, for their authors. `read_before` are the messages that the
/// task has read: no more than the filter's last messages count.
pub fn authors(answer: StreamMessagesResponse, filter: &ParseFilter, read_before: i64) -> Batch {
    let mut batch = Batch {
        cursor: answer.cursor,
        requests: i64::from(answer.requests),
        total: answer.reported_total.map(i64::from),
        done: answer.done,
        ..Batch::default()
    };
    let mut people = People::default();
    let most = i64::from(filter.last_messages);
    for message in answer.messages {
        if most > 0 && read_before + batch.read >= most {
            break;
        }
        batch.read += 1;
        batch.media += i64::from(message.media_kind != 0);
        let sent_at = message.send_time.as_ref().map(Time::from_proto).unwrap_or_default();
        if !filter::in_time(sent_at, filter) {
            batch.skipped.add(Reason::Time, 1);
            continue;
        }
        match message.author {
            Some(author) if author.user_id > 0 => people.meet(Person::from_proto(author), 1, Some(sent_at), filter),
            _ => batch.skipped.add(Reason::NoAuthor, 1),
        }
    }
    batch.done |= most > 0 && read_before + batch.read >= most;
    batch.people = people.met;
    batch
}

/// People of a batch, each once, in the order they were met.
#[derive(Debug, Default)]
struct People {
    met: Vec<Sighting>,
    at: HashMap<i64, usize>,
}

impl People {
    fn meet(&mut self, person: Person, activity: i32, active_at: Option<Time>, filter: &ParseFilter) {
        // Nobody has such an id: a row of it would stand for several people.
        if person.user_id <= 0 {
            return;
        }
        if let Some(before) = self.at.get(&person.user_id).and_then(|at| self.met.get_mut(*at)) {
            before.activity = before.activity.saturating_add(activity);
            before.last_active_at = before.last_active_at.max(active_at);
            return;
        }
        self.at.insert(person.user_id, self.met.len());
        let skip = filter::skip(&person, filter);
        self.met.push(Sighting { person, activity, last_active_at: active_at, skip });
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tgmesh_proto::telegram::v1 as telegram;

    fn user(user_id: i64) -> telegram::Person {
        telegram::Person { user_id, ..Default::default() }
    }

    fn message(author: Option<i64>, secs: i64) -> telegram::Message {
        telegram::Message {
            author: author.map(user),
            send_time: Some(Time::from_secs(secs).to_proto()),
            ..Default::default()
        }
    }

    fn history(messages: Vec<telegram::Message>) -> StreamMessagesResponse {
        StreamMessagesResponse { messages, requests: 1, reported_total: Some(9), cursor: vec![1], done: false }
    }

    #[test]
    fn a_member_shown_twice_is_read_twice_and_met_once() {
        let answer = StreamMembersResponse { persons: vec![user(1), user(2), user(1)], ..Default::default() };
        let batch = members(answer, &ParseFilter::default());
        assert_eq!((batch.read, batch.people.len()), (3, 2));
    }

    #[test]
    fn messages_count_for_their_authors() {
        let messages = vec![message(Some(1), 30), message(None, 20), message(Some(2), 15), message(Some(1), 10)];
        let batch = authors(history(messages), &ParseFilter::default(), 0);
        let met: Vec<_> = batch.people.iter().map(|s| (s.person.user_id, s.activity, s.last_active_at)).collect();
        assert_eq!(met, [(1, 2, Some(Time::from_secs(30))), (2, 1, Some(Time::from_secs(15)))]);
        assert_eq!((batch.read, batch.skipped.sum(), batch.done), (4, 1, false));
    }

    #[test]
    fn no_more_than_the_last_messages_count_over_all_batches() {
        let filter = ParseFilter { last_messages: 5, ..Default::default() };
        let messages = (0..4).map(|n| message(Some(n + 1), 10)).collect();
        let batch = authors(history(messages), &filter, 3);
        assert_eq!((batch.read, batch.people.len(), batch.done), (2, 2, true));
        let short = authors(history(vec![message(Some(1), 10)]), &filter, 3);
        assert_eq!((short.read, short.done), (1, false));
    }

    #[test]
    fn a_message_outside_the_time_counts_nobody() {
        let filter = ParseFilter { since_time: Some(Time::from_secs(20).to_proto()), ..Default::default() };
        let batch = authors(history(vec![message(Some(1), 30), message(Some(2), 10)]), &filter, 0);
        assert_eq!((batch.read, batch.people.len(), batch.skipped.sum()), (2, 1, 1));
    }

    #[test]
    fn media_are_counted() {
        let with = telegram::Message { media_kind: 1, ..message(Some(1), 1) };
        assert_eq!(authors(history(vec![with, message(Some(1), 1)]), &ParseFilter::default(), 0).media, 1);
    }
}
