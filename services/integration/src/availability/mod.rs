//! When each account can be leased for each action, and why not sooner.
//!
//! The table `slots` is derived: everything in it follows from the account, its
//! restrictions, the ledger and the limits. It is kept so that selection is an
//! index lookup. Whoever changes one of these calls [`refresh`] in the same
//! transaction. What depends on a chat is checked when a lease is acquired.

use std::collections::HashMap;

use sea_orm::sea_query::{ExprTrait as _, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect as _};
use service_kit::Time;
use tgmesh_proto::integration::v1::account::SessionState;
use tgmesh_proto::integration::v1::{AccountKind, restriction::Cause};
use tgmesh_proto::lease::v1::Purpose;
use tgmesh_proto::lease::v1::unavailability::Reason;
use tgmesh_proto::quota::v1::{Action, LimitName};
use uuid::Uuid;

use crate::accounts::state::is_in_force;
use crate::entity::{account, restriction, slot as slots};
use crate::quotas::ledger::{self, Subject};
use crate::quotas::{LimitUse, Limits, Next, rules};

/// `ready_at` of an account of which nobody can tell when it will be ready.
pub const NEVER: i64 = i64::MAX;

/// The actions that accounts are leased for, each with its purpose.
pub const LEASABLE: [(Purpose, Action); 3] =
    [(Purpose::Parse, Action::Read), (Purpose::Invite, Action::Invite), (Purpose::Message, Action::Message)];

/// The action that a purpose is for.
pub fn action_of(purpose: Purpose) -> Action {
    LEASABLE.iter().find(|(known, _)| *known == purpose).map_or(Action::Unspecified, |(_, action)| *action)
}

/// What decides whether an account can be leased for an action.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Whether it may be used for the action's purpose.
    pub eligible: bool,
    /// Whether it has a session, and is not being deleted.
    pub online: bool,
    /// Paused by the user.
    pub paused: bool,
    /// Restrictions that cover the action: why, and when they end.
    pub restrictions: Vec<(Reason, Next)>,
    /// The limits of the action and their use.
    pub uses: Vec<LimitUse>,
}

/// When an account can be leased for an action, and why not sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// When.
    pub ready: Next,
    /// What is in the way for longest; `Unspecified` when nothing is.
    pub reason: Reason,
}

impl Slot {
    /// Nothing is in the way.
    pub const READY: Self = Self { ready: Next::Now, reason: Reason::Unspecified };

    /// As the table writes it.
    pub fn ready_at(&self) -> i64 {
        match self.ready {
            Next::Now => 0,
            Next::At(time) => time.millis(),
            Next::Never => NEVER,
        }
    }

    /// From the table, as it is at `now`.
    pub fn from_row(ready_at: i64, reason: i32, now: Time) -> Self {
        let ready = match ready_at {
            NEVER => Next::Never,
            at if at <= now.millis() => return Self::READY,
            at => Next::At(Time::from_millis(at)),
        };
        Self { ready, reason: Reason::try_from(reason).unwrap_or_default() }
    }

    /// Whichever is in the way for longer.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if other.ready > self.ready { other } else { self }
    }
}

/// When an account can be leased. Of several obstacles the one that lasts
/// longest is named; of several without end, the one that a person would have
/// to deal with first.
pub fn slot(facts: &Facts) -> Slot {
    let blocked = |blocked: bool, reason| blocked.then_some(Slot { ready: Next::Never, reason });
    let restrictions = facts.restrictions.iter().map(|(reason, ready)| Slot { ready: *ready, reason: *reason });
    let limits = facts.uses.iter().map(|limit| Slot { ready: limit.next, reason: reason_of(limit.limit) });
    // The first of equals stays.
    [
        blocked(!facts.eligible, Reason::NotEligible),
        blocked(!facts.online, Reason::Offline),
        blocked(facts.paused, Reason::Paused),
    ]
    .into_iter()
    .flatten()
    .chain(restrictions)
    .chain(limits)
    .fold(Slot::READY, Slot::later)
}

/// How a denial counts a limit.
pub(crate) fn reason_of(limit: LimitName) -> Reason {
    match limit {
        LimitName::InviteInterval | LimitName::InvitePause => Reason::CoolingDown,
        LimitName::InvitePerDayAndChat | LimitName::InviteTotalPerChat => Reason::ChatLimit,
        _ => Reason::DailyLimit,
    }
}

/// An account looked at for an action.
#[derive(Debug, Clone)]
pub(crate) struct Assessment {
    /// The account.
    pub account_id: Uuid,
    /// Without what depends on the chat: what the table holds.
    pub slot: Slot,
    /// The limits of the action and their use, those of the chat included.
    pub uses: Vec<LimitUse>,
}

