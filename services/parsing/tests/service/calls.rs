//! The calls of ParsingService, over real gRPC.

use crate::support::integration::{fault, group};
use crate::support::{PATIENCE, Running, User, World, on_both_databases, user_id};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::parsing::v1 as wire;
use tgmesh_proto::parsing::v1::ParseKind;
use tgmesh_proto::parsing::v1::export_results_request::Format;
use tgmesh_proto::parsing::v1::parse_task::{AllowedAction, State};
use tgmesh_tests::database::TestDatabase;
use tonic::{Code, Status};

/// A service whose tasks stand still, and a user of workspace 10.
async fn held(database: TestDatabase, members: i64) -> anyhow::Result<(World, Running, User)> {
    let world = World::new(database, group(members)).await?;
    world.integration.hold();
    let running = world.start().await?;
    let user = world.user(&running, 10)?;
    Ok((world, running, user))
}

/// The same with a task that is completed.
async fn completed(database: TestDatabase, members: i64) -> anyhow::Result<(World, Running, User, String)> {
    let (world, running, mut user) = held(database, members).await?;
    world.integration.let_through(1_000);
    let id = user.create(user.order(ParseKind::Members)).await?;
    user.until_state(&id, State::Completed).await?;
    Ok((world, running, user, id))
}

#[track_caller]
fn refused<T>(answer: Result<T, Status>, reason: ErrorReason) -> tgmesh_proto::status::Failure {
    let Err(status) = answer else { panic!("it is refused") };
    let failure = tgmesh_proto::status::read(&status).expect("of the catalogue");
    assert_eq!(failure.reason, reason, "{status:?}");
    assert_eq!(status.code(), reason.code());
    failure
}

#[track_caller]
fn fields(failure: &tgmesh_proto::status::Failure) -> Vec<&str> {
    failure.violations.iter().map(|(field, _)| field.as_str()).collect()
}

async fn a_repeat_gets_the_first_answer(database: TestDatabase) -> anyhow::Result<()> {
    let (_world, _running, mut user) = held(database, 10).await?;
    let mut order = user.order(ParseKind::Members);
    order.sources.push("t.me/other_chat".into());
    let first = user.client.create_parse_tasks(order.clone()).await?.into_inner();
    assert_eq!(first.parse_tasks.len(), 2);
    let again = user.client.create_parse_tasks(order.clone()).await?.into_inner();
    assert_eq!(first, again);
    let all = user.client.list_parse_tasks(wire::ListParseTasksRequest::default()).await?.into_inner();
    assert_eq!(all.parse_tasks.len(), 2);
    order.sources.pop();
    let failure = refused(user.client.create_parse_tasks(order).await, ErrorReason::RequestIdReused);
    assert_eq!(fields(&failure), ["request_id"]);

    let id = first.parse_tasks[0].id.clone();
    let pause = wire::PauseParseTaskRequest { request_id: user.request_id(), parse_task_id: id };
    let first = user.client.pause_parse_task(pause.clone()).await?.into_inner();
    let again = user.client.pause_parse_task(pause).await?.into_inner();
    assert_eq!(first, again);
    Ok(())
}

async fn all_or_nothing_is_created(database: TestDatabase) -> anyhow::Result<()> {
    let (_world, _running, mut user) = held(database, 10).await?;
    let mut order = user.order(ParseKind::Members);
    order.sources = vec!["@rustberlin".into(), "not a chat".into(), "https://example.com/x".into()];
    order.filter = Some(wire::ParseFilter { min_activity: 3, ..Default::default() });
    let failure = refused(user.client.create_parse_tasks(order).await, ErrorReason::FieldInvalid);
    assert_eq!(fields(&failure), ["sources[1]", "sources[2]", "filter.min_activity"]);
    let mut order = user.order(ParseKind::MessageAuthors);
    let (late, early) =
        (prost_types::Timestamp { seconds: 20, nanos: 0 }, prost_types::Timestamp { seconds: 10, nanos: 0 });
    order.filter = Some(wire::ParseFilter { since_time: Some(late), until_time: Some(early), ..Default::default() });
    let failure = refused(user.client.create_parse_tasks(order).await, ErrorReason::FieldInvalid);
    assert_eq!(fields(&failure), ["filter.until_time"]);
    let all = user.client.list_parse_tasks(wire::ListParseTasksRequest::default()).await?.into_inner();
    assert!(all.parse_tasks.is_empty());
    Ok(())
}

