//! Parse tasks under way, and the windows in which their processes are killed.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, ensure};
use tgmesh_proto::emulator::v1::{CallState, FaultKind, Standing, User};
use tgmesh_proto::parsing::v1 as parsing;
use tgmesh_proto::parsing::v1::parse_task::State;
use tgmesh_proto::telegram::v1::SpeedProfile;

use super::brake::Where;
use super::campaign::at_brake;
use super::stage::Stage;
use super::world::SOURCE;
use super::{Service, Window};

/// The call that reads a page.
const PAGE: &str = "channels.getParticipants";
/// Most members on a page.
const PAGE_SIZE: i64 = 200;
/// The first thing that is written down of a page.
const FIRST_PERSON: Where = Where { table: "parse_results", event: "INSERT", when: "NEW.task_id IS NOT NULL" };
/// People that are written down.
const WRITTEN: &str = "SELECT count(*) FROM parse_results";

/// A task that reads all members; its id.
pub async fn start(stage: &Stage) -> anyhow::Result<String> {
    let request = parsing::CreateParseTasksRequest {
        request_id: stage.request_id(),
        sources: vec![format!("@{}", SOURCE.1)],
        kind: parsing::ParseKind::Members.into(),
        speed: SpeedProfile::Fast.into(),
        ..Default::default()
    };
    let tasks = stage.parsing()?.create_parse_tasks(request).await?.into_inner().parse_tasks;
    Ok(tasks.into_iter().next().context("no task")?.id)
}

/// A task; `None` while the service cannot be asked.
async fn get(stage: &Stage, id: &str) -> Option<parsing::ParseTask> {
    let request = parsing::GetParseTaskRequest { parse_task_id: id.to_owned() };
    stage.parsing().ok()?.get_parse_task(request).await.ok()?.into_inner().parse_task
}

/// Kills a process in a window of the task that runs, and starts it again.
pub async fn kill_in(stage: &mut Stage, service: Service, window: Window, turn: usize) -> anyhow::Result<()> {
    let what = || format!("{} {window}", service.name());
    match window {
        Window::Page => {
            // Now the next page, now the one after it, so that the task gets on.
            let read = format!("SELECT max(read_count) + {} FROM parse_tasks WHERE state = 2", 200 * (turn % 2));
            let read = stage.brake(Service::Parsing)?.number(&read).await.unwrap_or(0);
            let when: &'static str = format!("NEW.read_count > {read}").leak();
            let at = Where { table: "parse_tasks", event: "UPDATE", when };
            stage.brake(service)?.arm(at).await?;
            at_brake(stage, service).await.with_context(what)?;
            stage.kill(service, window)?;
            stage.brake(service)?.release().await.with_context(what)?;
        }
        Window::Answered => answered(stage, service, turn).await.with_context(what)?,
        Window::WireBefore | Window::WireAfter => {
            let kind =
                if window == Window::WireBefore { FaultKind::HoldBeforeEffect } else { FaultKind::HoldAfterEffect };
            stage.hold(PAGE, kind, u32::try_from(turn % 2)?, 1).await?;
            stage.held().await.with_context(what)?;
            stage.kill(service, window)?;
            stage.let_go().await?;
        }
        Window::Claimed => claimed(stage, service).await.with_context(what)?,
        Window::Login => anyhow::bail!("no window of a task"),
    }
    stage.restart(service).await
}

/// Telegram has answered with a page, and nobody of it is written down when its reader dies.
async fn answered(stage: &mut Stage, service: Service, turn: usize) -> anyhow::Result<()> {
    stage.hold(PAGE, FaultKind::HoldAfterEffect, u32::try_from(turn % 2)?, 1).await?;
    let call = stage.held().await?.call;
    // While the page is held the brake goes in: what was read before it is written down, or stands at the brake.
    stage.brake(service)?.arm(FIRST_PERSON).await?;
    let before = stage.brake(service)?.number(WRITTEN).await?;
    stage.let_go().await?;
    stage
        .until("the page to be answered", async |stage| {
            let calls = stage.calls(PAGE).await.ok()?;
            calls.iter().any(|known| known.number == call && known.state() == CallState::Answered).then_some(())
        })
        .await?;
    // Only an answer in hand brings a reader to where it writes people down.
    at_brake(stage, service).await?;
    stage.kill(service, Window::Answered)?;
    stage.brake(service)?.release().await?;
    let after = stage.brake(service)?.number(WRITTEN).await?;
    ensure!(after == before, "{after} people are written down, and {before} were before the answer");
    Ok(())
}

