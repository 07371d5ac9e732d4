//! The first tables.

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
        for table in [
            campaigns(),
            counters(),
            targets(),
            peers(),
            refusals(),
            executions(),
            do_not_contact(),
            contacted(),
            audiences(),
            audience_rows(),
            stagings(),
            processes(),
        ] {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn name(name: &'static str) -> Alias {
    Alias::new(name)
}

fn key(column: &'static str) -> ColumnDef {
    uuid(column).primary_key().take()
}

fn pair(first: &'static str, second: &'static str) -> IndexCreateStatement {
    Index::create().col(name(first)).col(name(second)).to_owned()
}

fn campaigns() -> TableCreateStatement {
    Table::create()
        .table(name("campaigns"))
        .col(key("id"))
        .col(uuid("workspace_id"))
        // In whose name the campaign works.
        .col(uuid("user_id"))
        .col(text("name"))
        // Lower case, for the order and the search.
        .col(text("name_key"))
        .col(int("kind"))
        .col(text("chat"))
        .col(text("chat_title"))
        .col(big("chat_id"))
        .col(text("description"))
        .col(int("consent_basis"))
        .col(int("priority"))
        .col(int("state"))
        // The message `Waiting` of the contract; NULL while something happens.
        .col(nullable(bytes("waiting")))
        .col(text("failure_reason"))
        .col(text("failure_detail"))
        // Targets with an outcome, in millionths of all; kept with the counters.
        .col(big("progress"))
        // Grows with every change: the etag, and the position of watches.
        .col(big("version"))
        .col(big("created_at"))
        .col(big("updated_at"))
        .col(nullable(big("started_at")))
        .col(nullable(big("ended_at")))
        .to_owned()
}

/// Targets of a campaign by bucket: -1 pending, -2 under way, else the outcome.
fn counters() -> TableCreateStatement {
    Table::create()
        .table(name("campaign_counters"))
        .col(uuid("campaign_id"))
        .col(int("bucket"))
        .col(big("targets"))
        .primary_key(&mut pair("campaign_id", "bucket"))
        .to_owned()
}

fn targets() -> TableCreateStatement {
    Table::create()
        .table(name("targets"))
        .col(key("id"))
        .col(uuid("campaign_id"))
        .col(uuid("workspace_id"))
        // Its place in the audience.
        .col(big("seq"))
        // What makes a person one target of the campaign: "i:" and the user id,
        // else "u:" and the username, else "p:" and the phone number.
        .col(text("person_key"))
        .col(text("username"))
        .col(text("phone"))
        .col(big("user_id"))
        .col(text("display_name"))
        .col(text("first_name"))
        .col(text("last_name"))
        .col(text("source"))
        // Whether a username or phone number makes it addressable by any account.
        .col(boolean("open"))
        .col(int("state"))
        .col(int("outcome"))
        .col(text("telegram_error"))
        .col(int("attempts"))
        .col(big("not_before_at"))
        // The process that works on it; NULL once it let go.
        .col(nullable(uuid("owner")))
        .col(nullable(uuid("account_id")))
        // The request_id of the last attempt.
        .col(nullable(uuid("attempt_id")))
        .col(nullable(big("done_at")))
        .to_owned()
}

/// What addresses a target, by account.
fn peers() -> TableCreateStatement {
    Table::create()
        .table(name("target_peers"))
        .col(uuid("target_id"))
        .col(uuid("account_id"))
        .col(uuid("campaign_id"))
        .col(bytes("sealed"))
        .primary_key(&mut pair("target_id", "account_id"))
        .to_owned()
}

/// Accounts that turned out to be unable to address a target.
fn refusals() -> TableCreateStatement {
    Table::create()
        .table(name("target_refusals"))
        .col(uuid("target_id"))
        .col(uuid("account_id"))
        .col(uuid("campaign_id"))
        .primary_key(&mut pair("target_id", "account_id"))
        .to_owned()
}

/// Attempts.
fn executions() -> TableCreateStatement {
    Table::create()
        .table(name("executions"))
        // The request_id of the attempt's call.
        .col(key("id"))
        .col(uuid("campaign_id"))
        .col(uuid("target_id"))
        .col(uuid("account_id"))
        .col(uuid("lease_id"))
        .col(int("result"))
        .col(int("outcome"))
        .col(text("telegram_error"))
        .col(big("began_at"))
        .col(nullable(big("ended_at")))
        .col(text("trace_id"))
        // The campaign's version with which it ended; 0 while under way.
        .col(big("version"))
        .to_owned()
}

fn do_not_contact() -> TableCreateStatement {
    Table::create()
        .table(name("do_not_contact"))
        .col(key("id"))
        .col(uuid("workspace_id"))
        .col(text("person_key"))
        .col(text("username"))
        .col(text("phone"))
        .col(big("user_id"))
        .col(text("reason"))
        .col(big("created_at"))
        .to_owned()
}

/// Who was asked into which chat, under every key he is known by.
fn contacted() -> TableCreateStatement {
    Table::create()
        .table(name("contacted"))
        .col(uuid("workspace_id"))
        .col(big("chat_id"))
        .col(text("person_key"))
        .col(uuid("campaign_id"))
        .primary_key(Index::create().col(name("workspace_id")).col(name("chat_id")).col(name("person_key")))
        .to_owned()
}

fn audiences() -> TableCreateStatement {
    Table::create()
        .table(name("audiences"))
        .col(key("id"))
        .col(uuid("workspace_id"))
        .col(text("file_name"))
        // The message `ImportReport` of the contract.
        .col(bytes("report"))
        .col(big("created_at"))
        .col(big("expires_at"))
        .to_owned()
}

fn audience_rows() -> TableCreateStatement {
    Table::create()
        .table(name("audience_rows"))
        .col(uuid("audience_id"))
        .col(big("seq"))
        .col(text("person_key"))
        .col(text("username"))
        .col(text("phone"))
        .col(big("user_id"))
        .col(text("display_name"))
        .col(text("first_name"))
        .col(text("last_name"))
        .primary_key(&mut pair("audience_id", "seq"))
        .to_owned()
}

/// Rows that belong to nothing yet: a campaign or audience being built. What
/// is not finished in time is swept.
fn stagings() -> TableCreateStatement {
    Table::create().table(name("stagings")).col(key("id")).col(big("expires_at")).to_owned()
}

/// Processes that work on targets. What belongs to none that lives is orphaned.
fn processes() -> TableCreateStatement {
    Table::create().table(name("processes")).col(key("id")).col(big("expires_at")).to_owned()
}

fn index(index: &'static str, table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut statement = Index::create().name(index).table(name(table)).to_owned();
    for column in columns {
        statement.col(name(column));
    }
    statement
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        index("campaigns_by_creation", "campaigns", &["workspace_id", "created_at", "id"]),
        index("campaigns_by_update", "campaigns", &["workspace_id", "updated_at", "id"]),
        index("campaigns_by_name", "campaigns", &["workspace_id", "name_key", "id"]),
        index("campaigns_by_priority", "campaigns", &["workspace_id", "priority", "id"]),
        index("campaigns_by_state", "campaigns", &["workspace_id", "state", "id"]),
        index("campaigns_by_progress", "campaigns", &["workspace_id", "progress", "id"]),
        // What the engine works on.
        index("campaigns_at_work", "campaigns", &["state"]),
        index("targets_by_person", "targets", &["campaign_id", "person_key"]).unique().take(),
        index("targets_by_place", "targets", &["campaign_id", "seq"]).unique().take(),
        index("targets_by_state", "targets", &["campaign_id", "state", "open", "seq"]),
        index("targets_at_work", "targets", &["state", "owner"]),
        index("peers_by_account", "target_peers", &["campaign_id", "account_id"]),
        index("refusals_by_campaign", "target_refusals", &["campaign_id"]),
        index("executions_by_campaign", "executions", &["campaign_id", "id"]),
        index("executions_by_target", "executions", &["target_id", "id"]),
        index("executions_by_version", "executions", &["campaign_id", "version"]),
        index("do_not_contact_by_person", "do_not_contact", &["workspace_id", "person_key"]).unique().take(),
        index("do_not_contact_by_age", "do_not_contact", &["workspace_id", "id"]),
        index("contacted_by_campaign", "contacted", &["campaign_id"]),
        index("audiences_by_end", "audiences", &["expires_at"]),
        index("audience_rows_by_person", "audience_rows", &["audience_id", "person_key"]).unique().take(),
    ]
}
