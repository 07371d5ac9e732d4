//! Databases: their schemas.

use clap::Args;
use service_kit::db::Db;

use super::output::print_line;
use super::{Context, Done, Failure};
use crate::config::{Profile, schema};
use crate::launch::SERVICES;

/// Arguments of `migrate`.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Only the schemas of these services; all when left out.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(SERVICES))]
    services: Vec<String>,
}

/// Brings schemas up to date.
pub(crate) async fn migrate(context: &Context, args: MigrateArgs) -> Done {
    let config = &context.config;
    if config.profile == Profile::Embedded {
        config.prepare()?;
    }
    for (name, database) in config.databases() {
        let Some(schema) = schema(name).filter(|_| args.services.is_empty() || args.services.iter().any(|s| s == name))
        else {
            continue;
        };
        let db = Db::connect(&config.database_url(name, database), 1).await.map_err(|error| {
            Failure::unavailable(format!("the database of the {name} service cannot be reached: {error}"))
        })?;
        tgmesh_migrations::migrate(db.conn(), schema).await.map_err(|error| {
            Failure::new(format!("the schema of {name} at {} cannot be changed: {error}", db.name()))
        })?;
        if context.json {
            let answer = serde_json::json!({ "service": name, "database": db.name(), "migrated": true });
            print_line(&answer.to_string());
        } else {
            print_line(&format!("{name}: the schema at {} is up to date", db.name()));
        }
    }
    Ok(())
}
