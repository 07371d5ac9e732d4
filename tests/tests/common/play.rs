//! What a user does, in a line each.

use anyhow::{Context as _, bail, ensure};
use service_kit::client::UserChannel;
use service_kit::identity::Acting;
use tgmesh_proto::Caller;
use tgmesh_proto::integration::v1 as integration;
use tgmesh_proto::integration::v1::integration_service_client::IntegrationServiceClient;
use tgmesh_proto::invite::v1 as invite;
use tgmesh_proto::invite::v1::invite_service_client::InviteServiceClient;
use tgmesh_proto::lease::v1 as lease;
use tgmesh_proto::lease::v1::lease_service_client::LeaseServiceClient;
use tgmesh_proto::parsing::v1 as parsing;
use tgmesh_proto::parsing::v1::parsing_service_client::ParsingServiceClient;
use tgmesh_proto::telegram::v1::SpeedProfile;

pub use super::sessions::telethon;
use super::{PATIENCE, World, phone};

/// The chat that all of [`super::people`] are in.
pub const CHAT: &str = "@our_group";

impl World {
    /// The client of a user.
    pub fn integration(&self, acting: Acting) -> IntegrationServiceClient<UserChannel> {
        IntegrationServiceClient::new(self.channel("integration", Caller::User, acting))
    }

    /// The client of a user.
    pub fn parsing(&self, acting: Acting) -> ParsingServiceClient<UserChannel> {
        ParsingServiceClient::new(self.channel("parsing", Caller::User, acting))
    }

    /// The client of a user.
    pub fn invite(&self, acting: Acting) -> InviteServiceClient<UserChannel> {
        InviteServiceClient::new(self.channel("invite", Caller::User, acting))
    }

    /// Connects a user of the scenario by a session; the account's id.
    pub async fn connect(&self, acting: Acting, user: i64) -> anyhow::Result<String> {
        let mut key = [0; 256];
        for part in key.chunks_mut(32) {
            part.copy_from_slice(&service_kit::identity::random_seed());
        }
        self.connect_by(acting, user, key).await
    }

    /// Connects a user of the scenario by a session with this key; the account's id.
    pub async fn connect_by(&self, acting: Acting, user: i64, key: [u8; 256]) -> anyhow::Result<String> {
        self.handle().add_key(key, 2, Some(user));
        let request = integration::ImportSessionsRequest { request_id: self.id(), sessions: telethon(&key) };
        let answer = self.integration(acting).import_sessions(request).await?.into_inner();
        let result = answer.results.first().context("no result")?;
        Ok(result.account.as_ref().with_context(|| format!("not connected: {}", result.detail))?.id.clone())
    }

    /// Starts a login by phone.
    pub async fn start_login(&self, acting: Acting, user: i64) -> anyhow::Result<integration::Login> {
        let request = integration::StartPhoneLoginRequest { request_id: self.id(), phone: phone(user) };
        self.integration(acting).start_phone_login(request).await?.into_inner().login.context("no login")
    }

    /// Enters the code of a login.
    pub async fn enter_code(&self, acting: Acting, user: i64, login_id: &str) -> anyhow::Result<integration::Login> {
        let code = self.handle().login_code(&phone(user))?;
        let request =
            integration::SubmitLoginCodeRequest { request_id: self.id(), login_id: login_id.to_owned(), code };
        self.integration(acting).submit_login_code(request).await?.into_inner().login.context("no login")
    }

    /// Begins to parse; the task's id.
    pub async fn start_parse(&self, acting: Acting, chat: &str, speed: SpeedProfile) -> anyhow::Result<String> {
        let request = parsing::CreateParseTasksRequest {
            request_id: self.id(),
            sources: vec![chat.to_owned()],
            kind: parsing::ParseKind::Members.into(),
            speed: speed.into(),
            ..Default::default()
        };
        let created = self.parsing(acting).create_parse_tasks(request).await?.into_inner();
        Ok(created.parse_tasks.first().context("no task")?.id.clone())
    }

