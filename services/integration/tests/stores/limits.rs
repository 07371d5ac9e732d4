//! Limits at three levels, and the ledger's history.

use std::time::Duration;

use service_kit::{Identity, Time};
use tgmesh_integration::error::{Error, Result};
use tgmesh_integration::quotas::{Limits, Next, Range, Scope, Zone};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::quota::v1::limits_level::{Global, Level, Workspace};
use tgmesh_proto::quota::v1::{
    Action, InviteLimits, Limits as WireLimits, LimitsLevel, ListUsageHistoryRequest, MessageLimits,
    UpdateLimitsRequest, UpdateLimitsResponse,
};
use uuid::Uuid;

use crate::kit::{World, id, member, operator, reason};

fn level(level: Level) -> LimitsLevel {
    LimitsLevel { level: Some(level) }
}

fn messages(per_day: Option<i32>) -> WireLimits {
    WireLimits { message: Some(MessageLimits { per_day, per_hour: None }), ..WireLimits::default() }
}

async fn set(
    world: &World,
    who: &Identity,
    at: Level,
    limits: WireLimits,
    paths: &[&str],
) -> Result<UpdateLimitsResponse> {
    let request = UpdateLimitsRequest {
        request_id: id(),
        level: Some(level(at)),
        limits: Some(limits),
        update_mask: Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
    };
    world.quotas.update_limits(who, &request).await
}

pub async fn the_tightest_level_counts(mut world: World) -> anyhow::Result<()> {
    let mut defaults = Limits::NONE;
    defaults.message.per_day = Some(10);
    world.restart_with(defaults).await?;
    let account = world.account().await?;
    let who = world.who.clone();
    let scope = Scope::Workspace(who.workspace_id);
    let today = async || anyhow::Ok(world.quotas.capacity(scope, account, Action::Message, None).await?.today);
    let mask = ["message.per_day"];
    assert_eq!(today().await?, Some(10));
    let answer = set(&world, &who, Level::Workspace(Workspace {}), messages(Some(20)), &mask).await?;
    assert_eq!(answer.effective.and_then(|limits| limits.message).and_then(|limits| limits.per_day), Some(10));
    assert_eq!(today().await?, Some(10), "looser has no effect");
    set(&world, &who, Level::Workspace(Workspace {}), messages(Some(6)), &mask).await?;
    assert_eq!(today().await?, Some(6));
    set(&world, &who, Level::AccountId(account.to_string()), messages(Some(2)), &mask).await?;
    assert_eq!(today().await?, Some(2));
    set(&world, &operator(), Level::Global(Global {}), messages(Some(1)), &mask).await?;
    assert_eq!(today().await?, Some(1));
    set(&world, &operator(), Level::Global(Global {}), messages(None), &mask).await?;
    assert_eq!(today().await?, Some(2));
    set(&world, &who, Level::AccountId(account.to_string()), WireLimits::default(), &["message"]).await?;
    assert_eq!(today().await?, Some(6), "cleared, not zero");
    let found = world.quotas.limits(&who, &level(Level::AccountId(account.to_string()))).await?;
    assert_eq!((found.set.message.per_day, found.effective.message.per_day), (None, Some(6)));
    let other = world.account_of(Uuid::from_u128(2), 1).await?;
    let found = world.quotas.capacity(Scope::All, other, Action::Message, None).await?;
    assert_eq!(found.today, None, "another workspace's limits are its own");
    Ok(())
}

