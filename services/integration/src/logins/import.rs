//! Session strings of other libraries.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::GeneralPurpose;
use sea_orm::EntityTrait as _;
use service_kit::identity::Identity;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::import_result::Status;
use tgmesh_proto::quota::v1::Action;
use uuid::Uuid;

use super::{Taken, settle, take};
use crate::accounts::{self, connect};
use crate::connections::{CallError, LineId, SessionKey};
use crate::core::Core;
use crate::entity::ended_session;
use crate::error::{Error, Result};
use crate::telegram::auth::{self, Profile};
use crate::telegram::outcome::{Verdict, judge};

/// Most lines of one call.
const MOST: usize = 100;

/// Base64 with the URL's alphabet, padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    base64::engine::GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads a session string: data centre and key. The address that a Telethon
/// string names is not used: only configured ones are.
///
/// Telethon: "1", then base64 of data centre (1 byte), address (4 or 16), port
/// (2), key (256). Pyrogram: base64 of data centre (1), api id (4, in newer
/// ones), test mode (1), key (256), user id (4 or 8), is bot (1).
pub fn parse(text: &str) -> Option<SessionKey> {
    if let Some(rest) = text.strip_prefix('1')
        && let Ok(bytes) = BASE64.decode(rest)
        && matches!(bytes.len(), 263 | 275)
    {
        let key = bytes[bytes.len() - 256..].try_into().ok()?;
        return Some(SessionKey::new(i32::from(bytes[0]), key));
    }
    let bytes = BASE64.decode(text).ok()?;
    let begin = match bytes.len() {
        271 => 1 + 4 + 1,
        263 | 267 => 1 + 1,
        _ => return None,
    };
    let key = bytes[begin..begin + 256].try_into().ok()?;
    Some(SessionKey::new(i32::from(bytes[0]), key))
}

