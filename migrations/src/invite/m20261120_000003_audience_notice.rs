//! A campaign says what its audience lacks.

use sea_orm_migration::prelude::*;

use crate::columns::text;

/// Adds it.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = text("audience_notice").default("").take();
        manager.alter_table(Table::alter().table(Alias::new("campaigns")).add_column(column).to_owned()).await
    }
}
