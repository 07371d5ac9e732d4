//! Parse tasks and campaigns.

use anyhow::Context as _;
use service_kit::clock::new_id;
use service_kit::identity::Acting;
use telegram_emulator::{Fault, FaultFilter, FaultKind, Release, Standing};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::invite::v1 as invite;
use tgmesh_proto::parsing::v1 as parsing;

use super::Rows;
use crate::common::play::CHAT;
use crate::common::{PATIENCE, World};

pub async fn provoke(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    tasks(world, rows).await.context("parse tasks")?;
    campaigns(world, rows).await.context("campaigns")?;
    busy(world, rows).await.context("a campaign that is busy")
}

async fn tasks(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    let mut client = world.parsing(world.owner);
    let parse_task_id = world.id();
    rows.row(
        ErrorReason::ParseTaskNotFound,
        client.get_parse_task(parsing::GetParseTaskRequest { parse_task_id }).await,
    );
    let contact_id = world.id();
    rows.row(ErrorReason::ContactNotFound, client.get_contact(parsing::GetContactRequest { contact_id }).await);
    world.connect(world.owner, 13).await?;
    let parse_task_id = world.parse(world.owner, "@destination_group").await?;
    let request = parsing::PauseParseTaskRequest { request_id: world.id(), parse_task_id };
    rows.row(ErrorReason::ParseTaskStateWrong, client.pause_parse_task(request).await);
    // Each source is answered for itself: nobody writes the posts of a channel.
    let request = parsing::CreateParseTasksRequest {
        request_id: world.id(),
        sources: vec!["@news_channel".to_owned()],
        kind: parsing::ParseKind::MessageAuthors.into(),
        validate_only: true,
        ..Default::default()
    };
    let previews = client.create_parse_tasks(request).await?.into_inner().previews;
    rows.named(ErrorReason::ChatKindUnsuitable, &previews.first().context("no preview")?.failure_reason);
    Ok(())
}

async fn campaigns(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    let mut client = world.invite(world.owner);
    let campaign_id = world.id();
    rows.row(ErrorReason::CampaignNotFound, client.get_campaign(invite::GetCampaignRequest { campaign_id }).await);
    let source = Some(invite::audience::Source::AudienceId(world.id()));
    let audience = Some(invite::Audience { source, limit: 0, ..Default::default() });
    let request = invite::CreateCampaignRequest { audience, ..world.campaign_of(&[]) };
    rows.row(ErrorReason::AudienceNotFound, client.create_campaign(request).await);

    let campaign_id = world.create_campaign(world.owner, &["@target_friend"]).await?;
    let request =
        invite::ListExecutionsRequest { campaign_id: campaign_id.clone(), target_id: world.id(), ..Default::default() };
    rows.row(ErrorReason::TargetNotFound, client.list_executions(request).await);
    let request = invite::PauseCampaignRequest { request_id: world.id(), campaign_id };
    rows.row(ErrorReason::CampaignStateWrong, client.pause_campaign(request).await);

    // All of the audience must not be contacted any more.
    let created = client.create_campaign(world.campaign_of(&["@target_kicked"])).await?.into_inner();
    let request = invite::AddDoNotContactRequest {
        request_id: world.id(),
        people: vec!["@target_kicked".to_owned()],
        reason: String::new(),
    };
    client.add_do_not_contact(request).await?;
    let campaign_id = created.campaign.context("no campaign")?.id;
    let request = invite::StartCampaignRequest { request_id: world.id(), campaign_id };
    rows.row(ErrorReason::NoTargets, client.start_campaign(request).await);

    let chat = "-1000000000509".to_owned();
    let request = invite::CreateCampaignRequest { chat, ..world.campaign_of(&["@target_friend"]) };
    rows.row(ErrorReason::ChatNotVisible, client.create_campaign(request).await);

    // The only account of the workspace sees the chat, and may not invite there.
    world.connect(world.stranger, 74).await?;
    let mut client = world.invite(world.stranger);
    let chat = "@weak_admins".to_owned();
    let request = invite::CreateCampaignRequest { chat, ..world.campaign_of(&["@target_friend"]) };
    match client.create_campaign(request).await {
        Ok(created) => {
            let campaign_id = created.into_inner().campaign.context("no campaign")?.id;
            let request = invite::StartCampaignRequest { request_id: world.id(), campaign_id };
            rows.row(ErrorReason::NoAbleAccount, client.start_campaign(request).await);
        }
        refused => rows.row(ErrorReason::NoAbleAccount, refused),
    }

    use invite::upload_audience_request::Part;
    let header = invite::UploadHeader { request_id: world.id(), file_name: format!("{CHAT}.csv"), format: 0 };
    let parts = [Part::Header(header), Part::Data(vec![0; 4_096])];
    let parts = parts.map(|part| invite::UploadAudienceRequest { part: Some(part) });
    rows.row(ErrorReason::FileInvalid, client.upload_audience(tokio_stream::iter(parts)).await);
    Ok(())
}

/// A campaign that is given up while Telegram has not answered yet for one of its targets.
async fn busy(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    let owner = Acting { user_id: new_id(&*world.clock), workspace_id: new_id(&*world.clock) };
    world.handle().set_standing(601, 75, Standing::Member)?;
    world.connect(owner, 75).await?;
    let filter =
        FaultFilter { account: Some(75), method: Some("channels.inviteToChannel".to_owned()), ..Default::default() };
    world.handle().inject_fault(Fault::once(filter, FaultKind::HoldBeforeEffect));
    let campaign_id = world.create_campaign(owner, &["@target_private"]).await?;
    world.start_campaign(owner, &campaign_id).await?;
    let held = tokio::time::timeout(PATIENCE, world.handle().next_holds(0)).await.context("nothing was held")?;
    let mut client = world.invite(owner);
    let (request_id, id) = (world.id(), campaign_id.clone());
    client.cancel_campaign(invite::CancelCampaignRequest { request_id, campaign_id: id }).await?;
    let request = invite::DeleteCampaignRequest { request_id: world.id(), campaign_id };
    rows.row(ErrorReason::CampaignBusy, client.delete_campaign(request).await);
    for hold in held {
        world.handle().release_hold(hold.id, Release::Continue)?;
    }
    Ok(())
}
