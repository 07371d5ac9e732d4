//! A campaign under way, and the windows in which its processes are killed.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, ensure};
use tgmesh_proto::emulator::v1::{CallState, FaultKind};
use tgmesh_proto::invite::v1 as invite;
use tgmesh_proto::invite::v1::campaign::State;
use tgmesh_proto::telegram::v1::Outcome;

use super::brake::Where;
use super::judge::{Claims, Record, Target};
use super::stage::Stage;
use super::world::{DESTINATION, FIRST_PERSON};
use super::{PATIENCE, Service, Window, login};

/// The call that invites.
pub const INVITE: &str = "channels.inviteToChannel";

/// Targets that are claimed, and nothing more; then those being sent.
const CLAIMED: &str = "SELECT count(*) FROM targets WHERE state = 2";
const SENDING: &str = "SELECT count(*) FROM targets WHERE state = 3";
/// Names of those being sent.
const OPEN: &str = "SELECT username FROM targets WHERE state = 3";
/// Looks in a row that must find a process at its brake.
const LOOKS: u32 = 5;
/// The attempt is written down in one transaction before it is made.
const BEGIN: Where = Where { table: "executions", event: "INSERT", when: "NEW.result = 1" };
/// Its end is written down in another.
const END: Where = Where { table: "executions", event: "UPDATE", when: "NEW.result = 2" };
/// The ledger knows an invite before it is made, and after. `action` 1 is an invite.
const RESERVE: Where = Where { table: "usage_entries", event: "INSERT", when: "NEW.action = 1" };
const SETTLE: Where =
    Where { table: "usage_entries", event: "UPDATE", when: "NEW.action = 1 AND NEW.state <> OLD.state" };

/// The first so many people.
pub async fn people(stage: &Stage, targets: usize) -> anyhow::Result<invite::Audience> {
    let people: Vec<String> = stage
        .users()
        .await?
        .into_iter()
        .filter(|user| user.id >= FIRST_PERSON && !user.username.is_empty())
        .map(|user| user.username)
        .take(targets)
        .collect();
    ensure!(people.len() == targets, "the world has only {} people", people.len());
    let source = invite::audience::Source::Inline(invite::InlineAudience { entries: people });
    Ok(invite::Audience { source: Some(source), limit: 0, ..Default::default() })
}

/// The first so many people that a task has found.
pub fn found_by(task: &str, targets: usize) -> anyhow::Result<invite::Audience> {
    let source = invite::audience::Source::ParseTaskId(task.to_owned());
    Ok(invite::Audience { source: Some(source), limit: i32::try_from(targets)?, ..Default::default() })
}

/// The request for a campaign over an audience.
pub fn request(stage: &Stage, audience: invite::Audience) -> invite::CreateCampaignRequest {
    invite::CreateCampaignRequest {
        request_id: stage.request_id(),
        kind: invite::CampaignKind::InviteToChat.into(),
        chat: format!("@{}", DESTINATION.1),
        audience: Some(audience),
        consent_basis: invite::ConsentBasis::OptIn.into(),
        ..Default::default()
    }
}

/// A campaign over an audience; it runs.
pub async fn start(stage: &Stage, audience: invite::Audience) -> anyhow::Result<String> {
    create(stage, &request(stage, audience)).await
}

/// Creates a campaign, and starts it.
async fn create(stage: &Stage, request: &invite::CreateCampaignRequest) -> anyhow::Result<String> {
    let mut client = stage.invite()?;
    let id = client.create_campaign(request.clone()).await?.into_inner().campaign.context("no campaign")?.id;
    let request = invite::StartCampaignRequest { request_id: stage.request_id(), campaign_id: id.clone() };
    client.start_campaign(request).await?;
    Ok(id)
}

