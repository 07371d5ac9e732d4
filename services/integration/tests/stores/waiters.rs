//! Those who wait for an account.

use std::time::Duration;

use service_kit::Identity;
use tgmesh_integration::error::{Error, Result};
use tgmesh_integration::leases::Lease;
use tgmesh_integration::quotas::Limits;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1::unavailability::Reason;
use tgmesh_proto::lease::v1::{AcquireLeaseRequest, Priority, Purpose};
use tgmesh_proto::quota::v1::{Action, Limits as WireLimits, LimitsLevel, UpdateLimitsRequest, limits_level};
use tgmesh_tests::wait;
use tokio::task::JoinHandle;

use crate::kit::{World, id, operator, reason, secs, wish};

const PATIENCE: Duration = Duration::from_secs(20);

fn patient(purpose: Purpose, wait: u64) -> AcquireLeaseRequest {
    AcquireLeaseRequest { wait: secs(wait), ..wish(purpose) }
}

/// Asks, and returns once the call stands in line.
async fn in_line(world: &World, request: AcquireLeaseRequest) -> anyhow::Result<JoinHandle<Result<Lease>>> {
    let (leases, who) = (world.leases.clone(), world.who.clone());
    let before = leases.waiting(who.workspace_id);
    let call = tokio::spawn(async move { leases.acquire(&who, request, None).await });
    standing(world, before + 1).await?;
    Ok(call)
}

async fn standing(world: &World, count: usize) -> anyhow::Result<()> {
    let Identity { workspace_id, .. } = world.who;
    wait::until("the waiters", PATIENCE, async || (world.leases.waiting(workspace_id) == count).then_some(())).await
}

async fn answer(call: JoinHandle<Result<Lease>>) -> anyhow::Result<Result<Lease>> {
    Ok(tokio::time::timeout(PATIENCE, call).await??)
}

pub async fn first_come_first_served(world: World) -> anyhow::Result<()> {
    world.account().await?;
    let mut held = world.take().await?;
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(in_line(&world, patient(Purpose::Invite, 100)).await?);
    }
    for (served, call) in calls.into_iter().enumerate() {
        world.release(&held).await?;
        let lease = answer(call).await??;
        assert!(lease.token > held.token);
        held = lease;
        assert_eq!(world.leases.waiting(world.who.workspace_id), 3 - served, "nobody else was served");
    }
    Ok(())
}

pub async fn priority_goes_first(world: World) -> anyhow::Result<()> {
    world.account().await?;
    let mut held = world.take().await?;
    let with = |priority: Priority| AcquireLeaseRequest { priority: priority.into(), ..patient(Purpose::Invite, 100) };
    let low = in_line(&world, with(Priority::Low)).await?;
    let normal = in_line(&world, with(Priority::Unspecified)).await?;
    let high = in_line(&world, with(Priority::High)).await?;
    let urgent = in_line(&world, with(Priority::Urgent)).await?;
    let late_normal = in_line(&world, with(Priority::Normal)).await?;
    for call in [urgent, high, normal, late_normal, low] {
        world.release(&held).await?;
        held = answer(call).await??;
    }
    Ok(())
}

pub async fn a_wait_ends_with_the_reasons(world: World) -> anyhow::Result<()> {
    world.account().await?;
    let held = world.acquire(AcquireLeaseRequest { ttl: secs(100), ..wish(Purpose::Invite) }).await?;
    let call = in_line(&world, patient(Purpose::Invite, 10)).await?;
    world.pass(Duration::from_secs(9));
    assert!(!call.is_finished());
    world.pass(Duration::from_secs(1));
    let Err(Error::NoAccount(why)) = answer(call).await? else { anyhow::bail!("expected a denial") };
    assert_eq!((why.count(Reason::Leased), why.earliest()), (1, Some(held.expire_at)));
    standing(&world, 0).await?;
    let leases = &world.leases;
    let capped = leases.acquire(&world.who, patient(Purpose::Invite, 100), Some(Duration::ZERO)).await;
    assert_eq!(reason(capped), Some(ErrorReason::NoAccountAvailable), "the caller's deadline bounds the wait");
    Ok(())
}

