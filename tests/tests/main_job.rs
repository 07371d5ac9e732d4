//! The main job from end to end: accounts log in, a community is parsed, people are invited, a report is given. On
//! SQLite and on PostgreSQL, and judged by what the emulator recorded alone.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use common::{PASSWORD, PATIENCE, UNLIMITED, World, phone};
use telegram_emulator::{CallFilter, Effect, Standing};
use tgmesh_proto::integration::v1 as integration;
use tgmesh_proto::integration::v1::login::State;
use tgmesh_proto::invite::v1 as invite;
use tgmesh_proto::parsing::v1 as parsing;
use tgmesh_tests::database::{self, TestDatabase};
use tgmesh_tests::wait;

/// The community: people of every kind, and [`CROWD`] of whom nothing is special.
const COMMUNITY: (i64, &str) = (611, "@the_community");
const CROWD: usize = 80;
const FIRST_OF_CROWD: i64 = 20_001;
const WORLD: &str = "
[[chat]]
id = 611
kind = 'supergroup'
title = 'The community'
username = 'the_community'
creator = 40
members = [21, 22, 23, 24, 27, 29, 30, 31, 32, 33, 61, 62, 63, 69]

[[population]]
users = 80
first_id = 20001
usernames = 100.0
chats = [{ chat = 611, admins = 2 }]
";
/// Somebody of the community who is in the destination already, and somebody who must not be contacted.
const MEMBER: i64 = 32;
const UNWANTED: &str = "@target_friend";

/// What the product says that it has done.
#[derive(Debug, Clone, Default)]
struct Claims {
    total: i64,
    pending: i64,
    under_way: i64,
    outcomes: BTreeMap<String, i64>,
    /// Outcome of each target, by user id.
    targets: BTreeMap<i64, String>,
    /// Attempts that the report counts.
    attempts: i64,
    /// Of the report, summed over its accounts.
    by_accounts: BTreeMap<String, i64>,
}

/// What the emulator recorded.
#[derive(Debug, Clone, Default)]
struct Record {
    /// By user: what each invite of him came to.
    invites: BTreeMap<i64, Vec<String>>,
    overlaps: usize,
}

/// What is not as it has to be.
fn judge(claims: &Claims, record: &Record) -> Vec<String> {
    let mut broken = Vec::new();
    for (user, outcomes) in &record.invites {
        let effects = outcomes.iter().filter(|outcome| *outcome == "INVITED").count();
        if effects > 1 {
            broken.push(format!("user {user} was invited {effects} times"));
        }
        let told = claims.targets.get(user);
        if told != outcomes.last() {
            broken.push(format!("user {user}: telegram answered {outcomes:?}, and the outcome is {told:?}"));
        }
    }
    for user in claims.targets.keys().filter(|user| !record.invites.contains_key(user)) {
        broken.push(format!("user {user} has an outcome, and nobody asked telegram"));
    }
    let mut counted: BTreeMap<String, i64> = BTreeMap::new();
    for outcome in claims.targets.values() {
        *counted.entry(outcome.clone()).or_default() += 1;
    }
    for (what, told) in [("progress", &claims.outcomes), ("the report by account", &claims.by_accounts)] {
        if *told != counted {
            broken.push(format!("{what} says {told:?}, the targets are {counted:?}"));
        }
    }
    let sum: i64 = claims.outcomes.values().sum::<i64>() + claims.pending + claims.under_way;
    if sum != claims.total || claims.pending + claims.under_way > 0 {
        broken.push(format!("states sum to {sum} of {} targets: {claims:?}", claims.total));
    }
    let asked: usize = record.invites.values().map(Vec::len).sum();
    if usize::try_from(claims.attempts).ok() != Some(asked) {
        broken.push(format!("telegram was asked {asked} times, the report says {}", claims.attempts));
    }
    if record.overlaps > 0 {
        broken.push(format!("{} times a key was on two connections", record.overlaps));
    }
    broken
}

/// Three ways to log in: by code, by code and password, by QR code.
async fn log_in(world: &World) -> anyhow::Result<()> {
    for user in [61, 63] {
        let login = world.start_login(world.owner, user).await?;
        let login = world.enter_code(world.owner, user, &login.id).await?;
        ensure!(login.state() == State::Completed, "{login:?}");
    }
    let login = world.start_login(world.owner, 69).await?;
    let login = world.enter_code(world.owner, 69, &login.id).await?;
    ensure!(login.state() == State::PasswordRequired, "{login:?}");
    let request = integration::SubmitLoginPasswordRequest {
        request_id: world.id(),
        login_id: login.id,
        password: PASSWORD.to_owned(),
    };
    let login = world.integration(world.owner).submit_login_password(request).await?.into_inner().login;
    ensure!(login.as_ref().is_some_and(|login| login.state() == State::Completed), "{login:?}");

    let request = integration::StartQrLoginRequest { request_id: world.id() };
    let mut events = world.integration(world.owner).start_qr_login(request).await?.into_inner();
    let code = events.message().await?.and_then(|event| event.qr_code).context("no code")?;
    world.handle().accept_login_token(&phone(62), &code.link)?;
    let done = async {
        while let Some(event) = events.message().await? {
            if event.login.is_some_and(|login| login.state() == State::Completed) {
                return Ok(());
            }
        }
        anyhow::bail!("the events have ended")
    };
    tokio::time::timeout(PATIENCE, done).await.context("the login by QR code was not completed")?
}

