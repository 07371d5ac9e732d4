//! Parse, invite, report: the main job.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tgmesh_proto::invite::v1 as invite;
use tgmesh_proto::parsing::v1 as parsing;
use tgmesh_proto::telegram::v1::{Outcome, SpeedProfile};

use super::say;
use super::stage::Stage;
use super::verdict::{Claims, Target};
use crate::cli::output::count;
use crate::cli::parse_view;

/// Longest time for each part.
const PATIENCE: Duration = Duration::from_secs(120);

fn bar(what: &str) -> ProgressBar {
    // Nothing is drawn where nobody looks, such as in a file.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("  {msg:12} [{bar:40}] {pos}/{len} {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_message(what.to_owned());
    bar
}

fn draw(bar: &ProgressBar, done: i64, total: i64) {
    // Nothing of nothing would be a full bar.
    if let Some(total) = u64::try_from(total).ok().filter(|total| *total > 0) {
        bar.set_length(total);
    }
    bar.set_position(u64::try_from(done).unwrap_or(0));
}

/// Parses the community; the task's id.
pub(super) async fn parse(stage: &Stage) -> anyhow::Result<String> {
    let mut client = stage.parsing()?;
    let request = parsing::CreateParseTasksRequest {
        request_id: stage.request_id(),
        sources: vec!["https://t.me/rust_berlin".to_owned()],
        kind: parsing::ParseKind::Members.into(),
        // Whoever has a username can be addressed by every account.
        filter: Some(parsing::ParseFilter { has_username: true, ..Default::default() }),
        speed: SpeedProfile::Fast.into(),
        ..Default::default()
    };
    let created = client.create_parse_tasks(request).await?.into_inner().parse_tasks;
    let id = created.first().context("no task")?.id.clone();
    let request = parsing::WatchParseTaskRequest { parse_task_id: id.clone(), resume_token: String::new() };
    let mut watch = client.watch_parse_task(request).await?.into_inner();
    let bar = bar("members");
    let watched = async {
        while let Some(update) = watch.message().await? {
            let task = update.parse_task.context("no task")?;
            let progress = task.progress.clone().unwrap_or_default();
            draw(&bar, progress.read, progress.total.unwrap_or(progress.read));
            match task.state() {
                parsing::parse_task::State::Completed => return Ok(task),
                parsing::parse_task::State::Failed => bail!("{}: {}", task.failure_reason, task.failure_detail),
                _ => {}
            }
        }
        bail!("the watch ended early")
    };
    let task = tokio::time::timeout(PATIENCE, watched).await.context("it took too long")??;
    bar.finish_and_clear();
    let progress = task.progress.unwrap_or_default();
    let skipped: Vec<String> = progress
        .skipped
        .iter()
        .filter(|skip| skip.count > 0)
        .map(|skip| parse_view::left_out(skip.count, skip.reason()))
        .collect();
    say(&format!("  {} members read with {} requests, {} kept", progress.read, progress.requests, progress.results));
    say(&format!("  left out: {}", skipped.join(", ")));
    say(&format!("  {}", task.completeness.unwrap_or_default().notice));
    Ok(id)
}

