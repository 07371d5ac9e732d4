//! Who is reached and who is not: parts of audiences, the same person under
//! several keys, and those who must be left alone.

mod common;

use common::world::Reaction;
use common::{Service, on_each, outcome, reason};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::invite::v1::audience::Source;
use tgmesh_proto::invite::v1::campaign::State;
use tgmesh_proto::invite::v1::upload_audience_request::Part;
use tgmesh_proto::invite::v1::*;
use tgmesh_proto::parsing::v1::{Completeness, ParseProgress, ParseResult, ParseTask, parse_result, parse_task};
use tgmesh_proto::telegram::v1::{Outcome, Person};
use uuid::Uuid;

fn found(user_id: i64, username: &str, phone: &str) -> ParseResult {
    let person = Person { user_id, username: username.into(), phone: phone.into(), ..Default::default() };
    ParseResult { result: Some(parse_result::Result::Person(person)), ..Default::default() }
}

fn from_task(service: &Service, accept_partial: bool) -> CreateCampaignRequest {
    let source = Some(Source::ParseTaskId(Uuid::from_u128(9).to_string()));
    CreateCampaignRequest { audience: Some(Audience { source, limit: 0, accept_partial }), ..service.request(&[]) }
}

/// A campaign of the rows of a file.
async fn of_file(service: &mut Service, file: &str) -> CreateCampaignResponse {
    let header = UploadHeader { request_id: service.id(), file_name: "a.csv".into(), ..Default::default() };
    let parts = [Part::Header(header), Part::Data(file.as_bytes().to_vec())];
    let parts = parts.map(|part| UploadAudienceRequest { part: Some(part) });
    let kept = service.client.upload_audience(tokio_stream::iter(parts)).await.unwrap().into_inner();
    let request = CreateCampaignRequest {
        audience: Some(Audience { source: Some(Source::AudienceId(kept.audience_id)), ..Default::default() }),
        ..service.request(&[])
    };
    service.client.create_campaign(request).await.unwrap().into_inner()
}

async fn bar(service: &mut Service, people: &[&str]) {
    let people = people.iter().map(|text| (*text).to_owned()).collect();
    let request = AddDoNotContactRequest { request_id: service.id(), people, reason: String::new() };
    service.client.add_do_not_contact(request).await.unwrap();
}

