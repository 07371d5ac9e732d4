//! Members of a chat, batch by batch.

use std::collections::HashSet;
use std::sync::Arc;

use grammers_tl_types::{enums, functions, types};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::{ChatKind, SpeedProfile};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::caller::{About, Caller, Failure};
use super::people;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::leases::Verified;

/// Members that Telegram gives at once.
const PAGE: i32 = 200;
/// Members that Telegram shows of a group, and of a channel: measured by the
/// authors of several clients, and not documented.
const GROUP_CAP: i32 = 10_000;
const CHANNEL_CAP: i32 = 200;
/// Batches read ahead of the reader.
const AHEAD: usize = 1;

/// A stream of batches.
pub type Batches<T> = mpsc::Receiver<Result<T>>;

/// Where a stream goes on: how many members Telegram was asked for.
fn read_cursor(cursor: &[u8]) -> Result<i32> {
    if cursor.is_empty() {
        return Ok(0);
    }
    let bytes: Result<[u8; 4], _> = cursor.try_into();
    let offset = bytes.map(i32::from_be_bytes).ok().filter(|offset| *offset >= 0);
    offset.ok_or_else(|| {
        Error::plain(ErrorReason::ResumeTokenInvalid, "the cursor is not one of this stream").with("field", "cursor")
    })
}

/// Starts to read members.
///
/// # Errors
/// As the contract says; what fails later ends the stream.
pub async fn stream(
    core: Arc<Core>,
    lease: Verified,
    request: pb::StreamMembersRequest,
) -> Result<Batches<pb::StreamMembersResponse>> {
    let offset = read_cursor(&request.cursor)?;
    let speed = SpeedProfile::try_from(request.speed).unwrap_or_default();
    let caller = Caller::under(&core, lease.clone()).at(speed);
    let full = caller.full_chat(&request.chat).await?;
    if full.chat.members_hidden {
        return Err(Error::plain(ErrorReason::MembersHidden, "the chat hides its members from the account"));
    }
    drop(caller);
    let (batches, receiver) = mpsc::channel(AHEAD);
    let task = core.clone();
    task.tasks.spawn("a reader of members", async move {
        let result = match full.peer.channel() {
            Some(channel) => {
                let kind = ChatKind::try_from(full.chat.kind).unwrap_or_default();
                let cap = if kind == ChatKind::Channel { CHANNEL_CAP } else { GROUP_CAP };
                let chat = Source { channel, chat_id: full.peer.chat_id(), cap, speed };
                read(&core, lease, &chat, offset, &batches).await
            }
            None => whole(&core, lease.account_id, full, &batches).await,
        };
        if let Err(error) = result {
            batches.send(Err(error)).await.ok();
        }
    });
    Ok(receiver)
}

struct Source {
    channel: enums::InputChannel,
    chat_id: i64,
    cap: i32,
    speed: SpeedProfile,
}

type Sender = mpsc::Sender<Result<pb::StreamMembersResponse>>;

async fn read(core: &Core, lease: Verified, chat: &Source, mut offset: i32, batches: &Sender) -> Result<()> {
    let caller = Caller::under(core, lease).at(chat.speed);
    loop {
        tokio::select! {
            // Nobody reads any more.
            () = batches.closed() => return Ok(()),
            () = caller.turn() => {}
        }
        let batch = page(&caller, chat, offset).await?;
        offset = i32::from_be_bytes(batch.cursor.as_slice().try_into().unwrap_or_default());
        let done = batch.done;
        if batches.send(Ok(batch)).await.is_err() || done {
            return Ok(());
        }
    }
}

async fn page(caller: &Caller<'_>, chat: &Source, offset: i32) -> Result<pb::StreamMembersResponse> {
    let about = About::reading("channels.getParticipants", chat.chat_id);
    let request = functions::channels::GetParticipants {
        channel: chat.channel.clone(),
        // The list of recent members is short; a search for nothing lists them all.
        filter: types::ChannelParticipantsSearch { q: String::new() }.into(),
        offset,
        limit: PAGE,
        hash: 0,
    };
    let enums::channels::ChannelParticipants::Participants(found) =
        caller.send(about, &request).await.map_err(Error::from)?
    else {
        return Err(Error::internal("telegram says that members have not changed, and was not asked"));
    };
    let read = i32::try_from(found.participants.len()).unwrap_or(i32::MAX);
    let next = offset.saturating_add(read);
    let admins: HashSet<i64> = found.participants.iter().filter_map(admin_id).collect();
    let members: HashSet<i64> = found.participants.iter().filter_map(member_id).collect();
    // Those who invited or promoted a member may come with him, and are none.
    let persons = found
        .users
        .iter()
        .filter_map(|user| match user {
            enums::User::User(user) if members.contains(&user.id) => {
                Some(people::person(&caller.core.sealer, caller.account_id, user, admins.contains(&user.id)))
            }
            enums::User::User(_) | enums::User::Empty(_) => None,
        })
        .collect();
    // A short page is no sign of the end; an empty one is.
    let at_cap = next >= chat.cap;
    Ok(pb::StreamMembersResponse {
        persons,
        cursor: next.to_be_bytes().to_vec(),
        reported_total: Some(found.count),
        requests: 1,
        done: read == 0 || next >= found.count || at_cap,
        cap_reached: if (at_cap || read == 0) && found.count > next { chat.cap } else { 0 },
    })
}

