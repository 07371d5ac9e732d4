//! Messages as they arrive in a chat.
//!
//! Telegram's word that something happened only wakes the watch; what happened
//! is read from the history above the last message seen. So nothing is lost
//! when a connection breaks, and nothing is shown twice.

use std::sync::Arc;
use std::time::Duration;

use tgmesh_proto::telegram::v1 as pb;
use tokio::sync::mpsc;

use super::history::newer;
use super::members::Batches;
use crate::connections::LineId;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::leases::Verified;

/// Longest time between two looks: the word that something happened may be lost.
const LOOK: Duration = Duration::from_secs(20);
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
    let caller = super::under_lease(&core, lease.clone()).await?;
    let chat = caller.chat(&request.chat).await?;
    let mut line = core.connections.events(LineId::Account(lease.account_id));
    line.updates.mark_unchanged();
    line.state.mark_unchanged();
    let mut last = newer(&caller, chat, 0).await?.last().map_or(0, |message| message.message_id);
    drop(caller);
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut skipped = 0;
        loop {
            tokio::select! {
                () = sender.closed() => return,
                changed = line.updates.changed() => {
                    // The line was rebuilt: listen to the new one.
                    if changed.is_err() {
                        line = core.connections.events(LineId::Account(lease.account_id));
                    }
                }
                // Lost, or open again: the look connects, and shows what was missed.
                Ok(()) = line.state.changed() => {}
                () = core.clock.sleep(LOOK) => {}
            }
            let found = async {
                if !core.leases.still_valid(&lease) {
                    return Err(Error::stale_lease(lease.lease_id));
                }
                let caller = super::under_lease(&core, lease.clone()).await?;
                newer(&caller, chat, last).await
            };
            match found.await {
                Ok(messages) => {
                    for message in messages {
                        last = message.message_id;
                        let response = pb::WatchMessagesResponse { message: Some(message), skipped };
                        // A slow reader misses messages, and learns how many.
                        match sender.try_send(Ok(response)) {
                            Ok(()) => skipped = 0,
                            Err(mpsc::error::TrySendError::Full(_)) => skipped += 1,
                            Err(mpsc::error::TrySendError::Closed(_)) => return,
                        }
                    }
                }
                Err(error) => {
                    sender.send(Err(error)).await.ok();
                    return;
                }
            }
        }
    });
    Ok(receiver)
}
