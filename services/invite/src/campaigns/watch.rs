//! Serves `WatchCampaign`.

use std::sync::Arc;

use service_kit::identity::Identity;
use service_kit::watch::{WatchStream, watch};
use tgmesh_proto::invite::v1::{WatchCampaignRequest, WatchCampaignResponse};
use tonic::Status;
use uuid::Uuid;

use super::{id, show, store};
use crate::app::App;
use crate::error::Error;
use crate::grpc::convert;
use crate::targets::store::ended_since;

/// Most attempts in one message.
const MOST_EXECUTIONS: u64 = 20;

/// Opens the stream: a snapshot, then what changed. Its position is the
/// campaign's version, which every change of campaign, counters and attempts
/// moves in its own transaction.
///
/// # Errors
/// `CampaignNotFound`, `Token`.
pub async fn open(
    app: Arc<App>,
    who: Identity,
    request: WatchCampaignRequest,
) -> Result<WatchStream<WatchCampaignResponse>, Error> {
    let campaign_id = id(&request.campaign_id)?;
    store::find(app.db.conn(), who.workspace_id, campaign_id).await?;
    let binding = (who.workspace_id, campaign_id);
    let mut seen: Option<i64> = app.tokens.position("WatchCampaign", &binding, &request.resume_token)?;
    let (clock, poke) = (app.clock.clone(), app.poke.clone());
    let workspace_id = who.workspace_id;
    // The position is moved by the look itself: what is answered is sent, or the stream ends.
    let position = Arc::new(std::sync::Mutex::new(seen.take()));
    Ok(watch(clock, poke, move || {
        let (app, position) = (app.clone(), position.clone());
        async move {
            let seen = position.lock().ok().and_then(|seen| *seen);
            let looked = look(&app, workspace_id, campaign_id, seen).await;
            let found = looked.map_err(|error| -> Status { error.into_status(&app.db) })?;
            if let Some((version, _)) = &found
                && let Ok(mut position) = position.lock()
            {
                *position = Some(*version);
            }
            Ok(found.map(|(_, message)| message))
        }
    }))
}

async fn look(
    app: &App,
    workspace_id: Uuid,
    campaign_id: Uuid,
    seen: Option<i64>,
) -> Result<Option<(i64, WatchCampaignResponse)>, Error> {
    let model = store::find(app.db.conn(), workspace_id, campaign_id).await?;
    if seen == Some(model.version) {
        return Ok(None);
    }
    let executions = match seen {
        None => Vec::new(),
        Some(seen) => ended_since(app.db.conn(), workspace_id, campaign_id, seen, MOST_EXECUTIONS).await?,
    };
    // What ended after the campaign was read belongs to the next message.
    let executions = executions.iter().filter(|execution| execution.version <= model.version);
    let message = WatchCampaignResponse {
        executions: executions.map(convert::execution).collect(),
        campaign: Some(show(app.db.conn(), &model).await?),
        resume_token: app.tokens.resume("WatchCampaign", &(workspace_id, campaign_id), &model.version),
    };
    Ok(Some((model.version, message)))
}