/// Who is found, and what the exported file says.
async fn parse(world: &World) -> anyhow::Result<String> {
    let task = world.parse(world.owner, COMMUNITY.1).await?;
    let (mut client, mut found, mut page_token) = (world.parsing(world.owner), BTreeSet::new(), String::new());
    loop {
        let request = parsing::ListResultsRequest {
            parse_task_id: task.clone(),
            page_size: 100,
            page_token,
            ..Default::default()
        };
        let page = client.list_results(request).await?.into_inner();
        for result in page.results {
            let Some(parsing::parse_result::Result::Person(person)) = result.result else { anyhow::bail!("no person") };
            ensure!(found.insert(person.user_id), "user {} is there twice", person.user_id);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let is_wanted = |user: i64| world.handle().user(user).is_ok_and(|user| !user.bot && !user.deleted);
    let members = world.handle().members(COMMUNITY.0, 0, 10_000)?;
    let ordinary = members.iter().filter(|member| member.standing == Standing::Member && is_wanted(member.user));
    let expected: BTreeSet<i64> = ordinary.map(|member| member.user).collect();
    ensure!(expected.len() > CROWD, "the world is small: {}", expected.len());
    ensure!(found == expected, "found {} people, not the {} of the community", found.len(), expected.len());

    let format = parsing::export_results_request::Format::Csv.into();
    let request = parsing::ExportResultsRequest { parse_task_id: task.clone(), format };
    let (mut stream, mut file) = (client.export_results(request).await?.into_inner(), Vec::new());
    while let Some(part) = stream.message().await? {
        file.extend(part.data);
    }
    let lines = String::from_utf8(file)?.lines().count();
    ensure!(lines == found.len() + 1, "{lines} lines were exported of {} people", found.len());
    Ok(task)
}

/// A campaign over the people of a task; its claims.
async fn campaign(world: &World, task: &str) -> anyhow::Result<(String, Claims)> {
    let mut client = world.invite(world.owner);
    let request = invite::AddDoNotContactRequest {
        request_id: world.id(),
        people: vec![UNWANTED.to_owned()],
        reason: "asked for it".to_owned(),
    };
    client.add_do_not_contact(request).await?;
    let source = invite::audience::Source::ParseTaskId(task.to_owned());
    let audience = Some(invite::Audience { source: Some(source), limit: 0, ..Default::default() });
    let created = client.create_campaign(invite::CreateCampaignRequest { audience, ..world.campaign_of(&[]) }).await?;
    let id = created.into_inner().campaign.context("no campaign")?.id;
    world.start_campaign(world.owner, &id).await?;
    let ended = world.until_done(world.owner, &id).await?;
    ensure!(ended.state() == invite::campaign::State::Completed, "{ended:?}");

    let report = client.get_report(invite::GetReportRequest { campaign_id: id.clone() }).await?.into_inner();
    let progress = report.campaign.and_then(|campaign| campaign.progress).context("no progress")?;
    let mut claims = Claims {
        total: progress.total,
        pending: progress.pending,
        under_way: progress.under_way,
        outcomes: progress.outcomes.iter().map(|count| (name(count.outcome()), count.targets)).collect(),
        attempts: report.attempts,
        ..Claims::default()
    };
    for count in report.accounts.iter().flat_map(|account| &account.outcomes) {
        *claims.by_accounts.entry(name(count.outcome())).or_default() += count.targets;
    }
    let users = world.handle().users(0, world.handle().user_count());
    let ids: BTreeMap<String, i64> = users.into_iter().map(|user| (user.username, user.id)).collect();
    let request = invite::ListTargetsRequest { campaign_id: id.clone(), page_size: 1_000, ..Default::default() };
    for target in client.list_targets(request).await?.into_inner().targets {
        let user = ids.get(&target.username).with_context(|| format!("nobody is called {}", target.username))?;
        claims.targets.insert(*user, name(target.outcome()));
    }
    Ok((id, claims))
}

fn name(outcome: tgmesh_proto::telegram::v1::Outcome) -> String {
    outcome.as_str_name().trim_start_matches("OUTCOME_").to_owned()
}

/// By Telegram's answers, what an invite came to.
fn record(world: &World) -> Record {
    let filter = CallFilter { method: Some("channels.inviteToChannel".to_owned()), ..Default::default() };
    let mut record = Record { overlaps: world.handle().overlaps().len(), ..Record::default() };
    for call in world.handle().calls(&filter, 0, 10_000) {
        let effects = call.effects.iter().find_map(|effect| match effect {
            Effect::Invited { .. } => Some("INVITED"),
            Effect::AlreadyMember { .. } => Some("ALREADY_MEMBER"),
            Effect::NotInvited { .. } => Some("PRIVACY_RESTRICTED"),
            _ => None,
        });
        let answer = match (effects, call.error.as_deref()) {
            (Some(effect), _) => effect,
            (None, Some("USER_ALREADY_PARTICIPANT")) => "ALREADY_MEMBER",
            (None, Some("USER_PRIVACY_RESTRICTED")) => "PRIVACY_RESTRICTED",
            (None, Some("USER_NOT_MUTUAL_CONTACT")) => "NOT_MUTUAL_CONTACT",
            (None, Some(error)) => error,
            (None, None) => "nothing",
        };
        for user in &call.subject.users {
            record.invites.entry(*user).or_default().push(answer.to_owned());
        }
    }
    record
}

async fn main_job(databases: &[(&str, TestDatabase)]) -> anyhow::Result<()> {
    let urls = databases.iter().map(|(name, database)| format!("[databases.{name}]\nurl = '{}'\n", database.url()));
    let world = World::start_with(&format!("{UNLIMITED}{}", urls.collect::<String>()), WORLD).await?;
    world.handle().set_standing(601, MEMBER, Standing::Member)?;
    log_in(&world).await.context("logins")?;
    let task = parse(&world).await.context("parsing")?;
    let (id, claims) = campaign(&world, &task).await.context("the campaign")?;
    let record = record(&world);
    let broken = judge(&claims, &record);
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    ensure!(claims.targets.len() > CROWD && claims.total == i64::try_from(claims.targets.len())?, "{claims:?}");
    ensure!(claims.outcomes.len() >= 4, "too little has happened: {:?}", claims.outcomes);
    let unwanted = world.handle().users(0, 100).into_iter().find(|user| UNWANTED.ends_with(&user.username));
    let unwanted = unwanted.context("nobody is unwanted")?.id;
    ensure!(!record.invites.contains_key(&unwanted), "somebody who must not be contacted was");
    // The accounts share the work.
    let executions = invite::ListExecutionsRequest { campaign_id: id, page_size: 1_000, ..Default::default() };
    let made = world.invite(world.owner).list_executions(executions).await?.into_inner().executions;
    let workers: BTreeSet<&str> = made.iter().map(|execution| execution.account_id.as_str()).collect();
    ensure!(workers.len() > 1, "one account did everything");
    // Nothing is left behind: every lease is over.
    let leases = || tgmesh_proto::lease::v1::ListLeasesRequest::default();
    let channel = world.channel("integration", tgmesh_proto::Caller::User, world.owner);
    let mut client = tgmesh_proto::lease::v1::lease_service_client::LeaseServiceClient::new(channel);
    wait::until("the leases to be over", PATIENCE, async || {
        client.list_leases(leases()).await.ok()?.into_inner().leases.is_empty().then_some(())
    })
    .await?;
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_on_sqlite() -> anyhow::Result<()> {
    main_job(&[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_on_postgresql() -> anyhow::Result<()> {
    let mut databases = Vec::new();
    for name in tgmesh::launch::SERVICES {
        databases.push((name, database::postgres().await?));
    }
    main_job(&databases).await
}

#[test]
fn the_judge_convicts() {
    let one = |outcome: &str| BTreeMap::from([(outcome.to_owned(), 1)]);
    let innocent = || {
        let claims = Claims {
            total: 1,
            outcomes: one("INVITED"),
            by_accounts: one("INVITED"),
            targets: BTreeMap::from([(FIRST_OF_CROWD, "INVITED".to_owned())]),
            attempts: 1,
            ..Claims::default()
        };
        let invites = BTreeMap::from([(FIRST_OF_CROWD, vec!["INVITED".to_owned()])]);
        (claims, Record { invites, overlaps: 0 })
    };
    let (claims, record) = innocent();
    assert_eq!(judge(&claims, &record), Vec::<String>::new());
    let breaks: [fn(&mut Claims, &mut Record); 8] = [
        |claims, record| {
            claims.attempts = 2;
            record.invites.entry(FIRST_OF_CROWD).or_default().push("INVITED".to_owned());
        },
        |_, record| drop(record.invites.insert(7, vec!["INVITED".to_owned()])),
        |claims, _| drop(claims.targets.insert(7, "INVITED".to_owned())),
        |claims, _| claims.pending = 1,
        |claims, _| claims.outcomes = BTreeMap::new(),
        |claims, _| claims.by_accounts = BTreeMap::from([("ALREADY_MEMBER".to_owned(), 1)]),
        |claims, _| claims.attempts = 2,
        |_, record| record.overlaps = 1,
    ];
    for (number, broken) in breaks.into_iter().enumerate() {
        let (mut claims, mut record) = innocent();
        broken(&mut claims, &mut record);
        assert!(!judge(&claims, &record).is_empty(), "break {number} is not noticed");
    }
}
