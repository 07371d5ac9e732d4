//! Campaigns, targets, and those who must not be contacted.

use prost_reflect::prost::Message as _;
use tgmesh_proto::invite::v1 as invite;

use super::{Recipe, Stage, about, everything};
use crate::common::play::CHAT;

pub(super) async fn campaigns(stage: &Stage, name: &str) -> anyhow::Result<Option<Recipe>> {
    let world = &stage.world;
    let request_id = world.id();
    let repeat = request_id.clone();
    let (id, changing) = (stage.campaign.as_str(), stage.changing_campaign.as_str());
    let (campaign_id, changing_id) = (stage.campaign.clone(), stage.changing_campaign.clone());
    Ok(Some(match name {
        "CreateCampaign" => {
            let source = invite::audience::Source::ParseTaskId(stage.task.clone());
            let request = invite::CreateCampaignRequest {
                audience: Some(invite::Audience { source: Some(source), limit: 1, ..Default::default() }),
                ..world.campaign_of(&[])
            };
            about(&stage.task, &request.request_id, &request)
        }
        "GetCampaign" => about(id, "", &invite::GetCampaignRequest { campaign_id }),
        "ListCampaigns" => everything(true, &invite::ListCampaignsRequest::default()),
        "UpdateCampaign" => {
            let request = invite::UpdateCampaignRequest {
                request_id,
                campaign_id,
                name: "another name".to_owned(),
                update_mask: Some(prost_types::FieldMask { paths: vec!["name".to_owned()] }),
                ..Default::default()
            };
            about(id, &repeat, &request)
        }
        "DeleteCampaign" => {
            let campaign_id = world.create_campaign(world.owner, &["@target_left"]).await?;
            about(&campaign_id.clone(), &repeat, &invite::DeleteCampaignRequest { request_id, campaign_id })
        }
        "StartCampaign" => {
            about(changing, &repeat, &invite::StartCampaignRequest { request_id, campaign_id: changing_id })
        }
        "PauseCampaign" => {
            about(changing, &repeat, &invite::PauseCampaignRequest { request_id, campaign_id: changing_id })
        }
        "ResumeCampaign" => {
            about(changing, &repeat, &invite::ResumeCampaignRequest { request_id, campaign_id: changing_id })
        }
        "CancelCampaign" => {
            about(changing, &repeat, &invite::CancelCampaignRequest { request_id, campaign_id: changing_id })
        }
        "WatchCampaign" => about(id, "", &invite::WatchCampaignRequest { campaign_id, resume_token: String::new() }),
        "CheckReadiness" => {
            let kind = invite::CampaignKind::InviteToChat.into();
            everything(true, &invite::CheckReadinessRequest { kind, chat: CHAT.to_owned() })
        }
        "UploadAudience" => {
            let header = invite::UploadHeader { request_id, file_name: "people.csv".to_owned(), format: 0 };
            let part = |part| invite::UploadAudienceRequest { part: Some(part) }.encode_to_vec();
            let requests = vec![
                part(invite::upload_audience_request::Part::Header(header)),
                part(invite::upload_audience_request::Part::Data(b"username\nsomebody_here\n".to_vec())),
            ];
            Recipe { requests, ..everything(false, &()) }
        }
        "ValidateAudience" => {
            let header = invite::ValidateHeader { file_name: "people.csv".to_owned(), format: 0 };
            let part = |part| invite::ValidateAudienceRequest { part: Some(part) }.encode_to_vec();
            let requests = vec![
                part(invite::validate_audience_request::Part::Header(header)),
                part(invite::validate_audience_request::Part::Data(b"username\nsomebody_here\n".to_vec())),
            ];
            Recipe { requests, ..everything(false, &()) }
        }
        "ListTargets" => about(id, "", &invite::ListTargetsRequest { campaign_id, ..Default::default() }),
        "ListExecutions" => about(id, "", &invite::ListExecutionsRequest { campaign_id, ..Default::default() }),
        "GetReport" => about(id, "", &invite::GetReportRequest { campaign_id }),
        "TestInvite" => {
            let account_id = world.connect(world.owner, 64).await?;
            let (chat, user) = (CHAT.to_owned(), "@target_premium".to_owned());
            about(&account_id.clone(), &repeat, &invite::TestInviteRequest { request_id, chat, user, account_id })
        }
        "ListDoNotContact" => everything(true, &invite::ListDoNotContactRequest::default()),
        "AddDoNotContact" => {
            let people = vec!["@nobody_else".to_owned()];
            everything(false, &invite::AddDoNotContactRequest { request_id, people, reason: String::new() })
        }
        "RemoveDoNotContact" => {
            let entry_ids = vec![stage.entry.clone()];
            about(&stage.entry, &repeat, &invite::RemoveDoNotContactRequest { request_id, entry_ids })
        }
        _ => return Ok(None),
    }))
}
