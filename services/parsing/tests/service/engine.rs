//! Tasks run by the engine, through the failures of what it depends on.
//!
//! The integration service is a stand-in here, since the real one cannot be
//! told to fail at a given page; the black-box tests run with the real one.

use std::time::Duration;

use crate::support::integration::{fault, group, message, stale};
use crate::support::{PATIENCE, World, on_both_databases};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::parsing::v1 as wire;
use tgmesh_proto::parsing::v1::ParseKind;
use tgmesh_proto::parsing::v1::parse_task::State;
use tgmesh_proto::parsing::v1::waiting;
use tgmesh_tests::database::TestDatabase;
use tgmesh_tests::wait;

fn everybody(members: i64) -> Vec<i64> {
    (1..=members).collect()
}

async fn members_are_collected_with_their_counts(database: TestDatabase) -> anyhow::Result<()> {
    let mut script = group(420);
    script.members[3].bot = true;
    script.members[4].deleted = true;
    script.members[5].admin = true;
    let world = World::new(database, script).await?;
    let running = world.start().await?;
    let mut user = world.user(&running, 10)?;
    let id = user.create(user.order(ParseKind::Members)).await?;
    let task = user.until_state(&id, State::Completed).await?;
    let progress = task.progress.expect("it has counters");
    assert_eq!((progress.total, progress.read, progress.unique), (Some(420), 420, 420));
    assert_eq!((progress.results, progress.new, progress.requests), (417, 417, 9));
    assert_eq!(progress.skipped.iter().map(|skip| skip.count).sum::<i64>(), 3);
    let completeness = task.completeness.expect("it is done");
    assert!(completeness.complete && completeness.hidden == Some(0));
    assert_eq!(task.chat.map(|chat| chat.title).as_deref(), Some("Rust Berlin"));
    assert!(task.waiting.is_none() && task.start_time.is_some() && task.end_time.is_some());
    let expected: Vec<i64> = everybody(420).into_iter().filter(|user| !(4..=6).contains(user)).collect();
    assert_eq!(user.found(&id).await?, expected);
    wait::until("the lease to be given back", PATIENCE, async || {
        world.integration.script().held.is_empty().then_some(())
    })
    .await?;
    running.stop().await
}

async fn a_lost_lease_goes_on_at_the_cursor(database: TestDatabase) -> anyhow::Result<()> {
    let mut script = group(300);
    script.page_faults = [None, None, Some(stale("x")), None, Some(stale("x")), None].into();
    let world = World::new(database, script).await?;
    let running = world.start().await?;
    let mut user = world.user(&running, 10)?;
    let id = user.create(user.order(ParseKind::Members)).await?;
    user.until_state(&id, State::Completed).await?;
    assert_eq!(user.found(&id).await?, everybody(300));
    let script = world.integration.script();
    assert_eq!((script.readings.as_slice(), script.tokens), ([0, 100, 150].as_slice(), 3));
    Ok(())
}

async fn what_passes_is_waited_for_and_never_a_failure(database: TestDatabase) -> anyhow::Result<()> {
    let mut script = group(150);
    let later = Some(Duration::from_secs(600));
    script.lease_faults =
        [fault(ErrorReason::NoAccountAvailable, later), fault(ErrorReason::NoAccountAvailable, later)].into();
    script.page_faults =
        [None, Some(fault(ErrorReason::TelegramUnavailable, None)), Some(fault(ErrorReason::FloodWait, None))].into();
    let world = World::new(database, script).await?;
    let running = world.start().await?;
    let mut user = world.user(&running, 10)?;
    let id = user.create(user.order(ParseKind::Members)).await?;
    let waiting = user
        .until(&id, "it to wait for an account", |task| task.waiting.is_some() && task.state() == State::Running)
        .await?;
    let waiting = waiting.waiting.expect("it waits");
    assert_eq!(waiting.reason(), waiting::Reason::Account);
    assert!(waiting.until_time.is_some() && waiting.detail.starts_with("the workspace has no account"), "{waiting:?}");
    let task = user
        .until(&id, "it to wait for telegram", |task| {
            task.waiting.as_ref().is_some_and(|waiting| waiting.reason() == waiting::Reason::Dependency)
        })
        .await?;
    assert_eq!(task.state(), State::Running);
    let done = user.until_state(&id, State::Completed).await?;
    assert!(done.waiting.is_none());
    assert_eq!(user.found(&id).await?, everybody(150));
    Ok(())
}

