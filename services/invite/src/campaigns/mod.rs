//! Campaigns: what users do with them.

pub mod create;
pub mod entity;
pub mod list;
pub mod progress;
pub mod readiness;
pub mod state;
pub mod store;
pub mod try_one;
pub mod watch;

use prost::Message;
use sea_orm::{EntityTrait as _, Value};
use service_kit::Time;
use service_kit::db::Tx;
use service_kit::identity::Identity;
use service_kit::requests::{Claim, Opened, Slot};
use service_kit::unserved::Unserved;
use tgmesh_proto::WithRequestId;
use tgmesh_proto::invite::v1::{
    Campaign, CampaignKind, CampaignOptions, CancelCampaignRequest, CancelCampaignResponse, CheckReadinessRequest,
    CheckReadinessResponse, DeleteCampaignRequest, DeleteCampaignResponse, PauseCampaignRequest, PauseCampaignResponse,
    ResumeCampaignRequest, ResumeCampaignResponse, StartCampaignRequest, StartCampaignResponse, UpdateCampaignRequest,
    UpdateCampaignResponse, Waiting,
};
use tgmesh_proto::lease::v1::Priority;
use uuid::Uuid;

use self::entity::{Entity, Model};
use self::progress::Counts;
use self::state::Change;
use crate::app::{App, sql};
use crate::error::Error;
use crate::targets::clip;

/// A campaign as the wire shows it.
pub fn view(model: &Model, counts: &Counts) -> Campaign {
    let time = |millis| Some(Time::from_millis(millis).to_proto());
    let waiting = model.waiting.as_deref().and_then(|bytes| Waiting::decode(bytes).ok());
    Campaign {
        id: model.id.to_string(),
        name: model.name.clone(),
        kind: model.kind,
        chat: model.chat.clone(),
        chat_title: model.chat_title.clone(),
        chat_id: model.chat_id,
        description: model.description.clone(),
        template: String::new(),
        consent_basis: model.consent_basis,
        options: Some(CampaignOptions::default()),
        priority: model.priority,
        schedule_time: None,
        state: model.state,
        waiting,
        progress: Some(counts.to_proto(CampaignKind::try_from(model.kind).unwrap_or_default())),
        failure_reason: model.failure_reason.clone(),
        failure_detail: model.failure_detail.clone(),
        allowed_actions: state::allowed_actions(model.state()).into_iter().map(|action| action as i32).collect(),
        create_time: time(model.created_at),
        start_time: model.started_at.and_then(time),
        end_time: model.ended_at.and_then(time),
        update_time: time(model.updated_at),
        projected_end_time: None,
        etag: model.version.to_string(),
        audience_notice: model.audience_notice.clone(),
    }
}

/// The identifier that a field holds.
///
/// # Errors
/// `CampaignNotFound`; the contract has shown before that it is a UUID.
pub fn id(text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::CampaignNotFound)
}

/// A campaign with its numbers.
async fn show(conn: &impl sea_orm::ConnectionTrait, model: &Model) -> Result<Campaign, Error> {
    let counts = store::counts(conn, &[model.id]).await?;
    Ok(view(model, counts.get(&model.id).unwrap_or(&Counts::default())))
}

/// Serves `GetCampaign`.
///
/// # Errors
/// `CampaignNotFound`.
pub async fn get(app: &App, who: &Identity, campaign_id: &str) -> Result<Campaign, Error> {
    let model = store::find(app.db.conn(), who.workspace_id, id(campaign_id)?).await?;
    show(app.db.conn(), &model).await
}

/// Serves `StartCampaign`.
///
/// # Errors
/// Those of its contract.
pub async fn start(app: &App, who: Identity, request: StartCampaignRequest) -> Result<StartCampaignResponse, Error> {
    run(app, who, "StartCampaign", &request, &request.campaign_id, Change::Start, |campaign| StartCampaignResponse {
        campaign: Some(campaign),
    })
    .await
}

/// Serves `ResumeCampaign`.
///
/// # Errors
/// Those of its contract.
pub async fn resume(app: &App, who: Identity, request: ResumeCampaignRequest) -> Result<ResumeCampaignResponse, Error> {
    run(app, who, "ResumeCampaign", &request, &request.campaign_id, Change::Resume, |campaign| ResumeCampaignResponse {
        campaign: Some(campaign),
    })
    .await
}

