//! Runs the benches in `tests/benches`. Each prints one JSON line a figure on stdout:
//! `{"bench","figure","value","unit","baseline","ratio"}`, with the baseline measured in the same run.

use anyhow::bail;

use crate::postgres::{Durability, Postgres};
use crate::{command, places, postgres};

#[derive(clap::Args)]
pub struct Arguments {
    /// Only this bench
    name: Option<String>,
}

/// Runs the benches.
///
/// # Errors
/// When there is none of that name, or one fails.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut names: Vec<String> = std::fs::read_dir(places::root().join("tests/benches"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    if let Some(name) = &arguments.name {
        if !names.contains(name) {
            bail!("there is no bench {name}; there are: {}", names.join(", "));
        }
        names.retain(|found| found == name);
    }
    if names.is_empty() {
        eprintln!("there are no benches yet");
        return Ok(());
    }
    command::run(&mut command::cargo(["build", "--release", "--package", "tgmesh"]))?;
    let server = match std::env::var_os(postgres::URL) {
        Some(_) => None,
        None => Some(Postgres::start(Durability::Full)?),
    };
    for name in names {
        let mut bench = command::cargo(["bench", "--quiet", "--package", "tgmesh-tests", "--bench", &name]);
        bench.env("TGMESH_TEST_BINARY", places::target().join("release/tgmesh"));
        if let Some(server) = &server {
            bench.env(postgres::URL, &server.url);
        }
        command::run(&mut bench)?;
    }
    Ok(())
}
