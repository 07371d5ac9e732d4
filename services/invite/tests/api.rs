//! The contract: what each call does, and for whom.

mod common;

use common::world::{Reaction, World};
use common::{Service, on_each, outcome, people, reason};
use service_kit::identity::Acting;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::invite::v1::audience::Source;
use tgmesh_proto::invite::v1::campaign::{AllowedAction, State};
use tgmesh_proto::invite::v1::list_campaigns_request::Order;
use tgmesh_proto::invite::v1::*;
use tgmesh_proto::parsing::v1::{ParseResult, parse_result};
use tgmesh_proto::telegram::v1::account_readiness::Problem;
use tgmesh_proto::telegram::v1::{Outcome, PeerReference, Person};
use uuid::Uuid;

fn found(number: i64, username: &str, account: u128) -> ParseResult {
    let person = Person {
        user_id: 1_000 + number,
        username: username.into(),
        first_name: "Anna".into(),
        peer_reference: Some(PeerReference {
            account_id: Uuid::from_u128(account).to_string(),
            sealed: format!("sealed_{number}").into_bytes(),
        }),
        ..Default::default()
    };
    ParseResult { result: Some(parse_result::Result::Person(person)), ..Default::default() }
}

#[tokio::test]
async fn an_audience_comes_from_a_parse_task_with_its_references() {
    on_each(|db| async move {
        let mut service = Service::start(db, 2).await;
        // Nobody has a username: each can be addressed only by the account that saw him.
        service.world.state().results =
            (0..30).map(|number| found(number, "", if number % 2 == 0 { 100 } else { 101 })).collect();
        let mut request = service.request(&[]);
        let task = Uuid::from_u128(9).to_string();
        request.audience =
            Some(Audience { source: Some(Source::ParseTaskId(task.clone())), limit: 0, ..Default::default() });
        let created = service.client.create_campaign(request).await.unwrap().into_inner();
        let report = created.import_report.unwrap();
        assert_eq!((report.read, report.accepted, report.duplicates), (30, 30, 0), "{report:?}");
        let mut limited = service.request(&[]);
        limited.audience =
            Some(Audience { source: Some(Source::ParseTaskId(task.clone())), limit: 11, ..Default::default() });
        let first = service.client.create_campaign(limited).await.unwrap().into_inner().campaign.unwrap();
        assert_eq!(first.progress.unwrap().total, 11);
        let id = created.campaign.unwrap().id;
        service.start_campaign(&id).await;
        let done = service.until_done(&id).await;
        assert_eq!(outcome(&done, Outcome::Invited), 30);
        let request = ListTargetsRequest { campaign_id: id, page_size: 1, ..Default::default() };
        let target = service.client.list_targets(request).await.unwrap().into_inner().targets.remove(0);
        assert_eq!((target.source, target.display_name), (format!("parse:{task}"), "Anna".to_owned()));
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn whom_no_account_can_address_is_told_so() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        // The second was seen by an account that the workspace does not have any more.
        service.world.state().results = vec![found(0, "", 100), found(1, "", 999), found(2, "anna_2", 999)];
        service.world.script(|user, _, _| match user {
            "anna_2" => Reaction::Refuse(ErrorReason::PeerNotAddressable, None),
            _ => Reaction::Answer(Outcome::Invited),
        });
        let mut request = service.request(&[]);
        request.audience =
            Some(Audience { source: Some(Source::ParseTaskId(service.id())), limit: 0, ..Default::default() });
        let id = service.client.create_campaign(request).await.unwrap().into_inner().campaign.unwrap().id;
        service.start_campaign(&id).await;
        let done = service.until_done(&id).await;
        assert_eq!((outcome(&done, Outcome::NotAddressable), outcome(&done, Outcome::Invited)), (2, 1));
        // The name was tried once, and the accounts that are gone were never asked for.
        assert_eq!(service.world.state().calls.len(), 2);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn people_are_taken_once_and_never_against_their_will() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        let list = AddDoNotContactRequest {
            request_id: service.id(),
            people: vec!["@Listed".into(), "+49151234567".into(), "77".into()],
            reason: "asked".into(),
        };
        let added = service.client.add_do_not_contact(list.clone()).await.unwrap().into_inner();
        assert_eq!(added.entries.len(), 3);
        assert_eq!(service.client.add_do_not_contact(list).await.unwrap().into_inner(), added);

        let first = service.create(&people(1)).await;
        service.start_campaign(&first.id).await;
        service.until_done(&first.id).await;

        let entries: Vec<String> =
            ["@person_0", "person_5", "@Person_5", "t.me/listed", "49 151 234-567", "no!", "person_6"]
                .map(str::to_owned)
                .into();
        let request = service.request(&entries);
        let created = service.client.create_campaign(request.clone()).await.unwrap().into_inner();
        let report = created.import_report.clone().unwrap();
        assert_eq!(
            (
                report.read,
                report.accepted,
                report.duplicates,
                report.contacted_before,
                report.do_not_contact,
                report.rejected
            ),
            (7, 2, 1, 1, 2, 1)
        );
        assert_eq!(report.errors[0].line, 6);
        // Made again, the call is the same campaign; changed, it is refused.
        assert_eq!(service.client.create_campaign(request.clone()).await.unwrap().into_inner(), created);
        let other = CreateCampaignRequest { name: "other".into(), ..request };
        assert_eq!(reason(service.client.create_campaign(other).await), ErrorReason::RequestIdReused);
        let all = service.client.list_campaigns(ListCampaignsRequest::default()).await.unwrap().into_inner();
        assert_eq!(all.campaigns.len(), 2);

        // A limit counts those who can become targets, however many rows that takes.
        let mut limited = service.request(&entries);
        if let Some(audience) = &mut limited.audience {
            audience.limit = 2;
        }
        limited.validate_only = true;
        let report = service.client.create_campaign(limited).await.unwrap().into_inner().import_report.unwrap();
        assert_eq!((report.read, report.accepted), (7, 2), "{report:?}");

        // Put on the list after the campaign was made: it holds from the next action on.
        let list =
            AddDoNotContactRequest { request_id: service.id(), people: vec!["person_5".into()], reason: String::new() };
        service.client.add_do_not_contact(list).await.unwrap();
        let id = created.campaign.unwrap().id;
        service.start_campaign(&id).await;
        let done = service.until_done(&id).await;
        assert_eq!((outcome(&done, Outcome::DoNotContact), outcome(&done, Outcome::Invited)), (1, 1));
        assert!(!service.world.state().calls.iter().any(|(_, user, _)| user == "person_5"));

        let request = ListDoNotContactRequest { search: "@LIST".into(), ..Default::default() };
        let listed = service.client.list_do_not_contact(request).await.unwrap().into_inner().entries;
        assert_eq!(listed.len(), 1);
        let request = RemoveDoNotContactRequest { request_id: service.id(), entry_ids: vec![listed[0].id.clone()] };
        assert_eq!(service.client.remove_do_not_contact(request).await.unwrap().into_inner().removed, 1);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_leaves_nothing() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        let request = CreateCampaignRequest { validate_only: true, ..service.request(&people(3)) };
        let dry = service.client.create_campaign(request).await.unwrap().into_inner();
        let campaign = dry.campaign.unwrap();
        assert_eq!((campaign.id.as_str(), campaign.name.as_str()), ("", "Rust Berlin"));
        assert_eq!(campaign.progress.unwrap().total, 3);
        for table in ["campaigns", "targets", "campaign_counters", "stagings", "requests"] {
            assert_eq!(rows(&service, table).await, 0, "{table}");
        }
        service.stop().await;
    })
    .await;
}

