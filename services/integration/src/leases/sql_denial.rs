//! Why no account can be had, account by account.

use std::collections::{HashMap, HashSet};

use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder as _, QuerySelect as _};
use service_kit::Time;
use tgmesh_proto::lease::v1::unavailability::Reason;
use uuid::Uuid;

use super::Unavailable;
use super::sql::SqlLeaseStore;
use super::store::{Acquired, Needs};
use crate::availability::{self, Slot, action_of};
use crate::entity::{account, chat_right, lease, slot};
use crate::quotas::Next;

/// Accounts looked at together.
const BATCH: u64 = 500;

impl SqlLeaseStore {
    /// Counts the workspace's accounts by what is in the way. An account that is
    /// in the way for several reasons counts under the one that lasts longest.
    pub(super) async fn denial(
        &self,
        conn: &impl ConnectionTrait,
        workspace_id: Uuid,
        needs: &Needs,
    ) -> Result<Acquired, DbErr> {
        let now = self.clock.now();
        let mut unavailable = Unavailable { at: now, ..Unavailable::default() };
        let mut unknown_rights = Vec::new();
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
            self.count(conn, now, needs, &accounts, &mut unavailable, &mut unknown_rights).await?;
        }
        Ok(Acquired::Denied { unavailable, unknown_rights })
    }

    async fn count(
        &self,
        conn: &impl ConnectionTrait,
        now: Time,
        needs: &Needs,
        accounts: &[account::Model],
        unavailable: &mut Unavailable,
        unknown_rights: &mut Vec<Uuid>,
    ) -> Result<(), DbErr> {
        let action = action_of(needs.purpose);
        let ids = || accounts.iter().map(|account| account.id);
        let chat_id = (needs.chat_id != 0).then_some(needs.chat_id);
        let slots = slot::Entity::find()
            .filter(slot::Column::AccountId.is_in(ids()))
            .filter(slot::Column::Action.eq(i32::from(action)))
            .all(conn)
            .await?;
        let slots: HashMap<Uuid, Slot> =
            slots.iter().map(|row| (row.account_id, Slot::from_row(row.ready_at, row.reason, now))).collect();
        let leases = lease::Entity::find()
            .filter(lease::Column::LiveAccountId.is_in(ids()))
            .filter(lease::Column::ExpireAt.gt(now.millis()))
            .all(conn)
            .await?;
        let leases: HashMap<Uuid, i64> = leases.into_iter().map(|row| (row.account_id, row.expire_at)).collect();
        let rights = self.rights(conn, now, needs, ids()).await?;
        let (any_of, none_of): (HashSet<&Uuid>, HashSet<&Uuid>) =
            (needs.any_of.iter().collect(), needs.none_of.iter().collect());

        for found in availability::assess(conn, now, action, chat_id, accounts, &self.defaults).await? {
            let id = found.account_id;
            if (!any_of.is_empty() && !any_of.contains(&id)) || none_of.contains(&id) {
                unavailable.add(Slot { ready: Next::Never, reason: Reason::NotEligible });
                continue;
            }
            let mut obstacle = found.with_chat();
            if let Some(rights) = &rights {
                match rights.get(&id) {
                    Some(held) if held & needs.rights != needs.rights => {
                        obstacle = obstacle.later(Slot { ready: Next::Never, reason: Reason::NoRights });
                    }
                    Some(_) => {}
                    // Whom Telegram or the user keeps from working is not asked about either.
                    None if may_be_asked(obstacle) => unknown_rights.push(id),
                    None => {}
                }
            }
            if let Some(expire_at) = leases.get(&id) {
                let until = Next::At(Time::from_millis(*expire_at));
                obstacle = obstacle.later(Slot { ready: until, reason: Reason::Leased });
            }
            if obstacle == Slot::READY {
                // Became free since the look, or its slot has yet to catch up.
                let slot = slots.get(&id).copied().unwrap_or(Slot::READY);
                let soon = Slot { ready: Next::At(now), reason: Reason::Leased };
                obstacle = if slot == Slot::READY { soon } else { slot };
            }
            unavailable.add(obstacle);
        }
        Ok(())
    }

    /// What Telegram said lately of the accounts' rights; `None` when no rights
    /// in a chat are asked for.
    async fn rights(
        &self,
        conn: &impl ConnectionTrait,
        now: Time,
        needs: &Needs,
        accounts: impl Iterator<Item = Uuid>,
    ) -> Result<Option<HashMap<Uuid, i32>>, DbErr> {
        if needs.chat_id == 0 || needs.rights == 0 {
            return Ok(None);
        }
        use chat_right::Column;
        let rows = chat_right::Entity::find()
            .filter(Column::ChatId.eq(needs.chat_id))
            .filter(Column::AccountId.is_in(accounts))
            .filter(Column::CheckedAt.gt((now - self.rights_life).millis()))
            .all(conn)
            .await?;
        Ok(Some(rows.into_iter().map(|row| (row.account_id, row.rights)).collect()))
    }
}

/// Whether an account may be asked for its rights: only limits of ours, or
/// nothing, is in its way.
fn may_be_asked(obstacle: Slot) -> bool {
    obstacle.ready != Next::Never && !matches!(obstacle.reason, Reason::FloodWait | Reason::Restricted)
}
