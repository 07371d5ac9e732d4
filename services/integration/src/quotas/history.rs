//! The ledger, as the caller reads it.

use sea_orm::sea_query::ExprTrait as _;
use sea_orm::{ColumnTrait as _, EntityTrait, QueryFilter, QueryOrder as _, QuerySelect as _};
use service_kit::paging::Page;
use service_kit::{Identity, Time};
use tgmesh_proto::quota::v1::usage_entry::State;
use tgmesh_proto::quota::v1::{ListUsageHistoryRequest, UsageEntry};
use uuid::Uuid;

use super::{Quotas, Scope};
use crate::entity::usage_entry;
use crate::error::{Error, Result};

impl Quotas {
    /// A page of what an account has done, newest first, and the token of the
    /// next one. What its Telegram user did for another workspace stays there.
    ///
    /// # Errors
    /// `ACCOUNT_NOT_FOUND`, `PAGE_TOKEN_INVALID`.
    pub async fn history(
        &self,
        who: &Identity,
        request: &ListUsageHistoryRequest,
    ) -> Result<(Vec<usage_entry::Model>, String)> {
        use usage_entry::Column;
        let id = Uuid::parse_str(&request.account_id).unwrap_or_default();
        let account = self.account(Scope::of(who), id).await?;
        let bound = (account.id, &request.actions);
        let page: Page<(i64, Uuid)> =
            self.tokens.page("usage_history", &bound, request.page_size, &request.page_token).map_err(Error::from)?;
        let mut select = usage_entry::Entity::find()
            .filter(Column::TelegramUserId.eq(account.telegram_user_id))
            .filter(Column::WorkspaceId.eq(account.workspace_id));
        if !request.actions.is_empty() {
            select = select.filter(Column::Action.is_in(request.actions.iter().copied()));
        }
        if let Some((at, id)) = page.after {
            select = select.filter(Column::ReservedAt.lt(at).or(Column::ReservedAt.eq(at).and(Column::Id.lt(id))));
        }
        let entries = select
            .order_by_desc(Column::ReservedAt)
            .order_by_desc(Column::Id)
            .limit(page.size + 1)
            .all(self.db.conn())
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(self.tokens.finish(&page, entries, |entry| (entry.reserved_at, entry.id)))
    }
}

/// An entry as the wire writes it.
pub fn to_wire(entry: usage_entry::Model) -> UsageEntry {
    UsageEntry {
        id: entry.id.to_string(),
        action: entry.action,
        chat_id: entry.chat_id,
        state: State::try_from(entry.state).unwrap_or_default().into(),
        telegram_error: entry.telegram_error,
        reserve_time: Some(Time::from_millis(entry.reserved_at).to_proto()),
        settle_time: entry.settled_at.map(|at| Time::from_millis(at).to_proto()),
    }
}