/// Members of a basic group come with the chat itself, all at once.
async fn whole(core: &Core, account: Uuid, full: super::chats::FullChat, batches: &Sender) -> Result<()> {
    let admins: Vec<i64> = full
        .participants
        .iter()
        .filter_map(|participant| match participant {
            enums::ChatParticipant::Admin(admin) => Some(admin.user_id),
            enums::ChatParticipant::Creator(creator) => Some(creator.user_id),
            enums::ChatParticipant::Participant(_) => None,
        })
        .collect();
    let members: Vec<i64> = full
        .participants
        .iter()
        .map(|participant| match participant {
            enums::ChatParticipant::Participant(member) => member.user_id,
            enums::ChatParticipant::Admin(member) => member.user_id,
            enums::ChatParticipant::Creator(member) => member.user_id,
        })
        .collect();
    let persons: Vec<pb::Person> = full
        .users
        .iter()
        .filter_map(|user| match user {
            enums::User::User(user) if members.contains(&user.id) => {
                Some(people::person(&core.sealer, account, user, admins.contains(&user.id)))
            }
            _ => None,
        })
        .collect();
    let total = i32::try_from(members.len()).unwrap_or(i32::MAX);
    let batch = pb::StreamMembersResponse {
        persons,
        cursor: total.to_be_bytes().to_vec(),
        reported_total: full.chat.member_count.or(Some(total)),
        requests: 1,
        done: true,
        cap_reached: 0,
    };
    batches.send(Ok(batch)).await.ok();
    Ok(())
}

/// The admins of a chat, as far as the account may see them.
pub(super) async fn admins(caller: &Caller<'_>, channel: enums::InputChannel, chat_id: i64) -> Result<HashSet<i64>> {
    let about = About::reading("channels.getParticipants", chat_id);
    let filter = enums::ChannelParticipantsFilter::ChannelParticipantsAdmins;
    let request = functions::channels::GetParticipants { channel, filter, offset: 0, limit: PAGE, hash: 0 };
    match caller.invoke(about, &request).await {
        Ok(enums::channels::ChannelParticipants::Participants(found)) => {
            Ok(found.participants.iter().filter_map(admin_id).collect())
        }
        Ok(enums::channels::ChannelParticipants::NotModified) => Ok(HashSet::new()),
        // Whoever may not see the members of a chat may still read its messages.
        Err(Failure::Refused(_)) => Ok(HashSet::new()),
        Err(Failure::Error(error)) if error.reason() == ErrorReason::NoRights => Ok(HashSet::new()),
        Err(failure) => Err(failure.into()),
    }
}

fn member_id(participant: &enums::ChannelParticipant) -> Option<i64> {
    match participant {
        enums::ChannelParticipant::Participant(member) => Some(member.user_id),
        enums::ChannelParticipant::ParticipantSelf(member) => Some(member.user_id),
        enums::ChannelParticipant::Creator(member) => Some(member.user_id),
        enums::ChannelParticipant::Admin(member) => Some(member.user_id),
        // Removed, or gone by themselves.
        enums::ChannelParticipant::Banned(_) | enums::ChannelParticipant::Left(_) => None,
    }
}

fn admin_id(participant: &enums::ChannelParticipant) -> Option<i64> {
    match participant {
        enums::ChannelParticipant::Admin(admin) => Some(admin.user_id),
        enums::ChannelParticipant::Creator(creator) => Some(creator.user_id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_is_not_ours_is_refused() {
        assert_eq!(read_cursor(&[]).unwrap(), 0);
        assert_eq!(read_cursor(&400_i32.to_be_bytes()).unwrap(), 400);
        for bad in [&[1][..], &[0; 5], &(-1_i32).to_be_bytes()] {
            assert_eq!(read_cursor(bad).unwrap_err().reason(), ErrorReason::ResumeTokenInvalid);
        }
    }
}