/// Sets a campaign running, after checking account by account that it can work.
async fn run<Q, R>(
    app: &App,
    who: Identity,
    method: &'static str,
    request: &Q,
    campaign_id: &str,
    change: Change,
    answer: impl FnOnce(Campaign) -> R,
) -> Result<R, Error>
where
    Q: Message + WithRequestId,
    R: Message + Default,
{
    let slot = match app.requests.open(&who, method, request).await? {
        Opened::Repeat(answer) => return Ok(answer),
        Opened::Interrupted(slot) | Opened::New(slot) => slot,
    };
    let ready = ready(app, &who, campaign_id, change).await;
    let changed = match ready {
        Ok(()) => {
            let tx = app.db.begin().await?;
            make(app, tx, &who, &slot, campaign_id, change, answer).await
        }
        Err(error) => Err(error),
    };
    if changed.is_err() {
        // Refused, it may be made again.
        slot.forget(app.db.conn()).await?;
    }
    changed
}

/// Whether a campaign can be set running: it has something to do, and an account that can.
async fn ready(app: &App, who: &Identity, campaign_id: &str, change: Change) -> Result<(), Error> {
    let campaign_id = id(campaign_id)?;
    let model = store::find(app.db.conn(), who.workspace_id, campaign_id).await?;
    if !state::allows(model.state(), change) {
        return Err(Error::CampaignState(model.state()));
    }
    let counts = store::counts(app.db.conn(), &[campaign_id]).await?;
    let is_over = counts.get(&campaign_id).is_none_or(|counts| counts.left() == 0);
    // Whom it has begun with is seen through, also when he was listed meanwhile.
    if is_over || (change == Change::Start && !store::has_anybody(app.db.conn(), &model).await?) {
        return Err(Error::NoTargets);
    }
    readiness::ask(app, who.acting(), &model.chat).await?.able()
}

/// Serves `PauseCampaign`.
///
/// # Errors
/// Those of its contract.
pub async fn pause(app: &App, who: &Identity, request: &PauseCampaignRequest) -> Result<PauseCampaignResponse, Error> {
    stop(app, who, "PauseCampaign", request, &request.campaign_id, Change::Pause, |campaign| PauseCampaignResponse {
        campaign: Some(campaign),
    })
    .await
}

/// Serves `CancelCampaign`.
///
/// # Errors
/// Those of its contract.
pub async fn cancel(
    app: &App,
    who: &Identity,
    request: &CancelCampaignRequest,
) -> Result<CancelCampaignResponse, Error> {
    stop(app, who, "CancelCampaign", request, &request.campaign_id, Change::Cancel, |campaign| CancelCampaignResponse {
        campaign: Some(campaign),
    })
    .await
}

/// Keeps a campaign from going on: nothing has to be asked before.
async fn stop<Q, R>(
    app: &App,
    who: &Identity,
    method: &'static str,
    request: &Q,
    campaign_id: &str,
    change: Change,
    answer: impl FnOnce(Campaign) -> R,
) -> Result<R, Error>
where
    Q: Message + WithRequestId,
    R: Message + Default,
{
    let tx = app.db.begin().await?;
    match app.requests.claim(&*tx, who, method, request).await? {
        Claim::Repeat(answer) => Ok(answer),
        Claim::New(slot) => make(app, tx, who, &slot, campaign_id, change, answer).await,
    }
}

/// Makes a change of state, with its answer, in one transaction.
async fn make<R: Message>(
    app: &App,
    tx: Tx,
    who: &Identity,
    slot: &Slot,
    campaign_id: &str,
    change: Change,
    answer: impl FnOnce(Campaign) -> R,
) -> Result<R, Error> {
    let model = store::change(&*tx, who.workspace_id, id(campaign_id)?, change, app.now()).await?;
    let answer = answer(show(&*tx, &model).await?);
    slot.answer(&*tx, &answer).await?;
    tx.commit().await?;
    app.changed();
    Ok(answer)
}

/// Serves `DeleteCampaign`.
///
/// # Errors
/// Those of its contract.
pub async fn delete(
    app: &App,
    who: &Identity,
    request: &DeleteCampaignRequest,
) -> Result<DeleteCampaignResponse, Error> {
    let tx = app.db.begin().await?;
    let slot = match app.requests.claim(&*tx, who, "DeleteCampaign", request).await? {
        Claim::Repeat(answer) => return Ok(answer),
        Claim::New(slot) => slot,
    };
    store::delete(&*tx, who.workspace_id, id(&request.campaign_id)?).await?;
    let answer = DeleteCampaignResponse {};
    slot.answer(&*tx, &answer).await?;
    tx.commit().await?;
    app.changed();
    Ok(answer)
}

