//! Messages as they arrive in a chat.
//!
//! Telegram's word that something happened only wakes the watch; what happened
//! is read from the history that follows the last message seen, page by page.
//! So nothing is lost when a connection breaks or many arrive at once, and
//! nothing is shown twice.

use std::sync::Arc;
use std::time::Duration;

use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::SpeedProfile;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc;

use super::caller::Caller;
use super::history::{following, newest};
use super::members::Batches;
use super::peers::ChatPeer;
use crate::connections::{LineEvents, LineId, Pushed};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::leases::Verified;

/// Longest time between two looks: the word that something happened may be lost.
const LOOK: Duration = Duration::from_secs(20);
/// How fast looks follow one another, however much arrives.
const SPEED: SpeedProfile = SpeedProfile::Medium;
/// How long a reader is waited for before he misses messages.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages kept for a slow reader.
const QUEUE: usize = 64;

/// Starts to watch a chat.
///
/// # Errors
/// As the contract says; what fails later ends the stream.
pub async fn watch(
    core: Arc<Core>,
    lease: Verified,
    request: pb::WatchMessagesRequest,
) -> Result<Batches<pb::WatchMessagesResponse>> {
    let caller = Caller::under(&core, lease.clone()).at(SPEED);
    let chat = caller.chat(&request.chat).await?;
    let mut line = core.connections.events(LineId::Account(lease.account_id));
    line.state.mark_unchanged();
    caller.turn().await;
    let last = newest(&caller, chat).await?;
    drop(caller);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = core.clone();
    task.tasks.spawn("a watch of messages", async move {
        let mut reader = Reader { core: core.clone(), sender: sender.clone(), skipped: 0 };
        tokio::select! {
            () = sender.closed() => {}
            Err(error) = follow(&core, &lease, chat, line, last, &mut reader) => {
                sender.send(Err(error)).await.ok();
            }
        }
    });
    Ok(receiver)
}

/// Shows what arrives, until it fails.
async fn follow(
    core: &Core,
    lease: &Verified,
    chat: ChatPeer,
    mut line: LineEvents,
    mut last: i32,
    reader: &mut Reader,
) -> Result<()> {
    loop {
        woken(core, lease, chat, &mut line).await;
        loop {
            let caller = Caller::under(core, lease.clone()).at(SPEED);
            caller.turn().await;
            // What was pushed while this waited is about to be read.
            while !matches!(line.pushed.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
            if !core.leases.still_valid(lease) {
                return Err(Error::stale_lease(lease.lease_id));
            }
            let found = following(&caller, chat, last).await?;
            last = found.last;
            for message in found.messages {
                reader.show(message).await;
            }
            if !found.more {
                break;
            }
        }
    }
}

/// Returns when there may be something new in the chat.
async fn woken(core: &Core, lease: &Verified, chat: ChatPeer, line: &mut LineEvents) {
    let look = core.clock.sleep(LOOK);
    tokio::pin!(look);
    loop {
        tokio::select! {
            pushed = line.pushed.recv() => match pushed {
                Ok(Pushed::Login) => {}
                Ok(Pushed::Chat(other)) if other != chat.chat_id() => {}
                Ok(Pushed::Chat(_) | Pushed::Somewhere) | Err(RecvError::Lagged(_)) => return,
                // The line was rebuilt: listen to the new one.
                Err(RecvError::Closed) => {
                    *line = core.connections.events(LineId::Account(lease.account_id));
                    return;
                }
            },
            // Lost, or open again: the look connects, and shows what was missed.
            Ok(()) = line.state.changed() => return,
            () = &mut look => return,
        }
    }
}

/// Whoever watches.
struct Reader {
    core: Arc<Core>,
    sender: mpsc::Sender<Result<pb::WatchMessagesResponse>>,
    skipped: i32,
}

impl Reader {
    /// Hands a message over. A slow reader misses messages, and learns how many.
    async fn show(&mut self, message: pb::Message) {
        let patience = if self.skipped == 0 { PATIENCE } else { Duration::ZERO };
        let place = tokio::select! {
            biased;
            place = self.sender.reserve() => place,
            () = self.core.clock.sleep(patience) => {
                self.skipped = self.skipped.saturating_add(1);
                return;
            }
        };
        // Nobody reads any more when there is no place.
        if let Ok(place) = place {
            place.send(Ok(pb::WatchMessagesResponse { message: Some(message), skipped: self.skipped }));
            self.skipped = 0;
        }
    }
}
