//! Creates a campaign with its audience, or nothing.

use std::sync::Arc;

use sea_orm::{ActiveModelTrait as _, EntityTrait as _, IntoActiveModel as _};
use service_kit::address::parse_chat;
use service_kit::identity::Identity;
use service_kit::requests::{Opened, Slot};
use service_kit::unserved::Unserved;
use tgmesh_proto::invite::v1::audience::Source;
use tgmesh_proto::invite::v1::campaign::State;
use tgmesh_proto::invite::v1::{
    Audience, CampaignKind, CampaignOptions, ConsentBasis, CreateCampaignRequest, CreateCampaignResponse, ImportReport,
};
use tgmesh_proto::lease::v1::Priority;
use tgmesh_proto::telegram::v1::Chat;
use uuid::Uuid;

use super::entity::{Entity, Model};
use super::progress::Counts;
use super::{readiness, view};
use crate::app::App;
use crate::audience::import::{Import, Kind};
use crate::audience::{store as audiences, task};
use crate::error::Error;
use crate::targets::{Digits, Person, clip};

const METHOD: &str = "CreateCampaign";

/// Serves `CreateCampaign`.
///
/// # Errors
/// Those of its contract.
pub async fn create(
    app: Arc<App>,
    who: Identity,
    request: CreateCampaignRequest,
) -> Result<CreateCampaignResponse, Error> {
    let chat = check(&request)?;
    if request.validate_only {
        return build(&app, &who, &request, &chat, None).await;
    }
    // A process that died while it served the call left nothing that is seen:
    // the answer is written with the campaign.
    let slot = match app.requests.open(&who, METHOD, &request).await? {
        Opened::Repeat(answer) => return Ok(answer),
        Opened::Interrupted(slot) | Opened::New(slot) => slot,
    };
    let built = build(&app, &who, &request, &chat, Some(&slot)).await;
    if built.is_err() {
        slot.forget(app.db.conn()).await?;
    }
    built
}

/// Refuses what is wrong or not served yet; answers the chat's normal form.
fn check(request: &CreateCampaignRequest) -> Result<String, Error> {
    if request.kind() == CampaignKind::DirectMessage {
        return Err(Unserved::value(METHOD, "kind", "DIRECT_MESSAGE").into());
    }
    let CampaignOptions { add_contact, fallback_message, max_per_day, quiet_hours, stop_rules } =
        request.options.clone().unwrap_or_default();
    for (set, field) in [
        (add_contact, "options.add_contact"),
        (fallback_message, "options.fallback_message"),
        (max_per_day != 0, "options.max_per_day"),
        (quiet_hours.is_some(), "options.quiet_hours"),
        (stop_rules.is_some(), "options.stop_rules"),
        (request.schedule_time.is_some(), "schedule_time"),
        (!request.template.is_empty(), "template"),
    ] {
        if set {
            return Err(Unserved::field(METHOD, field).into());
        }
    }
    if request.chat.trim().is_empty() {
        return Err(Error::field("chat", "is required"));
    }
    let link = parse_chat(&request.chat).map_err(|error| Error::field("chat", error.to_string()))?;
    if !request.name.is_empty() && clip(&request.name).is_empty() {
        return Err(Error::field("name", "must have a character that can be seen"));
    }
    if request.description.contains('\0') {
        return Err(Error::field("description", "must not contain a NUL character"));
    }
    if request.consent_basis() == ConsentBasis::Other && request.description.trim().is_empty() {
        return Err(Error::field("description", "must name the basis of the consent"));
    }
    Ok(link.chat.to_string())
}