async fn what_waiting_cannot_heal_is_said(database: TestDatabase) -> anyhow::Result<()> {
    let mut script = group(100);
    script.page_faults = [None, Some(fault(ErrorReason::MembersHidden, None))].into();
    let world = World::new(database, script).await?;
    let running = world.start().await?;
    let mut user = world.user(&running, 10)?;
    let id = user.create(user.order(ParseKind::Members)).await?;
    let task = user.until_state(&id, State::Failed).await?;
    assert_eq!(task.failure_reason, "MEMBERS_HIDDEN");
    assert!(task.failure_detail.contains("hides its members"), "{}", task.failure_detail);
    assert!(task.completeness.is_none() && task.end_time.is_some());
    // What was found is kept.
    assert_eq!(user.found(&id).await?, everybody(50));

    world.integration.script().chat_faults.push_back(fault(ErrorReason::ChatNotFound, None));
    let id = user.create(user.order(ParseKind::Members)).await?;
    assert_eq!(user.until_state(&id, State::Failed).await?.failure_reason, "CHAT_NOT_FOUND");

    world.integration.script().chat.kind = tgmesh_proto::telegram::v1::ChatKind::Channel as i32;
    let id = user.create(user.order(ParseKind::MessageAuthors)).await?;
    assert_eq!(user.until_state(&id, State::Failed).await?.failure_reason, "CHAT_KIND_UNSUITABLE");
    Ok(())
}

async fn a_pause_stops_the_reading_and_a_resume_goes_on(database: TestDatabase) -> anyhow::Result<()> {
    let world = World::new(database, group(400)).await?;
    world.integration.hold();
    let running = world.start().await?;
    let mut user = world.user(&running, 10)?;
    let id = user.create(user.order(ParseKind::Members)).await?;
    world.integration.let_through(2);
    let read = |count: i64| move |task: &wire::ParseTask| task.progress.as_ref().is_some_and(|p| p.read == count);
    let task = user.until(&id, "two pages", read(100)).await?;
    assert_eq!(task.state(), State::Running);
    assert!(task.progress.as_ref().is_some_and(|progress| progress.time_left.is_some()));

    let begun = world.clock.monotonic();
    let request = wire::PauseParseTaskRequest { request_id: user.request_id(), parse_task_id: id.clone() };
    let paused = user.client.pause_parse_task(request).await?.into_inner().parse_task.expect("a task");
    assert_eq!(paused.state(), State::Paused);
    wait::until("the lease to be given back", PATIENCE, async || {
        world.integration.script().held.is_empty().then_some(())
    })
    .await?;
    let took = world.clock.monotonic().saturating_sub(begun);
    assert!(took < Duration::from_secs(1), "a pause takes effect within a second, took {took:?}");
    world.integration.let_through(3);
    assert_eq!(world.integration.script().pages, 2, "nothing is read while paused");

    let request = wire::ResumeParseTaskRequest { request_id: user.request_id(), parse_task_id: id.clone() };
    user.client.resume_parse_task(request).await?;
    world.integration.let_through(100);
    let task = user.until_state(&id, State::Completed).await?;
    assert_eq!(task.progress.map(|progress| (progress.read, progress.results)), Some((400, 400)));
    assert_eq!(user.found(&id).await?, everybody(400));
    assert_eq!(world.integration.script().readings, [0, 100]);
    Ok(())
}

async fn a_killed_process_loses_and_doubles_nothing(database: TestDatabase) -> anyhow::Result<()> {
    let world = World::new(database, group(600)).await?;
    world.integration.hold();
    let mut id = String::new();
    for round in 0..4 {
        let running = world.start().await?;
        let mut user = world.user(&running, 10)?;
        if id.is_empty() {
            id = user.create(user.order(ParseKind::Members)).await?;
        }
        let before = world.integration.script().pages;
        // At whatever moment of the second page's commit this is.
        world.integration.let_through(2);
        wait::until("two pages", PATIENCE, async || (world.integration.script().pages >= before + 2).then_some(()))
            .await?;
        assert!(round == 0 || world.integration.script().readings.len() > round);
        running.kill().await;
    }
    let running = world.start().await?;
    let mut user = world.user(&running, 10)?;
    world.integration.let_through(100);
    let task = user.until_state(&id, State::Completed).await?;
    let progress = task.progress.expect("it has counters");
    assert_eq!((progress.read, progress.unique, progress.results, progress.new), (600, 600, 600, 600));
    assert_eq!(user.found(&id).await?, everybody(600));
    Ok(())
}

