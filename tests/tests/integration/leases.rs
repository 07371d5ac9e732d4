//! Leases over the wire: who holds an account, who waits for it, who sees it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use prost_types::Duration as Wire;
use service_kit::client::{ServiceChannel, UserChannel};
use service_kit::lease::Leases;
use tgmesh_proto::lease::v1 as pb;
use tgmesh_proto::lease::v1::Purpose;
use tgmesh_proto::lease::v1::lease::State;
use tgmesh_proto::lease::v1::lease_service_client::LeaseServiceClient;
use tgmesh_proto::{Caller, ErrorReason};
use tgmesh_tests::wait;

use crate::common::play::key;
use crate::common::{PATIENCE, World};
use crate::reason;

type Client = LeaseServiceClient<UserChannel>;

/// The holder's side.
fn holder(world: &World) -> Client {
    LeaseServiceClient::new(world.channel("integration", Caller::Invite, world.owner))
}

/// The user's side.
fn user(world: &World) -> Client {
    LeaseServiceClient::new(world.channel("integration", Caller::User, world.owner))
}

/// The side of a user of another workspace.
fn stranger(world: &World) -> Client {
    LeaseServiceClient::new(world.channel("integration", Caller::User, world.stranger))
}

fn seconds(seconds: i64) -> Option<Wire> {
    Some(Wire { seconds, nanos: 0 })
}

fn ask(world: &World, purpose: Purpose) -> pb::AcquireLeaseRequest {
    pb::AcquireLeaseRequest {
        request_id: world.id(),
        purpose: purpose.into(),
        ttl: seconds(60),
        holder: "the tests".to_owned(),
        work: "a test".to_owned(),
        ..Default::default()
    }
}

async fn take(world: &World) -> anyhow::Result<pb::Lease> {
    holder(world).acquire_lease(ask(world, Purpose::Invite)).await?.into_inner().lease.context("no lease")
}

fn release(world: &World, lease: &pb::Lease) -> pb::ReleaseLeaseRequest {
    pb::ReleaseLeaseRequest { request_id: world.id(), key: key(lease) }
}

async fn get(world: &World, lease: &pb::Lease) -> anyhow::Result<pb::Lease> {
    let request = pb::GetLeaseRequest { lease_id: lease.id.clone() };
    user(world).get_lease(request).await?.into_inner().lease.context("no lease")
}

fn end(lease: &pb::Lease) -> i64 {
    lease.expire_time.as_ref().map_or(0, |time| time.seconds)
}