async fn rows(service: &Service, table: &str) -> i64 {
    use sea_orm::ConnectionTrait as _;
    let conn = service.db.conn();
    let statement = tgmesh_invite::app::sql(conn, format!("SELECT COUNT(*) AS found FROM {table}"), []);
    conn.query_one_raw(statement).await.unwrap().unwrap().try_get("", "found").unwrap()
}

#[tokio::test]
async fn a_failed_creation_leaves_nothing_and_can_be_made_again() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        service.world.state().chat_visible = false;
        let request = service.request(&people(3));
        assert_eq!(reason(service.client.create_campaign(request.clone()).await), ErrorReason::ChatNotVisible);
        assert_eq!((rows(&service, "targets").await, rows(&service, "stagings").await), (0, 0));
        service.world.state().chat_visible = true;
        service.client.create_campaign(request).await.unwrap();
        assert_eq!((rows(&service, "targets").await, rows(&service, "stagings").await), (3, 0));
        let upload = CreateCampaignRequest {
            audience: Some(Audience { source: Some(Source::AudienceId(service.id())), limit: 0, ..Default::default() }),
            ..service.request(&[])
        };
        assert_eq!(reason(service.client.create_campaign(upload).await), ErrorReason::AudienceNotFound);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_start_is_checked_account_by_account() {
    on_each(|db| async move {
        let mut service = Service::start(db, 2).await;
        let empty = service.create(&["@listed".to_owned()]).await;
        let people_listed = vec!["@listed".to_owned()];
        let list = AddDoNotContactRequest { request_id: service.id(), people: people_listed, reason: String::new() };
        service.client.add_do_not_contact(list).await.unwrap();
        let start =
            |service: &Service, id: &str| StartCampaignRequest { request_id: service.id(), campaign_id: id.into() };
        let request = start(&service, &empty.id);
        assert_eq!(reason(service.client.start_campaign(request).await), ErrorReason::NoTargets);
        let draft = service.create(&people(2)).await;
        for (number, problem) in [(100, Problem::NoRights), (101, Problem::NoRights)] {
            service.world.state().problems.insert(Uuid::from_u128(number), problem);
        }
        let request = start(&service, &draft.id);
        let refused = service.client.start_campaign(request.clone()).await.unwrap_err();
        let failure = tgmesh_proto::status::read(&refused).unwrap();
        assert_eq!((failure.reason, failure.metadata["no_rights"].as_str()), (ErrorReason::NoAbleAccount, "2"));
        let check = CheckReadinessRequest { kind: CampaignKind::InviteToChat as i32, chat: "rustberlin".into() };
        let ready = service.client.check_readiness(check.clone()).await.unwrap().into_inner();
        assert_eq!((ready.ready, ready.accounts.len()), (0, 2));
        service.world.state().problems.clear();
        let ready = service.client.check_readiness(check).await.unwrap().into_inner();
        assert_eq!((ready.ready, ready.capacity_per_day), (2, Some(30)));
        // A refused call was none: the same id may be used again.
        let started = service.client.start_campaign(request.clone()).await.unwrap().into_inner();
        assert_eq!(service.client.start_campaign(request).await.unwrap().into_inner(), started);
        service.until_done(&draft.id).await;
        let request = start(&service, &draft.id);
        assert_eq!(reason(service.client.start_campaign(request).await), ErrorReason::CampaignStateWrong);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn another_workspace_sees_nothing() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        let draft = service.create(&people(2)).await;
        let mut other = service.client_of(Acting { user_id: Uuid::from_u128(8), workspace_id: Uuid::from_u128(9) });
        for id in [draft.id.clone(), service.id()] {
            let (campaign_id, request_id) = (id.clone(), service.id());
            let not_found = [
                reason(other.get_campaign(GetCampaignRequest { campaign_id: id.clone() }).await),
                reason(
                    other
                        .start_campaign(StartCampaignRequest { request_id: service.id(), campaign_id: id.clone() })
                        .await,
                ),
                reason(
                    other
                        .pause_campaign(PauseCampaignRequest { request_id: service.id(), campaign_id: id.clone() })
                        .await,
                ),
                reason(
                    other
                        .resume_campaign(ResumeCampaignRequest { request_id: service.id(), campaign_id: id.clone() })
                        .await,
                ),
                reason(
                    other
                        .cancel_campaign(CancelCampaignRequest { request_id: service.id(), campaign_id: id.clone() })
                        .await,
                ),
                reason(other.delete_campaign(DeleteCampaignRequest { request_id, campaign_id: id.clone() }).await),
                reason(other.list_targets(ListTargetsRequest { campaign_id: id.clone(), ..Default::default() }).await),
                reason(
                    other
                        .list_executions(ListExecutionsRequest { campaign_id: id.clone(), ..Default::default() })
                        .await,
                ),
                reason(other.get_report(GetReportRequest { campaign_id: id.clone() }).await),
                reason(
                    other.watch_campaign(WatchCampaignRequest { campaign_id, ..Default::default() }).await.map(|_| ()),
                ),
            ];
            assert!(not_found.iter().all(|reason| *reason == ErrorReason::CampaignNotFound), "{not_found:?}");
        }
        let all = other.list_campaigns(ListCampaignsRequest::default()).await.unwrap().into_inner();
        assert!(all.campaigns.is_empty());
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn lists_are_walked_in_every_order() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        for (name, priority) in [("Beta", 3), ("alpha", 1), ("Gamma_1", 4), ("gammaX1", 3), ("delta", 2)] {
            let request = CreateCampaignRequest { name: name.into(), priority, ..service.request(&people(1)) };
            service.client.create_campaign(request).await.unwrap();
        }
        for order in [Order::CreateTime, Order::UpdateTime, Order::Name, Order::Priority, Order::State, Order::Progress]
        {
            let (mut names, mut page_token) = (Vec::new(), String::new());
            loop {
                let request =
                    ListCampaignsRequest { order: order as i32, page_size: 2, page_token, ..Default::default() };
                let page = service.client.list_campaigns(request).await.unwrap().into_inner();
                names.extend(page.campaigns.into_iter().map(|campaign| campaign.name));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            match order {
                Order::CreateTime => assert_eq!(names, ["delta", "gammaX1", "Gamma_1", "alpha", "Beta"]),
                Order::Name => assert_eq!(names[..3], ["alpha", "Beta", "delta"]),
                Order::Priority => assert_eq!((names[0].as_str(), names[4].as_str()), ("alpha", "Gamma_1")),
                _ => {}
            }
            names.sort();
            names.dedup();
            assert_eq!(names.len(), 5, "{order:?}");
        }
        // What is searched for is text, not a pattern.
        let request = ListCampaignsRequest { search: "GAMMA_".into(), ..Default::default() };
        assert_eq!(service.client.list_campaigns(request).await.unwrap().into_inner().campaigns.len(), 1);
        let request = ListCampaignsRequest { states: vec![State::Running as i32], ..Default::default() };
        assert!(service.client.list_campaigns(request).await.unwrap().into_inner().campaigns.is_empty());
        let request = ListCampaignsRequest { page_size: 1, ..Default::default() };
        let token = service.client.list_campaigns(request).await.unwrap().into_inner().next_page_token;
        let request = ListCampaignsRequest { search: "a".into(), page_token: token, ..Default::default() };
        assert_eq!(reason(service.client.list_campaigns(request).await), ErrorReason::PageTokenInvalid);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn drafts_are_changed_and_deleted() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        let draft = service.create(&people(2)).await;
        let mask =
            |paths: &[&str]| Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).into()).collect() });
        let request = UpdateCampaignRequest {
            request_id: service.id(),
            campaign_id: draft.id.clone(),
            name: "New".into(),
            description: "ignored".into(),
            update_mask: mask(&["name"]),
            etag: draft.etag.clone(),
            ..Default::default()
        };
        let changed = service.client.update_campaign(request.clone()).await.unwrap().into_inner().campaign.unwrap();
        assert_eq!((changed.name.as_str(), changed.description.as_str()), ("New", ""));
        let stale = UpdateCampaignRequest { request_id: service.id(), ..request.clone() };
        assert_eq!(reason(service.client.update_campaign(stale).await), ErrorReason::EtagMismatch);
        for (paths, expected) in [
            (["state"], ErrorReason::FieldInvalid),
            (["options"], ErrorReason::NotImplemented),
            (["chat"], ErrorReason::NotImplemented),
        ] {
            let request =
                UpdateCampaignRequest { request_id: service.id(), update_mask: mask(&paths), ..request.clone() };
            assert_eq!(reason(service.client.update_campaign(request).await), expected);
        }
        assert!(changed.allowed_actions().any(|action| action == AllowedAction::Delete));
        let request = DeleteCampaignRequest { request_id: service.id(), campaign_id: draft.id.clone() };
        service.client.delete_campaign(request.clone()).await.unwrap();
        service.client.delete_campaign(request).await.unwrap();
        for table in ["campaigns", "targets", "campaign_counters"] {
            assert_eq!(rows(&service, table).await, 0, "{table}");
        }
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_report_and_a_watch_tell_what_happened() {
    on_each(|db| async move {
        let mut service = Service::start(db, 2).await;
        service.world.script(|user, _, asked| match (user, asked) {
            ("person_0", 0) => Reaction::Refuse(ErrorReason::FloodWait, None),
            ("person_1", _) => Reaction::Answer(Outcome::UserKicked),
            _ => Reaction::Answer(Outcome::Invited),
        });
        let draft = service.create(&people(12)).await;
        let request = WatchCampaignRequest { campaign_id: draft.id.clone(), ..Default::default() };
        let mut watch = service.client.watch_campaign(request).await.unwrap().into_inner();
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.campaign.unwrap().state(), State::Draft);
        drop(watch);
        service.start_campaign(&draft.id).await;
        service.until_done(&draft.id).await;
        // Resumed where it was left, it tells the attempts since: at most 20, oldest first.
        let request = WatchCampaignRequest { campaign_id: draft.id.clone(), resume_token: first.resume_token };
        let mut watch = service.client.watch_campaign(request).await.unwrap().into_inner();
        let next = watch.message().await.unwrap().unwrap();
        assert_eq!(next.executions.len(), 13);
        assert!(next.executions.iter().all(|execution| execution.duration.is_some() && execution.trace_id.len() == 32));
        let request = WatchCampaignRequest { campaign_id: draft.id.clone(), resume_token: "x".into() };
        assert_eq!(reason(service.client.watch_campaign(request).await.map(|_| ())), ErrorReason::ResumeTokenInvalid);

        let request = GetReportRequest { campaign_id: draft.id.clone() };
        let report = service.client.get_report(request).await.unwrap().into_inner();
        assert_eq!(report.attempts, 13);
        assert_eq!(report.errors[0].telegram_error, "E_X");
        let by_account: i64 =
            report.accounts.iter().flat_map(|account| &account.outcomes).map(|count| count.targets).sum();
        let by_day: i64 = report.days.iter().flat_map(|day| &day.outcomes).map(|count| count.targets).sum();
        assert_eq!((by_account, by_day), (12, 12));
        assert!(report.first_execution_time.is_some() && report.duration.is_some());

        let request = ListTargetsRequest {
            campaign_id: draft.id.clone(),
            outcomes: vec![Outcome::UserKicked as i32],
            ..Default::default()
        };
        let kicked = service.client.list_targets(request).await.unwrap().into_inner().targets;
        assert_eq!((kicked.len(), kicked[0].username.as_str(), kicked[0].attempts), (1, "person_1", 1));
        let request =
            ListTargetsRequest { campaign_id: draft.id.clone(), search: "Person_1".into(), ..Default::default() };
        assert_eq!(service.client.list_targets(request).await.unwrap().into_inner().targets.len(), 3);
        let request =
            ListExecutionsRequest { campaign_id: draft.id, target_id: kicked[0].id.clone(), ..Default::default() };
        assert_eq!(service.client.list_executions(request).await.unwrap().into_inner().executions.len(), 1);
        service.stop().await;
    })
    .await;
}

