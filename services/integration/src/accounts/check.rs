//! Connects, verifies, refreshes the profile.

use sea_orm::ActiveValue::Set;
use service_kit::identity::Identity;
use service_kit::requests::Opened;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::account::State;
use tgmesh_proto::integration::v1::account_event::Kind;
use tgmesh_proto::integration::v1::restriction::Cause;

use super::effects::{record, thaw, touch};
use super::store::Event;
use super::{connect, get, parse_id, show, state};
use crate::core::Core;
use crate::entity::account;
use crate::error::{Error, Result};
use crate::telegram::caller::{Behalf, Caller};

/// Checks an account.
///
/// # Errors
/// As the contract says. What is wrong with the account is in the answer.
pub async fn check(core: &Core, who: &Identity, request: &pb::CheckAccountRequest) -> Result<pb::CheckAccountResponse> {
    let opened = core.requests.open(who, "CheckAccount", request).await;
    let slot = match opened.map_err(|error| Error::request(&core.db, error))? {
        Opened::Repeat(answer) => return Ok(answer),
        Opened::New(slot) | Opened::Interrupted(slot) => slot,
    };
    let result = async {
        let answer = look(core, who, request).await?;
        slot.answer(core.db.conn(), &answer).await.map_err(|error| core.failed(&error))?;
        Ok(answer)
    }
    .await;
    if result.is_err() {
        slot.forget(core.db.conn()).await.map_err(|error| core.failed(&error))?;
    }
    result
}

async fn look(core: &Core, who: &Identity, request: &pb::CheckAccountRequest) -> Result<pb::CheckAccountResponse> {
    let row = get(core, who.workspace_id, parse_id(&request.account_id)).await?;
    let mut issues = Vec::new();
    match state::derive(&row.account, &row.restrictions, core.now()) {
        found if found.state == State::Deleting => {
            return Err(Error::plain(ErrorReason::AccountDeleting, found.detail));
        }
        found if found.state == State::SessionLost => issues.push(found.detail),
        found => {
            if found.state != State::Ready {
                issues.push(found.detail);
            }
            let caller = Caller::of(core, &row.account, Behalf::User);
            let looked = async {
                let profile = caller.profile().await?;
                // A freeze ends when Telegram says so, and only who asks is told.
                let frozen = row.restrictions.iter().any(|held| held.cause == Cause::Frozen as i32);
                Ok::<_, Error>((profile, frozen && !caller.is_frozen().await?))
            };
            match looked.await {
                Ok((profile, thawed)) => {
                    let mut change =
                        account::ActiveModel { checked_at: Set(Some(core.now().millis())), ..Default::default() };
                    connect::apply(&profile, &mut change);
                    let tx = core.begin().await?;
                    touch(core, &tx, row.account.id, change).await?;
                    record(core, &tx, row.account.id, who.workspace_id, Event::by(Kind::Checked, who.actor())).await?;
                    if thawed && thaw(core, &tx, &row.account, "telegram").await? {
                        issues.clear();
                    }
                    core.commit(tx).await?;
                }
                Err(error) => issues.push(error.to_string()),
            }
        }
    }
    core.changed(who.workspace_id);
    let row = get(core, who.workspace_id, row.account.id).await?;
    Ok(pb::CheckAccountResponse { account: Some(show(core, &row)), issues })
}
