//! Brings up what the tests need, and runs them.

use std::process::Command;

use anyhow::Context as _;

use crate::postgres::{self, Durability, Postgres};
use crate::steps::Steps;
use crate::{command, places, python, tools};

#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Only tests whose name, or whose binary's name, contains this
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
            let postgres = Postgres::start(Durability::None)?;
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
    let packages = packages(arguments.package.as_deref());
    // First and in one go: built alone, the binary would have other features, and half the crates a second time.
    steps.step("build", || command::run(command::cargo(["build", "--tests", "--bins"]).args(&packages)))?;
    let mut needs = None;
    steps.step("servers and environments", || {
        needs = Some(Needs::bring_up()?);
        Ok(())
    })?;
    steps.step("tests", || {
        nextest.arg("run").args(&packages);
        if arguments.fast {
            nextest.args(["--profile", "fast"]);
        }
        // A filter that hits nothing is a typing error, and nextest says so.
        nextest.args(["--filterset", &filterset(arguments)]);
        if let Some(needs) = &needs {
            needs.announce(&mut nextest);
        }
        nextest.env("TGMESH_TEST_BINARY", places::target().join("debug/tgmesh"));
        command::run(&mut nextest)
    })
}

/// Which tests are run, in nextest's words.
fn filterset(arguments: &Arguments) -> String {
    let package = arguments.package.as_ref().map_or_else(|| "all()".to_owned(), |name| format!("package(={name})"));
    match &arguments.filter {
        Some(filter) => format!("{package} & (test(~{filter}) | binary_id(~{filter}))"),
        None => package,
    }
}

/// Cargo's words for what is built: everything, or one package, and with the black-box tests the binary that they run.
fn packages(package: Option<&str>) -> Vec<String> {
    let one = |package: &str| ["--package".to_owned(), package.to_owned()];
    match package {
        None => vec!["--workspace".to_owned()],
        Some("tgmesh-tests") => [one("tgmesh-tests"), one("tgmesh")].concat(),
        Some(package) => one(package).to_vec(),
    }
}
