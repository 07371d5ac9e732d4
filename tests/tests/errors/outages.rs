//! What goes wrong around a call: too much load, a process that leaves, neighbours and databases that fail.

use anyhow::{Context as _, ensure};
use sea_orm::{ConnectionTrait as _, Statement, TransactionTrait as _};
use tgmesh_proto::Caller;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1 as integration;
use tgmesh_proto::invite::v1 as invite;
use tgmesh_proto::parsing::v1 as parsing;
use tgmesh_proto::quota::v1 as quota;
use tgmesh_proto::quota::v1::quota_service_client::QuotaServiceClient;
use tgmesh_tests::{database, wait};
use tokio_stream::wrappers::ReceiverStream;

use super::Rows;
use crate::common::wire::{Refusal, refused};
use crate::common::{PATIENCE, World};

pub async fn provoke(rows: &mut Rows) -> anyhow::Result<()> {
    let world = World::start_with("[invite.server]\nlisten = '127.0.0.1:0'\nmax_concurrent_calls = 1\n", "").await?;
    overload(&world, rows).await.context("overload")?;
    lose_a_table(&world, rows).await.context("a lost table")?;
    leave(world, rows).await.context("leaving")?;
    lose_a_neighbour(rows).await.context("a lost neighbour")?;
    at_the_same_moment(rows).await.context("the same moment")
}

/// A server with room for one call, which goes on as long as its file comes.
async fn overload(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    use invite::upload_audience_request::Part;
    let upload = || {
        let (parts, file) = tokio::sync::mpsc::channel(1);
        let header = invite::UploadHeader { request_id: world.id(), file_name: "people.csv".to_owned(), format: 0 };
        parts.try_send(invite::UploadAudienceRequest { part: Some(Part::Header(header)) }).expect("there is room");
        let mut uploader = world.invite(world.owner);
        let task = tokio::spawn(async move { uploader.upload_audience(ReceiverStream::new(file)).await });
        (parts, task)
    };
    let mut going_on = upload();
    let mut client = world.invite(world.owner);
    let list = invite::ListCampaignsRequest::default();
    let answer = wait::until("a call without room", PATIENCE, async || {
        // It may be the upload that finds no room, beside the call before.
        if going_on.1.is_finished() {
            going_on = upload();
        }
        let answer = client.list_campaigns(list.clone()).await;
        answer.is_err().then_some(answer)
    });
    let answer = answer.await?;
    let told = answer.as_ref().err().map(|status| Refusal::of(status).retry);
    rows.row(ErrorReason::Overloaded, answer);
    ensure!(told == Some(true), "nobody is told when to try again");
    drop(going_on.0);
    going_on.1.await?.ok();
    wait::until("the place to be free again", PATIENCE, async || client.list_campaigns(list.clone()).await.ok())
        .await?;
    Ok(())
}

/// A fault of ours: what a caller learns of it is a number to ask for.
async fn lose_a_table(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    let file = world.config.data_dir.join("parsing.db");
    let database = sea_orm::Database::connect(format!("sqlite://{}", file.display())).await?;
    database.execute_unprepared("ALTER TABLE contacts RENAME TO lost_contacts").await?;
    let answer = world.parsing(world.owner).list_contacts(parsing::ListContactsRequest::default()).await;
    database.execute_unprepared("ALTER TABLE lost_contacts RENAME TO contacts").await?;
    let refusal = refused(answer.as_ref().map(drop).map_err(Clone::clone))?;
    rows.row(ErrorReason::Internal, answer);
    let id = refusal.metadata.get("request_id").context("no request id")?;
    ensure!(refusal.message == format!("internal error, request {id}"), "too much is told: {refusal:?}");
    ensure!(refusal.metadata.len() == 1 && refusal.violations.is_empty(), "too much is told: {refusal:?}");
    world.parsing(world.owner).list_contacts(parsing::ListContactsRequest::default()).await?;
    Ok(())
}

/// A process that leaves ends its streams with a reason that clients follow.
async fn leave(world: World, rows: &mut Rows) -> anyhow::Result<()> {
    let mut client = world.integration(world.owner);
    let request = integration::WatchAccountsRequest::default();
    let mut watch = client.watch_accounts(request).await?.into_inner();
    watch.message().await?.context("no snapshot")?;
    let stopped = tokio::spawn(world.stop());
    let end = async {
        loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(status) => return Err(status),
            }
        }
    };
    let end = tokio::time::timeout(PATIENCE, end).await.context("the watch goes on")?;
    rows.row(ErrorReason::ShuttingDown, end);
    stopped.await??;
    Ok(())
}

/// parsing without integration names what it misses: host and port.
async fn lose_a_neighbour(rows: &mut Rows) -> anyhow::Result<()> {
    // Nobody listens on it any more, and nobody else is given it so soon.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let settings = format!("[addresses]\nintegration = 'http://localhost:{port}'\n");
    let world = World::start_only(&["parsing"], &settings).await?;
    let request = parsing::CreateParseTasksRequest {
        request_id: world.id(),
        sources: vec!["@news_channel".to_owned()],
        kind: parsing::ParseKind::Members.into(),
        validate_only: true,
        ..Default::default()
    };
    let answer = world.parsing(world.owner).create_parse_tasks(request).await;
    let refusal = refused(answer.as_ref().map(drop).map_err(Clone::clone))?;
    rows.row(ErrorReason::DependencyUnavailable, answer);
    let dependency = refusal.metadata.get("dependency").map(String::as_str);
    ensure!(dependency == Some(&format!("integration at localhost:{port}")), "{refusal:?}");
    world.stop().await?;
    Ok(())
}

/// Two callers set limits that nobody has set before. On PostgreSQL, where their transactions run beside each other;
/// a lock on the table lets both read before either writes.
async fn at_the_same_moment(rows: &mut Rows) -> anyhow::Result<()> {
    let database = database::postgres().await?;
    let world =
        World::start_only(&["integration"], &format!("[databases.integration]\nurl = '{}'\n", database.url())).await?;
    let update = || {
        let invite = Some(quota::InviteLimits { per_day: Some(20), ..Default::default() });
        let request = quota::UpdateLimitsRequest {
            request_id: world.id(),
            level: Some(quota::LimitsLevel {
                level: Some(quota::limits_level::Level::Workspace(quota::limits_level::Workspace {})),
            }),
            limits: Some(quota::Limits { invite, ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["invite.per_day".to_owned()] }),
        };
        let mut client = QuotaServiceClient::new(world.channel("integration", Caller::User, world.owner));
        tokio::spawn(async move { client.update_limits(request).await })
    };
    let (locking, looking) = (database.connect().await?, database.connect().await?);
    let lock = locking.begin().await?;
    lock.execute_unprepared("LOCK TABLE limits IN SHARE MODE").await?;
    let calls = [update(), update()];
    wait::until("both to be about to write", PATIENCE, async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'limits'::regclass AND NOT granted";
        let row =
            looking.query_one_raw(Statement::from_string(looking.get_database_backend(), waiting)).await.ok()??;
        (row.try_get_by_index::<i64>(0).ok()? == 2).then_some(())
    })
    .await?;
    lock.rollback().await?;
    let (mut done, mut refused) = (0, 0);
    for call in calls {
        match call.await? {
            Ok(_) => done += 1,
            refusal => {
                rows.row(ErrorReason::Conflict, refusal);
                refused += 1;
            }
        }
    }
    ensure!((done, refused) == (1, 1), "{done} were done, {refused} refused");
    world.stop().await?;
    Ok(())
}
