//! The schema of the integration service.

mod m20261120_000001_first;
mod m20261120_000002_requests_are_held;
mod m20261121_000001_keys_are_claimed;

use sea_orm_migration::prelude::*;

/// Its migrations, in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261120_000001_first::Migration),
            Box::new(m20261120_000002_requests_are_held::Migration),
            Box::new(m20261121_000001_keys_are_claimed::Migration),
        ]
    }
}