/// Creates the campaign; its id.
pub(super) async fn create(stage: &Stage, task: &str, targets: i32) -> anyhow::Result<String> {
    let mut client = stage.invite()?;
    let chat = "@rust_meetup_berlin".to_owned();
    let request = invite::CheckReadinessRequest { kind: invite::CampaignKind::InviteToChat.into(), chat: chat.clone() };
    let readiness = client.check_readiness(request).await?.into_inner();
    for account in &readiness.accounts {
        let problem = account.problem().as_str_name().trim_start_matches("PROBLEM_").to_lowercase();
        let state = if account.ready { "ready".to_owned() } else { problem.replace('_', " ") };
        say(&format!("  {:16} {state}", account.label));
    }
    let request = invite::CreateCampaignRequest {
        request_id: stage.request_id(),
        kind: invite::CampaignKind::InviteToChat.into(),
        chat,
        audience: Some(invite::Audience {
            source: Some(invite::audience::Source::ParseTaskId(task.to_owned())),
            limit: targets,
            accept_partial: false,
        }),
        consent_basis: invite::ConsentBasis::ExistingRelationship.into(),
        ..Default::default()
    };
    let created = client.create_campaign(request).await?.into_inner();
    let campaign = created.campaign.context("no campaign")?;
    let report = created.import_report.unwrap_or_default();
    say(&format!("  campaign \"{}\" with {} targets", campaign.name, report.accepted));
    ensure!(report.accepted == i64::from(targets), "{} people were accepted, not {targets}", report.accepted);
    // Between finding somebody and asking him, people leave Telegram.
    let gone = client
        .list_targets(invite::ListTargetsRequest {
            campaign_id: campaign.id.clone(),
            page_size: 1_000,
            ..Default::default()
        })
        .await?
        .into_inner()
        .targets;
    for target in gone.iter().rev().take(2) {
        stage.handle()?.delete_user(target.user_id).map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    Ok(campaign.id)
}

/// Starts the campaign and watches it to its end.
pub(super) async fn invite(stage: &Stage, campaign: &str) -> anyhow::Result<()> {
    let mut client = stage.invite()?;
    let request = invite::StartCampaignRequest { request_id: stage.request_id(), campaign_id: campaign.to_owned() };
    client.start_campaign(request).await?;
    wait(stage, campaign).await
}

/// Watches a running campaign to its end.
pub(super) async fn wait(stage: &Stage, campaign: &str) -> anyhow::Result<()> {
    let mut client = stage.invite()?;
    let bar = bar("invited");
    let mut token = String::new();
    let watched = async {
        loop {
            let request =
                invite::WatchCampaignRequest { campaign_id: campaign.to_owned(), resume_token: token.clone() };
            let mut watch = client.watch_campaign(request).await?.into_inner();
            while let Some(update) = watch.message().await? {
                token = update.resume_token;
                let campaign = update.campaign.context("no campaign")?;
                let progress = campaign.progress.clone().unwrap_or_default();
                let done: i64 = progress.outcomes.iter().map(|count| count.targets).sum();
                draw(&bar, done, progress.total);
                match campaign.state() {
                    invite::campaign::State::Completed => return Ok(()),
                    invite::campaign::State::Failed => {
                        bail!("{}: {}", campaign.failure_reason, campaign.failure_detail)
                    }
                    _ => {}
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, watched).await.context("it took too long")??;
    bar.finish_and_clear();
    Ok(())
}

/// Shows the report; what the product claims to have done.
pub(super) async fn report(stage: &Stage, campaign: &str) -> anyhow::Result<Claims> {
    let mut client = stage.invite()?;
    let report = client.get_report(invite::GetReportRequest { campaign_id: campaign.to_owned() }).await?.into_inner();
    let progress = report.campaign.and_then(|campaign| campaign.progress).unwrap_or_default();
    let mut outcomes = BTreeMap::new();
    for outcome in &progress.outcomes {
        let name = name(outcome.outcome());
        say(&format!("  {:3} {name}", outcome.targets));
        outcomes.insert(name, outcome.targets);
    }
    say(&format!(
        "  {} attempts, {:.0} % done, {:.0} % of the outcomes are invitations",
        report.attempts,
        progress.done * 100.0,
        progress.success * 100.0
    ));
    for error in &report.errors {
        say(&format!("      {} was met {}", error.telegram_error, count(error.count, "time", "times")));
    }
    let mut targets = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = invite::ListTargetsRequest {
            campaign_id: campaign.to_owned(),
            page_size: 1_000,
            page_token,
            ..Default::default()
        };
        let page = client.list_targets(request).await?.into_inner();
        targets.extend(page.targets.iter().map(|target| Target {
            user_id: target.user_id,
            done: target.state() == invite::target::State::Done,
            outcome: name(target.outcome()),
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(Claims { total: progress.total, pending: progress.pending, under_way: progress.under_way, outcomes, targets })
}

fn name(outcome: Outcome) -> String {
    outcome.as_str_name().trim_start_matches("OUTCOME_").to_owned()
}
