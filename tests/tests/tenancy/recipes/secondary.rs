//! Ids that stand beside the one that a call is about: a stranger names his own thing, and in it an owner's.

use anyhow::Context as _;
use prost_reflect::prost::Message;
use tgmesh_proto::Caller;
use tgmesh_proto::invite::v1 as invite;
use tgmesh_proto::lease::v1 as lease;
use tgmesh_proto::telegram::v1 as telegram;
use tgmesh_proto::telegram::v1::telegram_service_client::TelegramServiceClient;

use super::Stage;
use crate::common::play::{CHAT, key};

/// A call with such an id.
#[derive(Debug, Clone)]
pub struct Secondary {
    /// Where it stands.
    pub path: &'static str,
    /// Who calls.
    pub caller: Caller,
    /// The owner's call.
    pub by_owner: Vec<Vec<u8>>,
    /// A stranger's.
    pub by_stranger: Vec<Vec<u8>>,
    /// The id, which is the owner's.
    pub id: String,
    /// The id of the request, when it has one.
    pub request_id: Option<String>,
    /// Whether the owner's answer depends on it.
    pub matters: bool,
}

impl Secondary {
    fn of_no_matter(self) -> Self {
        Self { matters: false, ..self }
    }
}

/// What a stranger has, so that his calls get as far as the id in them.
#[derive(Debug, Clone)]
pub struct Strangers {
    lease: lease::Lease,
    campaign: String,
}

impl Strangers {
    /// Makes it.
    pub async fn set(stage: &Stage) -> anyhow::Result<Self> {
        let world = &stage.world;
        for user in [12, 13] {
            world.handle().set_standing(601, user, telegram_emulator::Standing::Member)?;
        }
        let account = world.connect(world.stranger, 12).await?;
        let lease = world.lease(Caller::Invite, world.stranger, &account, lease::Purpose::Invite).await?;
        // One that is free, for what looks for one.
        world.connect(world.stranger, 13).await?;
        let campaign = world.create_campaign(world.stranger, &["@target_willing"]).await?;
        Ok(Self { lease, campaign })
    }
}

fn by<M: Message>(
    path: &'static str,
    caller: Caller,
    id: &str,
    request_id: &str,
    [owner, stranger]: [&M; 2],
) -> Secondary {
    Secondary {
        path,
        caller,
        by_owner: vec![owner.encode_to_vec()],
        by_stranger: vec![stranger.encode_to_vec()],
        id: id.to_owned(),
        request_id: (!request_id.is_empty()).then(|| request_id.to_owned()),
        matters: true,
    }
}