/// The clocks of Berlin go on at the end of March: a day that begins and ends an hour before that of UTC, then two.
pub async fn days_are_those_of_the_zone_whoever_sets_the_limits(mut world: World) -> anyhow::Result<()> {
    let mut defaults = Limits { zone: Zone::named("Europe/Berlin")?, ..Limits::NONE };
    defaults.message.per_day = Some(1);
    world.restart_with(defaults).await?;
    let account = world.account().await?;
    // The 28th of March 2027, one o'clock in the morning of UTC.
    let changes = Time::from_secs(1_806_195_600);
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    world.pass_until(changes - hours(3));
    world.act(account, Action::Message, 0).await?;
    let refused = async || match world.reserve(account, Action::Message).await {
        Err(Error::Quota(exceeded)) => Ok(exceeded.next_possible),
        other => anyhow::bail!("{other:?}"),
    };
    assert_eq!(refused().await?, Next::At(changes - hours(2)));
    world.pass(hours(1));
    world.act(account, Action::Message, 0).await?;
    assert_eq!(refused().await?, Next::At(changes + hours(21)), "a day of 23 hours");
    // What an operator sets counts by the same days.
    set(&world, &operator(), Level::Global(Global {}), messages(Some(2)), &["message.per_day"]).await?;
    world.act(account, Action::Message, 0).await?;
    assert_eq!(refused().await?, Next::At(changes + hours(21)));
    world.pass(hours(23) - Duration::from_millis(1));
    assert_eq!(refused().await?, Next::At(changes + hours(21)));
    world.pass(Duration::from_millis(1));
    world.act(account, Action::Message, 0).await?;
    world.act(account, Action::Message, 0).await?;
    assert_eq!(refused().await?, Next::At(changes + hours(21 + 24)));
    Ok(())
}

pub async fn changes_hold_from_the_next_action_on(mut world: World) -> anyhow::Result<()> {
    let mut defaults = Limits::NONE;
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    defaults.invite.interval = Some(Range { shortest: minutes(10), longest: minutes(15) });
    world.restart_with(defaults).await?;
    let account = world.account().await?;
    world.act(account, Action::Invite, 0).await?;
    let begin = world.now();
    let scope = Scope::Workspace(world.who.workspace_id);
    let next = async || anyhow::Ok(world.quotas.capacity(scope, account, Action::Invite, None).await?.next_possible);
    let interval = |secs: i64| WireLimits {
        invite: Some(InviteLimits {
            interval: Some(tgmesh_proto::quota::v1::DurationRange {
                shortest: Some(prost_types::Duration { seconds: secs, nanos: 0 }),
                longest: Some(prost_types::Duration { seconds: secs, nanos: 0 }),
            }),
            ..InviteLimits::default()
        }),
        ..WireLimits::default()
    };
    set(&world, &operator(), Level::Global(Global {}), interval(3_600), &["invite.interval"]).await?;
    assert_eq!(next().await?, Next::At(begin + minutes(60)), "tighter than what was drawn");
    set(&world, &operator(), Level::Global(Global {}), interval(5), &["invite.interval"]).await?;
    assert_eq!(next().await?, Next::At(begin + Duration::from_secs(5)), "looser than what was drawn");
    world.pass(Duration::from_secs(5));
    // The slot followed: the account can be leased again.
    world.take().await?;
    world.act(account, Action::Invite, 0).await?;
    Ok(())
}

pub async fn an_old_etag_is_refused(world: World) -> anyhow::Result<()> {
    let who = world.who.clone();
    let at = || Level::Workspace(Workspace {});
    let first = world.quotas.limits(&who, &level(at())).await?.etag;
    let tagged = |etag: &str| WireLimits { etag: etag.to_owned(), ..messages(Some(3)) };
    let answer = set(&world, &who, at(), tagged(&first), &["message.per_day"]).await?;
    let second = answer.limits.unwrap_or_default().etag;
    assert_ne!(first, second);
    let old = set(&world, &who, at(), tagged(&first), &["message.per_day"]).await;
    assert_eq!(reason(old), Some(ErrorReason::EtagMismatch));
    set(&world, &who, at(), tagged(&second), &["message.per_day"]).await?;
    set(&world, &who, at(), tagged(""), &["message.per_day"]).await?;

    let request = UpdateLimitsRequest {
        request_id: id(),
        level: Some(level(at())),
        limits: Some(messages(Some(4))),
        update_mask: Some(prost_types::FieldMask { paths: vec!["message.per_day".to_owned()] }),
    };
    let answer = world.quotas.update_limits(&who, &request).await?;
    assert_eq!(world.quotas.update_limits(&who, &request).await?, answer, "a repeat");
    Ok(())
}

