//! Rules broken on purpose, so that the judge can be judged.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use sea_orm::ConnectionTrait as _;
use service_kit::db::Db;
use tgmesh_integration::connections::{Claims, Connections, Dialer, LineId};
use tgmesh_integration::core::SessionStore;
use tgmesh_integration::telegram::auth;
use tgmesh_proto::emulator::v1 as emulator;
use tgmesh_proto::integration::v1::ListAccountsRequest;
use tgmesh_proto::invite::v1 as invite;

use super::stage::Stage;
use crate::{launch, network};

/// A rule to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Break {
    /// Somebody is invited a second time.
    Twice,
    /// Accounts wait too short a time between two invites.
    Limit,
    /// An account is on two connections at once.
    SecondConnection,
    /// A target gets an outcome that nobody gave it.
    Drop,
    /// The report counts one invitation too many.
    Miscount,
}

impl Break {
    /// What is done before the campaign starts.
    pub(super) async fn before(self, stage: &Stage, campaign: &str) -> anyhow::Result<()> {
        match self {
            Self::Drop => drop_target(stage, campaign).await,
            Self::Twice | Self::Limit | Self::SecondConnection | Self::Miscount => Ok(()),
        }
    }

    /// What is done after it has ended.
    pub(super) async fn after(self, stage: &Stage, campaign: &str) -> anyhow::Result<()> {
        match self {
            Self::Twice => invite_again(stage, campaign).await,
            Self::SecondConnection => connect_again(stage).await,
            Self::Miscount => miscount(stage, campaign).await,
            Self::Limit | Self::Drop => Ok(()),
        }
    }
}

/// The database of the invite service, behind its back.
async fn database(stage: &Stage) -> anyhow::Result<Db> {
    let url = stage.config.database_url("invite", &stage.config.databases.invite);
    Ok(Db::connect(&url, 1).await?)
}

fn blob(id: &str) -> anyhow::Result<String> {
    let id = uuid::Uuid::parse_str(id)?;
    Ok(format!("x'{}'", id.simple()))
}

/// Claims that the first target was invited; nobody asks Telegram.
async fn drop_target(stage: &Stage, campaign: &str) -> anyhow::Result<()> {
    let db = database(stage).await?;
    let id = blob(campaign)?;
    for sql in [
        format!(
            "UPDATE targets SET state = 4, outcome = 1, done_at = 1 WHERE campaign_id = {id} AND seq = (SELECT MIN(seq) FROM targets WHERE campaign_id = {id})"
        ),
        format!("UPDATE campaigns SET done = done + 1 WHERE id = {id}"),
        format!(
            "INSERT INTO campaign_counters (campaign_id, outcome, targets) VALUES ({id}, 1, 1) ON CONFLICT (campaign_id, outcome) DO UPDATE SET targets = campaign_counters.targets + 1"
        ),
    ] {
        let done = db.conn().execute_unprepared(&sql).await?;
        ensure!(done.rows_affected() == 1, "the target could not be dropped");
    }
    Ok(())
}

/// Counts one invitation too many.
async fn miscount(stage: &Stage, campaign: &str) -> anyhow::Result<()> {
    let db = database(stage).await?;
    let id = blob(campaign)?;
    let sql = format!("UPDATE campaign_counters SET targets = targets + 1 WHERE campaign_id = {id} AND outcome = 1");
    let done = db.conn().execute_unprepared(&sql).await?;
    ensure!(done.rows_affected() == 1, "nothing was miscounted");
    Ok(())
}

/// Lets somebody leave, and makes the product forget that it asked him.
async fn invite_again(stage: &Stage, campaign: &str) -> anyhow::Result<()> {
    use tgmesh_proto::telegram::v1::Outcome;
    let mut client = stage.invite()?;
    let request = invite::ListTargetsRequest {
        campaign_id: campaign.to_owned(),
        outcomes: vec![Outcome::Invited.into()],
        page_size: 1,
        ..Default::default()
    };
    let target =
        client.list_targets(request).await?.into_inner().targets.into_iter().next().context("nobody was invited")?;
    let user = target.user_id;
    let mut control = stage.control()?;
    control.remove_member(emulator::RemoveMemberRequest { chat_id: 7002, user_id: user, kicked: false }).await?;
    // Whoever has left can be brought back by mutual contacts only.
    for operator in 101..=106 {
        for (owner_id, contact_id) in [(operator, user), (user, operator)] {
            control.add_contact(emulator::AddContactRequest { owner_id, contact_id }).await?;
        }
    }
    // Of the old campaign the target is as good as new.
    let db = database(stage).await?;
    let id = blob(&target.id)?;
    let campaign_id = blob(campaign)?;
    for sql in [
        format!(
            "UPDATE targets SET state = 1, outcome = 0, done_at = NULL, owner = NULL, account_id = NULL, attempt_id = NULL, not_before_at = 0 WHERE id = {id}"
        ),
        format!("UPDATE campaign_counters SET targets = targets - 1 WHERE campaign_id = {campaign_id} AND outcome = 1"),
        format!(
            "UPDATE campaigns SET state = 3, done = done - 1, ended_at = NULL, version = version + 1 WHERE id = {campaign_id}"
        ),
    ] {
        db.conn().execute_unprepared(&sql).await?;
    }
    super::job::wait(stage, campaign).await
}

/// Opens a second connection with an account's own key.
async fn connect_again(stage: &Stage) -> anyhow::Result<()> {
    let accounts = stage.integration()?.list_accounts(ListAccountsRequest::default()).await?.into_inner().accounts;
    let account = accounts.first().context("there is no account")?;
    let url = stage.config.database_url("integration", &stage.config.databases.integration);
    let db = Db::connect(&url, 1).await?;
    // Whoever has the key is robbed of it.
    db.conn().execute_unprepared("DELETE FROM key_claims").await?;
    let claims = Claims::new(db.clone(), stage.clock.clone());
    let sessions = SessionStore::new(db, launch::sealer(&stage.config)?, claims);
    let info = stage.served().emulator.as_ref().context("no emulator runs")?;
    let dialer = Dialer::new(stage.config.integration.connections.clone(), &network::of_emulator(info)?)?;
    let second = Connections::new(dialer, Arc::new(sessions), stage.clock.clone(), Arc::new(|_, _| {}));
    let line = LineId::Account(uuid::Uuid::parse_str(&account.id)?);
    // In strict mode the key dies of it; that is what the rule protects from.
    let answer = auth::who_am_i(&second, line).await;
    tracing::info!(refused = answer.is_err(), "a second connection was opened");
    Ok(())
}