/// Serves `UpdateCampaign`: name, description and priority; the rest of the
/// contract's fields come later.
///
/// # Errors
/// Those of its contract.
pub async fn update(
    app: &App,
    who: &Identity,
    request: &UpdateCampaignRequest,
) -> Result<UpdateCampaignResponse, Error> {
    let mask = request.update_mask.clone().unwrap_or_default().paths;
    for path in &mask {
        match path.as_str() {
            "name" | "description" | "priority" => {}
            "chat" => return Err(Unserved::field("UpdateCampaign", "chat").into()),
            "template" => return Err(Unserved::field("UpdateCampaign", "template").into()),
            "options" => return Err(Unserved::field("UpdateCampaign", "options").into()),
            "schedule_time" => return Err(Unserved::field("UpdateCampaign", "schedule_time").into()),
            _ => return Err(Error::field("update_mask", format!("{} is no field that can be changed", clip(path)))),
        }
    }
    let has = |path: &str| mask.iter().any(|found| found == path);
    let name = clip(&request.name);
    if has("name") && name.is_empty() {
        return Err(Error::field("name", "is required"));
    }
    if request.description.contains('\0') {
        return Err(Error::field("description", "must not contain a NUL character"));
    }
    let tx = app.db.begin().await?;
    let slot = match app.requests.claim(&*tx, who, "UpdateCampaign", request).await? {
        Claim::Repeat(answer) => return Ok(answer),
        Claim::New(slot) => slot,
    };
    let campaign_id = id(&request.campaign_id)?;
    let old = store::find(&*tx, who.workspace_id, campaign_id).await?;
    if !request.etag.is_empty() && request.etag != old.version.to_string() {
        return Err(Error::Etag);
    }
    let priority = match request.priority() {
        _ if !has("priority") => old.priority,
        Priority::Unspecified => Priority::Normal as i32,
        priority => priority as i32,
    };
    let name = if has("name") { name } else { old.name };
    let description = if has("description") { request.description.clone() } else { old.description };
    let text = format!(
        "UPDATE campaigns SET name = $3, name_key = $4, description = $5, priority = $6, version = version + 1, \
         updated_at = $7 WHERE id = $1 AND workspace_id = $2 AND version = $8 AND state IN ({}) RETURNING *",
        state::sql_list(state::transition(Change::Update).from)
    );
    let values: [Value; 8] = [
        campaign_id.into(),
        who.workspace_id.into(),
        name.as_str().into(),
        name.to_lowercase().into(),
        description.into(),
        priority.into(),
        app.now().into(),
        old.version.into(),
    ];
    let Some(model) = Entity::find().from_raw_sql(sql(&*tx, text, values)).one(&*tx).await? else {
        let now = store::find(&*tx, who.workspace_id, campaign_id).await?.state();
        return Err(if state::allows(now, Change::Update) { Error::Etag } else { Error::CampaignState(now) });
    };
    let answer = UpdateCampaignResponse { campaign: Some(show(&*tx, &model).await?) };
    slot.answer(&*tx, &answer).await?;
    tx.commit().await?;
    app.changed();
    Ok(answer)
}

/// Serves `CheckReadiness`.
///
/// # Errors
/// Those of its contract.
pub async fn check_readiness(
    app: &App,
    who: &Identity,
    request: &CheckReadinessRequest,
) -> Result<CheckReadinessResponse, Error> {
    if request.kind() == CampaignKind::DirectMessage {
        return Err(Unserved::value("CheckReadiness", "kind", "DIRECT_MESSAGE").into());
    }
    let link = service_kit::address::parse_chat(&request.chat);
    let link = link.map_err(|error| Error::field("chat", error.to_string()))?;
    let readiness = readiness::ask(app, who.acting(), &link.chat.to_string()).await?;
    Ok(CheckReadinessResponse {
        ready: readiness.ready(),
        capacity_per_day: readiness.capacity_per_day(),
        chat: readiness.chat,
        accounts: readiness.accounts,
    })
}
