//! The first tables.

use sea_orm_migration::prelude::*;

use crate::columns::{requests_index, requests_table};

/// Creates them.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(requests_table()).await?;
        manager.create_index(requests_index()).await?;
        Ok(())
    }
}