pub async fn bad_masks_are_refused_by_path(world: World) -> anyhow::Result<()> {
    let who = world.who.clone();
    for paths in [&[][..], &["message.per_week"], &["etag"], &["message.per_day", "nothing"]] {
        let answer = set(&world, &who, Level::Workspace(Workspace {}), messages(Some(1)), paths).await;
        let Err(error) = answer else { anyhow::bail!("{paths:?} was taken") };
        let status = tgmesh_proto::status::read(&error.into()).expect("a status of the catalogue");
        assert_eq!(status.violations[0].0, "update_mask");
    }
    let backwards = WireLimits {
        invite: Some(InviteLimits {
            interval: Some(tgmesh_proto::quota::v1::DurationRange {
                shortest: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
                longest: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            }),
            ..InviteLimits::default()
        }),
        ..WireLimits::default()
    };
    let answer = set(&world, &who, Level::Workspace(Workspace {}), backwards, &["invite.interval"]).await;
    let status = tgmesh_proto::status::read(&answer.expect_err("backwards").into()).expect("of the catalogue");
    assert_eq!(status.violations[0].0, "limits.invite.interval.longest");
    let found = world.quotas.limits(&who, &level(Level::Workspace(Workspace {}))).await?;
    assert_eq!(found.set, Limits::NONE, "nothing was changed");
    Ok(())
}

pub async fn only_operators_touch_the_deployment(world: World) -> anyhow::Result<()> {
    let user = Identity { service: None, ..world.who.clone() };
    let refused = Some(ErrorReason::CallerNotAllowed);
    let global = || Level::Global(Global {});
    assert_eq!(reason(world.quotas.limits(&user, &level(global())).await), refused);
    assert_eq!(reason(set(&world, &user, global(), messages(None), &["message"]).await), refused);
    assert!(world.quotas.limits(&operator(), &level(global())).await.is_ok());

    let account = world.account().await?;
    let stranger = Identity { service: None, ..member(Uuid::from_u128(2)) };
    let at = || Level::AccountId(account.to_string());
    let missing = Some(ErrorReason::AccountNotFound);
    assert_eq!(reason(world.quotas.limits(&stranger, &level(at())).await), missing);
    assert_eq!(reason(set(&world, &stranger, at(), messages(None), &["message"]).await), missing);
    assert!(world.quotas.limits(&operator(), &level(at())).await.is_ok(), "operators see the limits of all");
    assert_eq!(reason(set(&world, &operator(), at(), messages(None), &["message"]).await), missing);
    Ok(())
}

pub async fn history_is_paged_and_stays_in_its_workspace(world: World) -> anyhow::Result<()> {
    let account = world.account_of(world.who.workspace_id, 77).await?;
    for index in 0..5 {
        let action = if index % 2 == 0 { Action::Invite } else { Action::Message };
        world.act(account, action, index).await?;
        world.pass(Duration::from_millis(u64::try_from(index % 2)?));
    }
    let request = ListUsageHistoryRequest { account_id: account.to_string(), page_size: 2, ..Default::default() };
    let (mut chats, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListUsageHistoryRequest { page_token: token, ..request.clone() };
        let (entries, next) = world.quotas.history(&world.who, &request).await?;
        chats.extend(entries.iter().map(|entry| entry.chat_id));
        token = next;
        if token.is_empty() {
            break;
        }
    }
    chats.sort_unstable();
    assert_eq!(chats, [0, 1, 2, 3, 4], "each entry once");
    let invites = ListUsageHistoryRequest { actions: vec![Action::Invite.into()], page_size: 0, ..request.clone() };
    assert_eq!(world.quotas.history(&world.who, &invites).await?.0.len(), 3);

    world.delete_account(account).await?;
    let stranger = member(Uuid::from_u128(2));
    let moved = world.account_of(stranger.workspace_id, 77).await?;
    let request = ListUsageHistoryRequest { account_id: moved.to_string(), ..Default::default() };
    assert!(world.quotas.history(&stranger, &request).await?.0.is_empty(), "what it did elsewhere stays there");
    Ok(())
}