async fn a_process_that_stops_hands_its_tasks_over(database: TestDatabase) -> anyhow::Result<()> {
    let world = World::new(database, group(400)).await?;
    world.integration.hold();
    let first = world.start().await?;
    let mut user = world.user(&first, 10)?;
    let id = user.create(user.order(ParseKind::Members)).await?;
    world.integration.let_through(1);
    user.until(&id, "a page", |task| task.progress.as_ref().is_some_and(|progress| progress.read == 50)).await?;
    first.stop().await?;
    assert!(world.integration.script().held.is_empty(), "the lease was given back");

    let second = world.start().await?;
    let mut user = world.user(&second, 10)?;
    assert_eq!(user.get(&id).await?.state(), State::Running);
    world.integration.let_through(100);
    user.until_state(&id, State::Completed).await?;
    assert_eq!(user.found(&id).await?, everybody(400));
    assert_eq!(world.integration.script().readings, [0, 50]);
    Ok(())
}

async fn two_replicas_never_run_one_task_twice(database: TestDatabase) -> anyhow::Result<()> {
    let world = World::new(database, group(200)).await?;
    let (first, second) = (world.start_with(60).await?, world.start_with(60).await?);
    let mut user = world.user(&first, 10)?;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(user.create(user.order(ParseKind::Members)).await?);
    }
    for id in &ids {
        let task = user.until_state(id, State::Completed).await?;
        assert_eq!(task.progress.map(|progress| (progress.read, progress.requests)), Some((200, 4)));
        assert_eq!(user.found(id).await?, everybody(200));
    }
    assert_eq!(world.integration.script().readings, [0; 12]);
    // Another replica's pause takes effect here too.
    world.integration.hold();
    let id = user.create(user.order(ParseKind::Members)).await?;
    user.until_state(&id, State::Running).await?;
    let mut other = world.user(&second, 10)?;
    let request = wire::CancelParseTaskRequest { request_id: other.request_id(), parse_task_id: id.clone() };
    other.client.cancel_parse_task(request).await?;
    wait::until("the lease to be given back", PATIENCE, async || {
        world.integration.script().held.is_empty().then_some(())
    })
    .await?;
    assert_eq!(user.get(&id).await?.state(), State::Cancelled);
    Ok(())
}

async fn authors_are_counted_and_filtered_at_the_end(database: TestDatabase) -> anyhow::Result<()> {
    let mut script = group(0);
    // Author 1 writes every message, 2 every second, 3 every fourth: of 240.
    script.messages = (0..240)
        .map(|n| {
            message(
                if n % 2 == 0 {
                    1
                } else if n % 4 == 1 {
                    2
                } else {
                    3 + n
                },
                240 - n,
            )
        })
        .collect();
    let world = World::new(database, script).await?;
    let running = world.start().await?;
    let mut user = world.user(&running, 10)?;
    let mut order = user.order(ParseKind::MessageAuthors);
    order.filter = Some(wire::ParseFilter { min_activity: 2, ..Default::default() });
    let id = user.create(order).await?;
    let task = user.until_state(&id, State::Completed).await?;
    let progress = task.progress.expect("it has counters");
    assert_eq!((progress.read, progress.unique, progress.results), (240, 62, 2));
    assert_eq!(progress.skipped.iter().map(|skip| skip.count).sum::<i64>(), 60);
    let request = wire::ListResultsRequest { parse_task_id: id.clone(), ..Default::default() };
    let results = user.client.list_results(request).await?.into_inner().results;
    assert_eq!(results.iter().map(|result| result.activity).collect::<Vec<_>>(), [120, 60]);
    assert!(results.iter().all(|result| result.last_active_time.is_some()));

    let mut order = user.order(ParseKind::MessageAuthors);
    order.filter = Some(wire::ParseFilter { last_messages: 70, ..Default::default() });
    let id = user.create(order).await?;
    let task = user.until_state(&id, State::Completed).await?;
    assert_eq!(task.progress.map(|progress| (progress.read, progress.requests)), Some((70, 2)));
    Ok(())
}

on_both_databases!(
    members_are_collected_with_their_counts,
    a_lost_lease_goes_on_at_the_cursor,
    what_passes_is_waited_for_and_never_a_failure,
    what_waiting_cannot_heal_is_said,
    a_pause_stops_the_reading_and_a_resume_goes_on,
    a_killed_process_loses_and_doubles_nothing,
    a_process_that_stops_hands_its_tasks_over,
    two_replicas_never_run_one_task_twice,
    authors_are_counted_and_filtered_at_the_end,
);