async fn what_is_not_served_says_so(database: TestDatabase) -> anyhow::Result<()> {
    let (_world, _running, mut user, id) = completed(database, 3).await?;
    for kind in [ParseKind::Commenters, ParseKind::Reactors, ParseKind::Messages] {
        let failure = refused(user.client.create_parse_tasks(user.order(kind)).await, ErrorReason::NotImplemented);
        let named = ["method", "field", "value"].map(|key| failure.metadata[key].as_str());
        let value = kind.as_str_name().trim_start_matches("PARSE_KIND_");
        assert_eq!(named, ["CreateParseTasks", "kind", value]);
    }
    let search = wire::SearchCommunitiesRequest { keywords: vec!["rust".into()] };
    refused(user.client.search_communities(search).await, ErrorReason::NotImplemented);
    let erase = wire::EraseContactRequest { request_id: user.request_id(), user_id: 1 };
    refused(user.client.erase_contact(erase).await, ErrorReason::NotImplemented);
    for format in [Format::Json, Format::Xlsx] {
        let export = wire::ExportResultsRequest { parse_task_id: id.clone(), format: format as i32 };
        refused(user.client.export_results(export).await, ErrorReason::NotImplemented);
    }
    Ok(())
}

async fn each_state_allows_what_it_says(database: TestDatabase) -> anyhow::Result<()> {
    let (_world, _running, mut user) = held(database, 10).await?;
    let id = user.create(user.order(ParseKind::Members)).await?;
    let request = |user: &User| (user.request_id(), id.clone());
    let (request_id, parse_task_id) = request(&user);
    let resume = wire::ResumeParseTaskRequest { request_id, parse_task_id };
    refused(user.client.resume_parse_task(resume).await, ErrorReason::ParseTaskStateWrong);
    let (request_id, parse_task_id) = request(&user);
    let delete = wire::DeleteParseTaskRequest { request_id, parse_task_id };
    refused(user.client.delete_parse_task(delete.clone()).await, ErrorReason::ParseTaskStateWrong);
    let (request_id, parse_task_id) = request(&user);
    let cancel = wire::CancelParseTaskRequest { request_id, parse_task_id };
    let cancelled = user.client.cancel_parse_task(cancel).await?.into_inner().parse_task.expect("a task");
    assert_eq!(cancelled.state(), State::Cancelled);
    assert_eq!(cancelled.allowed_actions, [AllowedAction::Delete as i32]);
    let (request_id, parse_task_id) = request(&user);
    let pause = wire::PauseParseTaskRequest { request_id, parse_task_id };
    let failure = refused(user.client.pause_parse_task(pause).await, ErrorReason::ParseTaskStateWrong);
    assert_eq!(failure.metadata.get("state").map(String::as_str), Some("CANCELLED"));
    // A refusal has no effect: the same call may be made again.
    user.client.delete_parse_task(delete).await?;
    let get = wire::GetParseTaskRequest { parse_task_id: id };
    refused(user.client.get_parse_task(get).await, ErrorReason::ParseTaskNotFound);
    Ok(())
}

