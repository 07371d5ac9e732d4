//! Everything that plays: the services, the emulator, and clients for both.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use service_kit::SharedClock;
use service_kit::client::{UserChannel, bare_channel};
use service_kit::clock::{SystemClock, new_id};
use service_kit::shutdown::Shutdown;
use telegram_emulator::Handle;
use tgmesh_integration::quotas::limits::{InviteLimits, Limits, Range};
use tgmesh_proto::emulator::v1 as emulator;
use tgmesh_proto::emulator::v1::emulator_service_client::EmulatorServiceClient;
use tgmesh_proto::integration::v1::integration_service_client::IntegrationServiceClient;
use tgmesh_proto::invite::v1::invite_service_client::InviteServiceClient;
use tgmesh_proto::parsing::v1::parsing_service_client::ParsingServiceClient;
use tonic::transport::Channel;

use super::breaks::Break;
use super::verdict::Policy;
use crate::config::Config;
use crate::launch::{self, Running, Served};
use crate::local::{LocalTokens, LocalUser};

/// Everything that plays.
pub(super) struct Stage {
    folder: tempfile::TempDir,
    pub(super) config: Config,
    pub(super) clock: SharedClock,
    running: Running,
    tokens: Arc<LocalTokens>,
}

impl Stage {
    /// Starts everything in a folder of its own.
    pub(super) async fn set(policy: &Policy, rule: Option<Break>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tgmesh-demo-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir()?;
        let clock = SystemClock::shared();
        let mut config = Config::load(None)?;
        let anywhere = "127.0.0.1:0".parse()?;
        config.data_dir = folder.path().to_owned();
        config.admin.listen = Some(anywhere);
        config.emulator.control = anywhere;
        config.integration.server.listen = anywhere;
        config.parsing.server.listen = anywhere;
        config.invite.server.listen = anywhere;
        config.integration.rules.flood_margin_ms = u64::try_from(policy.flood_margin.as_millis())?;
        config.integration.limits = limits(policy, rule);
        // A limited account comes back within seconds here: look soon.
        config.invite.engine.acquire_wait_ms = 1_000;
        let running = launch::start(&config, &launch::SERVICES, clock.clone(), Shutdown::new()).await?;
        let user = LocalUser::load_or_create(&config.data_dir, &clock)?;
        let tokens = LocalTokens::new(&config.key_dir(), user, false, clock.clone())?;
        Ok(Self { folder, config, clock, running, tokens })
    }

    /// Stops everything; the folder goes with it.
    pub(super) async fn strike(self) -> anyhow::Result<()> {
        self.running.stop().await
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn served(&self) -> &Served {
        &self.running.served
    }

    /// Tells commands that use the folder where everything is served.
    pub(super) fn announce(&self) -> anyhow::Result<()> {
        launch::write_ready(&self.folder().join("ready.json"), self.served())
    }

    /// A new id for a call.
    pub(super) fn request_id(&self) -> String {
        new_id(&*self.clock).to_string()
    }

    fn channel(&self, service: &str) -> anyhow::Result<UserChannel> {
        let address = self.served().services.get(service).context("the service does not run")?;
        UserChannel::new(&format!("http://{address}"), self.tokens.clone())
    }

    pub(super) fn integration(&self) -> anyhow::Result<IntegrationServiceClient<UserChannel>> {
        Ok(IntegrationServiceClient::new(self.channel("integration")?))
    }

    pub(super) fn parsing(&self) -> anyhow::Result<ParsingServiceClient<UserChannel>> {
        Ok(ParsingServiceClient::new(self.channel("parsing")?))
    }

    pub(super) fn invite(&self) -> anyhow::Result<InviteServiceClient<UserChannel>> {
        Ok(InviteServiceClient::new(self.channel("invite")?))
    }

    /// The emulator's control, over the wire: what an independent judge would use.
    pub(super) fn control(&self) -> anyhow::Result<EmulatorServiceClient<Channel>> {
        let info = self.served().emulator.as_ref().context("no emulator runs")?;
        let control = info.control.context("the emulator is not controlled")?;
        Ok(EmulatorServiceClient::new(bare_channel(&format!("http://{control}"))?))
    }

    /// The emulator itself, for what only its owner may do.
    pub(super) fn handle(&self) -> anyhow::Result<Handle> {
        Ok(self.running.emulator.as_ref().context("no emulator runs")?.handle().clone())
    }

    /// Sees to it that something goes wrong: one account is limited as a
    /// spammer, one must wait three seconds, two people delete their accounts
    /// after they were found.
    pub(super) async fn spoil(&self) -> anyhow::Result<()> {
        let mut control = self.control()?;
        for (account_id, error, skip) in [(102, "PEER_FLOOD", 4), (101, "FLOOD_WAIT_3", 2)] {
            let filter = emulator::FaultFilter {
                account_id,
                method: "channels.inviteToChannel".to_owned(),
                ..Default::default()
            };
            let fault = emulator::Fault {
                filter: Some(filter),
                kind: emulator::FaultKind::Error.into(),
                error: error.to_owned(),
                skip,
                times: 1,
                ..Default::default()
            };
            control.inject_fault(emulator::InjectFaultRequest { fault: Some(fault) }).await?;
        }
        Ok(())
    }
}

fn limits(policy: &Policy, rule: Option<Break>) -> Limits {
    let interval = if rule == Some(Break::Limit) {
        // The rule that is broken on purpose: accounts wait a third less than they must.
        let interval = policy.shortest_interval * 2 / 3;
        Range { shortest: interval, longest: interval }
    } else {
        Range { shortest: policy.shortest_interval, longest: policy.longest_interval }
    };
    let invite = InviteLimits {
        per_day: Some(policy.invites_per_chat * 2),
        per_day_and_chat: Some(policy.invites_per_chat),
        interval: Some(interval),
        pause_after: None,
        pause: None,
        ..InviteLimits::default()
    };
    Limits { invite, ..Limits::default() }
}
