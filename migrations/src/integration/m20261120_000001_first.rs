//! Accounts, logins, leases, quotas.

use sea_orm_migration::prelude::*;

use crate::columns::{big, boolean, bytes, int, nullable, requests_index, requests_table, text, uuid};

/// Creates them.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            requests_table(),
            accounts(),
            sessions(),
            ended_sessions(),
            restrictions(),
            account_events(),
            logins(),
            peers(),
            chat_rights(),
            leases(),
            slots(),
            usage_entries(),
            pace(),
            limits(),
        ] {
            manager.create_table(table).await?;
        }
        manager.create_index(requests_index()).await?;
        for (name, table, columns, unique) in [
            ("accounts_by_workspace", "accounts", &["workspace_id", "id"][..], false),
            // Who a Telegram user belongs to is decided here, whoever asks first.
            ("accounts_by_user", "accounts", &["telegram_user_id"], true),
            ("restrictions_by_account", "restrictions", &["account_id", "end_at"], false),
            ("events_by_account", "account_events", &["account_id", "id"], false),
            ("events_by_time", "account_events", &["workspace_id", "event_at"], false),
            // One login under way per number; `live_phone` is NULL once it has ended.
            ("logins_by_phone", "logins", &["workspace_id", "live_phone"], true),
            ("logins_by_expiry", "logins", &["state", "expire_at"], false),
            ("peers_by_username", "peers", &["account_id", "username"], false),
            ("leases_by_workspace", "leases", &["workspace_id", "id"], false),
            // One live lease per account; `live_account_id` is NULL once it has ended.
            ("leases_live", "leases", &["live_account_id"], true),
            ("leases_by_account", "leases", &["account_id", "id"], false),
            ("leases_by_change", "leases", &["workspace_id", "revision"], false),
            // For watches over all workspaces, and for SQLite to find the newest.
            ("leases_by_revision", "leases", &["revision"], false),
            ("slots_ready", "slots", &["workspace_id", "action", "ready_at", "last_used_at"], false),
            ("usage_by_user", "usage_entries", &["telegram_user_id", "action", "reserved_at"], false),
            ("usage_by_chat", "usage_entries", &["telegram_user_id", "action", "chat_id", "reserved_at"], false),
            ("usage_by_state", "usage_entries", &["state", "reserved_at"], false),
        ] {
            let mut index = Index::create();
            index.name(name).table(Alias::new(table));
            if unique {
                index.unique();
            }
            for column in columns {
                index.col(Alias::new(*column));
            }
            manager.create_index(index.to_owned()).await?;
        }
        Ok(())
    }
}

fn table(name: &'static str) -> TableCreateStatement {
    Table::create().table(Alias::new(name)).to_owned()
}

fn key(column: ColumnDef) -> ColumnDef {
    let mut column = column;
    column.primary_key().take()
}

/// One row per Telegram account of a workspace.
fn accounts() -> TableCreateStatement {
    table("accounts")
        .col(key(uuid("id")))
        .col(uuid("workspace_id"))
        .col(big("telegram_user_id"))
        .col(int("kind"))
        .col(text("label"))
        // Bit n is set when the purpose with number n is allowed.
        .col(int("purposes"))
        .col(text("username"))
        .col(text("first_name"))
        .col(text("last_name"))
        .col(text("phone"))
        .col(boolean("premium"))
        .col(int("session_state"))
        .col(text("session_error"))
        .col(nullable(big("paused_at")))
        .col(nullable(big("deleting_at")))
        .col(nullable(big("checked_at")))
        // The last fencing token given out; never decreases.
        .col(big("fencing_token"))
        .col(big("created_at"))
        .col(big("updated_at"))
        // Grows with every change of the row: its etag.
        .col(big("revision"))
        .to_owned()
}

/// The sealed session of an account.
fn sessions() -> TableCreateStatement {
    table("sessions").col(key(uuid("account_id"))).col(bytes("sealed")).col(big("created_at")).to_owned()
}

/// Sealed sessions that are still to be logged out at Telegram.
fn ended_sessions() -> TableCreateStatement {
    table("ended_sessions")
        .col(key(uuid("id")))
        // The account to erase once this is done; NULL when a login replaced the session.
        .col(nullable(uuid("account_id")))
        .col(bytes("sealed"))
        .col(big("created_at"))
        .col(big("try_at"))
        .col(int("tries"))
        .to_owned()
}

/// What Telegram forbids an account, for a time.
fn restrictions() -> TableCreateStatement {
    table("restrictions")
        .col(key(uuid("id")))
        .col(uuid("account_id"))
        .col(int("cause"))
        // Bit n is set when the action with number n is forbidden; 0 for all actions.
        .col(int("actions"))
        .col(big("begin_at"))
        .col(nullable(big("end_at")))
        .col(text("telegram_error"))
        .col(text("method"))
        .col(boolean("ended"))
        .to_owned()
}