async fn another_workspace_sees_nothing(database: TestDatabase) -> anyhow::Result<()> {
    let (world, running, mut user, id) = completed(database, 20).await?;
    let contact =
        user.client.list_contacts(wire::ListContactsRequest::default()).await?.into_inner().contacts.remove(0);
    let mut stranger = world.user(&running, 20)?;
    let never = uuid::Uuid::from_u128(99).to_string();
    // The same answer as for an id that never was.
    for task in [id.clone(), never.clone()] {
        let client = &mut stranger.client;
        let get = wire::GetParseTaskRequest { parse_task_id: task.clone() };
        refused(client.get_parse_task(get).await, ErrorReason::ParseTaskNotFound);
        let list = wire::ListResultsRequest { parse_task_id: task.clone(), ..Default::default() };
        refused(client.list_results(list).await, ErrorReason::ParseTaskNotFound);
        let stats = wire::GetResultStatsRequest { parse_task_id: task.clone() };
        refused(client.get_result_stats(stats).await, ErrorReason::ParseTaskNotFound);
        let watch = wire::WatchParseTaskRequest { parse_task_id: task.clone(), ..Default::default() };
        refused(client.watch_parse_task(watch).await, ErrorReason::ParseTaskNotFound);
        let export = wire::ExportResultsRequest { parse_task_id: task.clone(), format: Format::Csv as i32 };
        refused(client.export_results(export).await, ErrorReason::ParseTaskNotFound);
        let of_task = wire::ListContactsRequest { parse_task_id: task.clone(), ..Default::default() };
        refused(client.list_contacts(of_task).await, ErrorReason::ParseTaskNotFound);
        let request_id = uuid::Uuid::from_u128(1).to_string();
        let delete = wire::DeleteParseTaskRequest { request_id, parse_task_id: task.clone() };
        refused(client.delete_parse_task(delete).await, ErrorReason::ParseTaskNotFound);
        let (mut invite, acting) = world.invite(&running, 20)?;
        let stream = wire::StreamResultsRequest { parse_task_id: task, ..Default::default() };
        refused(invite.stream_results(acting.request(stream)).await, ErrorReason::ParseTaskNotFound);
    }
    for contact_id in [contact.id, never] {
        let get = wire::GetContactRequest { contact_id };
        refused(stranger.client.get_contact(get).await, ErrorReason::ContactNotFound);
    }
    let tasks = stranger.client.list_parse_tasks(wire::ListParseTasksRequest::default()).await?.into_inner();
    let contacts = stranger.client.list_contacts(wire::ListContactsRequest::default()).await?.into_inner();
    assert!(tasks.parse_tasks.is_empty() && contacts.contacts.is_empty());
    Ok(())
}

