//! Why no account can be had, account by account.

use std::collections::{HashMap, HashSet};

use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder as _, QuerySelect as _};
use service_kit::Time;
use tgmesh_proto::lease::v1::unavailability::Reason;
use uuid::Uuid;

use super::Unavailable;
use super::sql::SqlLeaseStore;
use super::store::Ask;
use crate::availability::{self, Slot, action_of};
use crate::entity::{account, chat_right, lease, slot};
use crate::quotas::Next;

/// Accounts looked at together.
const BATCH: u64 = 500;

/// Why no account could be had.
#[derive(Debug, Default)]
pub(super) struct Denial {
    /// Accounts by reason.
    pub unavailable: Unavailable,
    /// Accounts that could be had, but for rights that nobody knows; and when
    /// each was used last.
    pub unknown_rights: Vec<(i64, Uuid)>,
    /// Whether an account could be had by now: it became free since the look, or
    /// its rights were learnt.
    pub is_outdated: bool,
}

impl SqlLeaseStore {
    /// Counts the workspace's accounts by what is in the way. An account that is
    /// in the way for several reasons counts under the one that lasts longest.
    pub(super) async fn denial(
        &self,
        conn: &impl ConnectionTrait,
        workspace_id: Uuid,
        ask: &Ask,
    ) -> Result<Denial, DbErr> {
        let now = self.clock.now();
        let mut denial = Denial::default();
        denial.unavailable.at = now;
        let mut after = Uuid::nil();
        loop {
            let accounts = account::Entity::find()
                .filter(account::Column::WorkspaceId.eq(workspace_id))
                .filter(account::Column::Id.gt(after))
                .order_by_asc(account::Column::Id)
                .limit(BATCH)
                .all(conn)
                .await?;
            let Some(last) = accounts.last() else { break };
            after = last.id;
            self.count(conn, now, ask, &accounts, &mut denial).await?;
        }
        Ok(denial)
    }

    async fn count(
        &self,
        conn: &impl ConnectionTrait,
        now: Time,
        ask: &Ask,
        accounts: &[account::Model],
        denial: &mut Denial,
    ) -> Result<(), DbErr> {
        let needs = &ask.needs;
        let action = action_of(needs.purpose);
        let ids = || accounts.iter().map(|account| account.id);
        let chat_id = (needs.chat_id != 0).then_some(needs.chat_id);
        let slots = slot::Entity::find()
            .filter(slot::Column::AccountId.is_in(ids()))
            .filter(slot::Column::Action.eq(i32::from(action)))
            .all(conn)
            .await?;
        let slots: HashMap<Uuid, (Slot, i64)> = slots
            .iter()
            .map(|row| (row.account_id, (Slot::from_row(row.ready_at, row.reason, now), row.last_used_at)))
            .collect();
        let leases = lease::Entity::find()
            .filter(lease::Column::LiveAccountId.is_in(ids()))
            .filter(lease::Column::ExpireAt.gt(now.millis()))
            .all(conn)
            .await?;
        let leases: HashMap<Uuid, i64> = leases.into_iter().map(|row| (row.account_id, row.expire_at)).collect();
        let rights = self.rights(conn, now, ask, ids()).await?;
        let (any_of, none_of): (HashSet<&Uuid>, HashSet<&Uuid>) =
            (needs.any_of.iter().collect(), needs.none_of.iter().collect());

        for found in availability::assess(conn, now, action, chat_id, accounts, &self.defaults).await? {
            let id = found.account_id;
            if (!any_of.is_empty() && !any_of.contains(&id)) || none_of.contains(&id) {
                denial.unavailable.add(Slot { ready: Next::Never, reason: Reason::NotEligible });
                continue;
            }
            let mut obstacle = found.with_chat();
            let lacks = Slot { ready: Next::Never, reason: Reason::NoRights };
            let mut is_unknown = false;
            match rights.get(&id) {
                Some(held) if held & needs.rights != needs.rights => obstacle = obstacle.later(lacks),
                None if needs.rights != 0 => match ask.obstacles.get(&id) {
                    Some(met) => obstacle = obstacle.later(*met),
                    None => is_unknown = true,
                },
                Some(_) | None => {}
            }
            if let Some(expire_at) = leases.get(&id) {
                let until = Next::At(Time::from_millis(*expire_at));
                obstacle = obstacle.later(Slot { ready: until, reason: Reason::Leased });
            }
            if obstacle == Slot::READY {
                // Became free since the look, or its slot has yet to catch up.
                let (slot, last_used_at) = slots.get(&id).copied().unwrap_or((Slot::READY, 0));
                obstacle = match slot {
                    // Who could not be had anyway is not asked about.
                    Slot::READY if is_unknown => {
                        denial.unknown_rights.push((last_used_at, id));
                        Slot { ready: Next::Never, reason: Reason::RightsUnknown }
                    }
                    Slot::READY => {
                        denial.is_outdated = true;
                        Slot { ready: Next::At(now), reason: Reason::Leased }
                    }
                    slot => slot,
                };
            }
            denial.unavailable.add(obstacle);
        }
        Ok(())
    }

    /// What Telegram said lately of the accounts' rights, if any are asked for.
    async fn rights(
        &self,
        conn: &impl ConnectionTrait,
        now: Time,
        ask: &Ask,
        accounts: impl Iterator<Item = Uuid>,
    ) -> Result<HashMap<Uuid, i32>, DbErr> {
        if ask.needs.rights == 0 {
            return Ok(HashMap::new());
        }
        use chat_right::Column;
        let rows = chat_right::Entity::find()
            .filter(Column::ChatId.eq(ask.needs.chat_id))
            .filter(Column::AccountId.is_in(accounts))
            .filter(Column::CheckedAt.gt((now - self.rights_life).millis()))
            .all(conn)
            .await?;
        Ok(rows.into_iter().map(|row| (row.account_id, row.rights)).collect())
    }
}