/// An audience that turns out to be too large leaves nothing.
#[tokio::test]
async fn half_a_campaign_is_never_seen() {
    on_each(|db| async move {
        let mut config = common::config();
        (config.import.batch, config.import.max_rows) = (3, 10);
        let mut service = Service::start_with(config, db, World::start(1).await).await;
        let request = service.request(&people(20));
        assert_eq!(reason(service.client.create_campaign(request).await), ErrorReason::FileInvalid);
        for table in ["campaigns", "targets", "stagings", "requests"] {
            assert_eq!(rows(&service, table).await, 0, "{table}");
        }
        service.stop().await;
    })
    .await;
}

/// A process that dies while it builds a campaign: nothing is seen of it, and
/// its rows are swept.
#[tokio::test]
async fn killed_while_it_builds_a_campaign() {
    use sea_orm::ConnectionTrait as _;
    on_each(|db| async move {
        let mut config = common::config();
        config.import.batch = 5;
        let mut service = Service::start_with(config.clone(), db.clone(), World::start(1).await).await;
        service.world.state().results = (0..50).map(|number| found(number, "", 100)).collect();
        service.world.state().results_hang = true;
        let mut request = service.request(&[]);
        request.audience =
            Some(Audience { source: Some(Source::ParseTaskId(service.id())), limit: 0, ..Default::default() });
        let mut client = service.client.clone();
        let call = tokio::spawn(async move { client.create_campaign(request).await });
        while rows(&service, "targets").await < 50 {
            tokio::task::yield_now().await;
        }
        let all = service.client.list_campaigns(ListCampaignsRequest::default()).await.unwrap().into_inner();
        assert!(all.campaigns.is_empty());
        call.abort();
        let world = service.kill().await;
        db.conn().execute_unprepared("UPDATE stagings SET expires_at = 0").await.unwrap();
        let service = Service::start_with(config, db, world).await;
        while rows(&service, "targets").await + rows(&service, "target_peers").await > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rows(&service, "campaigns").await, 0);
        service.stop().await;
    })
    .await;
}