/// Connects accounts by their sessions.
///
/// # Errors
/// As the contract says; what is wrong with one line is its result.
pub async fn import(
    core: &Core,
    who: &Identity,
    request: &pb::ImportSessionsRequest,
) -> Result<pb::ImportSessionsResponse> {
    let lines: Vec<(i32, &str)> = (1..)
        .zip(request.sessions.lines())
        .map(|(number, line)| (number, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .collect();
    if lines.is_empty() || lines.len() > MOST {
        return Err(Error::field("sessions", format!("must have 1 to {MOST} session strings, has {}", lines.len())));
    }
    let slot = match take(core, who, "ImportSessions", request).await? {
        Taken::Repeat(answer) => return Ok(answer),
        Taken::Go { slot, .. } => slot,
    };
    let result = async {
        let used = connect::keys_in_use(core).await?;
        let mut seen = HashSet::new();
        let mut results = Vec::new();
        for (number, line) in lines {
            let result = one(core, who, line, &mut seen, &used).await?;
            results.push(pb::ImportResult { line: number, ..result });
        }
        let answer = pb::ImportSessionsResponse { results };
        slot.answer(core.db.conn(), &answer).await.map_err(|error| core.failed(&error))?;
        Ok(answer)
    };
    settle(core, result.await, &slot).await
}

async fn one(
    core: &Core,
    who: &Identity,
    line: &str,
    seen: &mut HashSet<Vec<u8>>,
    used: &HashMap<Vec<u8>, Uuid>,
) -> Result<pb::ImportResult> {
    let result = |status: Status, detail: &str| pb::ImportResult {
        line: 0,
        status: status.into(),
        detail: detail.to_owned(),
        account: None,
    };
    let Some(key) = parse(line) else {
        return Ok(result(Status::Unreadable, "is no session string of telethon or pyrogram"));
    };
    if !seen.insert(key.expose().to_vec()) {
        return Ok(result(Status::Duplicate, "the same session stands on an earlier line"));
    }
    let elsewhere = || result(Status::AlreadyConnected, "the account belongs to another workspace of this deployment");
    // As when a file is imported again: nothing is to be done.
    if let Some(account) = used.get(key.expose().as_slice()) {
        let found = accounts::store::find(core.db.conn(), who.workspace_id, *account).await;
        return Ok(match found.map_err(|error| core.failed(&error))? {
            Some(row) => {
                pb::ImportResult { account: Some(accounts::show(core, &row)), ..result(Status::Connected, "") }
            }
            None => elsewhere(),
        });
    }
    // The trial needs a row to be opened from; a crash leaves it, far from due,
    // and the sweep forgets it: a session that was only tried is its owner's.
    let tx = core.begin().await?;
    let id = connect::put_trial(core, &tx, &key.to_bytes()).await?;
    core.commit(tx).await?;
    let answer = auth::who_am_i(&core.connections, LineId::Session(id)).await;
    core.connections.close(LineId::Session(id)).await;
    let profile = match answer {
        Ok(profile) => profile,
        // A wait, or a fault of Telegram's own, says nothing of the session.
        Err(CallError::Rpc(error)) => {
            drop_trial(core, id).await?;
            let name = error.full_name();
            return Ok(match judge(&error, Action::Read, core.settings.flood_margin) {
                Verdict::TryAgain | Verdict::Restricted(_) => result(
                    Status::Unreachable,
                    &format!("telegram answers {name} for now: import the line again later"),
                ),
                _ => result(Status::Rejected, &format!("telegram does not accept the session: {name}")),
            });
        }
        Err(CallError::KeyUnknown) => {
            drop_trial(core, id).await?;
            return Ok(result(Status::Rejected, "telegram does not know the session"));
        }
        Err(error) => {
            drop_trial(core, id).await?;
            tracing::info!(?error, "session not tried");
            return Ok(result(Status::Unreachable, "telegram could not be asked: import the line again"));
        }
    };
    let Some(profile) = profile else {
        drop_trial(core, id).await?;
        return Ok(result(Status::Rejected, "telegram shows no user for the session"));
    };
    let mut adopted = adopt(core, who, id, &profile, &key).await;
    if adopted.as_ref().is_err_and(|error| error.reason() == ErrorReason::Conflict) {
        // The same account is imported twice at once, and the other one was faster: now there is one to go on with.
        adopted = adopt(core, who, id, &profile, &key).await;
    }
    match adopted {
        Ok(account) => {
            let row = accounts::get(core, who.workspace_id, account).await?;
            Ok(pb::ImportResult { account: Some(accounts::show(core, &row)), ..result(Status::Connected, "") })
        }
        Err(error) if error.reason() == ErrorReason::AlreadyConnected => {
            // Somebody else's: it stays as it was, and is forgotten here.
            drop_trial(core, id).await?;
            Ok(elsewhere())
        }
        Err(error) => Err(error),
    }
}

/// Makes a session that was tried the session of an account.
async fn adopt(core: &Core, who: &Identity, trial: Uuid, profile: &Profile, key: &SessionKey) -> Result<Uuid> {
    let tx = core.begin().await?;
    ended_session::Entity::delete_by_id(trial).exec(&*tx).await.map_err(|error| core.failed(&error))?;
    let account = connect::adopt(core, &tx, who, profile, key).await?;
    core.commit(tx).await?;
    connect::adopted(core, who.workspace_id, account).await;
    Ok(account)
}

/// A session that was only tried is forgotten, not logged out: it is its owner's.
async fn drop_trial(core: &Core, id: Uuid) -> Result<()> {
    ended_session::Entity::delete_by_id(id).exec(core.db.conn()).await.map(|_| ()).map_err(|error| core.failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> [u8; 256] {
        std::array::from_fn(|at| u8::try_from(at).unwrap())
    }

    #[test]
    fn reads_telethon_strings() {
        for address in [4, 16] {
            let bytes = [&[2][..], &vec![127; address], &[1, 187], &key()].concat();
            let parsed = parse(&format!("1{}", base64::engine::general_purpose::URL_SAFE.encode(bytes))).unwrap();
            assert_eq!((parsed.dc_id, parsed.expose()), (2, &key()));
        }
    }

    #[test]
    fn reads_pyrogram_strings() {
        let unpadded = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let newest = [&[4][..], &[0, 0, 0, 9], &[0], &key(), &[0; 8], &[0]].concat();
        let older = [&[4][..], &[0], &key(), &[0; 8], &[0]].concat();
        let oldest = [&[4][..], &[0], &key(), &[0; 4], &[0]].concat();
        for bytes in [newest, older, oldest] {
            let parsed = parse(&unpadded.encode(bytes)).unwrap();
            assert_eq!((parsed.dc_id, parsed.expose()), (4, &key()));
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "1", "1AAAA", "not base64!", "привет", &"A".repeat(400)] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