async fn build(
    app: &Arc<App>,
    who: &Identity,
    request: &CreateCampaignRequest,
    chat: &str,
    slot: Option<&Slot>,
) -> Result<CreateCampaignResponse, Error> {
    let audience = request.audience.clone().unwrap_or_default();
    let source = source(&audience)?;
    let readiness = readiness::ask(app, who.acting(), chat).await?;
    let seen = readiness.visible()?;
    let kind = Kind::Targets { chat_id: seen.chat_id, source };
    let limit = if audience.limit > 0 { i64::from(audience.limit) } else { i64::MAX };
    let mut import = Import::begin(app.clone(), who.workspace_id, kind, 0).await?.limited(limit);
    let filled = fill(app, who, audience, &mut import).await;
    let filled = filled.and_then(|notice| {
        let model = Model { audience_notice: notice, ..model(app, who, request, chat, seen, import.id) };
        if import.report.accepted > 0 { Ok(model) } else { Err(nobody(request, &import.report)) }
    });
    let answer = match (filled, slot) {
        (Ok(model), Some(slot)) => save(app, model, &import, slot).await,
        (Ok(model), None) => Ok(preview(&model, &import)),
        (Err(error), _) => Err(error),
    };
    if (answer.is_err() || slot.is_none())
        && let Err(error) = import.discard().await
    {
        // The sweeper comes by later.
        tracing::warn!(%error, "staged rows could not be deleted");
    }
    answer
}

/// The word that targets keep about where they came from.
fn source(audience: &Audience) -> Result<String, Error> {
    match &audience.source {
        Some(Source::ParseTaskId(id)) => Ok(format!("parse:{id}")),
        Some(Source::AudienceId(id)) => Ok(format!("upload:{id}")),
        Some(Source::Inline(_)) => Ok("inline".to_owned()),
        None => Err(Error::field("audience", "one of the choices is required")),
    }
}

/// Why an audience has nobody in it: a campaign without targets could never start.
fn nobody(request: &CreateCampaignRequest, report: &ImportReport) -> Error {
    let is_list = matches!(request.audience, Some(Audience { source: Some(Source::Inline(_)), .. }));
    let mut problems = Vec::new();
    for error in &report.errors {
        problems.push(if is_list {
            (format!("audience.inline.entries[{}]", error.line - 1), error.problem.clone())
        } else {
            ("audience".to_owned(), format!("line {} {}", error.line, error.problem))
        });
    }
    for (count, what) in [
        (report.contacted_before, "asked into this chat before"),
        (report.do_not_contact, "on the do-not-contact list"),
    ] {
        if count > 0 {
            problems.push(("audience".to_owned(), format!("{count} of {} {what}", report.read)));
        }
    }
    if problems.is_empty() {
        problems.push(("audience".to_owned(), "has nobody in it".to_owned()));
    }
    Error::NobodyAccepted(problems)
}

/// Brings the audience in. Answers what it lacks, in one line, when it does.
async fn fill(app: &Arc<App>, who: &Identity, audience: Audience, import: &mut Import) -> Result<String, Error> {
    match audience.source {
        Some(Source::Inline(inline)) => {
            let rows = inline.entries.iter().zip(1..).map(|(entry, line)| (line, Person::parse(entry, Digits::Phone)));
            import.add(rows.collect()).await?;
        }
        Some(Source::AudienceId(id)) => fill_from_upload(app, who, &id, import).await?,
        Some(Source::ParseTaskId(id)) => {
            return task::fill(app, who.acting(), &id, audience.accept_partial, import).await;
        }
        None => {}
    }
    Ok(String::new())
}

async fn fill_from_upload(app: &App, who: &Identity, id: &str, import: &mut Import) -> Result<(), Error> {
    use prost::Message as _;
    let id = Uuid::parse_str(id).map_err(|_| Error::AudienceNotFound)?;
    let upload = audiences::find(app.db.conn(), who.workspace_id, id, app.now()).await?;
    // What the upload refused was read too; of the rows that it kept, all is
    // looked at again: lists have changed, and the chat's history comes in.
    let report = ImportReport::decode(upload.report.as_slice()).map_err(|_| Error::Internal("an upload's report"))?;
    let kept = audiences::count(app.db.conn(), id).await?;
    let duplicates = report.read - report.rejected - kept;
    import.report = ImportReport {
        read: report.read,
        rejected: report.rejected,
        errors: report.errors,
        duplicates,
        ..Default::default()
    };
    let mut after = -1;
    loop {
        // No rows, too, once enough were accepted.
        let (people, last) = audiences::rows(app.db.conn(), id, after, import.room() as u64).await?;
        if people.is_empty() {
            return Ok(());
        }
        import.write(people).await?;
        after = last;
    }
}

