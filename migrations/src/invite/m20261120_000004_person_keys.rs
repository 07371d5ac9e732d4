//! People of campaigns and uploads, by every key they are known by.

use sea_orm_migration::prelude::*;

use crate::columns::{text, uuid};

/// Creates the table, and fills it with the keys of the targets that are there.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let name = |name: &'static str| Alias::new(name);
        let table = Table::create()
            .table(name("person_keys"))
            // The campaign or the upload.
            .col(uuid("list_id"))
            .col(text("person_key"))
            // The target's id; of nobody's when the person must be left alone.
            .col(uuid("member_id"))
            .primary_key(Index::create().col(name("list_id")).col(name("person_key")))
            .to_owned();
        manager.create_table(table).await?;
        let index = Index::create()
            .name("person_keys_by_member")
            .table(name("person_keys"))
            .col(name("list_id"))
            .col(name("member_id"))
            .to_owned();
        manager.create_index(index).await?;
        for (key, is_known) in [
            ("'i:' || user_id", "user_id <> 0"),
            ("'u:' || username", "username <> ''"),
            ("'p:' || phone", "phone <> ''"),
        ] {
            let text = format!(
                "INSERT INTO person_keys (list_id, person_key, member_id) SELECT campaign_id, {key}, id FROM targets \
                 WHERE {is_known} ON CONFLICT (list_id, person_key) DO NOTHING"
            );
            manager.get_connection().execute_unprepared(&text).await?;
        }
        Ok(())
    }
}
