//! How complete a result is, said honestly.

use tgmesh_proto::parsing::v1::{Completeness, ParseFilter, ParseKind};
use tgmesh_proto::telegram::v1::{Chat, ChatKind};

use super::entity::Model;

/// The most members that Telegram shows of a kind of chat, whoever asks; `None`
/// when it shows all. Telethon's issues 580 and 3781 tell of both.
pub fn cap(chat_kind: i32) -> Option<i32> {
    match ChatKind::try_from(chat_kind).unwrap_or_default() {
        ChatKind::Supergroup | ChatKind::Gigagroup => Some(10_000),
        ChatKind::Channel => Some(200),
        ChatKind::BasicGroup | ChatKind::Unspecified => None,
    }
}

/// A kind of task that finds those whom a cap hides.
fn way_around(chat: &Chat) -> ParseKind {
    match ChatKind::try_from(chat.kind).unwrap_or_default() {
        ChatKind::Supergroup => ParseKind::MessageAuthors,
        // In a gigagroup only admins write, but all may react.
        ChatKind::Gigagroup => ParseKind::Reactors,
        ChatKind::Channel if chat.linked_chat_id != 0 => ParseKind::Commenters,
        ChatKind::Channel => ParseKind::Reactors,
        ChatKind::BasicGroup | ChatKind::Unspecified => ParseKind::Unspecified,
    }
}

/// What a finished task can say of its result.
pub fn completeness(task: &Model, filter: &ParseFilter, chat: &Chat) -> Completeness {
    if task.kind == ParseKind::Members as i32 { members(task, chat) } else { authors(task, filter) }
}

fn members(task: &Model, chat: &Chat) -> Completeness {
    let hidden = task.total.map(|total| (total - task.unique_count).max(0));
    let capped = task.cap_reached > 0;
    let complete = !capped && hidden.unwrap_or(0) == 0;
    let way_around = if capped { way_around(chat) } else { ParseKind::Unspecified };
    let shown = task.unique_count;
    let mut notice = match (task.total, complete) {
        (Some(_), true) => format!("all {shown} members were fetched"),
        (Some(total), false) => format!("{shown} of {total} members were fetched"),
        (None, true) => format!("{shown} members were fetched; telegram does not tell how many there are"),
        (None, false) => format!("{shown} members were fetched, not all there are"),
    };
    if capped {
        notice += &format!(": telegram shows at most {} of such a chat", task.cap_reached);
        match way_around {
            ParseKind::MessageAuthors => notice += "; a task for message authors finds more of them",
            ParseKind::Commenters => notice += "; a task for commenters finds more of them",
            ParseKind::Reactors => notice += "; a task for reactors finds more of them",
            _ => {}
        }
    } else if !complete {
        notice += ": telegram reports the others and does not show them";
    }
    Completeness {
        reported: task.total,
        fetched: task.read_count,
        unique: shown,
        hidden,
        cap_reached: task.cap_reached,
        complete,
        way_around: way_around as i32,
        notice,
    }
}

/// Of messages Telegram hides none, and what it reports counts service messages
/// too: nobody can tell how many of the difference are hidden.
fn authors(task: &Model, filter: &ParseFilter) -> Completeness {
    let (read, found) = (task.read_count, task.unique_count);
    let bounded = filter.since_time.is_some() || filter.until_time.is_some();
    let last = i64::from(filter.last_messages);
    let notice = if last > 0 && read >= last {
        format!("the last {read} messages were read, as asked for, with {found} authors")
    } else if bounded {
        format!("all {read} messages of the time asked for were read, with {found} authors")
    } else {
        let reported = task.total.map(|total| format!("; telegram reports {total}")).unwrap_or_default();
        format!("the history was read to its beginning: {read} messages with {found} authors{reported}")
    };
    Completeness {
        reported: task.total,
        fetched: read,
        unique: found,
        hidden: None,
        cap_reached: task.cap_reached,
        complete: task.cap_reached == 0,
        way_around: ParseKind::Unspecified as i32,
        notice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::tests::task;

    fn chat(kind: ChatKind, linked_chat_id: i64) -> Chat {
        Chat { kind: kind as i32, linked_chat_id, ..Default::default() }
    }

    fn members_of(total: Option<i64>, unique: i64, cap: i32, chat: &Chat) -> Completeness {
        let task = Model { total, unique_count: unique, read_count: unique, cap_reached: cap, ..task() };
        completeness(&task, &ParseFilter::default(), chat)
    }

    #[test]
    fn all_members_are_complete() {
        let said = members_of(Some(2_000), 2_000, 0, &chat(ChatKind::Supergroup, 0));
        assert_eq!((said.complete, said.hidden, said.cap_reached, said.way_around), (true, Some(0), 0, 0));
        assert_eq!(said.notice, "all 2000 members were fetched");
    }

    #[test]
    fn members_that_are_not_shown_are_said_to_be_hidden() {
        let said = members_of(Some(2_000), 1_990, 0, &chat(ChatKind::Supergroup, 0));
        assert_eq!((said.complete, said.hidden, said.way_around), (false, Some(10), 0));
        assert!(said.notice.contains("1990 of 2000"), "{}", said.notice);
    }

    #[test]
    fn a_cap_names_the_way_around_it() {
        for (kind, linked, cap, way) in [
            (ChatKind::Supergroup, 0, 10_000, ParseKind::MessageAuthors),
            (ChatKind::Gigagroup, 0, 10_000, ParseKind::Reactors),
            (ChatKind::Channel, -1_001, 200, ParseKind::Commenters),
            (ChatKind::Channel, 0, 200, ParseKind::Reactors),
        ] {
            let said = members_of(Some(50_000), i64::from(cap), cap, &chat(kind, linked));
            assert_eq!((said.complete, said.cap_reached), (false, cap), "{kind:?}");
            assert_eq!(said.way_around, way as i32, "{kind:?}");
            assert_eq!(said.hidden, Some(50_000 - i64::from(cap)), "{kind:?}");
        }
    }

    #[test]
    fn an_unknown_total_is_not_made_up() {
        let said = members_of(None, 30, 0, &chat(ChatKind::BasicGroup, 0));
        assert_eq!((said.reported, said.hidden, said.complete), (None, None, true));
    }

    #[test]
    fn somebody_who_joined_meanwhile_hides_nobody() {
        let said = members_of(Some(10), 11, 0, &chat(ChatKind::Supergroup, 0));
        assert_eq!((said.hidden, said.complete), (Some(0), true));
    }

    #[test]
    fn authors_tell_what_was_read() {
        let base = Model {
            kind: ParseKind::MessageAuthors as i32,
            total: Some(510),
            read_count: 500,
            unique_count: 40,
            ..task()
        };
        let all = completeness(&base, &ParseFilter::default(), &Chat::default());
        assert_eq!((all.complete, all.hidden, all.fetched, all.unique), (true, None, 500, 40));
        assert!(all.notice.contains("to its beginning"), "{}", all.notice);
        let last = ParseFilter { last_messages: 500, ..Default::default() };
        let last = completeness(&base, &last, &Chat::default());
        assert!(last.notice.contains("the last 500 messages"), "{}", last.notice);
    }
}