fn model(app: &App, who: &Identity, request: &CreateCampaignRequest, chat: &str, seen: &Chat, id: Uuid) -> Model {
    let name = if request.name.is_empty() { clip(&seen.title) } else { clip(&request.name) };
    let name = if name.is_empty() { chat.to_owned() } else { name };
    let priority = match request.priority() {
        Priority::Unspecified => Priority::Normal,
        priority => priority,
    };
    let now = app.now();
    Model {
        id,
        workspace_id: who.workspace_id,
        user_id: who.user_id,
        name_key: name.to_lowercase(),
        name,
        kind: request.kind,
        chat: chat.to_owned(),
        chat_title: clip(&seen.title),
        chat_id: seen.chat_id,
        description: request.description.clone(),
        consent_basis: request.consent_basis,
        priority: priority as i32,
        state: State::Draft as i32,
        waiting: None,
        failure_reason: String::new(),
        failure_detail: String::new(),
        audience_notice: String::new(),
        targets: 0,
        done: 0,
        progress: 0,
        version: 1,
        created_at: now,
        updated_at: now,
        started_at: None,
        ended_at: None,
    }
}

async fn save(app: &App, model: Model, import: &Import, slot: &Slot) -> Result<CreateCampaignResponse, Error> {
    let model = Model { targets: import.report.accepted, ..model };
    let tx = app.db.begin().await?;
    import.finish(&*tx).await?;
    Entity::insert(model.clone().into_active_model().reset_all()).exec_without_returning(&*tx).await?;
    let counts = Counts::untouched(model.targets);
    let answer =
        CreateCampaignResponse { campaign: Some(view(&model, &counts)), import_report: Some(import.report.clone()) };
    slot.answer(&*tx, &answer).await?;
    tx.commit().await?;
    app.changed();
    Ok(answer)
}

/// What would be created: without id, since nothing was.
fn preview(model: &Model, import: &Import) -> CreateCampaignResponse {
    let counts = Counts::untouched(import.report.accepted);
    let mut campaign = view(model, &counts);
    (campaign.id, campaign.etag, campaign.allowed_actions) = (String::new(), String::new(), Vec::new());
    CreateCampaignResponse { campaign: Some(campaign), import_report: Some(import.report.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tgmesh_proto::invite::v1::{QuietHours, StopRules};

    fn request() -> CreateCampaignRequest {
        CreateCampaignRequest {
            chat: "https://t.me/RustBerlin".into(),
            kind: CampaignKind::InviteToChat as i32,
            ..Default::default()
        }
    }

    #[test]
    fn the_chat_is_kept_in_its_normal_form() {
        assert_eq!(check(&request()).unwrap(), "@rustberlin");
        for chat in ["", " ", "no chat at all", "https://example.com/x"] {
            let request = CreateCampaignRequest { chat: chat.into(), ..request() };
            assert!(matches!(check(&request), Err(Error::Field { field: "chat", .. })), "{chat}");
        }
    }

    #[test]
    fn nothing_is_accepted_and_ignored() {
        let options = |options| CreateCampaignRequest { options: Some(options), ..request() };
        for refused in [
            CreateCampaignRequest { kind: CampaignKind::DirectMessage as i32, ..request() },
            CreateCampaignRequest { template: "hello".into(), ..request() },
            CreateCampaignRequest { schedule_time: Some(prost_types::Timestamp::default()), ..request() },
            options(CampaignOptions { add_contact: true, ..Default::default() }),
            options(CampaignOptions { fallback_message: true, ..Default::default() }),
            options(CampaignOptions { max_per_day: 1, ..Default::default() }),
            options(CampaignOptions { quiet_hours: Some(QuietHours::default()), ..Default::default() }),
            options(CampaignOptions { stop_rules: Some(StopRules::default()), ..Default::default() }),
        ] {
            assert!(matches!(check(&refused), Err(Error::NotImplemented(_))), "{refused:?}");
        }
        assert!(check(&options(CampaignOptions::default())).is_ok());
        let mut other = CreateCampaignRequest { consent_basis: ConsentBasis::Other as i32, ..request() };
        assert!(matches!(check(&other), Err(Error::Field { field: "description", .. })));
        other.description = "they asked at the fair".into();
        assert!(check(&other).is_ok());
    }
}