impl Assessment {
    /// With what depends on the chat.
    pub fn with_chat(&self) -> Slot {
        let chat = self.uses.iter().filter(|limit| limit.chat_id != 0);
        chat.map(|limit| Slot { ready: limit.next, reason: reason_of(limit.limit) }).fold(self.slot, Slot::later)
    }
}

/// Looks at accounts for one action, and one chat if given, from the truth.
pub(crate) async fn assess(
    conn: &impl ConnectionTrait,
    now: Time,
    action: Action,
    chat_id: Option<i64>,
    accounts: &[account::Model],
    defaults: &Limits,
) -> Result<Vec<Assessment>, DbErr> {
    let subjects: Vec<Subject> = accounts.iter().map(subject).collect();
    let limits = ledger::effective(conn, defaults, &subjects).await?;
    let restrictions = restrictions(conn, now, accounts.iter().map(|account| account.id).collect()).await?;
    assess_with(conn, now, action, chat_id, accounts, &limits, &restrictions).await
}

async fn assess_with(
    conn: &impl ConnectionTrait,
    now: Time,
    action: Action,
    chat_id: Option<i64>,
    accounts: &[account::Model],
    limits: &HashMap<Uuid, Limits>,
    restrictions: &[restriction::Model],
) -> Result<Vec<Assessment>, DbErr> {
    let limited: Vec<(Subject, &Limits)> =
        accounts.iter().filter_map(|account| Some((subject(account), limits.get(&account.id)?))).collect();
    let counts = ledger::counts(conn, now, action, chat_id, &limited).await?;
    Ok(accounts
        .iter()
        .map(|account| {
            let uses = match (limits.get(&account.id), counts.get(&account.telegram_user_id)) {
                (Some(limits), Some(counts)) => rules::uses(limits, action, counts, now),
                _ => Vec::new(),
            };
            let own = restrictions.iter().filter(|restriction| restriction.account_id == account.id);
            let mut facts = facts(account, own, action);
            facts.uses = uses.iter().copied().filter(|limit| limit.chat_id == 0).collect();
            Assessment { account_id: account.id, slot: slot(&facts), uses }
        })
        .collect())
}

/// The facts of an account, without its limits.
fn facts<'a>(
    account: &account::Model,
    restrictions: impl Iterator<Item = &'a restriction::Model>,
    action: Action,
) -> Facts {
    let purpose = LEASABLE.iter().find(|(_, known)| *known == action).map(|(purpose, _)| i32::from(*purpose));
    // Bots can neither add users to chats nor write to strangers.
    let bot = account.kind == i32::from(AccountKind::Bot) && matches!(action, Action::Invite | Action::Message);
    Facts {
        eligible: !bot && purpose.is_none_or(|purpose| account.purposes & (1 << purpose) != 0),
        online: account.session_state == i32::from(SessionState::Ok) && account.deleting_at.is_none(),
        paused: account.paused_at.is_some(),
        restrictions: restrictions
            .filter(|restriction| covers(restriction, action))
            .map(|restriction| {
                let reason = match Cause::try_from(restriction.cause) {
                    Ok(Cause::FloodWait | Cause::Slowmode) => Reason::FloodWait,
                    _ => Reason::Restricted,
                };
                (reason, restriction.end_at.map_or(Next::Never, |at| Next::At(Time::from_millis(at))))
            })
            .collect(),
        uses: Vec::new(),
    }
}

/// Of an account's restrictions, the one that forbids an action for longest.
pub fn forbidding(restrictions: &[restriction::Model], action: Action, now: Time) -> Option<&restriction::Model> {
    restrictions
        .iter()
        .filter(|held| is_in_force(held, now) && covers(held, action))
        .max_by_key(|held| held.end_at.unwrap_or(i64::MAX))
}

fn covers(restriction: &restriction::Model, action: Action) -> bool {
    restriction.actions == 0 || restriction.actions & (1 << i32::from(action)) != 0
}

/// The restrictions in force.
pub(crate) async fn restrictions(
    conn: &impl ConnectionTrait,
    now: Time,
    accounts: Vec<Uuid>,
) -> Result<Vec<restriction::Model>, DbErr> {
    use restriction::Column;
    restriction::Entity::find()
        .filter(Column::AccountId.is_in(accounts))
        .filter(Column::Ended.eq(false))
        .filter(Column::EndAt.is_null().or(Column::EndAt.gt(now.millis())))
        .all(conn)
        .await
}

pub(crate) fn subject(account: &account::Model) -> Subject {
    Subject { account_id: account.id, workspace_id: account.workspace_id, telegram_user_id: account.telegram_user_id }
}

