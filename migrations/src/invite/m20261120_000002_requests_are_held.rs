//! A call under way is held by its process until a deadline.

use sea_orm_migration::prelude::*;

use crate::columns::requests_held_until;

/// Adds it.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(requests_held_until()).await
    }
}