/// The calls of a method with such ids.
pub async fn secondary(stage: &Stage, strangers: &Strangers, name: &str) -> anyhow::Result<Vec<Secondary>> {
    let world = &stage.world;
    let request_id = world.id();
    let repeat = request_id.clone();
    Ok(match name {
        "CreateCampaign" => {
            use invite::audience::Source;
            let uploaded = upload(stage).await?;
            let mut found = Vec::new();
            for (path, id, source) in [
                ("audience.parse_task_id", &stage.task, Source::ParseTaskId(stage.task.clone())),
                ("audience.audience_id", &uploaded, Source::AudienceId(uploaded.clone())),
            ] {
                let audience = Some(invite::Audience { source: Some(source), limit: 1, ..Default::default() });
                let request = invite::CreateCampaignRequest { audience, ..world.campaign_of(&[]) };
                found.push(by(path, Caller::User, id, &request.request_id, [&request, &request]));
            }
            found
        }
        "ListExecutions" => {
            let campaign_id = stage.campaign.clone();
            let request = invite::ListTargetsRequest { campaign_id, ..Default::default() };
            let targets = world.invite(world.owner).list_targets(request).await?.into_inner().targets;
            let target = &targets.first().context("no target")?.id;
            let of = |campaign: &str| invite::ListExecutionsRequest {
                campaign_id: campaign.to_owned(),
                target_id: target.clone(),
                ..Default::default()
            };
            vec![by("target_id", Caller::User, target, "", [&of(&stage.campaign), &of(&strangers.campaign)])]
        }
        "AcquireLease" => {
            let request = lease::AcquireLeaseRequest {
                request_id,
                purpose: lease::Purpose::Message.into(),
                any_of_account_ids: vec![world.id()],
                none_of_account_ids: vec![stage.leasable.clone()],
                holder: "the walker".to_owned(),
                ..Default::default()
            };
            // It names none of those that are asked for, so it makes no difference to anybody.
            let both = [&request, &request];
            vec![by("none_of_account_ids", Caller::Invite, &stage.leasable, &repeat, both).of_no_matter()]
        }
        "ListLeases" => {
            let account_id = stage.lease.account_id.clone();
            let request = lease::ListLeasesRequest { account_id: account_id.clone(), ..Default::default() };
            vec![by("account_id", Caller::User, &account_id, "", [&request, &request])]
        }
        "GetChatRights" => {
            let request = telegram::GetChatRightsRequest {
                chat: CHAT.to_owned(),
                purpose: lease::Purpose::Invite.into(),
                account_ids: vec![stage.account.clone()],
            };
            vec![by("account_ids", Caller::Invite, &stage.account, "", [&request, &request])]
        }
        "ReconcileInvite" => {
            let of = |held: &lease::Lease, invite: &str, user| telegram::ReconcileInviteRequest {
                lease: key(held),
                invite_request_id: invite.to_owned(),
                chat: CHAT.to_owned(),
                user,
            };
            let user = || super::telegram::user("target_left");
            let invited = &stage.invited;
            let mut found = vec![by(
                "invite_request_id",
                Caller::Invite,
                invited,
                "",
                [&of(&stage.lease, invited, user()), &of(&strangers.lease, invited, user())],
            )];
            let (account, seen) = reference(stage).await?;
            let unused = world.id();
            let both = [&of(&stage.lease, invited, seen.clone()), &of(&strangers.lease, &unused, seen)];
            // What became of an invite is known without its user.
            found.push(by("user.peer_reference.account_id", Caller::Invite, &account, "", both).of_no_matter());
            found
        }
        "InviteToChat" => {
            let (account, seen) = reference(stage).await?;
            let of = |held: &lease::Lease| telegram::InviteToChatRequest {
                request_id: request_id.clone(),
                lease: key(held),
                chat: CHAT.to_owned(),
                user: seen.clone(),
            };
            let both = [&of(&stage.lease), &of(&strangers.lease)];
            vec![by("user.peer_reference.account_id", Caller::Invite, &account, &repeat, both)]
        }
        "SendMessage" => {
            let (account, seen) = reference(stage).await?;
            let of = |held: &lease::Lease| telegram::SendMessageRequest {
                request_id: request_id.clone(),
                lease: key(held),
                text: "a note".to_owned(),
                peer: seen.clone().map(telegram::send_message_request::Peer::User),
            };
            let both = [&of(&stage.lease), &of(&strangers.lease)];
            vec![by("user.peer_reference.account_id", Caller::Invite, &account, &repeat, both)]
        }
        "AddContact" => {
            let (account, seen) = reference(stage).await?;
            let of = |held: &lease::Lease| telegram::AddContactRequest {
                request_id: request_id.clone(),
                lease: key(held),
                user: seen.clone(),
                first_name: "Somebody".to_owned(),
                last_name: String::new(),
            };
            let both = [&of(&stage.lease), &of(&strangers.lease)];
            vec![by("user.peer_reference.account_id", Caller::Invite, &account, &repeat, both)]
        }
        _ => Vec::new(),
    })
}

/// An audience of the owner's.
async fn upload(stage: &Stage) -> anyhow::Result<String> {
    use invite::upload_audience_request::Part;
    let world = &stage.world;
    let header = invite::UploadHeader { request_id: world.id(), file_name: "people.csv".to_owned(), format: 0 };
    let parts = [Part::Header(header), Part::Data(b"username\nsomebody_here\n".to_vec())];
    let parts = parts.map(|part| invite::UploadAudienceRequest { part: Some(part) });
    Ok(world.invite(world.owner).upload_audience(tokio_stream::iter(parts)).await?.into_inner().audience_id)
}

/// Somebody whom an account of the owner's has seen: the account, and the address.
async fn reference(stage: &Stage) -> anyhow::Result<(String, Option<telegram::UserAddress>)> {
    let world = &stage.world;
    let mut client = TelegramServiceClient::new(world.channel("integration", Caller::Invite, world.owner));
    let request = telegram::ResolvePeerRequest { lease: key(&stage.lease), peer: "@target_friend".to_owned() };
    let peer = client.resolve_peer(request).await?.into_inner().peer.context("no peer")?;
    let telegram::resolve_peer_response::Peer::Person(person) = peer else { anyhow::bail!("no person") };
    let reference = person.peer_reference.context("no reference")?;
    let account = reference.account_id.clone();
    let address = telegram::user_address::Address::PeerReference(reference);
    Ok((account, Some(telegram::UserAddress { address: Some(address) })))
}