/// Reads an account and keeps others from changing what follows from it until
/// the transaction ends. Taken first by everyone who writes about an account.
pub(crate) async fn lock(tx: &impl ConnectionTrait, account_id: Uuid) -> Result<Option<account::Model>, DbErr> {
    account::Entity::find_by_id(account_id).lock_exclusive().one(tx).await
}

/// Recomputes an account's slots from the truth, in the transaction that changed
/// it. Locks the account, so that two changes at once cannot each miss the
/// other. An account that is gone loses its slots.
///
/// # Errors
/// When the database fails.
pub async fn refresh(tx: &impl ConnectionTrait, now: Time, account_id: Uuid, defaults: &Limits) -> Result<(), DbErr> {
    let Some(account) = lock(tx, account_id).await? else {
        slots::Entity::delete_many().filter(slots::Column::AccountId.eq(account_id)).exec(tx).await?;
        return Ok(());
    };
    let limits = ledger::effective(tx, defaults, &[subject(&account)]).await?;
    let restrictions = restrictions(tx, now, vec![account_id]).await?;
    let accounts = [account];
    for (_, action) in LEASABLE {
        for found in assess_with(tx, now, action, None, &accounts, &limits, &restrictions).await? {
            store(tx, &accounts[0], action, found.slot).await?;
        }
    }
    Ok(())
}

/// Writes one slot. The account is locked.
pub(crate) async fn store(
    tx: &impl ConnectionTrait,
    account: &account::Model,
    action: Action,
    slot: Slot,
) -> Result<(), DbErr> {
    use slots::Column;
    let row = slots::ActiveModel {
        account_id: Set(account.id),
        action: Set(i32::from(action)),
        workspace_id: Set(account.workspace_id),
        ready_at: Set(slot.ready_at()),
        reason: Set(i32::from(slot.reason)),
        // Never used goes first.
        last_used_at: Set(0),
    };
    slots::Entity::insert(row)
        .on_conflict(
            OnConflict::columns([Column::AccountId, Column::Action])
                .update_columns([Column::WorkspaceId, Column::ReadyAt, Column::Reason])
                .to_owned(),
        )
        .exec_without_returning(tx)
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quotas::Tally;

    fn facts() -> Facts {
        Facts { eligible: true, online: true, ..Facts::default() }
    }

    fn at(secs: i64) -> Next {
        Next::At(Time::from_secs(secs))
    }

    fn limit(limit: LimitName, next: Next) -> LimitUse {
        LimitUse { limit, chat_id: 0, tally: Tally::default(), allowed: Some(1), end: None, next }
    }

    #[test]
    fn nothing_in_the_way_is_ready() {
        let mut facts = facts();
        facts.uses.push(limit(LimitName::InvitePerDay, Next::Now));
        assert_eq!(slot(&facts), Slot::READY);
        assert_eq!(Slot::READY.ready_at(), 0);
    }

    #[test]
    fn the_obstacle_that_lasts_longest_is_named() {
        let mut facts = facts();
        facts.restrictions.push((Reason::FloodWait, at(100)));
        facts.uses.push(limit(LimitName::InviteInterval, at(50)));
        facts.uses.push(limit(LimitName::InvitePerDay, at(200)));
        assert_eq!(slot(&facts), Slot { ready: at(200), reason: Reason::DailyLimit });
        facts.restrictions.push((Reason::Restricted, Next::Never));
        assert_eq!(slot(&facts), Slot { ready: Next::Never, reason: Reason::Restricted });
        assert_eq!(slot(&facts).ready_at(), NEVER);
    }

    #[test]
    fn what_a_person_must_deal_with_comes_before_what_telegram_does() {
        let mut facts = facts();
        facts.restrictions.push((Reason::Restricted, Next::Never));
        facts.paused = true;
        assert_eq!(slot(&facts).reason, Reason::Paused);
        facts.online = false;
        assert_eq!(slot(&facts).reason, Reason::Offline);
        facts.eligible = false;
        assert_eq!(slot(&facts).reason, Reason::NotEligible);
    }

    #[test]
    fn a_slot_survives_the_table_and_ends_by_time() {
        let now = Time::from_secs(10);
        for found in [
            Slot { ready: at(11), reason: Reason::FloodWait },
            Slot { ready: Next::Never, reason: Reason::Paused },
            Slot::READY,
        ] {
            assert_eq!(Slot::from_row(found.ready_at(), i32::from(found.reason), now), found);
        }
        assert_eq!(Slot::from_row(Time::from_secs(10).millis(), 5, now), Slot::READY);
    }
}