/// The journal of an account.
fn account_events() -> TableCreateStatement {
    table("account_events")
        .col(key(uuid("id")))
        .col(uuid("account_id"))
        .col(uuid("workspace_id"))
        .col(big("event_at"))
        .col(int("kind"))
        .col(text("telegram_error"))
        .col(text("call"))
        .col(nullable(uuid("restriction_id")))
        .col(big("chat_id"))
        .col(text("actor"))
        .to_owned()
}

/// Logins under way, or ended.
fn logins() -> TableCreateStatement {
    table("logins")
        .col(key(uuid("id")))
        .col(uuid("workspace_id"))
        .col(uuid("user_id"))
        .col(int("kind"))
        .col(int("state"))
        .col(text("phone"))
        .col(nullable(text("live_phone")))
        // The key of its connection and the hash of its code; NULL once it has ended.
        .col(nullable(bytes("sealed")))
        .col(int("code_channel"))
        .col(int("code_length"))
        .col(nullable(big("code_resend_at")))
        .col(int("code_next_channel"))
        .col(text("password_hint"))
        .col(text("failure_reason"))
        .col(nullable(uuid("account_id")))
        .col(nullable(uuid("request_id")))
        .col(big("created_at"))
        .col(big("expire_at"))
        .to_owned()
}

/// Chats and users that an account can address.
fn peers() -> TableCreateStatement {
    table("peers")
        .col(uuid("account_id"))
        // As the Bot API writes ids: users are positive, chats negative.
        .col(big("peer_id"))
        .col(big("access_hash"))
        .col(nullable(text("username")))
        .col(big("seen_at"))
        .primary_key(Index::create().col(Alias::new("account_id")).col(Alias::new("peer_id")))
        .to_owned()
}

/// What an account may do in a chat, as Telegram said last.
fn chat_rights() -> TableCreateStatement {
    table("chat_rights")
        .col(uuid("account_id"))
        .col(big("chat_id"))
        // Bit n is set when the right with number n is held.
        .col(int("rights"))
        .col(int("problem"))
        .col(text("detail"))
        .col(big("checked_at"))
        .primary_key(Index::create().col(Alias::new("account_id")).col(Alias::new("chat_id")))
        .to_owned()
}

/// Leases, held and ended.
fn leases() -> TableCreateStatement {
    table("leases")
        .col(key(uuid("id")))
        .col(uuid("workspace_id"))
        .col(uuid("account_id"))
        // The user whom the holder acts for.
        .col(uuid("user_id"))
        .col(nullable(uuid("live_account_id")))
        .col(big("fencing_token"))
        .col(int("state"))
        .col(int("purpose"))
        .col(big("chat_id"))
        .col(text("holder"))
        .col(text("work"))
        .col(big("acquired_at"))
        .col(big("expire_at"))
        .col(nullable(big("ended_at")))
        .col(big("revision"))
        .to_owned()
}

/// For each account and action: when it can be leased for it, and why not sooner.
/// Derived from the other tables; kept so that selection never scans them.
fn slots() -> TableCreateStatement {
    table("slots")
        .col(uuid("account_id"))
        .col(int("action"))
        .col(uuid("workspace_id"))
        .col(big("ready_at"))
        .col(int("reason"))
        .col(big("last_used_at"))
        .primary_key(Index::create().col(Alias::new("account_id")).col(Alias::new("action")))
        .to_owned()
}

/// The ledger: everything an account did, or may have done. Keyed by the
/// Telegram user, so that it survives delete and re-login.
fn usage_entries() -> TableCreateStatement {
    table("usage_entries")
        .col(key(uuid("id")))
        .col(big("telegram_user_id"))
        .col(uuid("account_id"))
        .col(uuid("workspace_id"))
        .col(int("action"))
        .col(big("chat_id"))
        .col(int("state"))
        // Whether it was the success that limits "for ever" count.
        .col(boolean("success"))
        .col(text("method"))
        .col(text("telegram_error"))
        .col(nullable(uuid("lease_id")))
        .col(big("fencing_token"))
        .col(big("reserved_at"))
        .col(nullable(big("settled_at")))
        .to_owned()
}

/// When a Telegram user may do the next action of a kind.
fn pace() -> TableCreateStatement {
    table("pace")
        .col(big("telegram_user_id"))
        .col(int("action"))
        // When the last one was reserved.
        .col(big("last_at"))
        .col(big("next_at"))
        .col(int("since_pause"))
        .primary_key(Index::create().col(Alias::new("telegram_user_id")).col(Alias::new("action")))
        .to_owned()
}

/// Limits of each level: the deployment (nil), a workspace, an account.
fn limits() -> TableCreateStatement {
    table("limits")
        .col(int("level"))
        .col(uuid("level_id"))
        .col(bytes("limits"))
        .col(big("revision"))
        .col(big("updated_at"))
        .primary_key(Index::create().col(Alias::new("level")).col(Alias::new("level_id")))
        .to_owned()
}