async fn lists_walk_page_by_page(database: TestDatabase) -> anyhow::Result<()> {
    let (_world, _running, mut user, id) = completed(database, 130).await?;
    let paused = user.create(user.order(ParseKind::MessageAuthors)).await?;
    user.until(&paused, "its end", |task| task.end_time.is_some()).await?;
    assert_eq!(user.found(&id).await?, (1..=130).collect::<Vec<_>>());

    let mut request = wire::ListParseTasksRequest { page_size: 1, ..Default::default() };
    let first = user.client.list_parse_tasks(request.clone()).await?.into_inner();
    assert_eq!(first.parse_tasks[0].id, paused, "newest first");
    request.page_token = first.next_page_token;
    let second = user.client.list_parse_tasks(request.clone()).await?.into_inner();
    assert_eq!((second.parse_tasks[0].id.as_str(), second.next_page_token.as_str()), (id.as_str(), ""));
    request.with_results = true;
    refused(user.client.list_parse_tasks(request.clone()).await, ErrorReason::PageTokenInvalid);
    request.page_token.clear();
    let with_results = user.client.list_parse_tasks(request).await?.into_inner();
    assert_eq!(with_results.parse_tasks.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
    let of_kind = wire::ListParseTasksRequest { kinds: vec![ParseKind::MessageAuthors as i32], ..Default::default() };
    assert_eq!(user.client.list_parse_tasks(of_kind).await?.into_inner().parse_tasks.len(), 1);
    let nothing = wire::ListParseTasksRequest { states: vec![4, 0], ..Default::default() };
    let failure = refused(user.client.list_parse_tasks(nothing).await, ErrorReason::FieldInvalid);
    assert_eq!(fields(&failure), ["states[1]"]);
    Ok(())
}

async fn a_search_finds_prefixes_of_names(database: TestDatabase) -> anyhow::Result<()> {
    let mut script = group(30);
    script.members[6].first_name = "Анна_100%".into();
    script.members[6].last_name = "Петрова".into();
    let world = World::new(database, script).await?;
    let running = world.start().await?;
    let mut user = world.user(&running, 10)?;
    let id = user.create(user.order(ParseKind::Members)).await?;
    user.until_state(&id, State::Completed).await?;
    for (search, expected) in [
        ("@USER_3", vec![3, 30]),
        ("first 2", vec![2, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29]),
        ("АННА", vec![7]),
        ("петр", vec![7]),
        ("анна_100% пет", vec![7]),
        ("user%", vec![]),
        ("ser_3", vec![]),
    ] {
        let request =
            wire::ListResultsRequest { parse_task_id: id.clone(), search: search.into(), ..Default::default() };
        let results = user.client.list_results(request).await?.into_inner().results;
        assert_eq!(results.iter().map(user_id).collect::<Vec<_>>(), expected, "{search}");
        let request = wire::ListContactsRequest { search: search.into(), ..Default::default() };
        let contacts = user.client.list_contacts(request).await?.into_inner().contacts;
        assert_eq!(contacts.len(), expected.len(), "{search}");
    }
    Ok(())
}

async fn contacts_know_their_accounts_and_tasks(database: TestDatabase) -> anyhow::Result<()> {
    let (_world, _running, mut user, first) = completed(database, 5).await?;
    let second = user.create(user.order(ParseKind::Members)).await?;
    let task = user.until_state(&second, State::Completed).await?;
    assert_eq!(task.progress.map(|progress| (progress.results, progress.new)), Some((5, 0)));
    let contacts = user.client.list_contacts(wire::ListContactsRequest::default()).await?.into_inner().contacts;
    assert_eq!(contacts.len(), 5);
    let get = wire::GetContactRequest { contact_id: contacts[0].id.clone() };
    let contact = user.client.get_contact(get).await?.into_inner().contact.expect("a contact");
    assert_eq!(contact, contacts[0]);
    assert_eq!(contact.parse_task_ids, [first.clone(), second.clone()]);
    assert_eq!(contact.peer_references.len(), 2, "each task had its own account");

    let request = wire::GetResultStatsRequest { parse_task_id: second };
    let stats = user.client.get_result_stats(request).await?.into_inner();
    assert_eq!((stats.total, stats.with_username, stats.with_phone, stats.premium), (5, 5, 0, 0));
    assert_eq!(stats.last_seen.iter().map(|entry| entry.count).collect::<Vec<_>>(), [5]);

    // Deleting a task keeps the contacts.
    let delete = wire::DeleteParseTaskRequest { request_id: user.request_id(), parse_task_id: first };
    user.client.delete_parse_task(delete).await?;
    let contacts = user.client.list_contacts(wire::ListContactsRequest::default()).await?.into_inner().contacts;
    assert!(contacts.len() == 5 && contacts.iter().all(|contact| contact.parse_task_ids.len() == 1));
    Ok(())
}

async fn invite_takes_results_and_can_go_on(database: TestDatabase) -> anyhow::Result<()> {
    let (world, running, _user, id) = completed(database, 1_200).await?;
    let (mut invite, acting) = world.invite(&running, 10)?;
    let request = wire::StreamResultsRequest { parse_task_id: id.clone(), ..Default::default() };
    let mut stream = invite.stream_results(acting.request(request)).await?.into_inner();
    let mut batches = Vec::new();
    while let Some(batch) = stream.message().await? {
        assert!(!batch.results.is_empty() && batch.results.len() <= 500);
        batches.push(batch);
    }
    let all: Vec<i64> = batches.iter().flat_map(|batch| batch.results.iter().map(user_id)).collect();
    assert_eq!(all, (1..=1_200).collect::<Vec<_>>());
    let Some(wire::parse_result::Result::Person(person)) = &batches[0].results[0].result else { panic!("a person") };
    assert!(person.peer_reference.as_ref().is_some_and(|reference| reference.sealed == [7; 60]));

    let cursor = batches[0].cursor.clone();
    let request = wire::StreamResultsRequest { parse_task_id: id.clone(), cursor };
    let mut stream = invite.stream_results(acting.request(request)).await?.into_inner();
    let next = stream.message().await?.expect("more follow");
    assert_eq!(next.results.first().map(user_id), Some(501));

    let cursor = batches.last().expect("three").cursor.clone();
    let request = wire::StreamResultsRequest { parse_task_id: id.clone(), cursor };
    let mut stream = invite.stream_results(acting.request(request)).await?.into_inner();
    assert!(stream.message().await?.is_none());

    for cursor in [b"nonsense".to_vec(), vec![0xff, 0xfe]] {
        let request = wire::StreamResultsRequest { parse_task_id: id.clone(), cursor };
        let failure = refused(invite.stream_results(acting.request(request)).await, ErrorReason::ResumeTokenInvalid);
        assert_eq!(fields(&failure), ["cursor"]);
    }
    Ok(())
}

async fn a_part_is_never_taken_for_all(database: TestDatabase) -> anyhow::Result<()> {
    let (world, running, mut user) = held(database, 100).await?;
    world.integration.let_through(1);
    let id = user.create(user.order(ParseKind::Members)).await?;
    user.until(&id, "a page", |task| task.progress.as_ref().is_some_and(|progress| progress.read == 50)).await?;
    let (mut invite, acting) = world.invite(&running, 10)?;
    let request = wire::StreamResultsRequest { parse_task_id: id.clone(), ..Default::default() };
    let failure =
        refused(invite.stream_results(acting.request(request.clone())).await, ErrorReason::ParseTaskStateWrong);
    assert_eq!(failure.metadata.get("state").map(String::as_str), Some("RUNNING"));
    // What a pause has left can be taken by whoever says that a part will do.
    let pause = wire::PauseParseTaskRequest { request_id: user.request_id(), parse_task_id: id };
    user.client.pause_parse_task(pause).await?;
    let mut stream = invite.stream_results(acting.request(request)).await?.into_inner();
    assert_eq!(stream.message().await?.map(|batch| batch.results.len()), Some(50));
    Ok(())
}

async fn files_come_in_pieces(database: TestDatabase) -> anyhow::Result<()> {
    let (_world, _running, mut user, id) = completed(database, 3_000).await?;
    for (format, extension, lines) in [(Format::Csv, ".csv", 3_001), (Format::Ndjson, ".ndjson", 3_000)] {
        let request = wire::ExportResultsRequest { parse_task_id: id.clone(), format: format as i32 };
        let mut stream = user.client.export_results(request).await?.into_inner();
        let (mut file, mut pieces) = (Vec::new(), 0);
        while let Some(piece) = stream.message().await? {
            assert!(piece.data.len() <= 64 * 1024);
            assert_eq!(piece.file_name.is_empty(), pieces > 0, "in the first message only");
            assert!(
                pieces > 0
                    || (piece.file_name.starts_with("tgmesh-rustberlin-") && piece.file_name.ends_with(extension))
            );
            file.extend(piece.data);
            pieces += 1;
        }
        assert!(pieces > 1);
        let text = String::from_utf8(file)?;
        assert_eq!(text.lines().count(), lines);
        assert_eq!(text.starts_with('\u{feff}'), format == Format::Csv);
        assert!(text.contains("user_2999"));
    }
    Ok(())
}

async fn a_watch_shows_the_task_now_and_as_it_changes(database: TestDatabase) -> anyhow::Result<()> {
    let (world, _running, mut user) = held(database, 150).await?;
    let id = user.create(user.order(ParseKind::Members)).await?;
    let request = wire::WatchParseTaskRequest { parse_task_id: id.clone(), ..Default::default() };
    let mut stream = user.client.watch_parse_task(request).await?.into_inner();
    let first = stream.message().await?.expect("the task now").parse_task.expect("a task");
    assert!(matches!(first.state(), State::Pending | State::Running));
    world.integration.let_through(10);
    let (mut read, mut token) = (0, String::new());
    let last = tokio::time::timeout(PATIENCE, async {
        loop {
            let message = stream.message().await?.expect("it goes on");
            let task = message.parse_task.expect("a task");
            let now = task.progress.as_ref().map_or(0, |progress| progress.read);
            assert!(now >= read, "never back");
            (read, token) = (now, message.resume_token);
            if task.state() == State::Completed {
                return Ok::<_, Status>(task);
            }
        }
    })
    .await??;
    assert_eq!(last.progress.map(|progress| progress.results), Some(150));

    // Going on with the token of the last change shows nothing until the next: its deletion.
    let request = wire::WatchParseTaskRequest { parse_task_id: id.clone(), resume_token: token };
    let mut stream = user.client.watch_parse_task(request).await?.into_inner();
    let delete = wire::DeleteParseTaskRequest { request_id: user.request_id(), parse_task_id: id.clone() };
    user.client.delete_parse_task(delete).await?;
    refused(tokio::time::timeout(PATIENCE, stream.message()).await?, ErrorReason::ParseTaskNotFound);

    let other = user.create(user.order(ParseKind::Members)).await?;
    let request = wire::WatchParseTaskRequest { parse_task_id: other, resume_token: "nonsense".into() };
    refused(user.client.watch_parse_task(request).await, ErrorReason::ResumeTokenInvalid);
    Ok(())
}

async fn a_preview_creates_nothing(database: TestDatabase) -> anyhow::Result<()> {
    let (world, _running, mut user) = held(database, 10).await?;
    world.integration.script().chat.member_count = Some(50_000);
    let mut order = user.order(ParseKind::Members);
    order.sources.push("@other_chat".into());
    order.validate_only = true;
    let answer = user.client.create_parse_tasks(order.clone()).await?.into_inner();
    assert!(answer.parse_tasks.is_empty());
    let preview = &answer.previews[0];
    assert_eq!((preview.source.as_str(), preview.total, preview.cap), ("@rustberlin", Some(50_000), 10_000));
    assert_eq!(preview.estimate.as_ref().map(|estimate| estimate.seconds), Some(25));
    assert_eq!(preview.chat.as_ref().map(|chat| chat.title.as_str()), Some("Rust Berlin"));
    assert_eq!(answer.previews[1].source, "@other_chat");
    assert!(world.integration.script().held.is_empty(), "leases were given back");

    // An error about a source is an answer; one of the way there is an error.
    order.sources.pop();
    world.integration.script().chat_faults.push_back(fault(ErrorReason::ChatNotFound, None));
    let answer = user.client.create_parse_tasks(order.clone()).await?.into_inner();
    assert_eq!(answer.previews[0].failure_reason, "CHAT_NOT_FOUND");
    world.integration.script().lease_faults.push_back(fault(ErrorReason::DependencyUnavailable, None));
    let answer = user.client.create_parse_tasks(order).await;
    assert_eq!(answer.as_ref().err().map(Status::code), Some(Code::Unavailable));
    let all = user.client.list_parse_tasks(wire::ListParseTasksRequest::default()).await?.into_inner();
    assert!(all.parse_tasks.is_empty());
    Ok(())
}

on_both_databases!(
    a_repeat_gets_the_first_answer,
    all_or_nothing_is_created,
    what_is_not_served_says_so,
    each_state_allows_what_it_says,
    another_workspace_sees_nothing,
    lists_walk_page_by_page,
    a_search_finds_prefixes_of_names,
    contacts_know_their_accounts_and_tasks,
    invite_takes_results_and_can_go_on,
    a_part_is_never_taken_for_all,
    files_come_in_pieces,
    a_watch_shows_the_task_now_and_as_it_changes,
    a_preview_creates_nothing,
);
