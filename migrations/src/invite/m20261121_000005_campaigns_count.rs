//! A campaign knows how many targets it has, and how many of them are done: its progress follows from its own row.
//! Counters are of outcomes alone; what waits and what is under way is seen from the targets.

use sea_orm_migration::prelude::*;

use crate::columns::big;

/// Adds the columns, and fills them from the counters.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["targets", "done"] {
            let column = big(column).default(0).take();
            manager.alter_table(Table::alter().table(Alias::new("campaigns")).add_column(column).to_owned()).await?;
        }
        for text in [
            "UPDATE campaigns SET \
             targets = (SELECT COALESCE(SUM(c.targets), 0) FROM campaign_counters c WHERE c.campaign_id = campaigns.id), \
             done = (SELECT COALESCE(SUM(c.targets), 0) FROM campaign_counters c WHERE c.campaign_id = campaigns.id \
             AND c.bucket >= 0)",
            "DELETE FROM campaign_counters WHERE bucket < 0",
            "ALTER TABLE campaign_counters RENAME COLUMN bucket TO outcome",
        ] {
            manager.get_connection().execute_unprepared(text).await?;
        }
        Ok(())
    }
}
