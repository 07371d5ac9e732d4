//! Sending a text message.

use grammers_tl_types::{enums, functions};
use service_kit::identity::Identity;
use service_kit::requests::{Opened, Slot};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::quota::v1::Action;
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::Outcome;
use tgmesh_proto::telegram::v1::send_message_request::Peer;
use uuid::Uuid;

use super::caller::{About, Caller, Failure, not_written};
use super::invite::{self, find_user, keep, ledger_id};
use super::peers::settlement;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::quotas::Settlement;

/// The method's name in the store of requests.
const METHOD: &str = "SendMessage";

/// Sends a message. Telegram is given a number derived from the request's id,
/// and accepts each number once: a repeat is never a second message.
///
/// # Errors
/// As the contract says.
pub async fn send(core: &Core, who: &Identity, request: &pb::SendMessageRequest) -> Result<pb::SendMessageResponse> {
    let opened = core.requests.open(who, METHOD, request).await;
    let (slot, begun) = match opened.map_err(|error| Error::request(&core.db, error))? {
        Opened::Repeat(answer) => return Ok(answer),
        Opened::New(slot) => (slot, false),
        Opened::Interrupted(slot) => {
            let begun = begun(core, who, request, &slot).await?;
            (slot, begun)
        }
    };
    match attempt(core, who, request, &slot).await {
        Err(error) if error.reason() == ErrorReason::OutcomeUnknown => Err(error),
        // This try had no effect; what became of the one before, only another tells.
        Err(error) if begun => {
            tracing::info!(%error, "a message that may have been sent could not be sent again");
            Err(Error::plain(
                ErrorReason::OutcomeUnknown,
                "the message was begun and its answer was lost: it may have been sent",
            ))
        }
        Err(error) => {
            invite::forget(core, &slot).await;
            Err(error)
        }
        answered => answered,
    }
}

/// Whether a call that was interrupted may have sent its message. Those to
/// strangers reserve before they send; of others nothing is known.
async fn begun(core: &Core, who: &Identity, request: &pb::SendMessageRequest, slot: &Slot) -> Result<bool> {
    if !matches!(request.peer, Some(Peer::User(_))) {
        return Ok(true);
    }
    invite::begun(core, ledger_id(who, METHOD, slot.request_id())).await
}

async fn attempt(
    core: &Core,
    who: &Identity,
    request: &pb::SendMessageRequest,
    slot: &Slot,
) -> Result<pb::SendMessageResponse> {
    let caller = Caller::under(core, super::lease(core, who, request.lease.as_ref()).await?);
    let (peer, chat_id, stranger) = match &request.peer {
        Some(Peer::User(address)) => match find_user(&caller, Some(address)).await? {
            Some(user) => (user.peer(), 0, true),
            None => {
                let answer = answer(Outcome::NotFound, "", 0);
                slot.answer(core.db.conn(), &answer).await.map_err(|error| core.failed(&error))?;
                return Ok(answer);
            }
        },
        Some(Peer::Chat(chat)) => {
            let chat = caller.chat(chat).await?;
            (chat.input(), chat.chat_id(), false)
        }
        Some(Peer::SavedMessages(_)) => (enums::InputPeer::PeerSelf, 0, false),
        None => return Err(Error::field("peer", "one of the choices is required")),
    };
    let about = About { method: "messages.sendMessage", class: Action::Message, chat_id, acting: true };
    let ledger = ledger_id(who, METHOD, slot.request_id());
    let reservation = if stranger {
        Some(core.quotas.reserve(&caller.ask(Action::Message, 0, about.method, Some(ledger))).await?)
    } else {
        None
    };
    let call = functions::messages::SendMessage {
        no_webpage: false,
        silent: false,
        background: false,
        clear_draft: false,
        noforwards: false,
        update_stickersets_order: false,
        invert_media: false,
        allow_paid_floodskip: false,
        peer,
        reply_to: None,
        message: request.text.clone(),
        random_id: random_id(ledger),
        reply_markup: None,
        entities: None,
        schedule_date: None,
        schedule_repeat_period: None,
        send_as: None,
        quick_reply_shortcut: None,
        effect: None,
        allow_paid_stars: None,
        suggested_post: None,
        rich_message: None,
    };
    let sent = match &reservation {
        Some(reserved) => caller.send_reserved(reserved, about, &call).await,
        None => caller.invoke(about, &call).await,
    };
    let handed_over = !matches!(sent, Err(Failure::NotSent(_)));
    let mut settled = settlement(&sent);
    let answered = match sent {
        Ok(updates) => Ok(answer(Outcome::MessageSent, "", message_id(&updates))),
        // Telegram has seen this number: the first answer was lost.
        Err(Failure::Refused(error)) if error.name == "RANDOM_ID_DUPLICATE" => Ok(answer(Outcome::MessageSent, "", 0)),
        Err(Failure::Target(outcome, name)) => Ok(answer(outcome, &name, 0)),
        Err(Failure::Refused(error)) => Ok(answer(Outcome::Refused, &error.full_name(), 0)),
        Err(Failure::NotSent(error) | Failure::Error(error)) => Err(error),
    };
    if let (Settlement::Counted { success, .. }, Ok(answer)) = (&mut settled, &answered) {
        *success = answer.outcome == Outcome::MessageSent as i32;
    }
    let settled = reservation.as_ref().map(|reservation| (reservation, &settled));
    match keep(core, settled, slot, &answered).await {
        Ok(()) => core.leases.poke(caller.workspace_id),
        Err(error) if handed_over => return Err(not_written(&error)),
        // The sweep counts what was reserved; the caller may try again.
        Err(error) => tracing::warn!(%error, "a reservation of what was not sent could not be given back"),
    }
    answered
}

fn random_id(ledger: Uuid) -> i64 {
    let (high, low) = ledger.as_u64_pair();
    i64::from_be_bytes((high ^ low.rotate_left(17)).to_be_bytes())
}

fn message_id(updates: &enums::Updates) -> i32 {
    let among = |updates: &[enums::Update]| {
        updates
            .iter()
            .find_map(|update| match update {
                enums::Update::MessageId(update) => Some(update.id),
                _ => None,
            })
            .unwrap_or(0)
    };
    match updates {
        enums::Updates::UpdateShortSentMessage(sent) => sent.id,
        enums::Updates::Updates(updates) => among(&updates.updates),
        enums::Updates::Combined(updates) => among(&updates.updates),
        _ => 0,
    }
}

fn answer(outcome: Outcome, telegram_error: &str, message_id: i32) -> pb::SendMessageResponse {
    pb::SendMessageResponse { outcome: outcome.into(), telegram_error: telegram_error.to_owned(), message_id }
}