#[tokio::test]
async fn a_lease_is_taken_kept_and_given_back() -> anyhow::Result<()> {
    let world = World::start().await?;
    let account = world.connect(world.owner, 61).await?;
    let request = ask(&world, Purpose::Invite);
    let lease = holder(&world).acquire_lease(request.clone()).await?.into_inner().lease.context("no lease")?;
    assert_eq!((&lease.account_id, lease.state(), lease.purpose()), (&account, State::Active, Purpose::Invite));
    assert_eq!((lease.holder.as_str(), lease.work.as_str(), lease.fencing_token), ("the tests", "a test", 1));
    let again = holder(&world).acquire_lease(request).await?.into_inner().lease;
    assert_eq!(again.as_ref(), Some(&lease), "a repeat took another lease");
    assert_eq!(get(&world, &lease).await?.id, lease.id);

    let renew = pb::RenewLeaseRequest { request_id: world.id(), key: key(&lease), ttl: seconds(600) };
    let renewed = holder(&world).renew_lease(renew).await?.into_inner().lease.context("no lease")?;
    assert!(end(&renewed) > end(&lease) + 500, "{renewed:?}");

    let stale = pb::LeaseKey { lease_id: lease.id.clone(), fencing_token: 7 };
    let wrong = pb::RenewLeaseRequest { request_id: world.id(), key: Some(stale.clone()), ttl: None };
    assert_eq!(reason(holder(&world).renew_lease(wrong).await), Some(ErrorReason::StaleLease));
    let wrong = pb::ReleaseLeaseRequest { request_id: world.id(), key: Some(stale) };
    assert_eq!(reason(holder(&world).release_lease(wrong).await), Some(ErrorReason::StaleLease));

    let done = release(&world, &lease);
    holder(&world).release_lease(done.clone()).await?;
    holder(&world).release_lease(done).await?;
    assert_eq!(get(&world, &lease).await?.state(), State::Released);
    let over = pb::RenewLeaseRequest { request_id: world.id(), key: key(&lease), ttl: None };
    assert_eq!(reason(holder(&world).renew_lease(over).await), Some(ErrorReason::StaleLease));
    assert_eq!(take(&world).await?.fencing_token, 2);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_refusal_counts_accounts_and_a_wait_ends_with_the_account() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.connect(world.owner, 61).await?;
    let lease = take(&world).await?;
    let refused = holder(&world).acquire_lease(ask(&world, Purpose::Parse)).await.expect_err("it is held");
    let failure = tgmesh_proto::status::read(&refused).context("no details")?;
    assert_eq!(failure.reason, ErrorReason::NoAccountAvailable);
    assert_eq!(failure.metadata.get("leased").map(String::as_str), Some("1"), "{failure:?}");
    assert!(failure.metadata.contains_key("earliest_time"), "{failure:?}");

    let waits = pb::AcquireLeaseRequest { wait: seconds(30), ..ask(&world, Purpose::Parse) };
    let mut client = holder(&world);
    let waiting = tokio::spawn(async move { client.acquire_lease(waits).await });
    holder(&world).release_lease(release(&world, &lease)).await?;
    let next = tokio::time::timeout(PATIENCE, waiting).await???.into_inner().lease.context("no lease")?;
    assert_eq!((&next.account_id, next.purpose()), (&lease.account_id, Purpose::Parse));
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_revoked_lease_is_over_and_strangers_know_of_none() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.connect(world.owner, 61).await?;
    let lease = take(&world).await?;
    let revoke = |id: &str| pb::RevokeLeaseRequest { request_id: world.id(), lease_id: id.to_owned() };
    let request = pb::GetLeaseRequest { lease_id: lease.id.clone() };
    let refused = reason(stranger(&world).get_lease(request).await);
    assert_eq!(refused, reason(user(&world).get_lease(pb::GetLeaseRequest { lease_id: world.id() }).await));
    assert_eq!(reason(stranger(&world).revoke_lease(revoke(&lease.id)).await), refused);
    assert_eq!(stranger(&world).list_leases(pb::ListLeasesRequest::default()).await?.into_inner().leases, []);

    let revoked = user(&world).revoke_lease(revoke(&lease.id)).await?.into_inner().lease.context("no lease")?;
    assert_eq!(revoked.state(), State::Revoked);
    let renew = pb::RenewLeaseRequest { request_id: world.id(), key: key(&lease), ttl: None };
    assert_eq!(reason(holder(&world).renew_lease(renew).await), Some(ErrorReason::StaleLease));
    // Holders do not revoke, and users do not hold.
    assert_eq!(reason(holder(&world).revoke_lease(revoke(&lease.id)).await), Some(ErrorReason::CallerNotAllowed));
    let taken = user(&world).acquire_lease(ask(&world, Purpose::Invite)).await;
    assert_eq!(reason(taken), Some(ErrorReason::CallerNotAllowed));
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn leases_are_listed_in_pages_by_account_and_state() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (first, second) = (world.connect(world.owner, 61).await?, world.connect(world.owner, 62).await?);
    let mut ended = Vec::new();
    for _ in 0..3 {
        let lease = world.lease(Caller::Invite, world.owner, &first, Purpose::Invite).await?;
        holder(&world).release_lease(release(&world, &lease)).await?;
        ended.push(lease.id);
    }
    let held = world.lease(Caller::Parsing, world.owner, &second, Purpose::Parse).await?;
    let list = |request: pb::ListLeasesRequest| {
        let mut client = user(&world);
        async move { anyhow::Ok(client.list_leases(request).await?.into_inner()) }
    };
    let states = vec![State::Active.into(), State::Released.into()];
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = pb::ListLeasesRequest { page_size: 2, page_token, states: states.clone(), ..Default::default() };
        let page = list(page).await?;
        ensure!(page.leases.len() <= 2, "{} on one page", page.leases.len());
        found.extend(page.leases.into_iter().map(|lease| lease.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    found.sort();
    let mut all: Vec<String> = ended.iter().cloned().chain([held.id.clone()]).collect();
    all.sort();
    assert_eq!(found, all);
    let live = list(pb::ListLeasesRequest::default()).await?.leases;
    assert_eq!(live.into_iter().map(|lease| lease.id).collect::<Vec<_>>(), [held.id]);
    let of_first = pb::ListLeasesRequest { account_id: first, states, ..Default::default() };
    assert_eq!(list(of_first).await?.leases.len(), 3);
    let bad = pb::ListLeasesRequest { page_token: "not one of ours".to_owned(), ..Default::default() };
    assert_eq!(reason(user(&world).list_leases(bad).await), Some(ErrorReason::PageTokenInvalid));
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_watch_begins_with_all_and_goes_on_where_it_was() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.connect(world.owner, 61).await?;
    let held = take(&world).await?;
    let watch = |resume_token: String| {
        let mut client = user(&world);
        async move { anyhow::Ok(client.watch_leases(pb::WatchLeasesRequest { resume_token }).await?.into_inner()) }
    };
    let mut events = watch(String::new()).await?;
    let first = tokio::time::timeout(PATIENCE, events.message()).await??.context("no event")?;
    assert!(first.snapshot && first.read_time.is_some());
    assert_eq!(first.leases.iter().map(|lease| &lease.id).collect::<Vec<_>>(), [&held.id]);
    holder(&world).release_lease(release(&world, &held)).await?;
    let change = tokio::time::timeout(PATIENCE, events.message()).await??.context("no event")?;
    assert!(!change.snapshot);
    let changed: Vec<(&str, State)> = change.leases.iter().map(|lease| (lease.id.as_str(), lease.state())).collect();
    assert_eq!(changed, [(held.id.as_str(), State::Released)]);

    // What happened while nobody watched comes first, and only that.
    drop(events);
    let next = take(&world).await?;
    let mut events = watch(change.resume_token).await?;
    let missed = tokio::time::timeout(PATIENCE, events.message()).await??.context("no event")?;
    assert!(!missed.snapshot);
    assert_eq!(missed.leases.iter().map(|lease| &lease.id).collect::<Vec<_>>(), [&next.id]);
    let bad = user(&world).watch_leases(pb::WatchLeasesRequest { resume_token: "not one of ours".to_owned() }).await;
    assert_eq!(reason(bad), Some(ErrorReason::ResumeTokenInvalid));
    world.stop().await?;
    Ok(())
}

/// The guard of a holder that names no ttl keeps to the service's.
#[tokio::test]
async fn a_guard_renews_by_the_ttl_that_the_service_gave() -> anyhow::Result<()> {
    let world = World::start_with("[integration.leases]\ndefault_ttl_ms = 2000\n", "").await?;
    world.connect(world.owner, 61).await?;
    let address = format!("http://{}", world.address("integration"));
    let channel = ServiceChannel::new(&address, "integration", world.issuer("invite").clone())?;
    let request = pb::AcquireLeaseRequest { ttl: None, ..ask(&world, Purpose::Invite) };
    let guard = Leases::new(channel, world.clock.clone()).acquire(world.owner, request).await?;
    let begun = guard.lease().clone();
    assert_eq!(end(&begun) - begun.acquire_time.as_ref().map_or(0, |time| time.seconds), 2);
    let kept = wait::until("the lease to be renewed beyond its ttl", PATIENCE, async || {
        let now = get(&world, &begun).await.ok()?;
        (now.state() != State::Active || end(&now) > end(&begun) + 2).then_some(now.state())
    });
    assert_eq!(kept.await?, State::Active);
    ensure!(!guard.lost().is_cancelled(), "the guard gave its lease up");
    guard.release().await?;
    assert_eq!(get(&world, &begun).await?.state(), State::Released);
    let over = tokio::time::timeout(Duration::from_secs(30), take(&world)).await??;
    assert_eq!(over.account_id, begun.account_id);
    world.stop().await?;
    Ok(())
}