/// Kills invite while it creates a campaign: inside a page of its audience, and inside the transaction that makes it
/// seen. Nothing is seen then, and the same request makes one campaign with all its targets; it runs.
pub async fn start_killed(stage: &mut Stage, audience: invite::Audience) -> anyhow::Result<String> {
    let request = request(stage, audience);
    for (window, at) in [
        (Window::Page, Where { table: "targets", event: "INSERT", when: "NEW.campaign_id IS NOT NULL" }),
        (Window::Answered, Where { table: "campaigns", event: "INSERT", when: "NEW.id IS NOT NULL" }),
    ] {
        stage.brake(Service::Invite)?.arm(at).await?;
        let (mut client, asked) = (stage.invite()?, request.clone());
        let creating = tokio::spawn(async move { Ok(client.create_campaign(asked).await.map(drop)?) });
        at_brake(stage, Service::Invite).await.with_context(|| format!("a campaign's creation {window}"))?;
        stage.kill(Service::Invite, window)?;
        stage.brake(Service::Invite)?.release().await?;
        login::lost(creating).await?;
        stage.restart(Service::Invite).await?;
        let seen = stage.invite()?.list_campaigns(invite::ListCampaignsRequest::default()).await?.into_inner();
        ensure!(seen.campaigns.is_empty(), "half a campaign is seen: {seen:?}");
    }
    let id = create(stage, &request).await?;
    let seen = stage.invite()?.list_campaigns(invite::ListCampaignsRequest::default()).await?.into_inner();
    ensure!(seen.campaigns.len() == 1, "one request made {} campaigns", seen.campaigns.len());
    Ok(id)
}

/// Waits until a process surely stands at its brake: who writes for long does.
pub async fn at_brake(stage: &Stage, service: Service) -> anyhow::Result<()> {
    let mut looks = 0;
    let stands = stage.until("a statement to stand at the brake", async |stage| {
        let stands = stage.brakes.get(&service)?.engaged().await;
        looks = if stands { looks + 1 } else { 0 };
        (looks == LOOKS).then_some(())
    });
    stands.await
}

/// Makes a process stop in a window, kills it there, and starts it again.
pub async fn kill_in(stage: &mut Stage, service: Service, window: Window, turn: usize) -> anyhow::Result<()> {
    let what = || format!("{} {window}", service.name());
    match window {
        Window::WireBefore | Window::WireAfter => {
            let kind =
                if window == Window::WireBefore { FaultKind::HoldBeforeEffect } else { FaultKind::HoldAfterEffect };
            // Sometimes several accounts are caught at once.
            stage.hold(INVITE, kind, 0, 1 + u32::try_from(turn % 3)?).await?;
            stage.held().await.with_context(what)?;
            stage.kill(service, window)?;
            stage.let_go().await?;
        }
        Window::Claimed | Window::Answered => {
            let at = match (service, window) {
                (Service::Invite, Window::Claimed) => BEGIN,
                (Service::Invite, _) => END,
                (_, Window::Claimed) => RESERVE,
                (..) => SETTLE,
            };
            let names = stage.users().await?.into_iter().map(|user| (user.id, user.username)).collect();
            stage.brake(service)?.arm(at).await.with_context(what)?;
            // SQLite only tells that somebody writes: who writes for long stands at the brake.
            let mut looks = 0;
            let name = what();
            let stands = stage.until(&name, async |stage| {
                looks = if stands(stage, service, window, &names).await { looks + 1 } else { 0 };
                (looks == LOOKS).then_some(())
            });
            stands.await?;
            stage.kill(service, window)?;
            stage.brake(service)?.release().await.with_context(what)?;
        }
        Window::Page | Window::Login => anyhow::bail!("no window of a campaign"),
    }
    stage.restart(service).await
}

/// Whether the process stands in the window.
async fn stands(stage: &Stage, service: Service, window: Window, names: &HashMap<i64, String>) -> bool {
    let (Some(brake), Some(invite)) = (stage.brakes.get(&service), stage.brakes.get(&Service::Invite)) else {
        return false;
    };
    let rows = if (service, window) == (Service::Invite, Window::Claimed) { CLAIMED } else { SENDING };
    if invite.number(rows).await.unwrap_or(0) == 0 || !brake.engaged().await {
        return false;
    }
    if window == Window::Claimed {
        return true;
    }
    // Telegram has answered for somebody who has no outcome yet.
    let (Ok(open), Ok(calls)) = (invite.texts(OPEN).await, stage.calls(INVITE).await) else { return false };
    let mut answered = calls.iter().filter(|call| call.state() == CallState::Answered).flat_map(|call| &call.user_ids);
    answered.any(|user| names.get(user).is_some_and(|name| open.contains(name)))
}