/// The task is taken, and there is nobody to read it: integration stands still.
async fn claimed(stage: &mut Stage, service: Service) -> anyhow::Result<()> {
    let epoch = "SELECT coalesce(max(claim_epoch), 0) FROM parse_tasks WHERE state = 2";
    stage.process(Service::Integration)?.signal("STOP")?;
    let stopped = async {
        let before = stage.brake(service)?.number(epoch).await?;
        // Its claim of before is over once it is started again.
        stage.process(service)?.kill()?;
        stage.restart(service).await?;
        stage
            .until("the task to be claimed", async |stage| {
                (stage.brakes.get(&service)?.number(epoch).await.ok()? > before).then_some(())
            })
            .await?;
        stage.kill(service, Window::Claimed)
    };
    let stopped = stopped.await;
    stage.process(Service::Integration)?.signal("CONT")?;
    stopped
}

/// Whether the task has come to its end.
async fn has_ended(stage: &Stage, id: &str) -> bool {
    get(stage, id).await.is_some_and(|task| task.state() == State::Completed)
}

/// Whether the task has too little left for a kill in this window: has come to its end, or may soon be answered with a
/// page on which nobody is.
pub async fn is_over(stage: &Stage, id: &str, window: Window) -> anyhow::Result<bool> {
    if has_ended(stage, id).await {
        return Ok(true);
    }
    if window != Window::Answered {
        return Ok(false);
    }
    let near = format!("SELECT count(*) FROM parse_tasks WHERE state = 2 AND read_count + {} > total", 4 * PAGE_SIZE);
    Ok(stage.brakes.get(&Service::Parsing).context("no database")?.number(&near).await? > 0)
}

/// Waits until the task has come to its end by itself.
pub async fn finish(stage: &Stage, id: &str) -> anyhow::Result<parsing::ParseTask> {
    let mut last = None;
    let ended = stage.until("the task to be completed", async |stage| {
        last = Some(get(stage, id).await?);
        last.clone().filter(|task| matches!(task.state(), State::Completed | State::Failed))
    });
    let task = ended.await.with_context(|| format!("{last:?}"))?;
    ensure!(task.state() == State::Completed, "the task failed: {} {}", task.failure_reason, task.failure_detail);
    Ok(task)
}

/// The people of a task, by its pages.
pub async fn results(stage: &Stage, id: &str) -> anyhow::Result<Vec<i64>> {
    let (mut client, mut found, mut page_token) = (stage.parsing()?, Vec::new(), String::new());
    loop {
        let parse_task_id = id.to_owned();
        let request = parsing::ListResultsRequest { parse_task_id, page_size: 1_000, page_token, ..Default::default() };
        let page = client.list_results(request).await?.into_inner();
        for result in page.results {
            match result.result.context("an empty result")? {
                parsing::parse_result::Result::Person(person) => found.push(person.user_id),
                parsing::parse_result::Result::Message(_) => anyhow::bail!("a message among the members"),
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

/// Who must be found: members, without bots, deleted accounts and admins.
pub async fn expected(stage: &Stage) -> anyhow::Result<BTreeSet<i64>> {
    let users: HashMap<i64, User> = stage.users().await?.into_iter().map(|user| (user.id, user)).collect();
    let members = stage.members(SOURCE.0).await?;
    let people = members.into_iter().filter(|member| {
        let stays = matches!(member.standing(), Standing::Member | Standing::Restricted);
        stays && users.get(&member.user_id).is_some_and(|user| !user.bot && !user.deleted)
    });
    Ok(people.map(|member| member.user_id).collect())
}
