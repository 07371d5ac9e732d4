//! Brings up what the tests need, and runs them.

use std::process::Command;

use anyhow::Context as _;

use crate::postgres::{self, Postgres};
use crate::steps::Steps;
use crate::{command, places, python, tools};

#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Only tests whose name contains this
    filter: Option<String>,
    /// Leave out the long tests: those with `long_` at the beginning of their name or of a module's
    #[arg(long)]
    fast: bool,
    /// Only tests of this package
    #[arg(long, short)]
    package: Option<String>,
}

/// What was brought up; it goes down with this.
pub struct Needs {
    postgres: Option<Postgres>,
    python: Option<std::path::PathBuf>,
}

impl Needs {
    /// Brings up the servers and environments. Redis will have its place here.
    ///
    /// # Errors
    /// When something is missing; the message says how to get it.
    pub fn bring_up() -> anyhow::Result<Self> {
        let postgres = if std::env::var_os(postgres::URL).is_some() {
            println!("using the PostgreSQL server of {}", postgres::URL);
            None
        } else {
            let postgres = Postgres::start()?;
            println!("PostgreSQL at {}", postgres.url);
            Some(postgres)
        };
        let python = python::interpreter()?;
        Ok(Self { postgres, python })
    }

    /// Tells the command where things are.
    pub fn announce(&self, command: &mut Command) {
        if let Some(postgres) = &self.postgres {
            command.env(postgres::URL, &postgres.url);
        }
        if let Some(python) = &self.python {
            command.env("TGMESH_TEST_PYTHON", python);
        }
    }
}

/// Runs the tests.
///
/// # Errors
/// When something is missing, does not build, or a test fails.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut steps = Steps::new();
    let result = all_steps(arguments, &mut steps);
    steps.summary();
    result
}

/// The steps of [`run`].
///
/// # Errors
/// Those of [`run`].
pub fn all_steps(arguments: &Arguments, steps: &mut Steps) -> anyhow::Result<()> {
    let mut nextest = None;
    steps.step("test runner", || {
        nextest = Some(tools::nextest()?);
        Ok(())
    })?;
    let mut nextest = nextest.context("there is no test runner")?;
    steps.step("build", || build(arguments.package.as_deref()))?;
    let mut needs = None;
    steps.step("servers and environments", || {
        needs = Some(Needs::bring_up()?);
        Ok(())
    })?;
    steps.step("tests", || {
        nextest.arg("run");
        match &arguments.package {
            Some(package) => nextest.args(["--package", package]),
            None => nextest.arg("--workspace"),
        };
        if arguments.fast {
            nextest.args(["--profile", "fast"]);
        }
        if let Some(filter) = &arguments.filter {
            // A filter that hits nothing is a typing error, and nextest says so.
            nextest.arg(filter);
        } else {
            nextest.arg("--no-tests=pass");
        }
        if let Some(needs) = &needs {
            needs.announce(&mut nextest);
        }
        nextest.env("TGMESH_TEST_BINARY", places::target().join("debug/tgmesh"));
        command::run(&mut nextest)
    })
}

/// Builds the tests and the binary that the black-box tests run.
///
/// # Errors
/// When it does not build.
pub fn build(package: Option<&str>) -> anyhow::Result<()> {
    // In one go: alone, the binary would be built with other features, and half the crates a second time.
    let mut build = command::cargo(["build", "--tests"]);
    match package {
        Some("tgmesh-tests") => build.args(["--bins", "--package", "tgmesh-tests", "--package", "tgmesh"]),
        Some(package) => build.args(["--package", package]),
        None => build.args(["--bins", "--workspace"]),
    };
    command::run(&mut build)
}