    /// Parses the members of a chat; the id of the completed task.
    pub async fn parse(&self, acting: Acting, chat: &str) -> anyhow::Result<String> {
        let id = self.start_parse(acting, chat, SpeedProfile::Fast).await?;
        let request = parsing::WatchParseTaskRequest { parse_task_id: id.clone(), resume_token: String::new() };
        let mut watch = self.parsing(acting).watch_parse_task(request).await?.into_inner();
        let watched = async {
            while let Some(update) = watch.message().await? {
                let task = update.parse_task.context("no task")?;
                match task.state() {
                    parsing::parse_task::State::Completed => return Ok(()),
                    parsing::parse_task::State::Failed => bail!("{}: {}", task.failure_reason, task.failure_detail),
                    _ => {}
                }
            }
            bail!("the watch ended early")
        };
        tokio::time::timeout(PATIENCE, watched).await.context("it took too long")??;
        Ok(id)
    }

    /// The request for a campaign that invites these into [`CHAT`].
    pub fn campaign_of(&self, people: &[&str]) -> invite::CreateCampaignRequest {
        let entries = people.iter().map(|person| (*person).to_owned()).collect();
        let source = invite::audience::Source::Inline(invite::InlineAudience { entries });
        invite::CreateCampaignRequest {
            request_id: self.id(),
            kind: invite::CampaignKind::InviteToChat.into(),
            chat: CHAT.to_owned(),
            audience: Some(invite::Audience { source: Some(source), limit: 0, ..Default::default() }),
            consent_basis: invite::ConsentBasis::OptIn.into(),
            ..Default::default()
        }
    }

    /// Creates a campaign that invites these into [`CHAT`]; its id.
    pub async fn create_campaign(&self, acting: Acting, people: &[&str]) -> anyhow::Result<String> {
        let request = self.campaign_of(people);
        let created = self.invite(acting).create_campaign(request).await?.into_inner();
        Ok(created.campaign.context("no campaign")?.id)
    }

    /// Starts a campaign.
    pub async fn start_campaign(&self, acting: Acting, id: &str) -> anyhow::Result<()> {
        let request = invite::StartCampaignRequest { request_id: self.id(), campaign_id: id.to_owned() };
        self.invite(acting).start_campaign(request).await?;
        Ok(())
    }

    /// Waits for the end of a campaign.
    pub async fn until_done(&self, acting: Acting, id: &str) -> anyhow::Result<invite::Campaign> {
        let request = invite::WatchCampaignRequest { campaign_id: id.to_owned(), resume_token: String::new() };
        let mut watch = self.invite(acting).watch_campaign(request).await?.into_inner();
        let watched = async {
            while let Some(update) = watch.message().await? {
                let campaign = update.campaign.context("no campaign")?;
                if campaign.end_time.is_some() {
                    return Ok(campaign);
                }
            }
            bail!("the watch ended early")
        };
        tokio::time::timeout(PATIENCE, watched).await.context("it took too long")?
    }

    /// Leases an account for a service that acts for somebody.
    pub async fn lease(
        &self,
        caller: Caller,
        acting: Acting,
        account: &str,
        purpose: lease::Purpose,
    ) -> anyhow::Result<lease::Lease> {
        let request = lease::AcquireLeaseRequest {
            request_id: self.id(),
            purpose: purpose.into(),
            any_of_account_ids: vec![account.to_owned()],
            wait: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
            ttl: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
            holder: "the tests".to_owned(),
            ..Default::default()
        };
        let mut client = LeaseServiceClient::new(self.channel("integration", caller, acting));
        let lease = client.acquire_lease(request).await?.into_inner().lease.context("no lease")?;
        ensure!(lease.account_id == account, "another account was leased");
        Ok(lease)
    }
}

/// What a call shows of a lease.
pub fn key(lease: &lease::Lease) -> Option<lease::LeaseKey> {
    Some(lease::LeaseKey { lease_id: lease.id.clone(), fencing_token: lease.fencing_token })
}
