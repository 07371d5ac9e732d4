//! At most one connection has a session's key.

use sea_orm_migration::prelude::*;

use crate::columns::{big, boolean, bytes, uuid};

/// Creates the claims.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(Alias::new("key_claims"))
            // SHA-256 of the key: that there is one row of it is what keeps a second connection away.
            .col(bytes("fingerprint").primary_key().take())
            // The connection. New with each.
            .col(uuid("holder"))
            // The process that has it. New with each start.
            .col(uuid("process"))
            .col(big("held_until_at"))
            // Whether somebody else waits for the key.
            .col(boolean("wanted"))
            .to_owned();
        manager.create_table(table).await
    }
}