/// Waits until the campaign has come to its end by itself.
pub async fn finish(stage: &Stage, campaign: &str) -> anyhow::Result<()> {
    let mut last = String::new();
    let ended = stage.until("the campaign to be completed", async |stage| {
        let request = invite::GetCampaignRequest { campaign_id: campaign.to_owned() };
        let answer = stage.invite().ok()?.get_campaign(request).await;
        last = format!("{answer:?}");
        let state = answer.ok()?.into_inner().campaign?.state();
        matches!(state, State::Completed | State::Failed).then_some(state)
    });
    let ended = ended.await.with_context(|| last.clone())?;
    ensure!(ended == State::Completed, "the campaign ended as {ended:?}: {last}");
    Ok(())
}

/// Everything that the product claims.
pub async fn claims(stage: &Stage, campaign: &str) -> anyhow::Result<Claims> {
    let ids: HashMap<String, i64> = stage.users().await?.into_iter().map(|user| (user.username, user.id)).collect();
    let mut client = stage.invite()?;
    let request = invite::GetCampaignRequest { campaign_id: campaign.to_owned() };
    let found = client.get_campaign(request).await?.into_inner().campaign.context("no campaign")?;
    let progress = found.progress.context("no progress")?;
    let outcomes: BTreeMap<String, i64> =
        progress.outcomes.iter().map(|count| (name(count.outcome()), count.targets)).collect();
    let (mut targets, mut page_token) = (Vec::new(), String::new());
    loop {
        let campaign_id = campaign.to_owned();
        let request = invite::ListTargetsRequest { campaign_id, page_size: 1_000, page_token, ..Default::default() };
        let page = client.list_targets(request).await?.into_inner();
        targets.extend(page.targets.iter().map(|target| Target {
            user_id: ids.get(&target.username).copied().unwrap_or(0),
            done: target.state() == invite::target::State::Done,
            outcome: name(target.outcome()),
            attempts: target.attempts,
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let ledger = "SELECT count(*) FROM usage_entries WHERE action = 1 AND state <> 3";
    let ledger = stage.brakes.get(&Service::Integration).context("no database")?.number(ledger).await?;
    let (total, pending, under_way) = (progress.total, progress.pending, progress.under_way);
    Ok(Claims { total, pending, under_way, outcomes, targets, ledger })
}

fn name(outcome: Outcome) -> String {
    outcome.as_str_name().trim_start_matches("OUTCOME_").to_owned()
}

/// Everything that the emulator recorded.
pub async fn record(stage: &Stage) -> anyhow::Result<Record> {
    let summary = stage.summary().await?;
    ensure!(summary.calls > 0, "the record is empty");
    let members = stage.members(DESTINATION.0).await?.into_iter().map(|member| member.user_id).collect();
    Ok(Record {
        invites: stage.calls(INVITE).await?,
        arrived: summary.calls_by_method.get(INVITE).copied().unwrap_or(0),
        overlaps: summary.overlaps,
        errors: summary.errors,
        members,
    })
}

/// Waits until everything is at rest: leases are over, nothing is held.
pub async fn at_rest(stage: &Stage) -> anyhow::Result<()> {
    let integration = stage.brakes.get(&Service::Integration).context("no database")?;
    integration.until("SELECT count(*) FROM leases WHERE state = 1", 0).await.context("leases are left")?;
    let invite = stage.brakes.get(&Service::Invite).context("no database")?;
    let open = "SELECT count(*) FROM executions WHERE result = 1";
    ensure!(invite.number(open).await? == 0, "executions are still under way after {PATIENCE:?}");
    Ok(())
}
