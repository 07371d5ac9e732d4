//! Quotas.

use std::time::Duration;

use sea_orm::EntityTrait;
use tgmesh_integration::availability::NEVER;
use tgmesh_integration::entity::{slot, usage_entry};
use tgmesh_integration::error::Error;
use tgmesh_integration::quotas::{Ask, Limits, Next, Range, Scope, Settlement};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1::restriction::Cause;
use tgmesh_proto::lease::v1::unavailability::Reason;
use tgmesh_proto::quota::v1::usage_entry::State;
use tgmesh_proto::quota::v1::{Action, LimitName};
use uuid::Uuid;

use crate::kit::{CHAT, World, reason, success};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn limits(set: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::NONE;
    set(&mut limits);
    limits
}

/// Whether an action goes now; settled as a success if it does.
async fn goes(world: &World, account: uuid::Uuid, action: Action, chat_id: i64) -> anyhow::Result<bool> {
    match world.quotas.reserve(&world.ask(account, action, chat_id)).await {
        Ok(reservation) => world.settle(&reservation, success()).await.map(|()| true),
        Err(Error::Quota(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub async fn no_overshoot_under_contention(mut world: World) -> anyhow::Result<()> {
    world
        .restart_with(limits(|limits| {
            limits.message.per_day = Some(7);
            limits.invite.per_day_and_chat = Some(4);
        }))
        .await?;
    let account = world.account().await?;
    for (action, chat_id, allowed) in [(Action::Message, 0, 7), (Action::Invite, CHAT, 4)] {
        let calls = (0..32).map(|_| {
            let (quotas, ask) = (world.quotas.clone(), world.ask(account, action, chat_id));
            tokio::spawn(async move { quotas.reserve(&ask).await })
        });
        let mut reserved = 0;
        for call in futures_util::future::join_all(calls).await {
            match call? {
                Ok(_) => reserved += 1,
                Err(error) => assert_eq!(error.reason(), ErrorReason::QuotaExceeded),
            }
        }
        assert_eq!(reserved, allowed, "{action:?}: exactly the limit");
    }
    Ok(())
}

pub async fn a_day_ends_at_midnight(mut world: World) -> anyhow::Result<()> {
    world.restart_with(limits(|limits| limits.add_contact_per_day = Some(2))).await?;
    let account = world.account().await?;
    world.act(account, Action::AddContact, 0).await?;
    world.act(account, Action::AddContact, 0).await?;
    let midnight = world.now().day_start() + 24 * HOUR;
    world.pass_until(midnight - Duration::from_millis(1));
    let Err(Error::Quota(exceeded)) = world.reserve(account, Action::AddContact).await else {
        anyhow::bail!("the last millisecond of the day counts")
    };
    assert_eq!((exceeded.end, exceeded.next_possible), (Some(midnight), Next::At(midnight)));
    world.pass(Duration::from_millis(1));
    assert!(goes(&world, account, Action::AddContact, 0).await?);
    assert!(goes(&world, account, Action::AddContact, 0).await?);
    assert!(!goes(&world, account, Action::AddContact, 0).await?);
    Ok(())
}

pub async fn an_hour_rolls(mut world: World) -> anyhow::Result<()> {
    world.restart_with(limits(|limits| limits.message.per_hour = Some(3))).await?;
    let account = world.account().await?;
    let begin = world.now();
    for _ in 0..3 {
        assert!(goes(&world, account, Action::Message, 0).await?);
        world.pass(10 * MINUTE);
    }
    let capacity =
        world.quotas.capacity(Scope::Workspace(world.who.workspace_id), account, Action::Message, None).await?;
    assert_eq!(capacity.next_possible, Next::At(begin + HOUR));
    world.pass_until(begin + HOUR - Duration::from_millis(1));
    assert!(!goes(&world, account, Action::Message, 0).await?);
    world.pass(Duration::from_millis(1));
    assert!(goes(&world, account, Action::Message, 0).await?, "the first is an hour old");
    assert!(!goes(&world, account, Action::Message, 0).await?, "the second is not");
    world.pass(10 * MINUTE);
    assert!(goes(&world, account, Action::Message, 0).await?);
    Ok(())
}

pub async fn chats_have_limits_of_their_own(mut world: World) -> anyhow::Result<()> {
    world
        .restart_with(limits(|limits| {
            limits.invite.per_day_and_chat = Some(2);
            limits.invite.total_per_chat = Some(3);
        }))
        .await?;
    let account = world.account().await?;
    // A refusal counts for the day, and not for the total.
    let refused = world.quotas.reserve(&world.ask(account, Action::Invite, CHAT)).await?;
    let error = "USER_PRIVACY_RESTRICTED".to_owned();
    world.settle(&refused, Settlement::Counted { telegram_error: error, success: false }).await?;
    assert!(goes(&world, account, Action::Invite, CHAT).await?);
    assert!(!goes(&world, account, Action::Invite, CHAT).await?);
    assert!(goes(&world, account, Action::Invite, CHAT - 1).await?, "another chat");
    world.pass(24 * HOUR);
    assert!(goes(&world, account, Action::Invite, CHAT).await?);
    assert!(goes(&world, account, Action::Invite, CHAT).await?);
    world.pass(24 * HOUR);
    let Err(Error::Quota(exceeded)) = world.quotas.reserve(&world.ask(account, Action::Invite, CHAT)).await else {
        anyhow::bail!("three successes are all")
    };
    assert_eq!(exceeded.limit, LimitName::InviteTotalPerChat);
    assert_eq!((exceeded.used, exceeded.allowed, exceeded.next_possible), (3, 3, Next::Never));
    Ok(())
}

pub async fn invites_are_spaced_out_and_rest(mut world: World) -> anyhow::Result<()> {
    world.restart_with(Limits::default()).await?;
    let account = world.account().await?;
    let scope = Scope::Workspace(world.who.workspace_id);
    let mut gaps = Vec::new();
    for _ in 0..7 {
        let before = world.now();
        assert!(goes(&world, account, Action::Invite, CHAT).await?);
        let capacity = world.quotas.capacity(scope, account, Action::Invite, None).await?;
        let Next::At(next) = capacity.next_possible else { anyhow::bail!("no interval") };
        world.pass_until(next - Duration::from_millis(1));
        assert!(!goes(&world, account, Action::Invite, CHAT).await?, "not a moment earlier");
        world.pass(Duration::from_millis(1));
        gaps.push(next.since(before));
    }
    for (index, gap) in gaps.iter().enumerate() {
        let pause = if index % 3 == 2 { 45 * MINUTE } else { Duration::ZERO };
        assert!((10 * MINUTE + pause..=15 * MINUTE + pause).contains(gap), "gap {index} is {gap:?}");
    }
    assert!(gaps.windows(2).any(|pair| pair[0] != pair[1]), "drawn at random");
    Ok(())
}

pub async fn what_is_given_back_is_restored(mut world: World) -> anyhow::Result<()> {
    world.restart_with(Limits::default()).await?;
    let account = world.account().await?;
    let scope = Scope::Workspace(world.who.workspace_id);
    let capacity = async || world.quotas.capacity(scope, account, Action::Invite, Some(CHAT)).await;
    let fresh = capacity().await?;
    assert_eq!((fresh.today, fresh.per_day, fresh.next_possible), (Some(15), Some(15), Next::Now));
    let reservation = world.quotas.reserve(&world.ask(account, Action::Invite, CHAT)).await?;
    assert_eq!(capacity().await?.today, Some(14));
    world.settle(&reservation, Settlement::GivenBack).await?;
    assert_eq!(capacity().await?, fresh);
    world.settle(&reservation, success()).await?;
    assert_eq!(capacity().await?, fresh, "settled once for all");

    world.act(account, Action::Invite, CHAT).await?;
    let after_one = capacity().await?;
    let Next::At(next) = after_one.next_possible else { anyhow::bail!("no interval") };
    world.pass_until(next);
    let reservation = world.quotas.reserve(&world.ask(account, Action::Invite, CHAT)).await?;
    world.settle(&reservation, Settlement::GivenBack).await?;
    assert_eq!(capacity().await?.next_possible, Next::Now);
    assert_eq!(capacity().await?.today, Some(14));
    Ok(())
}

pub async fn a_newer_action_keeps_its_pace(mut world: World) -> anyhow::Result<()> {
    let interval = Range { shortest: MINUTE, longest: MINUTE };
    world.restart_with(limits(|limits| limits.invite.interval = Some(interval))).await?;
    let account = world.account().await?;
    let first = world.reserve(account, Action::Invite).await?;
    world.pass(MINUTE);
    let _second = world.reserve(account, Action::Invite).await?;
    world.settle(&first, Settlement::GivenBack).await?;
    let exceeded = world.reserve(account, Action::Invite).await;
    assert_eq!(reason(exceeded), Some(ErrorReason::QuotaExceeded), "the second's interval stands");
    Ok(())
}

pub async fn limits_survive_delete_and_login(mut world: World) -> anyhow::Result<()> {
    world.restart_with(limits(|limits| limits.join_chat_per_day = Some(1))).await?;
    let account = world.account_of(world.who.workspace_id, 4_711).await?;
    assert!(goes(&world, account, Action::JoinChat, 0).await?);
    world.delete_account(account).await?;
    assert_eq!(reason(world.reserve(account, Action::JoinChat).await), Some(ErrorReason::AccountNotFound));
    let again = world.account_of(world.who.workspace_id, 4_711).await?;
    assert!(!goes(&world, again, Action::JoinChat, 0).await?);
    let other = world.account_of(world.who.workspace_id, 4_712).await?;
    assert!(goes(&world, other, Action::JoinChat, 0).await?);
    Ok(())
}

pub async fn a_dead_process_counts(mut world: World) -> anyhow::Result<()> {
    let allowed = limits(|limits| {
        limits.invite.per_day_and_chat = Some(9);
        limits.invite.total_per_chat = Some(1);
    });
    world.restart_with(allowed.clone()).await?;
    let account = world.account().await?;
    let reservation = world.quotas.reserve(&world.ask(account, Action::Invite, CHAT)).await?;
    world.pass(4 * MINUTE);
    world.restart_with(allowed.clone()).await?;
    let state = async || anyhow::Ok(entry(&world, reservation.id).await?.state);
    assert_eq!(state().await?, i32::from(State::Reserved), "its process may still be at work");
    assert!(!goes(&world, account, Action::Invite, CHAT).await?, "and it counts meanwhile");
    world.pass(2 * MINUTE);
    assert_eq!(world.quotas.sweep().await?, 1);
    assert_eq!(state().await?, i32::from(State::Counted));
    assert!(!goes(&world, account, Action::Invite, CHAT).await?);
    // It was not dead after all.
    world.settle(&reservation, Settlement::GivenBack).await?;
    assert!(goes(&world, account, Action::Invite, CHAT).await?);
    Ok(())
}

pub async fn an_unknown_outcome_counts_until_reconciled(mut world: World) -> anyhow::Result<()> {
    world.restart_with(limits(|limits| limits.invite.total_per_chat = Some(1))).await?;
    let account = world.account().await?;
    let reservation = world.quotas.reserve(&world.ask(account, Action::Invite, CHAT)).await?;
    world.settle(&reservation, Settlement::Unknown).await?;
    assert!(!goes(&world, account, Action::Invite, CHAT).await?);
    let tx = world.db.begin().await?;
    world.quotas.reconciled(&tx, reservation.id, false).await?;
    tx.commit().await?;
    assert!(goes(&world, account, Action::Invite, CHAT).await?, "he was not added");
    Ok(())
}

pub async fn a_denial_names_the_limit(mut world: World) -> anyhow::Result<()> {
    world.restart_with(limits(|limits| limits.resolve_username_per_day = Some(1))).await?;
    let account = world.account().await?;
    world.act(account, Action::ResolveUsername, 0).await?;
    let Err(error) = world.reserve(account, Action::ResolveUsername).await else { anyhow::bail!("expected a denial") };
    let status = tgmesh_proto::status::read(&error.into()).expect("a status of the catalogue");
    assert_eq!(status.reason, ErrorReason::QuotaExceeded);
    for (key, value) in
        [("limit", "RESOLVE_USERNAME_PER_DAY"), ("used", "1"), ("allowed", "1"), ("end_time", "2026-11-21T00:00:00Z")]
    {
        assert_eq!(status.metadata.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(status.retry_after, Some(12 * HOUR));
    Ok(())
}

pub async fn a_check_reserves_nothing(mut world: World) -> anyhow::Result<()> {
    world.restart_with(limits(|limits| limits.message.per_day = Some(1))).await?;
    let account = world.account().await?;
    let scope = Scope::Workspace(world.who.workspace_id);
    let check = async || world.quotas.check_action(scope, account, Action::Message, None).await;
    for _ in 0..3 {
        assert_eq!(check().await?.next_possible, Next::Now);
    }
    let end = world.now() + HOUR;
    world.restrict(account, Cause::PeerFlood, Action::Message, Some(end)).await?;
    let found = check().await?;
    assert!(found.exceeded.is_empty(), "no limit of ours is in the way");
    assert_eq!(found.next_possible, Next::At(end));
    world.pass_until(end);
    world.act(account, Action::Message, 0).await?;
    assert_eq!(check().await?.exceeded.len(), 1);
    let usage = world.quotas.usage(scope, account, None).await?;
    assert_eq!(
        usage.iter().map(|limit| (limit.limit, limit.tally.counted)).collect::<Vec<_>>(),
        [(LimitName::MessagePerDay, 1)]
    );
    let stranger = Scope::Workspace(uuid::Uuid::from_u128(2));
    let missing = world.quotas.usage(stranger, account, None).await;
    assert_eq!(reason(missing), Some(ErrorReason::AccountNotFound));
    Ok(())
}

pub async fn slots_follow_the_ledger(mut world: World) -> anyhow::Result<()> {
    world.restart_with(limits(|limits| limits.invite.per_day = Some(1))).await?;
    let account = world.account().await?;
    let slot = async |action: Action| {
        let row = slot::Entity::find_by_id((account, i32::from(action))).one(world.db.conn()).await?;
        anyhow::Ok(row.map(|row| (row.ready_at, row.reason)))
    };
    assert_eq!(slot(Action::Invite).await?, Some((0, 0)));
    let reservation = world.reserve(account, Action::Invite).await?;
    let midnight = world.now().day_start() + 24 * HOUR;
    assert_eq!(slot(Action::Invite).await?, Some((midnight.millis(), Reason::DailyLimit.into())));
    assert_eq!(slot(Action::Message).await?, Some((0, 0)));
    world.settle(&reservation, Settlement::GivenBack).await?;
    assert_eq!(slot(Action::Invite).await?, Some((0, 0)));
    world.restrict(account, Cause::Frozen, Action::Unspecified, None).await?;
    for action in [Action::Read, Action::Invite, Action::Message] {
        assert_eq!(slot(action).await?, Some((NEVER, Reason::Restricted.into())));
    }
    world.delete_account(account).await?;
    assert_eq!(slot(Action::Read).await?, None);
    Ok(())
}

async fn entry(world: &World, id: uuid::Uuid) -> anyhow::Result<usage_entry::Model> {
    let row = usage_entry::Entity::find_by_id(id).one(world.db.conn()).await?;
    row.ok_or_else(|| anyhow::anyhow!("no such entry"))
}

pub async fn a_restriction_forbids_whatever_the_limits_allow(world: World) -> anyhow::Result<()> {
    let id = world.account().await?;
    world.restrict(id, Cause::FloodWait, Action::ResolveUsername, Some(world.now() + Duration::from_secs(90))).await?;
    assert_eq!(reason(world.reserve(id, Action::ResolveUsername).await), Some(ErrorReason::FloodWait));
    world.act(id, Action::Invite, CHAT).await?;
    world.pass(Duration::from_secs(90));
    world.act(id, Action::ResolveUsername, 0).await?;
    world.restrict(id, Cause::Frozen, Action::Unspecified, None).await?;
    assert_eq!(reason(world.reserve(id, Action::Invite).await), Some(ErrorReason::AccountFrozen));
    Ok(())
}

pub async fn an_action_of_which_nobody_knows_keeps_its_place(world: World) -> anyhow::Result<()> {
    let id = world.account().await?;
    let ask = Ask { id: Some(Uuid::from_u128(77)), ..world.ask(id, Action::Message, 0) };
    let first = world.quotas.reserve(&ask).await?;
    assert!(!first.begun);
    // Reserved, and then lost.
    let again = world.quotas.reserve(&ask).await?;
    assert!(again.begun);
    world.settle(&again, Settlement::Unknown).await?;
    let again = world.quotas.reserve(&ask).await?;
    assert!(again.begun);
    // That this try was not sent says nothing of the first.
    world.settle(&again, Settlement::GivenBack).await?;
    assert!(world.quotas.reserve(&ask).await?.begun);
    world.settle(&again, success()).await?;
    // Another try under the id is another action: the first one counts on.
    let anew = world.quotas.reserve(&ask).await?;
    assert!(!anew.begun);
    world.settle(&anew, success()).await?;
    let history = usage_entry::Entity::find().all(world.db.conn()).await?;
    let counted = history.iter().filter(|entry| entry.state == i32::from(State::Counted) && entry.success);
    assert_eq!(counted.count(), 2);
    Ok(())
}