#[tokio::test]
async fn a_part_of_an_audience_is_taken_only_when_asked_for() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        service.world.state().results = vec![found(1, "anna_1", ""), found(2, "anna_2", "")];
        let progress = ParseProgress { results: 2, read: 400, total: Some(1_501), ..Default::default() };
        let task = |state: parse_task::State| {
            Some(ParseTask { state: state.into(), progress: Some(progress.clone()), ..Default::default() })
        };
        for (state, can_be_taken) in [
            (parse_task::State::Pending, false),
            (parse_task::State::Running, false),
            (parse_task::State::Paused, true),
            (parse_task::State::Cancelled, true),
            (parse_task::State::Failed, true),
        ] {
            service.world.state().task = task(state);
            let request = from_task(&service, false);
            let refused = service.client.create_campaign(request).await.expect_err("a part was taken for all");
            let failure = tgmesh_proto::status::read(&refused).unwrap();
            assert_eq!(failure.reason, ErrorReason::ParseTaskStateWrong, "{state:?}");
            let name = state.as_str_name().trim_start_matches("STATE_");
            for (key, value) in [("state", name), ("results", "2"), ("read", "400"), ("total", "1501")] {
                assert_eq!(failure.metadata.get(key).map(String::as_str), Some(value), "{state:?}");
            }
            let request = from_task(&service, true);
            let answer = service.client.create_campaign(request).await;
            if !can_be_taken {
                assert_eq!(reason(answer), ErrorReason::ParseTaskStateWrong, "{state:?}");
                continue;
            }
            let campaign = answer.unwrap().into_inner().campaign.unwrap();
            assert!(campaign.audience_notice.ends_with("2 results after reading 400 of 1501"), "{campaign:?}");
            assert_eq!(service.get(&campaign.id).await.audience_notice, campaign.audience_notice);
        }
        let completed = |complete, notice: &str| ParseTask {
            state: parse_task::State::Completed.into(),
            completeness: Some(Completeness { complete, notice: notice.into(), ..Default::default() }),
            ..Default::default()
        };
        for (task, notice) in [(completed(true, "all were fetched"), ""), (completed(false, "a cap"), "a cap")] {
            service.world.state().task = Some(task);
            let request = from_task(&service, false);
            let campaign = service.client.create_campaign(request).await.unwrap().into_inner().campaign.unwrap();
            assert_eq!(campaign.audience_notice, notice);
        }
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_audience_of_nobody_says_why_by_entry() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        for validate_only in [true, false] {
            let people = ["hello world".to_owned(), "@x".to_owned()];
            let request = CreateCampaignRequest { validate_only, ..service.request(&people) };
            let refused = service.client.create_campaign(request).await.expect_err("a campaign of nobody");
            let failure = tgmesh_proto::status::read(&refused).unwrap();
            assert_eq!(failure.reason, ErrorReason::FieldInvalid);
            let fields: Vec<&str> = failure.violations.iter().map(|violation| violation.0.as_str()).collect();
            assert_eq!(fields, ["audience.inline.entries[0]", "audience.inline.entries[1]"]);
            assert!(failure.violations[0].1.contains("\"hello world\""), "{:?}", failure.violations);
        }
        bar(&mut service, &["@anna_1"]).await;
        let request = service.request(&["@anna_1".to_owned()]);
        let refused = service.client.create_campaign(request).await.expect_err("a campaign of nobody");
        assert!(refused.message().contains("do-not-contact"), "{refused:?}");
        let all = service.client.list_campaigns(ListCampaignsRequest::default()).await.unwrap().into_inner();
        assert!(all.campaigns.is_empty());
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn one_person_is_one_target_under_any_key() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        let file = "username,phone\n,+49151000001\nanna_1,+49151000001\nanna_2,\n,+49151000002\nanna_2,+49151000002\n\
                    anna_2,\nanna_3,\n";
        let created = of_file(&mut service, file).await;
        let report = created.import_report.unwrap();
        assert_eq!((report.read, report.accepted, report.duplicates), (7, 3, 4), "{report:?}");
        let id = created.campaign.unwrap().id;
        let request = ListTargetsRequest { campaign_id: id.clone(), ..Default::default() };
        let targets = service.client.list_targets(request).await.unwrap().into_inner().targets;
        let seen: Vec<_> = targets.iter().map(|target| (target.username.as_str(), target.phone.as_str())).collect();
        assert_eq!(seen, [("anna_1", "+49151000001"), ("anna_2", "+49151000002"), ("anna_3", "")]);
        service.start_campaign(&id).await;
        let done = service.until_done(&id).await;
        assert_eq!(outcome(&done, Outcome::Invited), 3);
        // Attempts are their campaign's owner's alone, whoever knows its id.
        let (conn, id) = (service.db.conn(), Uuid::parse_str(&id).unwrap());
        for (workspace_id, expected) in [(service.acting.workspace_id, 3), (Uuid::from_u128(77), 0)] {
            let attempts = tgmesh_invite::reports::store::attempts(conn, workspace_id, id).await.unwrap();
            assert_eq!(attempts.iter().map(|(_, count)| count).sum::<i64>(), expected);
            let executions = tgmesh_invite::targets::store::ended_since(conn, workspace_id, id, 0, 10).await;
            assert_eq!(i64::try_from(executions.unwrap().len()), Ok(expected));
        }
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_later_row_may_show_that_somebody_must_be_left_alone() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        bar(&mut service, &["@anna_1"]).await;
        let created = of_file(&mut service, "username,phone\n,+49151000001\nanna_1,+49151000001\nanna_2,\n").await;
        let report = created.import_report.unwrap();
        assert_eq!((report.accepted, report.do_not_contact), (1, 2), "{report:?}");
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn somebody_listed_by_another_key_is_left_alone_when_it_is_known() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        service.world.state().user_ids = [("anna_1".to_owned(), 71), ("anna_2".to_owned(), 72)].into();
        let draft = service.create(&["@anna_1".to_owned(), "@anna_2".to_owned(), "@anna_3".to_owned()]).await;
        // Put on the list by his id, of which the audience does not know.
        bar(&mut service, &["71"]).await;
        service.start_campaign(&draft.id).await;
        let done = service.until_done(&draft.id).await;
        let counts = [Outcome::DoNotContact, Outcome::Invited, Outcome::NotFound].map(|which| outcome(&done, which));
        assert_eq!(counts, [1, 1, 1], "{done:?}");
        assert_eq!(service.world.state().effects.len(), 1);
        let request = TestInviteRequest {
            request_id: service.id(),
            chat: "@rustberlin".into(),
            user: "@anna_1".into(),
            account_id: String::new(),
        };
        let answer = service.client.test_invite(request).await.unwrap().into_inner();
        assert_eq!(answer.outcome(), Outcome::DoNotContact);
        assert_eq!(service.world.state().effects.len(), 1);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn whom_a_test_has_asked_no_campaign_asks_again() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        let request = TestInviteRequest {
            request_id: service.id(),
            chat: "@rustberlin".into(),
            user: "@anna_1".into(),
            account_id: String::new(),
        };
        let answer = service.client.test_invite(request).await.unwrap().into_inner();
        assert_eq!(answer.outcome(), Outcome::Invited);
        let request = service.request(&["@anna_1".to_owned(), "@anna_2".to_owned()]);
        let report = service.client.create_campaign(request).await.unwrap().into_inner().import_report.unwrap();
        assert_eq!((report.accepted, report.contacted_before), (1, 1), "{report:?}");
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_pause_reaches_an_invite_that_is_still_being_prepared() {
    on_each(|db| async move {
        for is_pause in [true, false] {
            let mut service = Service::start(db.clone(), 1).await;
            service.world.script(|_, _, _| Reaction::LookUp);
            let name = format!("person_{is_pause}");
            let draft = service.create(std::slice::from_ref(&name)).await;
            service.start_campaign(&draft.id).await;
            let world = service.world.clone();
            world.until(|state| !state.looked_up.is_empty()).await;
            let (request_id, campaign_id) = (service.id(), draft.id.clone());
            if is_pause {
                let request = PauseCampaignRequest { request_id, campaign_id };
                service.client.pause_campaign(request).await.unwrap();
            } else {
                let request = CancelCampaignRequest { request_id, campaign_id };
                service.client.cancel_campaign(request).await.unwrap();
            }
            // The account is taken away while it still looks the person up.
            world.until(|state| state.leased.is_empty()).await;
            assert!(!world.state().looked_up.is_empty());
            world.state().looked_up.clear();
            let rests = service.until(&draft.id, |c| c.progress.as_ref().is_some_and(|p| p.under_way == 0)).await;
            assert_eq!(rests.state(), if is_pause { State::Paused } else { State::Cancelled });
            assert_eq!(rests.progress.unwrap().pending, 1);
            assert!(world.state().effects.is_empty(), "it was sent after the pause");
            let request = ListExecutionsRequest { campaign_id: draft.id, ..Default::default() };
            let execution = service.client.list_executions(request).await.unwrap().into_inner().executions.remove(0);
            assert_eq!(execution.result(), execution::Result::NotSent);
            service.stop().await;
        }
    })
    .await;
}