pub async fn expiry_wakes_a_waiter(world: World) -> anyhow::Result<()> {
    world.account().await?;
    let held = world.take().await?;
    let call = in_line(&world, patient(Purpose::Invite, 100)).await?;
    world.pass_until(held.expire_at);
    let lease = answer(call).await??;
    assert!(lease.token > held.token);
    Ok(())
}

pub async fn a_waiter_that_left_takes_nothing(world: World) -> anyhow::Result<()> {
    world.account().await?;
    let held = world.take().await?;
    let gone = in_line(&world, patient(Purpose::Invite, 100)).await?;
    let stays = in_line(&world, patient(Purpose::Invite, 100)).await?;
    gone.abort();
    assert!(gone.await.is_err());
    world.release(&held).await?;
    // Had it kept the account, nobody would answer. An attempt that was under way when it left may have taken the
    // account for it, and gives it back.
    let lease = answer(stays).await??;
    assert!(lease.token <= held.token + 2, "token {} after {}", lease.token, held.token);
    Ok(())
}

pub async fn who_leaves_in_the_very_moment_holds_nothing(world: World) -> anyhow::Result<()> {
    world.account().await?;
    let mut held = world.take().await?;
    for round in 0..40 {
        let (leases, who) = (world.leases.clone(), world.who.clone());
        let call = tokio::spawn(async move { leases.acquire(&who, patient(Purpose::Invite, 100), None).await });
        if round % 2 == 0 {
            standing(&world, 1).await?;
        }
        world.release(&held).await?;
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        call.abort();
        if let Ok(Ok(lease)) = call.await {
            world.release(&lease).await?;
        }
        // No time passes: only what is given back is free.
        held = wait::until("the account", PATIENCE, async || world.take().await.ok()).await?;
    }
    Ok(())
}

pub async fn a_waiter_does_not_hold_up_other_needs(world: World) -> anyhow::Result<()> {
    let accounts = world.accounts(2).await?;
    let only = AcquireLeaseRequest { any_of_account_ids: vec![accounts[0].to_string()], ..wish(Purpose::Invite) };
    let held = world.acquire(only.clone()).await?;
    let waiting = in_line(&world, AcquireLeaseRequest { request_id: id(), wait: secs(100), ..only }).await?;
    assert_eq!(world.take().await?.account_id, accounts[1]);
    assert!(!waiting.is_finished());
    world.release(&held).await?;
    assert_eq!(answer(waiting).await??.account_id, accounts[0]);
    Ok(())
}

pub async fn waiting_twins_get_one_lease(world: World) -> anyhow::Result<()> {
    world.accounts(2).await?;
    let (first, second) = (world.take().await?, world.take().await?);
    let request = patient(Purpose::Invite, 100);
    let one = in_line(&world, request.clone()).await?;
    let other = in_line(&world, request).await?;
    world.release(&first).await?;
    assert_eq!(answer(one).await??.id, answer(other).await??.id);
    world.release(&second).await?;
    assert_eq!(world.take().await?.account_id, second.account_id, "the twins hold one account");
    Ok(())
}

pub async fn a_changed_limit_wakes_a_waiter(mut world: World) -> anyhow::Result<()> {
    let mut limits = Limits::NONE;
    limits.message.per_day = Some(1);
    world.restart_with(limits).await?;
    let account = world.account().await?;
    world.act(account, Action::Message, 0).await?;
    let call = in_line(&world, patient(Purpose::Message, 100)).await?;
    let request = UpdateLimitsRequest {
        request_id: id(),
        level: Some(LimitsLevel { level: Some(limits_level::Level::Global(limits_level::Global {})) }),
        limits: Some(WireLimits::default()),
        update_mask: Some(prost_types::FieldMask { paths: vec!["message.per_day".to_owned()] }),
    };
    world.quotas.update_limits(&operator(), &request).await?;
    assert_eq!(answer(call).await??.account_id, account);
    Ok(())
}

pub async fn shutdown_answers_waiters(world: World) -> anyhow::Result<()> {
    world.account().await?;
    world.take().await?;
    let call = in_line(&world, patient(Purpose::Invite, 100)).await?;
    world.shutdown.begin();
    assert_eq!(reason(answer(call).await?), Some(ErrorReason::ShuttingDown));
    assert_eq!(reason(world.take().await), Some(ErrorReason::ShuttingDown));
    Ok(())
}
