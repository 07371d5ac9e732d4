//! The schema of the invite service.

mod m20261120_000001_first;
mod m20261120_000002_requests_are_held;
mod m20261120_000003_audience_notice;
mod m20261120_000004_person_keys;
mod m20261121_000005_campaigns_count;

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
            Box::new(m20261120_000003_audience_notice::Migration),
            Box::new(m20261120_000004_person_keys::Migration),
            Box::new(m20261121_000005_campaigns_count::Migration),
        ]
    }
}
