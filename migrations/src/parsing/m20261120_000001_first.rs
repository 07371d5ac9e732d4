//! The first tables: tasks, what they found, contacts.

use sea_orm_migration::prelude::*;

use crate::columns::{big, boolean, bytes, int, nullable, requests_index, requests_table, text, uuid};

/// Creates them.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(requests_table()).await?;
        manager.create_index(requests_index()).await?;
        manager.create_table(tasks()).await?;
        // The list of a workspace, newest first: ids sort by creation.
        manager.create_index(index("parse_tasks_by_owner", "parse_tasks", &["workspace_id", "id"]).to_owned()).await?;
        // What the engine takes next.
        manager
            .create_index(index("parse_tasks_by_turn", "parse_tasks", &["state", "priority", "created_at"]).to_owned())
            .await?;
        manager.create_table(results()).await?;
        // The order of the lists; those left out have no place in it.
        manager
            .create_index(index("parse_results_by_seq", "parse_results", &["task_id", "seq"]).unique().to_owned())
            .await?;
        manager.create_table(contacts()).await?;
        manager.create_index(index("contacts_by_id", "contacts", &["workspace_id", "id"]).unique().to_owned()).await?;
        manager.create_table(contact_accounts()).await?;
        Ok(())
    }
}

fn index(name: &str, table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(Alias::new(table));
    for column in columns {
        index.col(Alias::new(*column));
    }
    index
}

fn key(columns: &[&'static str]) -> IndexCreateStatement {
    let mut key = Index::create();
    for column in columns {
        key.col(Alias::new(*column));
    }
    key
}

fn tasks() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("parse_tasks"))
        .col(uuid("id").primary_key())
        .col(uuid("workspace_id"))
        .col(uuid("user_id"))
        .col(text("source"))
        .col(int("kind"))
        .col(bytes("filter"))
        .col(int("speed"))
        .col(int("priority"))
        .col(int("state"))
        .col(nullable(bytes("chat")))
        // Where reading goes on, as the integration service gave it.
        .col(nullable(bytes("cursor")))
        // Everything was read; what is left is to decide on those found.
        .col(boolean("read_to_end"))
        .col(nullable(big("total")))
        .col(big("read_count"))
        .col(big("unique_count"))
        .col(big("new_count"))
        .col(big("media_count"))
        .col(big("request_count"))
        .col(big("result_count"))
        // Counts by the number of the reason, as JSON.
        .col(text("skipped"))
        .col(big("work_ms"))
        .col(int("cap_reached"))
        .col(int("waiting_reason"))
        .col(nullable(big("waiting_until")))
        .col(text("waiting_detail"))
        .col(text("failure_reason"))
        .col(text("failure_detail"))
        // Who runs the task, and until when unless renewed; the epoch fences off
        // those who ran it before.
        .col(nullable(uuid("claim_owner")))
        .col(big("claim_epoch"))
        .col(nullable(big("claim_until")))
        // Not to be taken before.
        .col(big("run_after"))
        // Failures since the last batch that was kept.
        .col(int("strikes"))
        .col(big("version"))
        .col(big("created_at"))
        .col(nullable(big("started_at")))
        .col(nullable(big("ended_at")))
        .col(big("updated_at"))
        .to_owned()
}

/// One row a person found, those left out included, so that each is counted
/// once however often he is met.
fn results() -> TableCreateStatement {
    let mut table = Table::create();
    table
        .table(Alias::new("parse_results"))
        .col(uuid("task_id"))
        .col(big("user_id"))
        .col(uuid("workspace_id"))
        .col(uuid("id"))
        // Place in the order of finding; negative until it is decided whether he
        // is kept; NULL when he is left out.
        .col(nullable(big("seq")))
        .col(int("skip_reason"))
        .col(int("activity"))
        .col(nullable(big("last_active_at")))
        .col(big("found_at"))
        .col(nullable(uuid("account_id")))
        .col(nullable(bytes("sealed")));
    person(&mut table);
    table.primary_key(&mut key(&["task_id", "user_id"])).to_owned()
}

fn contacts() -> TableCreateStatement {
    let mut table = Table::create();
    table
        .table(Alias::new("contacts"))
        .col(uuid("workspace_id"))
        .col(big("user_id"))
        .col(uuid("id"))
        .col(big("first_found_at"))
        .col(big("last_found_at"));
    person(&mut table);
    table.primary_key(&mut key(&["workspace_id", "user_id"])).to_owned()
}

/// The accounts that can address a contact.
fn contact_accounts() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("contact_accounts"))
        .col(uuid("workspace_id"))
        .col(big("user_id"))
        .col(uuid("account_id"))
        .col(bytes("sealed"))
        .col(big("seen_at"))
        .primary_key(&mut key(&["workspace_id", "user_id", "account_id"]))
        .to_owned()
}

/// A user as an account saw him.
fn person(table: &mut TableCreateStatement) {
    table
        .col(text("username"))
        .col(text("first_name"))
        .col(text("last_name"))
        .col(text("phone"))
        .col(boolean("bot"))
        .col(boolean("deleted"))
        .col(boolean("premium"))
        .col(boolean("admin"))
        .col(int("last_seen"))
        .col(nullable(big("last_seen_at")))
        // Names in lower case, each after a line feed: what a search by prefix reads.
        .col(text("search_text"));
}
